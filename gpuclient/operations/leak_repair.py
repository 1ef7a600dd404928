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

"""Repair leaks: plan, apply, and undo."""

import collections
import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.nova import migrations as nova_migrations
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud.placement import allocations as placement_allocations
from gpuclient import exceptions
from gpuclient.model import allocation
from gpuclient.model import inventory
from gpuclient.model import leak_evidence
from gpuclient.model import placement_write
from gpuclient.operations import leak_check
from gpuclient.operations import placement_journal
from gpuclient.operations import placement_writer
from gpuclient.rules import placement_leaks

#: Seconds to wait for nova-compute; it updates Placement each minute.
WAIT = 180
DONE = 'done'
_Leaks = collections.abc.Iterable[placement_leaks.Leak]
_Step = placement_write.Step


@dataclasses.dataclass(frozen=True)
class StepResult:
    """A step, and what became of it."""

    step: placement_write.Step
    #: ``done``, ``skipped: ...`` or ``failed: ...``.
    result: str

    @property
    def is_done(self) -> bool:
        return self.result == DONE

    @property
    def is_failure(self) -> bool:
        return self.result.startswith('failed')


class Planner:
    """Makes steps of the repairs of leaks.

    :param codes: Codes of leaks that the user named: only those are repaired
        although an administrator may have wanted the state.
    """

    def __init__(
        self,
        cloud: connection.Connection,
        report: leak_check.LeakReport,
        codes: collections.abc.Container[str],
    ) -> None:
        self._store = placement_allocations.PlacementStore(cloud.placement)
        self._evidence = report.evidence
        self._devices = {
            device.uuid: device for device in report.evidence.devices
        }
        self._codes = codes

    def plan(self, leaks: _Leaks) -> tuple[placement_write.Step, ...]:
        """Return the steps: consumers, then devices, then providers.

        :raises gpuclient.exceptions.CloudError: Placement does not answer.
        """
        by_consumer: dict[
            str, list[tuple[placement_leaks.Leak, placement_leaks.Repair]]
        ] = collections.defaultdict(list)
        releases: list[_Step] = []
        deletes: list[_Step] = []
        for leak in leaks:
            for repair in leak.repairs:
                if repair.deliberate and leak.code not in self._codes:
                    continue
                if repair.consumer is not None:
                    by_consumer[repair.consumer].append((leak, repair))
                elif repair.action is placement_leaks.Action.RELEASE:
                    releases += self._releases(leak, repair)
                else:
                    deletes += self._deletes(leak, repair)
        steps = [
            self._of_consumer(consumer, repairs)
            for consumer, repairs in by_consumer.items()
        ]
        return (*filter(None, steps), *releases, *deletes)

    def _of_consumer(
        self,
        consumer: str,
        repairs: list[tuple[placement_leaks.Leak, placement_leaks.Repair]],
    ) -> placement_write.Step | None:
        before = self._evidence.allocations.get(consumer)
        if before is None:
            return None
        removed: set[str] = set()
        for _leak, repair in repairs:
            removed.update(repair.providers or before.units)
        renews = any(
            repair.action is placement_leaks.Action.RENEW
            for _leak, repair in repairs
        )
        after = before.without(removed)
        server = self._evidence.servers.get(consumer)
        if after.units == before.units:
            return None
        if renews and (server is None or not after.units):
            # nova-compute adds devices only to consumers that Placement knows.
            return None
        leaks = [leak for leak, _repair in repairs]
        return placement_write.Step(
            action='renew' if renews else 'remove',
            codes=tuple(dict.fromkeys(leak.code for leak in leaks)),
            host=', '.join(dict.fromkeys(leak.host for leak in leaks)),
            problem=' '.join(
                dict.fromkeys(leak.finding.message for leak in leaks)
            ),
            write=placement_write.AllocationsWrite(before, after),
            devices=self._records(removed & before.units.keys()),
            holder=self._holder(consumer, server),
            generations=self._generations(removed & before.units.keys()),
            expected=(
                self._evidence.requested(server) or 0
                if renews and server
                else 0
            ),
        )

    def _holder(
        self, consumer: str, server: inventory.Server | None
    ) -> placement_write.Holder:
        if server is not None:
            return placement_write.Holder('server', server.name, server.host)
        if consumer in self._evidence.migrations and any(
            held.consumer_type == inventory.MIGRATION
            for _device, held in self._evidence.by_consumer.get(consumer, ())
        ):
            return placement_write.Holder('migration')
        if self._evidence.migrations.get(consumer) is not None:
            return placement_write.Holder('migration')
        return placement_write.NOBODY

    def _records(
        self, providers: collections.abc.Container[str]
    ) -> tuple[dict[str, str | None], ...]:
        return tuple(
            placement_write.device_record(device)
            for uuid, device in self._devices.items()
            if uuid in providers
        )

    def _generations(
        self, providers: collections.abc.Iterable[str]
    ) -> dict[str, int]:
        """Return the generations of devices; those of hosts always change."""
        return {
            provider: self._store.inventories(provider).generation
            for provider in sorted(providers)
            if provider in self._devices
        }

    def _releases(
        self, leak: placement_leaks.Leak, repair: placement_leaks.Repair
    ) -> collections.abc.Iterator[placement_write.Step]:
        for uuid in repair.providers:
            known = self._store.inventories(uuid)
            yield self._of_provider(
                'release',
                leak,
                uuid,
                placement_write.ReservedWrite(
                    uuid,
                    self._devices[uuid].name,
                    known.reserved,
                    dict.fromkeys(known.reserved, 0),
                ),
                {uuid: known.generation},
            )

    def _deletes(
        self, leak: placement_leaks.Leak, repair: placement_leaks.Repair
    ) -> collections.abc.Iterator[placement_write.Step]:
        for uuid in repair.providers:
            yield self._of_provider(
                'delete',
                leak,
                uuid,
                placement_write.ProviderWrite(self._store.provider(uuid)),
                {},
            )

    def _of_provider(
        self,
        action: str,
        leak: placement_leaks.Leak,
        uuid: str,
        write: placement_write.Write,
        generations: dict[str, int],
    ) -> placement_write.Step:
        return placement_write.Step(
            action=action,
            codes=(leak.code,),
            host=leak.host,
            problem=leak.finding.message,
            write=write,
            devices=self._records({uuid}),
            generations=generations,
        )


