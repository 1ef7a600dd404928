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

"""Rules about CPU sets and memory: of Nova, of the kernel and of TuneD."""

import collections.abc
import re

from gpuclient import exceptions
from gpuclient.model import configuration
from gpuclient.model import cpu
from gpuclient.model import deployment
from gpuclient.model import kernel
from gpuclient.rules import finding

_DEDICATED = 'cpu_dedicated_set'
_SHARED = 'cpu_shared_set'
#: Profiles of TuneD with isolated cores; its others have none.
_PARTITIONING = (
    'cpu-partitioning',
    'cpu-partitioning-powersave',
    'realtime',
    'realtime-virtual-guest',
    'realtime-virtual-host',
)
_STOCK_PROFILES = (
    'accelerator-performance',
    'balanced',
    'hpc-compute',
    'latency-performance',
    'network-latency',
    'network-throughput',
    'powersave',
    'throughput-performance',
    'virtual-guest',
    'virtual-host',
)
#: The default of the role edpm_tuned.
_DEFAULT_PROFILE = 'throughput-performance'

_Findings = collections.abc.Iterator[finding.Located]


def reserved_pages(
    services: collections.abc.Iterable[deployment.Process],
) -> tuple[cpu.ReservedPages, ...]:
    """Return the huge pages that services reserve, as far as known."""
    reserved = []
    for service in services:
        for setting in service.values('DEFAULT', 'reserved_huge_pages'):
            try:
                reserved.append(cpu.parse_reserved(setting.text))
            except exceptions.InvalidHugePages:
                continue
    return tuple(reserved)


def _cpus(
    service: deployment.Process, name: str
) -> tuple[frozenset[int], configuration.Setting | None]:
    """Return a CPU set of Nova; empty if it is unset or unknown."""
    setting = service.last('compute', name)
    if setting is None or not setting.is_known or not setting.text:
        return frozenset(), None
    try:
        return cpu.parse(setting.text), setting
    except exceptions.InvalidCPUSet:
        return frozenset(), None


def check_service(service: deployment.Process) -> _Findings:
    """Find what keeps nova-compute from starting, with Nova's messages.

    ``nova/virt/libvirt/driver.py:LibvirtDriver._check_cpu_set_configuration``
    and ``nova/virt/hardware.py:numa_get_reserved_huge_pages`` run when it
    starts.
    """
    if not service.is_read_by(configuration.COMPUTE):
        return
    for section, name, option in (
        ('DEFAULT', 'vcpu_pin_set', 'vcpu_pin_set'),
        ('compute', _SHARED, '[compute] cpu_shared_set'),
        ('compute', _DEDICATED, '[compute] cpu_dedicated_set'),
    ):
        setting = service.last(section, name)
        if setting is None or not setting.is_known:
            continue
        try:
            cpu.parse_option(option, setting.text)
        except exceptions.InvalidCPUSet as exc:
            yield _stopped('GPU501', f'{name}: {exc}', setting)
    yield from _check_sets(service)
    for setting in service.values('DEFAULT', 'reserved_huge_pages'):
        if not setting.is_known:
            continue
        try:
            pages = cpu.parse_reserved(setting.text)
        except exceptions.InvalidHugePages as exc:
            yield _stopped('GPU508', f'reserved_huge_pages: {exc}', setting)
            continue
        if (
            pages.size_kib not in cpu.SMALL_PAGES_KIB
            and pages.size_kib * cpu.KIB not in kernel.HUGE_PAGE_SIZES
        ):
            yield finding.Located(
                finding.warning(
                    'GPU511',
                    f'reserved_huge_pages: no host has pages of '
                    f'{pages.size_kib} KiB, so none are reserved. Set the '
                    f'size in KiB, or with a unit such as 1GB',
                ),
                setting.place,
            )


def _stopped(
    code: str, message: str, setting: configuration.Setting
) -> finding.Located:
    return finding.Located(
        finding.not_started(code, configuration.COMPUTE, message),
        setting.place,
    )


