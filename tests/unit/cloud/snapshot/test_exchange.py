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

"""Requests are the same, however they are written."""

import testtools

from gpuclient.cloud.snapshot import exchange


class TestQuestion(testtools.TestCase):
    def test_query(self) -> None:
        expected = exchange.question(
            'placement', 'GET', '/x', {'b': 1, 'a': ['2', '1'], 'c': None}
        )
        self.assertEqual((('a', '1'), ('a', '2'), ('b', '1')), expected.query)
        self.assertEqual(
            expected, exchange.question('placement', 'GET', 'x/?b=1&a=1&a=2')
        )
        self.assertEqual('placement GET /x?a=1&a=2&b=1', str(expected))

    def test_microversions_differ(self) -> None:
        self.assertNotEqual(
            exchange.question('compute', 'GET', '/x', {}, '2.1'),
            exchange.question('compute', 'GET', '/x', {}, '2.2'),
        )

    def test_only_the_subject_of_a_body(self) -> None:
        def ask(flavor: object, name: str) -> exchange.Question:
            return exchange.question(
                'compute',
                'POST',
                '/servers',
                body={'server': {'flavorRef': flavor, 'name': name}},
            )

        self.assertEqual(ask('a', 'x'), ask('a', 'y'))
        self.assertNotEqual(ask('a', 'x'), ask('b', 'x'))
        for body in (None, [], {}, {'server': 7}, {'server': {}}):
            self.assertEqual(
                '',
                exchange.question(
                    'compute', 'POST', '/servers', body=body
                ).subject,
            )
        self.assertEqual(
            '', exchange.question('compute', 'POST', '/x', body={}).subject
        )
