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

"""Data files that are missing or damaged."""

import fixtures
import testtools

from gpuclient import data
from gpuclient import exceptions


class TestDamaged(testtools.TestCase):
    def test_missing(self) -> None:
        error = self.assertRaises(
            exceptions.DamagedPackage, data.load, 'nova/none.json'
        )
        self.assertTrue(
            str(error).startswith(
                'Cannot read gpuclient/data/nova/none.json of this package ('
            )
        )
        self.assertTrue(
            str(error).endswith('): install python-gpuclient again')
        )

    def test_no_json(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch('gpuclient.data.read', lambda _name: '{')
        )
        error = self.assertRaises(
            exceptions.DamagedPackage, data.load, 'nova/releases.json'
        )
        self.assertIn('gpuclient/data/nova/releases.json', str(error))
