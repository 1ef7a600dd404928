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

"""Results of commands that clear devices."""

import os
import sys
import typing

import fixtures
import testtools

from gpuclient.cloud.placement import allocations
from gpuclient import exceptions
from gpuclient.model import inventory
from gpuclient.operations import device_ledger
from gpuclient.operations import device_reservation
from gpuclient.operations import placement_journal

DEVICE = inventory.Device(
    'p', 'h_0000:04:00.0', 'r', 'h', '0000:04:00.0', 'C', 1, 0, 0
)


class _Store:
    """The inventory of one device."""

    def __init__(self, _placement: object = None) -> None:
        self.units = 0
        self.fault: exceptions.CloudError | None = None

    def inventories(self, provider: str) -> allocations.Inventories:
        return allocations.Inventories(
            provider, 1, {'C': {'total': 1, 'reserved': self.units}}
        )

    def reserve(
        self, _known: allocations.Inventories, reserved: dict[str, int]
    ) -> None:
        if self.fault is not None and not reserved['C']:
            raise self.fault
        self.units = reserved['C']

    def provider_allocations(self, _provider: str) -> dict[str, int]:
        return {}


class TestRun(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.ledger = os.path.join(folder, 'ledger.jsonl')
        self.store = _Store()
        self.useFixture(
            fixtures.MonkeyPatch(
                'gpuclient.cloud.placement.allocations.PlacementStore',
                lambda _placement: self.store,
            )
        )
        cloud: typing.Any = type('Cloud', (), {'placement': None})
        self.reserver = device_reservation.Reserver(
            cloud,
            placement_journal.Journal(
                os.path.join(folder, 'journal.json'),
                placement_journal.CloudName(None, None),
            ),
            self.ledger,
            lambda _line: None,
        )

    def release(
        self, *arguments: str, timeout: float = 60
    ) -> device_reservation.ReservationResult:
        (result,) = self.reserver.release(
            [DEVICE],
            device_reservation.Command(arguments, timeout),
            force=False,
        )
        return result

    def states(self) -> list[str]:
        return [line.state for line in device_ledger.read(self.ledger)]

    def check_failed(
        self, result: device_reservation.ReservationResult, reason: str
    ) -> None:
        self.assertEqual(1, self.store.units)
        self.assertEqual(1, result.reserved)
        self.assertEqual(
            f'failed: {reason}; the device stays reserved', result.result
        )
        self.assertEqual(['reserved', 'sanitizing', 'failed'], self.states())

    def test_done(self) -> None:
        result = self.release('true')
        self.assertEqual((0, 0, 'done'), self._of(result))
        self.assertEqual(0, self.store.units)
        self.assertEqual('available', self.states()[-1])

    @staticmethod
    def _of(result: device_reservation.ReservationResult) -> object:
        return result.reserved, result.status, result.result

    def test_status(self) -> None:
        self.check_failed(
            self.release('false'), 'the command ended with status 1'
        )

    def test_shell_without_the_program(self) -> None:
        self.check_failed(
            self.release('sh', '-c', 'exit 127'),
            'the command ended with status 127 (a shell: command not found)',
        )

    def test_no_such_program(self) -> None:
        result = self.release('/nonexistent')
        self.assertEqual(127, result.status)
        self.check_failed(
            result,
            'the command cannot be run: /nonexistent: No such file or '
            'directory',
        )

    def test_timeout(self) -> None:
        result = self.release(sys.executable, '-c', 'input()', timeout=0.001)
        self.assertEqual(124, result.status)
        self.check_failed(
            result,
            'the command did not end within 0.001 seconds (--run-timeout) '
            'and was killed',
        )

    def test_signal(self) -> None:
        result = self.release('sh', '-c', 'kill -9 $$')
        self.check_failed(result, 'the command was ended by signal 9')

    def test_release_fails(self) -> None:
        """The row shows what Placement has."""
        self.store.fault = exceptions.CloudError('no response')
        result = self.release('true')
        self.assertEqual((1, 0, 'failed: no response'), self._of(result))

    def test_interrupted(self) -> None:
        """The ledger has the end, and the user learns what is reserved."""

        def interrupt(*_arguments: object, **_options: object) -> None:
            raise KeyboardInterrupt

        with fixtures.MonkeyPatch('subprocess.run', interrupt):
            self.assertRaises(KeyboardInterrupt, self.release, 'true')
        self.assertEqual(['reserved', 'sanitizing', 'failed'], self.states())
        last = device_ledger.read(self.ledger)[-1]
        self.assertEqual('(interrupted)', last.output)
        self.assertIn(
            f'The command for {DEVICE.name} was running: the device stays '
            f'reserved',
            self.reserver.left,
        )
