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

"""Keys merged into the text of YAML; all other bytes are kept."""

import typing

import hypothesis
from hypothesis import strategies
import testtools
import yaml

from gpuclient.documents import yaml_merge
from gpuclient import exceptions

_TEXT = """\
# About this file.
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: values   # mine
data:
  # Above a.
  a: 1  # one
  quoted: "x y"   # two
  conf: |  # a block
    [pci]
    # comment

    alias = 1

  # Above list.
  list:
    - one
    # above two
    - two  # two
    - three
  flow: [1, 2]
  empty:
  none: {}  # none
  nested:
    deep:
      value: true
    # last of nested

# the end
"""


class _Upper(yaml_merge.Merge):
    def merged(self, old: typing.Any) -> typing.Any:
        return str(old).upper()


def merge(text: str, data: dict[str, typing.Any]) -> yaml_merge.MergeResult:
    return yaml_merge.merge(
        'values.yaml',
        text,
        [
            yaml_merge.KubernetesObject(
                'v1', 'ConfigMap', 'values', {'data': data}
            )
        ],
    )


class TestMerge(testtools.TestCase):
    def assert_becomes(
        self, old: str, new: str, data: dict[str, typing.Any]
    ) -> None:
        """Assert that one part of the text is replaced, and nothing else."""
        expected = _TEXT.replace(old, new, 1)
        self.assertNotEqual(_TEXT, expected)
        for ending in ('\n', '\r\n'):
            text = _TEXT.replace('\n', ending)
            wanted = expected.replace('\n', ending)
            done = merge(text, data)
            self.assertEqual('', done.obstacle)
            self.assertEqual(wanted, done.text)
            self.assertEqual(wanted, merge(done.text, data).text)
        marked = merge('\ufeff' + _TEXT, data)
        self.assertEqual('\ufeff' + expected, marked.text)

    def test_scalars(self) -> None:
        self.assert_becomes('a: 1 ', 'a: 2 ', {'a': 2})
        self.assert_becomes('a: 1 ', 'a: "1" '.replace('"', "'"), {'a': '1'})
        self.assert_becomes('"x y"', '"z: #"', {'quoted': 'z: #'})
        self.assert_becomes('"x y"', '"X Y"', {'quoted': _Upper()})
        self.assert_becomes(
            'value: true',
            'value: false',
            {'nested': {'deep': {'value': False}}},
        )

    def test_block(self) -> None:
        self.assert_becomes(
            '    alias = 1\n\n',
            '    alias = 2\n    b: c\n\n',
            {'conf': '[pci]\n# comment\n\nalias = 2\nb: c\n'},
        )
        self.assert_becomes(
            '  a: 1  # one\n',
            '  a: |  # one\n    x\n    y\n',
            {'a': 'x\ny\n'},
        )

    def test_lists(self) -> None:
        self.assert_becomes(
            '    - one\n',
            '    - zero\n    - one\n',
            {'list': ['zero', 'one', 'two', 'three']},
        )
        self.assert_becomes(
            '    - two  # two\n', '', {'list': ['one', 'three']}
        )
        self.assert_becomes(
            '    - three\n',
            '    - four\n    - five\n',
            {'list': ['one', 'two', 'four', 'five']},
        )
        self.assert_becomes('[1, 2]', '[1, 2, 3]', {'flow': [1, 2, 3]})
        self.assert_becomes(
            '  empty:\n', '  empty:\n    - x\n', {'empty': ['x']}
        )

    def test_missing_keys(self) -> None:
        self.assert_becomes(
            '      value: true\n',
            '      value: true\n      other: 1\n    more:\n      - 2\n'
            '  new:\n    x: |\n      a\n      b\n',
            {
                'nested': {'deep': {'other': 1}, 'more': [2]},
                'new': {'x': 'a\nb\n'},
            },
        )
        self.assert_becomes(
            '  empty:\n', '  empty:\n    x: 1\n', {'empty': {'x': 1}}
        )
        self.assert_becomes('  empty:\n', '  empty: 1\n', {'empty': 1})
        self.assert_becomes(
            '  none: {}  # none\n',
            '  none:  # none\n    x: 1\n',
            {'none': {'x': 1}},
        )

    def test_other_documents(self) -> None:
        other = '---\nkind: Secret\nmetadata: {name: values}\ndata: {a: 5}\n'
        done = merge(other + _TEXT.partition('\n')[2] + other, {'a': 3})
        self.assertEqual(
            other + _TEXT.partition('\n')[2].replace('a: 1', 'a: 3') + other,
            done.text,
        )
        self.assertEqual(
            other
            + '---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n'
            + '  name: values\ndata:\n  a: 3\n',
            merge(other, {'a': 3}).text,
        )

    def test_no_line_end(self) -> None:
        text = 'kind: ConfigMap\nmetadata: {name: values}\ndata:\n  a: 1'
        self.assertEqual(
            text + '\n  b: 2\n  c: 3', merge(text, {'b': 2, 'c': 3}).text
        )

    def test_not_in_place(self) -> None:
        """An edit that is not possible is refused, with the wanted value."""
        for line, data, message in (
            ('a: &x 1', {'a': 2}, 'data.a has an anchor'),
            ('a: !t 1', {'a': 2}, 'data.a has an anchor'),
            ('b: &x 1\n  a: *x', {'a': 2}, 'data.a has an anchor'),
            ('a: {b: 1}', {'a': {'c': 2}}, 'data.a is not written'),
            ('a: {b: 1}', {'a': 2}, 'data.a has another type'),
            ('a: >\n    b', {'a': 'x\ny\n'}, 'data.a is folded'),
            ('a: "{{ b }} c"', {'a': _Upper()}, 'data.a is a template'),
            (
                'b: &x [1]\n  a:\n  - 2\n  - *x',
                {'a': [3]},
                'it refers to an anchor',
            ),
            (
                'b: &x [1]\n  a:\n  - 2\n  - *x',
                {'c': 3},
                'it refers to an anchor',
            ),
            ('? a\n  : 1', {'c': 3}, 'its layout is not supported'),
        ):
            text = (
                'kind: ConfigMap\nmetadata: {name: values}\n'
                f'data:\n  {line}\n'
            )
            if '!t' in line:
                # Custom tags are not plain data.
                self.assertRaises(exceptions.DocumentError, merge, text, data)
                continue
            done = merge(text, data)
            self.assertEqual(text, done.text)
            self.assertIn(message, done.obstacle)
            self.assertNotIn(yaml.safe_load(done.patch), (None, {}))

    def test_not_yaml(self) -> None:
        for text in (
            'a: b: c',
            '\t',
            'a: 1\na: 2\n',
            'kind: ConfigMap\ndata: {{ x }}\n',
            '[' * 3000,
            '!!python/object/apply:os.system ["true"]',
        ):
            self.assertRaises(exceptions.DocumentError, merge, text, {'a': 1})


