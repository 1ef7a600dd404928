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

"""Values among the nodes of composed YAML."""

import testtools
import yaml

from gpuclient.documents import yaml_file
from gpuclient.documents import yaml_nodes
from gpuclient import exceptions


def compose(text: str) -> yaml.Node:
    (node,) = yaml_file.compose_as_tools('x.yaml', text)
    return node


class TestNavigation(testtools.TestCase):
    def test_merged_pairs_come_first(self) -> None:
        node = compose('base: &b {a: 1, b: 2}\nown: {<<: *b, b: 3}\n')
        own = yaml_nodes.below(node, 'own')
        self.assertEqual(
            [('a', '1'), ('b', '2'), ('b', '3')],
            [(key, value.value) for key, value in yaml_nodes.pairs(own)],
        )
        self.assertEqual('3', yaml_nodes.text(own, 'b'))

    def test_missing(self) -> None:
        node = compose('a: [1]\n')
        self.assertIsNone(yaml_nodes.below(node, 'a', 'b'))
        self.assertEqual('', yaml_nodes.text(node, 'a'))
        self.assertEqual([], yaml_nodes.items(node))

    def test_lines(self) -> None:
        node = compose('a:\n- 1\n\n- 2\nb: |\n  x\n')
        items = yaml_nodes.below(node, 'a')
        self.assertEqual([2, 4], yaml_nodes.item_lines(items, 2))
        self.assertEqual([2, 2, 2], yaml_nodes.item_lines(items, 3))
        self.assertEqual(
            6, yaml_nodes.line_of_text(yaml_nodes.below(node, 'b'))
        )


class TestData(testtools.TestCase):
    TEXT = 'a: 0071\nb: yes\nc: ~\nd: 2026-01-01\ne: !vault x\n'

    def test_yaml_1_1(self) -> None:
        self.assertEqual(
            {'a': 57, 'b': True, 'c': None, 'd': '2026-01-01', 'e': 'x'},
            yaml_nodes.data('x.yaml', compose(self.TEXT)),
        )

    def test_numbers_as_written(self) -> None:
        self.assertEqual(
            {'a': '0071', 'b': True, 'c': None, 'd': '2026-01-01', 'e': 'x'},
            yaml_nodes.data('x.yaml', compose(self.TEXT), keep_numbers=True),
        )

    def test_node_within_itself(self) -> None:
        error = self.assertRaises(
            exceptions.DocumentError,
            yaml_nodes.data,
            'x.yaml',
            compose('a: &a [*a]\n'),
        )
        self.assertEqual(
            'Cannot read x.yaml, line 1: the value has too many parts',
            str(error),
        )