def _check_sets(service: deployment.Process) -> _Findings:
    dedicated, setting = _cpus(service, _DEDICATED)
    shared, other = _cpus(service, _SHARED)
    pinned = service.last('DEFAULT', 'vcpu_pin_set')
    if pinned is not None and pinned.text:
        if pinned.is_known and setting is not None and dedicated:
            yield _stopped(
                'GPU503',
                "The 'vcpu_pin_set' config option has been deprecated and "
                "cannot be defined alongside '[compute] cpu_dedicated_set'. "
                "Unset 'vcpu_pin_set'.",
                pinned,
            )
        return
    if setting is not None and dedicated & shared:
        yield _stopped(
            'GPU502',
            f"The '[compute] cpu_dedicated_set' and '[compute] "
            f"cpu_shared_set' configuration options must be disjoint. Both "
            f'have {cpu.render(dedicated & shared)}',
            setting,
        )
    reserved = service.last('DEFAULT', 'reserved_host_cpus')
    if (
        reserved is not None
        and reserved.is_known
        and (setting or other)
        and reserved.text.strip() not in ('', '0')
    ):
        yield _stopped(
            'GPU503',
            "The 'reserved_host_cpus' config option cannot be defined "
            "alongside the '[compute] cpu_shared_set' or '[compute] "
            "cpu_dedicated_set' options. Unset 'reserved_host_cpus'.",
            reserved,
        )


def check_hosts(
    settings: configuration.HostSettings,
    computes: collections.abc.Sequence[deployment.Process],
    *,
    passthrough: bool,
) -> _Findings:
    """Compare the cores that hosts isolate with those that Nova uses.

    :param passthrough: The hosts pass devices through.
    """
    setting = settings.isolated_cores
    tuned: frozenset[int] = frozenset()
    if setting is not None and setting.is_known:
        try:
            tuned = cpu.parse_tuned(setting.text)
        except exceptions.InvalidCPUSet as exc:
            yield finding.Located(
                finding.error(
                    'GPU512',
                    f'TuneD cannot parse the list of isolated cores, and '
                    f'isolates none: {exc}',
                ),
                setting.place,
            )
            return
        if tuned:
            yield from _check_profile(settings, setting)
    kernels, arguments = _isolated_by_kernel(settings)
    if tuned and kernels and arguments is not None:
        yield from _check_both(tuned, kernels, arguments, passthrough)
    isolated, place = tuned | kernels, setting or arguments
    if isolated and place is not None:
        for service in computes:
            yield from _compare(
                isolated, _for_servers(isolated, settings), place, service
            )


def _isolated_by_kernel(
    settings: configuration.HostSettings,
) -> tuple[frozenset[int], configuration.Setting | None]:
    arguments = settings.kernel_arguments
    if arguments is None or not arguments.is_known:
        return frozenset(), None
    try:
        return kernel.parse(arguments.text).isolated_cpus(), arguments
    except exceptions.InvalidCPUSet:
        # The number of CPUs may be unknown.
        return frozenset(), None


def _for_servers(
    isolated: frozenset[int], settings: configuration.HostSettings
) -> frozenset[int]:
    """Return the cores without those of Open vSwitch.

    Empty if those are unknown.
    """
    setting = settings.pmd_cores
    if setting is None:
        return isolated
    try:
        return isolated - cpu.parse(setting.text)
    except exceptions.InvalidCPUSet:
        return frozenset()


def _check_profile(
    settings: configuration.HostSettings, cores: configuration.Setting
) -> _Findings:
    """Check that the profile uses isolated cores.

    The role fails otherwise (``edpm-ansible``,
    ``roles/edpm_tuned/tasks/configure.yml``).
    """
    profile = settings.tuned_profile
    name = _DEFAULT_PROFILE if profile is None else profile.text
    if name in _STOCK_PROFILES:
        yield finding.Located(
            finding.error(
                'GPU513',
                f'Profile {name!r} of TuneD does not support isolated cores: '
                f'the deployment fails ("Tuned profile conf file is not '
                f'available to configure isolated cores"). Set '
                f'edpm_tuned_profile to {_PARTITIONING[0]!r}',
            ),
            (profile or cores).place,
        )


