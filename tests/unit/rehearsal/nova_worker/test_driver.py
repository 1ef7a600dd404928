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

"""The compute driver of rehearsal clouds."""

import typing

from nova.virt import fake
import testtools

from gpuclient.rehearsal.nova_worker import driver


class _GrowingDict(dict[str, typing.Any]):
    """A dictionary to which another thread adds while it is read."""

    def __getitem__(self, key: str) -> typing.Any:
        self[f'{key}+'] = super().__getitem__(key)
        return super().__getitem__(key)


class TestDriver(testtools.TestCase):
    def test_list_instances_while_servers_start(self) -> None:
        compute = driver.Driver.__new__(driver.Driver)
        compute.instances = _GrowingDict(
            {
                name: fake.FakeInstance(name, 1, name)
                for name in ('server-1', 'server-2')
            }
        )
        self.assertEqual(['server-1', 'server-2'], compute.list_instances())
