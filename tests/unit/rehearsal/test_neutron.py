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

import json

import testtools

from gpuclient.rehearsal import neutron


def _ask(path, method='GET'):
    answers = []
    (body,) = neutron.application(
        {
            'PATH_INFO': path,
            'REQUEST_METHOD': method,
            'HTTP_HOST': '127.0.0.1:9696',
        },
        lambda status, headers: answers.append((status, dict(headers))),
    )
    ((status, headers),) = answers
    assert headers['Content-Length'] == str(len(body))
    return status, json.loads(body)


class TestNeutron(testtools.TestCase):
    def test_versions(self):
        status, body = _ask('/')
        self.assertEqual('200 OK', status)
        self.assertEqual(
            'http://127.0.0.1:9696/v2.0/',
            body['versions'][0]['links'][0]['href'],
        )
        self.assertEqual(('200 OK', {'resources': []}), _ask('/v2.0'))

    def test_lists_are_empty(self):
        self.assertEqual(('200 OK', {'ports': []}), _ask('/v2.0/ports'))
        self.assertEqual(
            ('200 OK', {'security_groups': []}),
            _ask('/v2.0/security-groups.json'),
        )

    def test_nothing_else(self):
        for path, method in (
            ('/v2.0/ports', 'POST'),
            ('/v2.0/ports/x', 'GET'),
            ('/v3', 'GET'),
        ):
            status, body = _ask(path, method)
            self.assertEqual('404 Not Found', status)
            self.assertEqual('NotFound', body['NeutronError']['type'])
