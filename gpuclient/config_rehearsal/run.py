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

"""Run a planned configuration in its cloud and report the results."""

import collections.abc
import contextlib

from openstack import connection

from gpuclient.cloud.nova import alias_probe
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient.cloud.placement import totals
from gpuclient.cloud import request
from gpuclient.config_rehearsal import one_time_use
from gpuclient.config_rehearsal import plan as planning
from gpuclient.config_rehearsal import report as reporting
from gpuclient.config_rehearsal import server_boots
from gpuclient import exceptions
from gpuclient.model import configuration
from gpuclient.model import flavor as flavor_model
from gpuclient.model import partial_result
from gpuclient.model import release as releases
from gpuclient.rehearsal import api as rehearsal

#: Servers to try to boot beyond those that are expected.
_MORE = 8
# The smallest server.
_VCPUS, _RAM_MB, _DISK_GB = 1, 64, 1
_REFUSED = (alias_probe.AliasState.NOT_DEFINED, alias_probe.AliasState.BROKEN)


def start(
    plan: planning.Plan,
    say: rehearsal.Say,
    keep: str | None = None,
    bound_to: int | None = None,
    release: releases.Release | None = None,
) -> contextlib.AbstractContextManager[rehearsal.RehearsalCloud]:
    """Start the cloud of a plan, and delete it at the end.

    :param say: Called with each line of progress.
    :param keep: Keep the cloud under this name.
    :param bound_to: The ID of a process with which a kept cloud stops.
    :param release: The release of Nova; the installed one by default.
    :raises gpuclient.exceptions.GPUError: The cloud did not start.
    """
    if keep is None:
        return rehearsal.temporary(plan.spec, say, release)
    return rehearsal.kept(
        rehearsal.folder(keep, None), plan.spec, say, bound_to, release
    )


def kept(name: str) -> str:
    """Return the sentence that names a cloud that keeps running."""
    return f'Rehearsal cloud {name!r} keeps running'


def run(
    cloud: rehearsal.RehearsalCloud,
    plan: planning.Plan,
    report: reporting.Report,
    say: rehearsal.Say,
) -> partial_result.PartialResult[list[reporting.Row]]:
    """Return the results of a cloud that was started from a plan.

    :param say: Called with each line of progress.
    :raises gpuclient.exceptions.CloudError: A service that started does not
        answer.
    """
    processes = cloud.record.services
    rows = report.services(processes)
    if cloud.state != rehearsal.READY:
        return partial_result.PartialResult(
            [
                *rows,
                *report.devices(processes, ()),
                *report.skipped('the cloud did not start'),
            ]
        )
    client = rehearsal.connect(cloud)
    with contextlib.closing(client):
        devices = placement_devices.read_devices(client.placement)
        rows += report.devices(processes, devices.value)
        reason = why_no_server_boots(processes, plan)
        if reason is not None:
            rows += report.skipped(reason)
        else:
            rows += _test_aliases(client, plan, report, say)
    return partial_result.PartialResult(rows, devices.failures)


def why_no_server_boots(
    processes: collections.abc.Iterable[rehearsal.CloudProcess],
    plan: planning.Plan,
) -> str | None:
    """Return why no alias can be tested; None where all can."""
    started = {
        process.name
        for process in processes
        if process.state == rehearsal.READY
    }
    if plan.api.name not in started:
        return 'nova-api did not start'
    if not any(name.startswith(configuration.SCHEDULER) for name in started):
        return 'no nova-scheduler started'
    if plan.api.document is None:
        return 'no file configures nova-api'
    if not plan.hosts:
        return 'no file configures nova-compute'
    if configuration.COMPUTE not in started:
        return 'no nova-compute started'
    return None


def _test_aliases(
    client: connection.Connection,
    plan: planning.Plan,
    report: reporting.Report,
    say: rehearsal.Say,
) -> list[reporting.Row]:
    rows: list[reporting.Row] = []
    with alias_probe.Prober(client.compute, ()) as prober:
        for name in report.aliases():
            (reply,) = prober.ask(name)
            if reply.state in _REFUSED:
                rows.append(report.refused_alias(name, reply.explanation))
            else:
                rows += _test_alias(client, plan, report, say, name)
    return rows


def _test_alias(
    client: connection.Connection,
    plan: planning.Plan,
    report: reporting.Report,
    say: rehearsal.Say,
    name: str,
) -> list[reporting.Row]:
    """Boot servers with one device, and with all devices of a host."""
    rows: list[reporting.Row] = []
    counts = report.counts(name)
    try:
        for count in sorted({1, max(counts.values()) or 1}):
            say(f'booting servers with {name}:{count}')
            outcome = _boot_servers(client, plan, name, count, counts)
            rows.append(report.booted(name, outcome))
    except exceptions.CloudError as exc:
        if exc.status is None or exc.status > 500:
            raise
        # No flavor can request it, such as ``a:b``, or nova-api fails with
        # it, as with several definitions of an alias before Nova 31.3.1.
        rows.append(report.refused_alias(name, str(exc)))
    return rows


def _boot_servers(
    client: connection.Connection,
    plan: planning.Plan,
    name: str,
    count: int,
    counts: dict[str, int],
) -> reporting.Outcome:
    """Boot servers that request devices of an alias until no more fit.

    :param count: Devices of each server.
    :param counts: Devices of each host.
    """
    # A host may have CPUs only for unpinned or only for pinned servers.
    expected = {True: 0, False: 0}
    for host in plan.hosts:
        expected[host.topology.shared] += counts[host.name] // count
    total = sum(expected.values())
    flavors = [
        (_make_flavor(client, name, count, shared), number)
        for shared, number in expected.items()
        if number or (shared and not total)
    ]
    (image,) = request.get(
        client.image,
        '/images',
        'reading the image',
        {'images': [{'id': str}]},
        name='blank',
    )['images']
    result = server_boots.boot_until_full(
        client, flavors, image_id=image['id'], most=total + _MORE
    )
    for device in placement_devices.read_devices(
        client.placement, traits=[totals.ONE_TIME_USE]
    ).value:
        # So that the next servers can use it.
        one_time_use.release(client.placement, device)
    return reporting.Outcome(count, total, result.count, result.message)


def _make_flavor(
    client: connection.Connection, name: str, count: int, shared: bool
) -> flavor_model.Flavor:
    flavor = nova_flavors.create_flavor(
        client.compute,
        f'{name}.{count}.{"shared" if shared else "dedicated"}'[:200],
        vcpus=_VCPUS,
        ram=_RAM_MB,
        disk=_DISK_GB,
        is_public=True,
    )
    extra_specs = {flavor_model.ALIASES: f'{name}:{count}'}
    if not shared:
        # A pinned server is on one NUMA node: its devices may be on others.
        extra_specs['hw:cpu_policy'] = 'dedicated'
        extra_specs['hw:pci_numa_affinity_policy'] = 'preferred'
    nova_flavors.write_extra_specs(client.compute, flavor, extra_specs)
    return flavor
