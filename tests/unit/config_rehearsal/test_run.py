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

"""Servers that nova-api refuses, or that it fails with."""

import typing
import unittest.mock

import testtools

from gpuclient.config_rehearsal import run
from gpuclient import exceptions


class TestAlias(testtools.TestCase):
    def rows(self, status: int | None) -> list[typing.Any]:
        report = unittest.mock.Mock()
        report.counts.return_value = {'gpu-0': 1}
        report.refused_alias.side_effect = lambda *row: row
        error = exceptions.CloudError('booting failed', status=status)
        with unittest.mock.patch.object(run, '_boot_servers') as boot:
            boot.side_effect = error
            return run._test_alias(
                unittest.mock.Mock(), unittest.mock.Mock(), report, print, 'a'
            )

    def test_refused(self) -> None:
        for status in (400, 500):
            self.assertEqual([('a', 'booting failed')], self.rows(status))

    def test_nova_api_does_not_answer(self) -> None:
        for status in (None, 503):
            self.assertRaises(exceptions.CloudError, self.rows, status)
