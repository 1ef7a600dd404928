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

import testtools

from gpuclient.model import inventory
from gpuclient.operations import server_explanation


def server(status: str = 'ACTIVE') -> inventory.Server:
    return inventory.Server(
        'uuid',
        'train-1',
        status,
        'project',
        'user',
        'gpu-1',
        'gpu-1',
        extra_specs={'pci_passthrough:alias': 'h100:1'},
    )


def device(host: str, number: int = 4) -> inventory.Device:
    address = f'0000:{number:02x}:00.0'
    return inventory.Device(
        f'{host}-{number}',
        f'{host}_{address.upper()}',
        host,
        host,
        address,
        'CUSTOM_PCI_10DE_2330',
        consumers=(inventory.Consumer('uuid', 1),),
    )


class TestLeaks(testtools.TestCase):
    def codes(
        self,
        *devices: inventory.Device,
        status: str = 'ACTIVE',
        evacuated: bool = False,
    ) -> list[tuple[str, bool]]:
        return [
            (cause.code, cause.proved)
            for cause in server_explanation.leaks(
                server(status), devices, evacuated=evacuated
            )
        ]

    def test_none(self) -> None:
        self.assertEqual([], self.codes(device('gpu-1')))

    def test_elsewhere(self) -> None:
        both = (device('gpu-1'), device('gpu-3'))
        self.assertEqual([('GPU611', True)], self.codes(*both))
        # Nova removes these later.
        self.assertEqual([], self.codes(*both, evacuated=True))
        self.assertEqual([], self.codes(*both, status='VERIFY_RESIZE'))

    def test_surplus(self) -> None:
        self.assertEqual(
            [('GPU612', False)],
            self.codes(device('gpu-1'), device('gpu-1', 5)),
        )
