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

"""Invalid responses are detected when they arrive."""

import testtools

from gpuclient.cloud import schema

SERVERS = {
    'servers': [
        {
            'id': str,
            'vcpus': int,
            'ratio': float,
            'public': bool,
            'flavor': schema.Optional(
                {'extra_specs': schema.Optional(schema.Map(str))}
            ),
            'swap': schema.OneOf((int, str)),
        }
    ]
}


def server(**changes: object) -> dict[str, object]:
    record: dict[str, object] = {
        'id': 'a',
        'vcpus': 1,
        'ratio': 1,
        'public': True,
        'flavor': {'extra_specs': {'a': 'b'}},
        'swap': '',
        'new': [],
    }
    record.update(changes)
    return record


class TestSchema(testtools.TestCase):
    def check(self, **changes: object) -> str:
        return schema.find_fault(
            {'servers': [server(), server(**changes)]}, SERVERS
        )

    def test_right(self) -> None:
        for changes in (
            {},
            {'flavor': None},
            {'flavor': {}},
            {'flavor': {'extra_specs': None}},
            {'ratio': 1.5},
            {'swap': 3},
        ):
            self.assertEqual('', self.check(**changes))

    def test_wrong(self) -> None:
        for changes, fault in (
            ({'id': None}, 'servers[1].id is null, not a string'),
            ({'id': ['x']}, 'servers[1].id is a list, not a string'),
            ({'vcpus': True}, 'servers[1].vcpus is true, not an integer'),
            ({'vcpus': 1.5}, 'servers[1].vcpus is 1.5, not an integer'),
            ({'ratio': '1'}, 'servers[1].ratio is "1", not a number'),
            ({'public': 1}, 'servers[1].public is 1, not true or false'),
            ({'flavor': 'x'}, 'servers[1].flavor is "x", not an object'),
            (
                {'flavor': {'extra_specs': {'a\x1b': 2}}},
                'servers[1].flavor.extra_specs.a\\x1b is 2, not a string',
            ),
            ({'swap': {}}, 'servers[1].swap is an object, not an integer'),
            (
                {'vcpus': 'x' * 100},
                'servers[1].vcpus is "'
                + 'x' * 16
                + ' ... '
                + 'x' * 16
                + '", not an integer',
            ),
        ):
            self.assertEqual(fault, self.check(**changes))

    def test_missing(self) -> None:
        record = server()
        del record['swap']
        self.assertEqual(
            'servers[0].swap is missing',
            schema.find_fault({'servers': [record]}, SERVERS),
        )
        self.assertEqual('servers is missing', schema.find_fault({}, SERVERS))

    def test_body(self) -> None:
        for body, fault in (
            ([], 'the body is a list, not an object'),
            (None, 'the body is null, not an object'),
            ('x', 'the body is "x", not an object'),
        ):
            self.assertEqual(fault, schema.find_fault(body, SERVERS))
