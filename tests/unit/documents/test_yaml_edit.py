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

"""Edits of the text of YAML files."""

import testtools
import yaml

from gpuclient.documents import nova_conf
from gpuclient.documents import yaml_edit


class TestDump(testtools.TestCase):
    def test_quotes(self) -> None:
        """Neither YAML 1.1 nor 1.2 may read a string as another type."""
        for text in (
            *('08', '8', '+1', '0x1', '0o7', '0b1', '1_0', '1.', '.5', '1e3'),
            *('1:30', '.inf', '.nan', 'y', 'N', 'yes', 'off', 'null', '~', ''),
        ):
            self.assertIn(yaml_edit.dump({'a': text})[3], '\'"', text)
        for text in ('a08', '2-11', '10de', '192.0.2.1', 'year'):
            self.assertEqual(f'a: {text}\n', yaml_edit.dump({'a': text}))


class TestBlock(testtools.TestCase):
    TEXT = 'a:\n  conf: |\n\n    [pci]\n      x = 1\n\n  b: 2\n'

    def block(self) -> yaml_edit.Block:
        lines = nova_conf.split_lines(self.TEXT)
        return yaml_edit.Block.below(lines, 1, 2)

    def test_lines(self) -> None:
        self.assertEqual(yaml_edit.Block(2, 5, '    '), self.block())

    def test_text(self) -> None:
        lines = nova_conf.split_lines(self.TEXT)
        self.assertEqual('\n[pci]\n  x = 1\n', self.block().text(lines))

    def test_empty(self) -> None:
        lines = ['conf: |\n', 'b: 2\n']
        self.assertEqual(
            yaml_edit.Block(1, 1, ''), yaml_edit.Block.below(lines, 0, 0)
        )


class TestEditor(testtools.TestCase):
    def test_edits_of_one_position_keep_their_order(self) -> None:
        editor = yaml_edit.Editor('a: 1\r\n')
        editor.insert_lines(0, 'x: 1\n', 0)
        editor.insert_lines(0, 'y: 2\n', 0)
        self.assertEqual('x: 1\r\ny: 2\r\na: 1\r\n', editor.apply())

    def test_missing_last_line_end(self) -> None:
        editor = yaml_edit.Editor('a: 1')
        editor.insert_lines(4, 'b: 2\n', 0)
        self.assertEqual('a: 1\nb: 2', editor.apply())

    def test_block_that_begins_with_a_blank_line(self) -> None:
        text = 'conf: |\n\n    x = 1\nb: 2\n'
        ((key, node), _b) = yaml.compose(text).value
        editor = yaml_edit.Editor(text)
        editor.replace_block(key, node, 'y = 1\n\nz = 2')
        self.assertEqual(
            'conf: |\n    y = 1\n\n    z = 2\nb: 2\n', editor.apply()
        )

    def test_key_after_other_text(self) -> None:
        text = '- a: 1\n'
        (item,) = yaml.compose(text).value
        ((key, value),) = item.value
        editor = yaml_edit.Editor(text)
        self.assertRaises(
            yaml_edit.CannotEdit, editor.remove_lines, key, value
        )
        self.assertEqual(text, editor.apply())