class Repairer:
    """Applies steps, and takes journals back.

    :param seconds: How long to wait for nova-compute.
    :param say: Called with a line of progress.
    """

    def __init__(
        self,
        cloud: connection.Connection,
        journal: placement_journal.Journal,
        seconds: float,
        say: collections.abc.Callable[[str], None],
    ) -> None:
        self._cloud = cloud
        self._store = placement_allocations.PlacementStore(cloud.placement)
        self._journal = journal
        self._writer = placement_writer.PlacementWriter(self._store, journal)
        self._seconds = seconds
        self._say = say

    def refuse_changes(
        self, steps: collections.abc.Iterable[placement_write.Step], path: str
    ) -> None:
        """Make sure that the cloud is as when a plan was made.

        :raises gpuclient.exceptions.Conflict: It is not; nothing was written.
        """
        for step in steps:
            changed = self._why_older(step) or self.why_changed(step)
            if changed:
                raise exceptions.Conflict(
                    f'The cloud has changed since {path} was made: {changed}. '
                    f'Nothing was written. Make a new plan'
                )

    def _why_older(self, step: placement_write.Step) -> str:
        """Return which record of a step has another generation now."""
        for provider, generation in step.generations.items():
            if self._store.inventories(provider).generation != generation:
                return f'provider {provider} has another generation'
        if isinstance(step.write, placement_write.AllocationsWrite):
            before = step.write.before
            if self._store.read(before.consumer).generation != (
                before.generation
            ):
                return f'consumer {before.consumer} has another generation'
        return ''

    def apply(
        self, steps: collections.abc.Sequence[placement_write.Step]
    ) -> list[StepResult]:
        """Apply steps; the result of each, in their order."""
        results: dict[int, str] = {}
        renewals: dict[int, placement_writer.Renewal] = {}
        for position, step in enumerate(steps):
            try:
                changed = self.why_changed(step)
                if changed:
                    results[position] = f'skipped: {changed}'
                    continue
                self._say(f'{step.action}: {describe(step)}')
                waits = step.action == 'renew'
                number = self._writer.send(
                    step.write,
                    step.codes,
                    waits=waits,
                    devices=step.generations,
                )
            except placement_writer.Changed as exc:
                results[position] = f'skipped: {exc}'
            except exceptions.Conflict as exc:
                results[position] = (
                    f'skipped: {exc}'
                    if step.action == 'delete'
                    else f'failed: {exc}'
                )
            except exceptions.CloudError as exc:
                results[position] = f'failed: {exc}'
            else:
                results[position] = DONE
                if waits and isinstance(
                    step.write, placement_write.AllocationsWrite
                ):
                    renewals[position] = placement_writer.Renewal(
                        number, step.write
                    )
        self._await(steps, renewals, results)
        self._journal.close()
        return [
            StepResult(step, results[position])
            for position, step in enumerate(steps)
        ]

    def _await(
        self,
        steps: collections.abc.Sequence[placement_write.Step],
        renewals: dict[int, placement_writer.Renewal],
        results: dict[int, str],
    ) -> None:
        if not renewals:
            return
        self._say(
            f'Waiting until nova-compute adds the devices in use of '
            f'{len(renewals)} servers, {self._seconds:.0f} seconds at most'
        )
        allocations = self._writer.wait(list(renewals.values()), self._seconds)
        for position, renewal in renewals.items():
            held = allocations[renewal.number]
            if held is None:
                results[position] = (
                    f'failed: nova-compute of {steps[position].holder.host} '
                    f'has added no device within {self._seconds:.0f} '
                    f'seconds, so the allocations are as before. Look for '
                    f'errors in its log'
                )
                continue
            amount = _added(renewal.write.after, held)
            if amount < steps[position].expected:
                results[position] = (
                    f'failed: nova-compute has added {amount} devices, and '
                    f'the flavor requests {steps[position].expected}'
                )

    def why_changed(self, step: placement_write.Step) -> str:
        """Return what is not as when a step was planned; empty if nothing.

        :raises gpuclient.exceptions.CloudError: Nova or Placement does not
            answer.
        """
        write = step.write
        if isinstance(write, placement_write.AllocationsWrite):
            if not self._store.read(write.before.consumer).same_units(
                write.before
            ):
                return f'the allocations of {write.before.consumer} differ'
            return self.why_not(write.before.consumer, step.holder)
        if 'GPU615' in step.codes and step.host in {
            node.name
            for node in hypervisors.list_hypervisors(self._cloud.compute)
        }:
            return f'Nova has compute node {step.host} now'
        return ''

    def why_not(
        self, consumer: str, holder: placement_write.Holder | None
    ) -> str:
        """Return why the allocations of a consumer must not be changed.

        :param holder: Who holds them, when they were read last; None if it
            does not matter.
        """
        compute = self._cloud.compute
        server = nova_servers.find_server(compute, consumer)
        if server is not None:
            if holder and (holder.kind, holder.host) != (
                'server',
                server.host,
            ):
                return f'server {server.name} runs on {server.host} now'
            moves = nova_migrations.of_server(compute, consumer)
            known = leak_evidence.Evidence((), moves={consumer: moves})
            if not known.is_settled(server):
                return (
                    f'server {server.name} is being created, moved or deleted'
                )
            return ''
        if holder and holder.kind == 'server':
            return f'server {holder.name} is deleted'
        migration = nova_migrations.find_migrations(compute, [consumer])[
            consumer
        ]
        if migration is not None and migration.in_progress:
            return f'migration {consumer} is {migration.status}'
        return ''

    def undo(
        self, entries: collections.abc.Sequence[placement_write.Entry]
    ) -> list[StepResult]:
        """Take the writes of a journal back, the last one first."""
        results = [
            self._undo(entry)
            for entry in reversed(entries)
            if entry.state == 'done' and not entry.temporary
        ]
        self._journal.close()
        return results

    def _undo(self, entry: placement_write.Entry) -> StepResult:
        write = entry.final.inverse
        step = placement_write.Step(
            action='undo',
            codes=entry.codes,
            host='',
            problem='',
            write=write,
        )
        try:
            current, reason = self._current(write)
            if reason:
                return StepResult(step, reason)
            self._say(f'undo: {describe(step)}')
            self._writer.send(current, entry.codes, crowd=entry.others)
        except exceptions.CloudError as exc:
            return StepResult(step, f'failed: {exc}')
        return StepResult(step, DONE)

    def _current(
        self, write: placement_write.Write
    ) -> tuple[placement_write.Write, str]:
        """Return a write with the generation of now, or why not to send it."""
        if not isinstance(write, placement_write.AllocationsWrite):
            return write, ''
        current = self._store.read(write.before.consumer)
        if current.same_units(write.after):
            return write, 'skipped: it is as before already'
        if not current.same_units(write.before):
            return (
                write,
                f'failed: the allocations of {write.before.consumer} have '
                f'changed since: {_shown(current)}',
            )
        reason = self.why_not(write.before.consumer, None)
        if reason:
            return write, f'failed: {reason}'
        return dataclasses.replace(write, before=current), ''


