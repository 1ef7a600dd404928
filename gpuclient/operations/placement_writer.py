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

"""Write to Placement so that each write can be taken back.

Each write is in a journal before it is sent. A run that is killed at any
moment can be run again: it finishes first what the journal shows as begun.
"""

import collections.abc
import contextlib
import dataclasses
import time

from gpuclient.cloud.placement import allocations as placement_allocations
from gpuclient import exceptions
from gpuclient.model import allocation
from gpuclient.model import placement_write
from gpuclient.operations import placement_journal

#: Seconds between two looks at what nova-compute has added.
_INTERVAL = 2.0
#: Attempts to set reserved units that others change at the same time.
_ATTEMPTS = 5


class Changed(exceptions.Conflict):
    """The records have changed since they were read; nothing was written."""


@dataclasses.dataclass(frozen=True)
class Renewal:
    """A write whose devices nova-compute adds back."""

    #: Number of the entry in the journal.
    number: int
    write: placement_write.AllocationsWrite


class PlacementWriter:
    """Writes to one Placement, with a journal."""

    def __init__(
        self,
        store: placement_allocations.PlacementStore,
        journal: placement_journal.Journal,
    ) -> None:
        self._store = store
        self.journal = journal

    def send(
        self,
        write: placement_write.Write,
        codes: tuple[str, ...] = (),
        *,
        waits: bool = False,
        devices: collections.abc.Iterable[str] = (),
        crowd: collections.abc.Mapping[str, dict[str, int]] | None = None,
    ) -> int:
        """Send a write; return the number of its entry.

        :param devices: Devices whose other consumers the journal keeps.
        :param crowd: The other consumers of devices, when their units were
            removed: if they are still the same, their units are added back
            even if there are not enough.

        :raises Changed: The records are not those before the write.
        :raises gpuclient.exceptions.CloudError: Placement refused it, or did
            not answer and the records show that it had no effect.
        """
        self._check(write)
        number = self.journal.start(
            write, codes, waits=waits, others=self._others(write, devices)
        )
        try:
            if isinstance(write, placement_write.AllocationsWrite):
                self._write_allocations(write, crowd or {})
            elif isinstance(write, placement_write.ReservedWrite):
                self._reserve(write)
            elif write.creates:
                self._store.create_provider(write.provider)
            else:
                self._store.delete_provider(write.provider.uuid)
        except exceptions.CloudError:
            # Placement may have written before the connection broke.
            if not self._is_done(write):
                self.journal.change(number, state='failed')
                raise
        if not waits:
            self.journal.change(number, state='done')
        return number

    def _others(
        self,
        write: placement_write.Write,
        devices: collections.abc.Iterable[str],
    ) -> dict[str, dict[str, int]]:
        """Return the consumers of devices, besides that of a write."""
        if not isinstance(write, placement_write.AllocationsWrite):
            return {}
        others = {}
        for device in devices:
            held = self._store.provider_allocations(device)
            held.pop(write.before.consumer, None)
            others[device] = held
        return others

    def _check(self, write: placement_write.Write) -> None:
        """Make sure that the records are those before a write."""
        if isinstance(write, placement_write.AllocationsWrite):
            current = self._store.read(write.before.consumer)
            if not current.same_units(write.before):
                raise _changed(f'consumer {write.before.consumer}')
        elif isinstance(write, placement_write.ReservedWrite):
            reserved = self._store.inventories(write.provider).reserved
            if _part(reserved, write.before) != write.before:
                raise _changed(write.name)
        elif write.creates and self._store.provider_exists(
            write.provider.uuid
        ):
            known = self._store.provider(write.provider.uuid)
            # A killed run may have created it without inventories.
            if known.inventories and known != write.provider:
                raise _changed(write.provider.name)

    def _is_done(self, write: placement_write.Write) -> bool:
        """Return whether the records are those after a write."""
        if isinstance(write, placement_write.AllocationsWrite):
            return self._store.read(write.after.consumer).same_units(
                write.after
            )
        if isinstance(write, placement_write.ReservedWrite):
            reserved = self._store.inventories(write.provider).reserved
            return _part(reserved, write.after) == write.after
        exists = self._store.provider_exists(write.provider.uuid)
        if exists and write.creates:
            return self._store.provider(write.provider.uuid) == write.provider
        return exists == write.creates

    def _write_allocations(
        self,
        write: placement_write.AllocationsWrite,
        crowd: collections.abc.Mapping[str, dict[str, int]],
    ) -> None:
        """Write allocations, if they are still those before the write.

        nova-compute writes those of all servers of a host at once, changed or
        not, so that the generation alone may have changed.
        """
        consumer = write.before.consumer
        for attempt in range(_ATTEMPTS):
            current = self._store.read(consumer)
            if not current.same_units(write.before):
                raise _changed(f'consumer {consumer}')
            wanted = _owned(write, current.generation)
            try:
                self._store.write(wanted)
            except exceptions.Conflict:
                again = self._store.read(consumer)
                if again.same_units(write.after):
                    return
                if again.generation != current.generation:
                    if attempt < _ATTEMPTS - 1:
                        continue
                    raise
                # Up to Placement 13, a device that is in use and reserved
                # refuses all allocations, even those that do not change it.
                with (
                    self._released(write.after) as released,
                    self._raised(write.after, crowd) as raised,
                ):
                    if not released and not raised:
                        raise
                    self._store.write(wanted)
            return

    @contextlib.contextmanager
    def _released(
        self, wanted: allocation.Allocations
    ) -> collections.abc.Iterator[bool]:
        """Release reserved providers of allocations, and reserve them again.

        Yields whether there is one.
        """
        entries: list[tuple[int, placement_write.ReservedWrite]] = []
        try:
            for provider, amounts in wanted.units.items():
                reserved = _part(
                    self._store.inventories(provider).reserved, amounts
                )
                # That of a compute node is [DEFAULT]reserved_host_*.
                if not any(reserved.values()) or len(amounts) != 1:
                    continue
                write = placement_write.ReservedWrite(
                    provider, provider, reserved, dict.fromkeys(reserved, 0)
                )
                number = self.journal.start(write, temporary=True)
                entries.append((number, write))
                self._reserve(write)
            yield bool(entries)
        finally:
            for number, write in entries:
                self._reserve(write.inverse)
                self.journal.change(number, state='done')

    @contextlib.contextmanager
    def _raised(
        self,
        wanted: allocation.Allocations,
        crowd: collections.abc.Mapping[str, dict[str, int]],
    ) -> collections.abc.Iterator[bool]:
        """Raise the total of devices of which consumers held too many units.

        Only of those whose other consumers are the same still. nova-compute
        sets the total at its next update, also if this run is killed.

        Yields whether there is one.
        """
        lowered: list[tuple[str, int]] = []
        try:
            for provider, others in crowd.items():
                held = self._store.provider_allocations(provider)
                held.pop(wanted.consumer, None)
                known = self._store.inventories(provider)
                if held != others or len(known.records) != 1:
                    continue
                ((name, record),) = known.records.items()
                units = sum(others.values()) + wanted.amount(provider, name)
                if units > record['total']:
                    self._store.raise_total(known, units)
                    lowered.append((provider, record['total']))
            yield bool(lowered)
        finally:
            for provider, total in lowered:
                self._store.raise_total(
                    self._store.inventories(provider), total
                )

    def _reserve(self, write: placement_write.ReservedWrite) -> None:
        """Set reserved units, whatever else of the provider changes."""
        for attempt in range(_ATTEMPTS):
            known = self._store.inventories(write.provider)
            current = _part(known.reserved, write.after)
            if current == write.after:
                return
            if current != write.before:
                raise _changed(write.name)
            try:
                self._store.reserve(known, write.after)
            except exceptions.Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def wait(
        self, renewals: collections.abc.Sequence[Renewal], seconds: float
    ) -> dict[int, allocation.Allocations | None]:
        """Wait until nova-compute has added devices; return the allocations.

        :returns: By number of the entry; None where it has not, so that the
            allocations are as before again.
        """
        until = time.monotonic() + seconds
        results: dict[int, allocation.Allocations | None] = {}
        while len(results) < len(renewals):
            late = time.monotonic() > until
            for renewal in renewals:
                if renewal.number in results:
                    continue
                try:
                    current = self._store.read(renewal.write.after.consumer)
                except exceptions.CloudError:
                    if late:
                        raise
                    continue
                if not current.same_units(renewal.write.after):
                    self.journal.change(
                        renewal.number, state='done', result=current
                    )
                    results[renewal.number] = current
                elif late:
                    results[renewal.number] = self._restore(renewal, current)
            if len(results) < len(renewals):
                time.sleep(_INTERVAL)
        return results

    def _restore(
        self, renewal: Renewal, current: allocation.Allocations
    ) -> allocation.Allocations | None:
        """Write the allocations of before a renewal again.

        :returns: Those of nova-compute, if it has added devices meanwhile.
        """
        back = placement_write.AllocationsWrite(current, renewal.write.before)
        others = self.journal.entries[renewal.number].others
        try:
            self._write_allocations(back, others)
        except Changed:
            renewed = self._store.read(current.consumer)
            self.journal.change(renewal.number, state='done', result=renewed)
            return renewed
        self.journal.change(renewal.number, state='failed')
        return None

    def finish(self) -> None:
        """Finish the journal of a killed run.

        Devices that were released for a moment are reserved again. A renewal
        without an answer of nova-compute is taken back.

        :raises gpuclient.exceptions.CloudError: Placement does not answer.
        """
        for number, entry in enumerate(self.journal.entries):
            if entry.state != 'started':
                continue
            write = entry.write
            if entry.temporary:
                if isinstance(write, placement_write.ReservedWrite):
                    with contextlib.suppress(Changed, exceptions.NotFound):
                        self._reserve(write.inverse)
                self.journal.change(number, state='done')
            elif isinstance(write, placement_write.AllocationsWrite):
                self._finish_allocations(number, entry, write)
            else:
                done = self._is_done(write)
                self.journal.change(number, state='done' if done else 'failed')
        self.journal.close()

    def _finish_allocations(
        self,
        number: int,
        entry: placement_write.Entry,
        write: placement_write.AllocationsWrite,
    ) -> None:
        current = self._store.read(write.before.consumer)
        if current.same_units(write.before):
            self.journal.change(number, state='failed')
        elif not entry.waits:
            done = current.same_units(write.after)
            self.journal.change(number, state='done' if done else 'failed')
        elif current.same_units(write.after):
            self._restore(Renewal(number, write), current)
        else:
            self.journal.change(number, state='done', result=current)


def _owned(
    write: placement_write.AllocationsWrite, generation: int | None
) -> allocation.Allocations:
    """Return what to write, with the generation that was read.

    A consumer without allocations has no project, user and type.
    """
    owner = write.after if write.after.project_id else write.before
    return dataclasses.replace(
        write.after,
        generation=generation,
        project_id=owner.project_id,
        user_id=owner.user_id,
        consumer_type=owner.consumer_type,
    )


def _part(
    values: collections.abc.Mapping[str, int],
    keys: collections.abc.Iterable[str],
) -> dict[str, int]:
    return {key: values.get(key, 0) for key in keys}


def _changed(what: str) -> Changed:
    return Changed(f'{what} has changed since it was read')
