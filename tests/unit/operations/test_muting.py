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

import os
import pathlib

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.operations import muting


class TestRead(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = pathlib.Path(self.useFixture(fixtures.TempDir()).path, 'm')

    def test_options_and_files(self) -> None:
        # Some editors begin a file with a byte order mark.
        for mark in ('', '\ufeff'):
            self.path.write_text(f'{mark}GPU662 # x\n')
            mutes = muting.read(['GPU661=a'], [os.fspath(self.path)])
            self.assertEqual(
                ['GPU661=a', 'GPU662'], list(map(str, mutes.mutes))
            )

    def test_unreadable(self) -> None:
        for content, message in (
            (b'\xff', 'is not UTF-8 text'),
            (b'GPU1\n', 'm, line 1: '),
            (b'#' * 2**21, 'is larger than 1 MiB'),
            (None, 'No such file'),
        ):
            self.path.unlink(missing_ok=True)
            if content is not None:
                self.path.write_bytes(content)
            error = self.assertRaises(
                exceptions.DocumentError,
                muting.read,
                [],
                [os.fspath(self.path)],
            )
            self.assertIn(message, str(error))