_SCALARS = strategies.one_of(
    strategies.integers(),
    strategies.booleans(),
    strategies.text(
        strategies.characters(
            codec='utf-8', categories=('L', 'N', 'P', 'S', 'Zs')
        ),
        min_size=1,
        max_size=8,
    ),
    strategies.sampled_from(
        ('yes', '1', '1e3', '0o7', '~', 'a: b', '# x', '- x', '{{ x }}')
    ),
    strategies.sampled_from(('a\nb\n', '[pci]\nx = 1\n', '  x\ny\n')),
)
_KEYS = strategies.sampled_from(('a', 'b', 'c', 'd-e', 'f.g'))
_DATA = strategies.dictionaries(
    _KEYS,
    strategies.recursive(
        _SCALARS,
        lambda inner: strategies.one_of(
            strategies.dictionaries(_KEYS, inner, max_size=3),
            strategies.lists(_SCALARS, max_size=4),
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def overlaid(old: typing.Any, new: typing.Any) -> typing.Any:
    if not isinstance(new, dict):
        return new
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        result[key] = overlaid(result.get(key), value)
    return result


def stripped(value: typing.Any) -> typing.Any:
    if isinstance(value, dict):
        return {key: stripped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [stripped(item) for item in value]
    return value.rstrip('\n') if isinstance(value, str) else value


class TestAny(testtools.TestCase):
    @hypothesis.given(_DATA, _DATA, strategies.booleans())
    @hypothesis.settings(deadline=None, max_examples=100)
    def test_any(
        self,
        old: dict[str, typing.Any],
        new: dict[str, typing.Any],
        flow: bool,
    ) -> None:
        """A merge is complete, or refused without a change."""
        document = {
            'kind': 'ConfigMap',
            'metadata': {'name': 'values'},
            'data': old,
            'tail': {'x': 1},
        }
        text = '# top\n' + yaml.safe_dump(
            document, default_flow_style=None if flow else False
        )
        done = merge(text, new)
        if done.obstacle:
            self.assertEqual(text, done.text)
            return
        data = yaml.safe_load(done.text)
        self.assertEqual(stripped(overlaid(old, new)), stripped(data['data']))
        self.assertEqual({'x': 1}, data['tail'])
        self.assertEqual(done, merge(done.text, new))


class TestListsOfMappings(testtools.TestCase):
    """Items are edited one by one: comments and other items stay."""

    TEXT = (
        'kind: X\nmetadata:\n  name: x\nspec:\n'
        '  networks:  # ours\n'
        '  # the first\n'
        '  - name: a   # one\n'
        '    subnet: "08"\n'
        '\n'
        '  # the second\n'
        '  - name: b\n'
        '    # within it\n'
        '    subnet: y\n'
        '  # the end\n'
    )

    def merged(self, networks: list[typing.Any]) -> yaml_merge.MergeResult:
        return yaml_merge.merge(
            'x',
            self.TEXT,
            [
                yaml_merge.KubernetesObject(
                    'v1', 'X', 'x', {'spec': {'networks': networks}}
                )
            ],
        )

    def test_added_item(self) -> None:
        new = self.merged(
            [
                {'name': 'a', 'subnet': '08'},
                {'name': 'b', 'subnet': 'y'},
                {'name': 'c', 'subnet': '09'},
            ]
        )
        self.assertEqual('', new.obstacle)
        self.assertEqual(
            self.TEXT.replace(
                '  # the end\n',
                "  - name: c\n    subnet: '09'\n  # the end\n",
            ),
            new.text,
        )

    def test_added_key(self) -> None:
        new = self.merged(
            [
                {'name': 'a', 'subnet': '08'},
                {'name': 'b', 'subnet': 'z', 'default': True},
            ]
        )
        self.assertEqual('', new.obstacle)
        self.assertEqual(
            self.TEXT.replace('subnet: y\n', 'subnet: z\n    default: true\n'),
            new.text,
        )

    def test_removed_item(self) -> None:
        new = self.merged([{'name': 'b', 'subnet': 'y'}])
        self.assertEqual('', new.obstacle)
        self.assertNotIn('name: a', new.text)
        for line in (
            '# the first',
            '# the second',
            '# within it',
            '# the end',
        ):
            self.assertIn(line, new.text)

    def test_removed_key(self) -> None:
        new = self.merged([{'name': 'a'}, {'name': 'b', 'subnet': 'y'}])
        self.assertIn('has keys to be removed', new.obstacle)
        self.assertEqual(self.TEXT, new.text)

    def test_comments_in_flow(self) -> None:
        text = 'kind: X\nmetadata:\n  name: x\nlist: [a,  # mine\n  b]\n'
        new = yaml_merge.merge(
            'x',
            text,
            [
                yaml_merge.KubernetesObject(
                    'v1', 'X', 'x', {'list': ['a', 'c']}
                )
            ],
        )
        self.assertIn('list has comments', new.obstacle)
        self.assertEqual(text, new.text)
