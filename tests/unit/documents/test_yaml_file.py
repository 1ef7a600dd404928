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

"""YAML files of this package, and invalid ones."""

import testtools

from gpuclient.documents import yaml_file
from gpuclient import exceptions


class TestLoad(testtools.TestCase):
    def test_as_yaml_1_2(self) -> None:
        """No base-60 numbers, no octal numbers, no yes and no."""
        for text in (
            '0000:04:00.0',
            '52:54:00:12:34:56',
            'yes',
            'off',
            '0102',
            '20e5',
            '1e37',
            '2026-11-25',
            '0x10de',
        ):
            self.assertEqual(text, yaml_file.parse('x.yaml', text))
        for text, value in (('12', 12), ('true', True), ('~', None)):
            self.assertEqual(value, yaml_file.parse('x.yaml', text))

    def test_json(self) -> None:
        text = '{\n\t"a":\t["0000:04:00.0", 1, true, "\\t"]\n}\n'
        self.assertEqual(
            {'a': ['0000:04:00.0', 1, True, '\t']},
            yaml_file.parse('x.json', text),
        )

    def test_one_document(self) -> None:
        self.assertIsNone(yaml_file.parse('x.yaml', ''))
        error = self.assertRaises(
            exceptions.DocumentError, yaml_file.parse, 'x.yaml', 'a\n---\nb\n'
        )
        self.assertEqual(
            'Cannot read x.yaml, line 2: but found another document',
            str(error),
        )

    def test_refused(self) -> None:
        for text in (
            'a: b: c',
            '\t',
            'a: 1\na: 2\n',
            '{{ x }}: 1',
            '[' * 3000,
            'a: &a [*a]',
            '!!python/object/apply:os.system ["true"]',
            '!!bool x',
            '!!int ""',
            '!!timestamp x',
            '"\\UFFFFFFFF"',
            '"\\U00110000"',
        ):
            error = self.assertRaises(
                exceptions.DocumentError, yaml_file.parse, 'x.yaml', text
            )
            self.assertNotIn('\n', str(error))
            self.assertIn('x.yaml', str(error))