def _check_both(
    tuned: frozenset[int],
    kernels: frozenset[int],
    arguments: configuration.Setting,
    passthrough: bool,
) -> _Findings:
    if tuned != kernels:
        yield finding.Located(
            finding.warning(
                'GPU507',
                f'isolcpus isolates {cpu.render(kernels)}, but TuneD isolates '
                f'{cpu.render(tuned)}. Remove isolcpus',
            ),
            arguments.place,
        )
    elif passthrough:
        yield finding.Located(
            finding.warning(
                'GPU507',
                'isolcpus isolates the same cores as TuneD: each change has '
                'to be made in both, with a reboot. Remove isolcpus',
            ),
            arguments.place,
        )


def _compare(
    isolated: frozenset[int],
    for_servers: frozenset[int],
    place: configuration.Setting,
    service: deployment.Process,
) -> _Findings:
    dedicated, setting = _cpus(service, _DEDICATED)
    shared, other = _cpus(service, _SHARED)
    if setting is not None and dedicated:
        idle = for_servers - dedicated - shared
        if idle:
            yield finding.Located(
                finding.warning(
                    'GPU504',
                    f'Cores {cpu.render(idle)} are isolated ({place.place}), '
                    f'but in no CPU set of Nova: nothing runs on them. Add '
                    f'them to {_DEDICATED}',
                ),
                setting.place,
            )
        exposed = dedicated - isolated
        if exposed:
            yield finding.Located(
                finding.warning(
                    'GPU505',
                    f'Cores {cpu.render(exposed)} are in {_DEDICATED}, but '
                    f'not isolated ({place.place}): tasks of the host run on '
                    f'them, too. Isolate them',
                ),
                setting.place,
            )
    if other is not None and shared & isolated:
        yield finding.Located(
            finding.warning(
                'GPU506',
                f'Cores {cpu.render(shared & isolated)} are in {_SHARED}, but '
                f'isolated ({place.place}): the kernel does not balance load '
                f'over them. Do not isolate them',
            ),
            other.place,
        )


def check_machines(
    settings: configuration.HostSettings,
    computes: collections.abc.Sequence[deployment.Process],
    machines: collections.abc.Sequence[configuration.Machine],
) -> _Findings:
    """Compare CPU sets and memory with those of machines."""
    counts = [machine.cpus for machine in machines if machine.cpus]
    for service in computes if counts else ():
        for name in (_DEDICATED, _SHARED):
            cpus, setting = _cpus(service, name)
            missing = {number for number in cpus if number >= min(counts)}
            if setting is not None and missing:
                yield finding.Located(
                    finding.not_started(
                        'GPU510',
                        configuration.COMPUTE,
                        f"Invalid '[compute] {name}' config: one or more of "
                        f'the configured CPUs is not available. CPUs '
                        f'{cpu.render(missing)} do not exist on a bare '
                        f'metal host with {min(counts)} CPUs',
                    ),
                    setting.place,
                )
    memories = [machine.memory_mb for machine in machines if machine.memory_mb]
    arguments = settings.kernel_arguments
    if not memories or arguments is None or not arguments.is_known:
        return
    pages = kernel.parse(arguments.text).huge_pages
    in_pages = sum(pool.size * pool.count for pool in pages.pools) // 2**20
    if in_pages >= min(memories):
        yield finding.Located(
            finding.error(
                'GPU509',
                f'The huge pages need {in_pages} MiB, but a bare metal '
                f'host has {min(memories)} MiB: the kernel allocates fewer. '
                f'Request fewer pages',
            ),
            arguments.place,
        )
        return
    for service in computes:
        setting = service.last('DEFAULT', 'reserved_host_memory_mb')
        if (
            in_pages
            and setting is not None
            and re.fullmatch('[0-9]{1,18}', setting.text)
            and in_pages + int(setting.text) > min(memories)
        ):
            yield finding.Located(
                finding.warning(
                    'GPU509',
                    f'The huge pages use {in_pages} MiB of {min(memories)} '
                    f'MiB, which leaves less than the {setting.text} MiB '
                    f'that are reserved for the host. Request fewer pages',
                ),
                setting.place,
            )
