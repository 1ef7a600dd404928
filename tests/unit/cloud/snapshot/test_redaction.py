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

"""A snapshot has no fields but those that commands read."""

import testtools

from gpuclient.cloud import schema
from gpuclient.cloud.snapshot import redaction

SERVERS = {
    'servers': [
        {
            'id': schema.OneOf((str, int)),
            'name': str,
            'flavor': schema.Optional(
                {'extra_specs': schema.Optional(schema.Map(str))}
            ),
        }
    ],
    'servers_links': schema.Optional([{}]),
}


class TestRedaction(testtools.TestCase):
    def test_other_fields_are_dropped(self) -> None:
        self.assertEqual(
            {
                'servers': [
                    {
                        'id': 'a',
                        'name': 'x',
                        'flavor': {'extra_specs': {'hw:a': 'b'}},
                    },
                    {'id': 7, 'name': 'y', 'flavor': None},
                ],
                'servers_links': [{}],
            },
            redaction.keep(
                {
                    'servers': [
                        {
                            'id': 'a',
                            'name': 'x',
                            'flavor': {
                                'extra_specs': {'hw:a': 'b'},
                                'vcpus': 1,
                            },
                            'metadata': {'token': 'hunter2'},
                            'addresses': {'net': [{'addr': '10.0.0.7'}]},
                            'OS-EXT-SRV-ATTR:user_data': 'aHVudGVyMg==',
                        },
                        {'id': 7, 'name': 'y', 'flavor': None},
                    ],
                    'servers_links': [{'href': 'http://10.0.0.7/'}],
                },
                [SERVERS],
            ),
        )

    def test_several_shapes(self) -> None:
        self.assertEqual(
            {'a': {'b': 1, 'c': 2}},
            redaction.keep(
                {'a': {'b': 1, 'c': 2, 'd': 3}},
                [{'a': {'b': int}}, {'a': {'c': int}}],
            ),
        )

    def test_fields_that_no_shape_may_have(self) -> None:
        self.assertEqual(
            {'id': 'x'},
            redaction.keep(
                {'id': 'x', 'user_data': 'aHVudGVyMg==', 'links': ['x']},
                [{'id': str, 'user_data': str, 'links': [str]}],
            ),
        )

    def test_secrets_in_free_text(self) -> None:
        self.assertEqual(
            {
                'reason': 'password=***',
                'metadata': {'admin_password': '***', 'zone': 'a'},
            },
            redaction.keep(
                {
                    'reason': 'password=hunter2',
                    'metadata': {'admin_password': 'hunter2', 'zone': 'a'},
                },
                [{'reason': str, 'metadata': schema.Map(str)}],
            ),
        )

    def test_errors(self) -> None:
        for body in (
            {'badRequest': {'message': 'no', 'code': 400}},
            {'errors': [{'status': 403, 'detail': 'no', 'title': 'Denied'}]},
            {'error': {'code': 404, 'message': 'no', 'title': 'Not Found'}},
        ):
            self.assertEqual(body, redaction.keep(body, redaction.ERRORS))
        self.assertEqual(
            {'badRequest': {'message': 'no'}},
            redaction.keep(
                {'badRequest': {'message': 'no', 'trace': 'hunter2'}},
                redaction.ERRORS,
            ),
        )

    def test_other_types(self) -> None:
        for value in (7, 'x', None, [1], [{'a': 1}]):
            self.assertIsNone(redaction.keep(value, [{'a': int}]))
        self.assertIsNone(redaction.keep({'a': 1}, [[int]]))
        self.assertIsNone(redaction.keep({'a': 1}, []))