def finish(
    cloud: connection.Connection,
    path: str | None,
    say: collections.abc.Callable[[str], None],
) -> None:
    """Finish the journals of runs that were killed.

    :param path: Journal of this run.
    :raises gpuclient.exceptions.GPUError: Placement does not answer.
    """
    name = placement_journal.CloudName.of(cloud)
    for journal in placement_journal.unfinished(name, path):
        say(f'Finishing a run that was interrupted: {journal.path}')
        placement_writer.PlacementWriter(
            placement_allocations.PlacementStore(cloud.placement), journal
        ).finish()


def check_cloud(
    cloud: connection.Connection,
    name: placement_journal.CloudName,
    writes: collections.abc.Iterable[placement_write.Write],
    path: str,
) -> None:
    """Make sure that a file is about this cloud.

    :raises gpuclient.exceptions.InvalidData: This cloud has none of the
        providers of the file.
    """
    store = placement_allocations.PlacementStore(cloud.placement)
    providers = {
        provider
        for write in writes
        if not isinstance(write, placement_write.ProviderWrite)
        for provider in write.providers
    }
    if providers and not any(map(store.provider_exists, sorted(providers))):
        raise exceptions.InvalidData(
            f'{path} is of another cloud ({name}): this one has none of its '
            f'resource providers. Nothing was changed'
        )


def describe(step: placement_write.Step) -> str:
    """Return on one line what a step is about."""
    write = step.write
    if isinstance(write, placement_write.AllocationsWrite):
        name = step.holder.name or write.before.consumer
        return (
            f'{name}: {_shown(write.before)} -> {_shown(write.after)}'
            if not step.devices
            else f'{", ".join(map(_device, step.devices))} of {name}'
        )
    if isinstance(write, placement_write.ReservedWrite):
        return (
            f'reserved of {write.name}: '
            f'{sum(write.before.values())} -> {sum(write.after.values())}'
        )
    return f'provider {write.provider.name}'


def _device(record: dict[str, str | None]) -> str:
    return f'{record["address"] or record["id"]} on {record["host"]}'


def _shown(held: allocation.Allocations) -> str:
    units = allocation.sum_units(
        (name, amount)
        for amounts in held.units.values()
        for name, amount in amounts.items()
    )
    return ', '.join(f'{n}:{units[n]}' for n in sorted(units)) or 'nothing'


def _added(
    after: allocation.Allocations, result: allocation.Allocations
) -> int:
    """Return the units that nova-compute has added."""
    return sum(
        amount - after.amount(provider, name)
        for provider, amounts in result.units.items()
        for name, amount in amounts.items()
    )
