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

"""Find allocations and reservations of devices that nobody uses."""

import collections.abc
import dataclasses
import time

from openstack import connection

from gpuclient.cloud import leaks as cloud_leaks
from gpuclient.cloud.snapshot import replay
from gpuclient import exceptions
from gpuclient.host import bundle
from gpuclient.model import expectation
from gpuclient.model import host as host_model
from gpuclient.model import inventory
from gpuclient.model import leak_evidence
from gpuclient.model import partial_result
from gpuclient.operations import expected_devices
from gpuclient.rules import placement_leaks

#: Seconds between the two reads of what looks like a leak: Nova deletes a
#: server, and its allocations a moment later.
SETTLE = 2.0
#: Codes of leaks whose first sign is common to operations of Nova that last a
#: moment.
_MOMENTARY = frozenset({'GPU610', 'GPU611', 'GPU613', 'GPU616', 'GPU620'})
#: Codes of leaks of a device, not of a consumer.
_OF_DEVICES = frozenset({'GPU614', 'GPU617', 'GPU618', 'GPU619', 'GPU621'})
#: Codes that need the ports of servers.
_OF_PORTS = frozenset({'GPU612'})
#: Codes that need the compute nodes.
_OF_HOSTS = frozenset({'GPU615'})
#: All codes of this check.
CODES = tuple(f'GPU{number}' for number in range(610, 623))


@dataclasses.dataclass(frozen=True)
class LeakFilters:
    """Which leaks to look for."""

    #: Hypervisor hostname, or its first part.
    host: str | None = None
    #: Empty for all.
    codes: frozenset[str] = frozenset()
    reserved_days: float = placement_leaks.RESERVED_DAYS
    #: Descriptions, or configuration, of what hosts report.
    expected: tuple[str, ...] = ()
    #: Bundles of hosts.
    bundles: tuple[str, ...] = ()

    def match(self, leak: placement_leaks.Leak) -> bool:
        if self.codes and leak.code not in self.codes:
            return False
        return self.host is None or any(
            expectation.is_host(self.host, host)
            for host in leak.host.split(', ')
        )


@dataclasses.dataclass(frozen=True)
class LeakReport:
    """Leaks, and the records that show them."""

    leaks: tuple[placement_leaks.Leak, ...]
    #: As read when the leaks were confirmed.
    evidence: leak_evidence.Evidence


def check(
    cloud: connection.Connection, filters: LeakFilters
) -> partial_result.PartialResult[LeakReport]:
    """Return the leaks of a cloud; each was seen twice.

    :raises gpuclient.exceptions.GPUError: Devices or servers cannot be listed,
        or a document cannot be read.
    """
    removed = _RemovedDevices(filters)
    reader = cloud_leaks.LeakReader(cloud)
    evidence = reader.read()
    evidence = dataclasses.replace(
        evidence, gone=removed.find(evidence.devices)
    )
    suspects = _leaks(evidence, filters)
    if suspects:
        # A snapshot does not change.
        wait = not replay.is_replayed(cloud)
        evidence = _confirm(reader, evidence, suspects, wait=wait)
    seen = {leak.subject for leak in suspects}
    # Without the ports, which a failure reports, servers may need more devices
    # than their flavors request.
    unknown = _OF_PORTS if evidence.ports is None else ()
    return partial_result.PartialResult(
        LeakReport(
            tuple(
                leak
                for leak in _leaks(evidence, filters)
                if leak.subject in seen and leak.code not in unknown
            ),
            evidence,
        ),
        tuple(dict.fromkeys(reader.failures)),
    )


def _leaks(
    evidence: leak_evidence.Evidence, filters: LeakFilters
) -> tuple[placement_leaks.Leak, ...]:
    return tuple(
        leak
        for leak in placement_leaks.check(
            evidence, reserved_days=filters.reserved_days
        )
        if filters.match(leak)
    )


def _confirm(
    reader: cloud_leaks.LeakReader,
    evidence: leak_evidence.Evidence,
    suspects: collections.abc.Sequence[placement_leaks.Leak],
    *,
    wait: bool,
) -> leak_evidence.Evidence:
    """Read again what the suspects are about."""
    codes = {leak.code for leak in suspects}
    if wait and codes & _MOMENTARY:
        time.sleep(SETTLE)
    return reader.read_again(
        evidence,
        (leak.consumer for leak in suspects if leak.consumer),
        (
            device.uuid
            for leak in suspects
            if leak.code in _OF_DEVICES
            for device in leak.devices
        ),
        with_ports=bool(codes & _OF_PORTS),
        with_computes=bool(codes & _OF_HOSTS),
    )


class _RemovedDevices:
    """Devices of Placement that documents of their host do not have.

    :raises gpuclient.exceptions.GPUError: A document cannot be read.
    """

    def __init__(self, filters: LeakFilters) -> None:
        self._expected = (
            expected_devices.read(filters.expected, filters.host)
            if filters.expected
            else []
        )
        self._hosts: list[tuple[str, host_model.Host]] = [
            (path, bundle.read(path, initramfs=False))
            for path in filters.bundles
        ]

    def find(
        self, devices: collections.abc.Iterable[inventory.Device]
    ) -> dict[str, str]:
        """Return documents by the ID of the device that they lack."""
        gone = {}
        for device in devices:
            document = self._by_expectation(device) or self._by_bundle(device)
            if document:
                gone[device.uuid] = document
        return gone

    def _by_expectation(self, device: inventory.Device) -> str:
        of_host = [
            expected
            for expected in self._expected
            if expectation.is_host(expected.host, device.host)
        ]
        if any(
            expected.state([device]) != expectation.MISSING
            for expected in of_host
        ):
            return ''
        return of_host[0].source if of_host else ''

    def _by_bundle(self, device: inventory.Device) -> str:
        for path, host in self._hosts:
            if (
                device.address is not None
                and expectation.is_host(host.name, device.host)
                and device.address
                not in {str(known.address) for known in host.devices}
            ):
                return path
        return ''


def unknown_codes(codes: collections.abc.Iterable[str]) -> None:
    """Refuse codes that are none of this check.

    :raises gpuclient.exceptions.InvalidValue: With those that there are.
    """
    for code in codes:
        if code not in CODES:
            raise exceptions.InvalidValue(
                f'{code!r} is no code of this check: use one of '
                f'{CODES[0]} to {CODES[-1]}'
            )
