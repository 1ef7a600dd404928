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

"""Writes to Placement while nova-compute writes, too."""

import os
import typing

import fixtures
import testtools

from gpuclient.model import allocation
from gpuclient.model import placement_write
from gpuclient.operations import placement_journal
from gpuclient.operations import placement_writer

_NODE, _DEVICE = 'node', 'device'
_CLASS = 'CUSTOM_PCI_10DE_20F1'


def allocations(*devices: str, generation: int = 1) -> allocation.Allocations:
    return allocation.Allocations(
        'server',
        {
            _NODE: {'VCPU': 1},
            **{device: {_CLASS: 1} for device in devices},
        },
        generation,
        'project',
        'user',
        'INSTANCE',
    )


class _Store:
    """Placement, in which nova-compute adds a device after some reads."""

    def __init__(self, reads: int) -> None:
        self.current = allocations()
        self._reads = reads

    def read(self, consumer: str) -> allocation.Allocations:
        if self._reads == 0:
            self.current = allocations(_DEVICE, generation=2)
        self._reads -= 1
        return self.current

    def write(self, wanted: allocation.Allocations) -> None:
        self.current = wanted


class TestRestore(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = self.useFixture(fixtures.TempDir()).path
        self.journal = placement_journal.Journal(
            os.path.join(folder, 'journal.json'),
            placement_journal.CloudName('http://a:5000', 'r'),
        )
        self.write = placement_write.AllocationsWrite(
            allocations(_DEVICE, 'leaked'), allocations()
        )
        self.number = self.journal.start(self.write, waits=True)

    def writer(self, reads: int) -> placement_writer.PlacementWriter:
        store: typing.Any = _Store(reads)
        self.store = store
        return placement_writer.PlacementWriter(store, self.journal)

    def entry(self) -> tuple[str, allocation.Allocations | None]:
        entry = self.journal.entries[self.number]
        return entry.state, entry.result

    def test_of_a_killed_run(self) -> None:
        """nova-compute adds the device at any read, or not at all."""
        renewed = allocations(_DEVICE, generation=2)
        for reads in (0, 1):
            self.journal.change(self.number, state='started', result=None)
            self.writer(reads).finish()
            self.assertEqual(('done', renewed), self.entry(), reads)
            self.assertEqual(renewed, self.store.current)
        self.journal.change(self.number, state='started', result=None)
        self.writer(-1).finish()
        self.assertEqual(('failed', None), self.entry())
        self.assertEqual(self.write.before.units, self.store.current.units)

    def test_late(self) -> None:
        renewal = placement_writer.Renewal(self.number, self.write)
        renewed = allocations(_DEVICE, generation=2)
        for reads, result in ((1, renewed), (-1, None)):
            self.assertEqual(
                {self.number: result}, self.writer(reads).wait([renewal], -1)
            )
