# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

import testtools

from gpuclient import exceptions
from gpuclient.operations import muting
from gpuclient.rules import mute


class TestMute(testtools.TestCase):
    def test_matches(self) -> None:
        for text, names, expected in (
            ('GPU661', ('gpu-1',), True),
            ('GPU661=gpu-1', ('gpu-1',), True),
            (' GPU661 = gpu-1 ', ('gpu-1',), True),
            ('GPU661=gpu-*', ('gpu-1',), True),
            ('GPU661=0000:04:00.0', ('gpu-1 0000:04:00.0', '0000:04:00.0'), 1),
            ('GPU661=gpu', ('gpu-1',), False),
            ('GPU661=gpu-?', ('gpu-1',), False),
            ('GPU661=gpu-[1]', ('gpu-1',), False),
            ('GPU661=a[1]?', ('a[1]?',), True),
            ('GPU662', ('gpu-1',), False),
            ('GPU661=*', ('',), True),
        ):
            self.assertEqual(
                bool(expected), mute.parse(text).matches('GPU661', names), text
            )

    def test_invalid(self) -> None:
        for text in ('', 'gpu661', 'GPU66', 'GPU661=', 'GPU661 gpu-1', '=x'):
            error = self.assertRaises(
                exceptions.InvalidValue, mute.parse, text
            )
            self.assertIn('is not CODE or CODE=OBJECT', str(error))

    def test_file(self) -> None:
        lines = [
            '# known',
            '',
            'GPU661=gpu-1  # until Friday',
            '\tGPU670',
            'GPU100=a#b',
        ]
        self.assertEqual(
            ['GPU661=gpu-1', 'GPU670', 'GPU100=a#b'],
            list(map(str, mute.parse_lines(lines))),
        )
        error = self.assertRaises(
            exceptions.InvalidValue, mute.parse_lines, ['GPU661', 'x']
        )
        self.assertIn('line 2: ', str(error))

    def test_reported(self) -> None:
        mutes = muting.Mutes((mute.parse('GPU661=a'),))
        rows = [('GPU661', 'a'), ('GPU661', 'b'), (None, 'a')]
        self.assertEqual(
            (('GPU661', 'b'), (None, 'a')),
            mutes.reported(rows, lambda row: (row[0], (row[1],))),
        )
        self.assertEqual(1, mutes.count)
