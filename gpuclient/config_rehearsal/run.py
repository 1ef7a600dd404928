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

"""Run a tree of configuration in a cloud, and say what came of it."""

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
from gpuclient.rehearsal import api as rehearsal

#: Servers beyond those that are expected, before a trial is given up.
_MORE = 8
#: What the smallest server takes.
_VCPUS, _RAM_MB, _DISK_GB = 1, 64, 1
_REFUSED = (alias_probe.AliasState.NOT_DEFINED, alias_probe.AliasState.BROKEN)


def run(
    cloud: rehearsal.RehearsalCloud,
    plan: planning.Plan,
    report: reporting.Report,
    say: rehearsal.Say,
) -> partial_result.PartialResult[list[reporting.Row]]:
    """Return what came of a cloud that was started from a plan.

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
        found = placement_devices.read_devices(client.placement)
        rows += report.devices(processes, found.value)
        rows += _aliases(client, processes, plan, report, say)
    return partial_result.PartialResult(rows, found.failures)


def _aliases(
    client: connection.Connection,
    processes: collections.abc.Iterable[rehearsal.CloudProcess],
    plan: planning.Plan,
    report: reporting.Report,
    say: rehearsal.Say,
) -> list[reporting.Row]:
    started = {one.name for one in processes if one.state == rehearsal.READY}
    if plan.api.name not in started:
        return report.skipped('nova-api did not start')
    if not any(name.startswith(configuration.SCHEDULER) for name in started):
        return report.skipped('no nova-scheduler started')
    if plan.api.process is None:
        return report.skipped('there is no document of nova-api')
    if not plan.hosts:
        return report.skipped('there is no document of nova-compute')
    if configuration.COMPUTE not in started:
        return report.skipped('no nova-compute started')
    rows: list[reporting.Row] = []
    with alias_probe.Prober(client.compute, ()) as prober:
        for name in report.aliases():
            (reply,) = prober.ask(name)
            if reply.state in _REFUSED:
                rows.append(report.refused_alias(name, reply.explanation))
                continue
            counts = report.counts(name)
            try:
                for count in sorted({1, max(counts.values()) or 1}):
                    say('booting servers with {}'.format(f'{name}:{count}'))
                    outcome = _trial(client, plan, name, count, counts)
                    rows.append(report.booted(name, outcome))
            except exceptions.CloudError as exc:
                if exc.status is None or exc.status >= 500:
                    raise
                # No flavor can ask for it: ``a:b`` is a name, too.
                rows.append(report.refused_alias(name, str(exc)))
    return rows


def _trial(
    client: connection.Connection,
    plan: planning.Plan,
    name: str,
    count: int,
    counts: dict[str, int],
) -> reporting.Outcome:
    """Boot servers with some devices of an alias until no more fit.

    :param counts: Devices of each host.
    """
    # A host may have CPUs for one kind of server only.
    expected = {True: 0, False: 0}
    for host in plan.hosts:
        expected[host.size.shared] += counts[host.name] // count
    flavors = []
    for shared, number in expected.items():
        if number or (shared and not any(expected.values())):
            flavors.append((_make_flavor(client, name, count, shared), number))
    total = sum(expected.values())
    (image,) = request.get(
        client.image,
        '/images',
        'reading the image',
        {'images': [{'id': str}]},
        name='blank',
    )['images']
    found = server_boots.until_full(
        client, flavors, image_id=image['id'], most=total + _MORE
    )
    for device in placement_devices.read_devices(
        client.placement, traits=[totals.ONE_TIME_USE]
    ).value:
        # The next servers are to find it as these did.
        one_time_use.release(client.placement, device)
    return reporting.Outcome(count, total, found.count, found.words)


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
        # Pinned to one NUMA node, as all its devices would have to be.
        extra_specs['hw:cpu_policy'] = 'dedicated'
        extra_specs['hw:pci_numa_affinity_policy'] = 'preferred'
    nova_flavors.write_extra_specs(client.compute, flavor, extra_specs)
    return flavor
