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

"""What configuration files and host bundles tell of devices."""

import collections.abc
import contextlib
import dataclasses
import functools
import typing

from gpuclient.documents import services
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.host import bundle as host_bundle
from gpuclient.model import alias as alias_model
from gpuclient.model import alias_difference
from gpuclient.model import capacity
from gpuclient.model import configuration
from gpuclient.model import cpu
from gpuclient.model import demand as demand_model
from gpuclient.model import deployment
from gpuclient.model import device_spec
from gpuclient.model import flavor as flavor_model
from gpuclient.model import host as host_model
from gpuclient.model import numa_fit
from gpuclient.model import oslo_values
from gpuclient.model import passthrough_filter
from gpuclient.model import release as release_model
from gpuclient.model import scheduler_options
from gpuclient.operations import scheduler_settings
from gpuclient.rules import scheduler as scheduler_rules

#: Alternatives, by the name of the alias.
_Definitions: typing.TypeAlias = dict[str, tuple[alias_model.Alias, ...]]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Configuration files and bundles of hosts, as they were read."""

    processes: deployment.Deployment
    bundles: tuple[host_model.Host, ...]
    release: release_model.Release

    @property
    def options(self) -> scheduler_options.SchedulerOptions:
        """The options of nova-scheduler, where the files have them."""
        options = scheduler_options.SchedulerOptions()
        for process in self.processes.processes:
            if scheduler_rules.is_scheduler(process):
                options = scheduler_settings.of_process(process)
                break
        return dataclasses.replace(
            options, pci_in_placement=self._requests_devices(options)
        )

    def _requests_devices(
        self, options: scheduler_options.SchedulerOptions
    ) -> bool | None:
        """Return ``[filter_scheduler]pci_in_placement`` of nova-api.

        It makes the request groups of a new server
        (``nova/objects/request_spec.py:RequestSpec.from_components``); that
        of nova-scheduler where nova-api has no file of its own.
        """
        for process in self.processes.of_kind(configuration.API):
            if process.is_control_plane and len(process.readers) == 1:
                return scheduler_settings.of_process(process).pci_in_placement
        return options.pci_in_placement

    @property
    def resizes_on_the_host(self) -> bool | None:
        """``[DEFAULT]allow_resize_to_same_host``; None where not known."""
        for process in self.processes.of_kind(configuration.API):
            if _is_control_plane(process):
                setting = process.last('DEFAULT', 'allow_resize_to_same_host')
                if setting is None:
                    return False
                if not setting.is_known:
                    return None
                return oslo_values.boolean_or_none(setting.text)
        return None

    def without_alias(
        self,
        hosts: collections.abc.Iterable[capacity.HostCapacity],
        names: collections.abc.Iterable[str],
    ) -> dict[str, str]:
        """Return the aliases that nova-compute of hosts does not define.

        By the id of the host; without hosts whose configuration is not known.
        """
        missing = {}
        for host in hosts:
            defined = self._aliases_of(host)
            for name in names:
                if defined is not None and name not in defined:
                    missing[host.node.uuid] = name
        return missing

    def _aliases_of(self, host: capacity.HostCapacity) -> _Definitions | None:
        """Return the aliases of the nova-compute of a host, where known."""
        compute = self._compute(host, with_specs=False)
        return None if compute is None else _definitions(compute)

    def aliases_differing(
        self,
        hosts: collections.abc.Iterable[capacity.HostCapacity],
        requested: collections.abc.Mapping[str, int],
    ) -> dict[str, str]:
        """Return how nova-compute of hosts defines aliases, and nova-api.

        By the id of the host; only hosts whose devices for nova-api are none
        for nova-compute, which translates the alias again when a server
        moves to it (``nova/compute/resource_tracker.py:ResourceTracker.
        _move_claim``).

        :param requested: Number of devices, by alias.
        """
        of_api = self._aliases_of_api()
        differing = {}
        for host in hosts if of_api else ():
            defined = self._aliases_of(host) or {}
            for name in requested.keys() & defined.keys() & of_api.keys():
                theirs, ours = of_api[name], defined[name]
                if alias_difference.loses_devices(
                    host.devices,
                    self.facts((host,)),
                    theirs,
                    ours,
                    requested[name],
                ):
                    differing[host.node.uuid] = (
                        f'its nova-compute defines alias {name} as '
                        f'{alias_difference.described(ours)}, and nova-api '
                        f'as {alias_difference.described(theirs)}'
                    )
        return differing

    def _aliases_of_api(self) -> _Definitions:
        """Return the aliases on whose definition all nova-api agree."""
        known: _Definitions = {}
        ambiguous = set()
        for process in self.processes.of_kind(configuration.API):
            if not _is_control_plane(process):
                continue
            for name, alternatives in (_definitions(process) or {}).items():
                other = known.setdefault(name, alternatives)
                if alias_difference.differ(other, alternatives):
                    ambiguous.add(name)
        return {
            name: alternatives
            for name, alternatives in known.items()
            if name not in ambiguous
        }

    def numa_obstacles(
        self,
        hosts: collections.abc.Iterable[capacity.HostCapacity],
        flavor: flavor_model.Flavor,
        wanted: demand_model.Demand,
        aliases: collections.abc.Mapping[str, alias_model.Alias],
    ) -> tuple[str, dict[str, str]]:
        """Return the topology of a server, and why hosts cannot have it.

        By the id of the host; only hosts that have a bundle.

        :param flavor: Together with the image.
        """
        guest = None if wanted.refusal else numa_fit.topology(flavor)
        if guest is None:
            return '', {}
        policy = (flavor.extra_specs or {}).get(flavor_model.NUMA_POLICY)
        obstacles = {}
        for host in hosts:
            hardware = self._hardware(host)
            if hardware is None:
                continue
            obstacle = numa_fit.obstacle(
                guest,
                wanted,
                aliases,
                policy,
                host,
                hardware,
                self._dedicated_cpus(host),
            )
            if obstacle:
                obstacles[host.node.uuid] = obstacle
        return str(guest), obstacles

    def _dedicated_cpus(
        self, host: capacity.HostCapacity
    ) -> frozenset[int] | None:
        compute = self._compute(host)
        if compute is None:
            return None
        setting = compute.last('compute', 'cpu_dedicated_set')
        if setting is None:
            return frozenset()
        try:
            return cpu.parse(setting.text) if setting.is_known else None
        except exceptions.InvalidCPUSet:
            return None

    def facts(
        self, hosts: collections.abc.Iterable[capacity.HostCapacity]
    ) -> dict[str, passthrough_filter.DeviceFacts]:
        """Return what is known of devices, by the id of the provider."""
        return {
            device.uuid: passthrough_filter.facts_of(
                device,
                self.release,
                hardware=self._hardware(host),
                specs=self._specs(host),
            )
            for host in hosts
            for device in host.devices
        }

    def _hardware(self, host: capacity.HostCapacity) -> host_model.Host | None:
        names = _names(host)
        for known in self.bundles:
            if names & {known.name, known.name.partition('.')[0]}:
                return known
        return None

    def _specs(
        self, host: capacity.HostCapacity
    ) -> tuple[device_spec.DeviceSpec, ...] | None:
        """Return the device specs of a host; None where not known."""
        compute = self._compute(host)
        return None if compute is None else _parsed(compute, self.release)

    def _compute(
        self, host: capacity.HostCapacity, *, with_specs: bool = True
    ) -> deployment.Process | None:
        """Return the nova-compute of a host.

        Configuration that does not name its host may be that of another.

        :param with_specs: Whether it must have a ``[pci]device_spec``.
        """
        for compute in self.processes.of_kind(configuration.COMPUTE):
            setting = compute.last('DEFAULT', 'host')
            named = setting.text if setting is not None else compute.host
            if named in _names(host) and (
                compute.device_specs or not with_specs
            ):
                return compute
        return None


def _is_control_plane(process: deployment.Process) -> bool:
    """Return whether nova-api is known to read a configuration.

    A file of nova-api alone is, whatever options it has that others read.
    """
    return process.is_control_plane and (
        len(process.readers) == 1
        or scheduler_rules.is_scheduler(
            dataclasses.replace(
                process, readers=(*process.readers, configuration.SCHEDULER)
            )
        )
    )


def _definitions(process: deployment.Process) -> _Definitions | None:
    """Return the aliases of a service, by name; None where not known."""
    if any(not setting.is_known for setting in process.aliases):
        return None
    definitions: dict[str, tuple[alias_model.Alias, ...]] = {}
    for setting in process.aliases:
        with contextlib.suppress(exceptions.InvalidAlias):
            alias = alias_model.parse(setting.text)
            definitions[alias.name] = (
                *definitions.get(alias.name, ()),
                alias,
            )
    return definitions


def _names(host: capacity.HostCapacity) -> set[str]:
    name = host.node.name
    return {
        name,
        name.partition('.')[0],
        *({host.service_host} if host.service_host else ()),
    }


@functools.lru_cache(maxsize=1000)
def _parsed(
    compute: deployment.Process, release: release_model.Release
) -> tuple[device_spec.DeviceSpec, ...] | None:
    try:
        return device_spec.parse_all(
            [setting.text for setting in compute.device_specs],
            report_in_placement=True,
            release=release,
        )
    except exceptions.InvalidDeviceSpec:
        # "config check" reports it.
        return None


def read(
    paths: collections.abc.Iterable[str],
    bundles: collections.abc.Iterable[str],
    release: release_model.Release,
) -> Evidence:
    """Read files and bundles.

    :raises gpuclient.exceptions.GPUError: One cannot be read.
    """
    paths = [path for path in paths if path != services.STANDARD_INPUT]
    return Evidence(
        tree.read(paths).deployment if paths else deployment.Deployment(),
        tuple(host_bundle.read(path, initramfs=False) for path in bundles),
        release,
    )
