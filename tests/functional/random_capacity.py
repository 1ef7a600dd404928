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

"""Predict how many servers of random flavors fit, and boot them.

::

    python -m tests.functional.random_capacity --count 300 --seed 7

A flavor only uses the devices of one host, so that as many flavors as there
are hosts are tried at once. If the number is exact, that many servers must
boot, and no more; if it is an upper limit, at most that number. The
flavors are spread over clouds with different settings of nova-scheduler.
"""

import argparse
import collections
import collections.abc
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing

import openstack
from openstack import connection
import yaml

from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model
from gpuclient.operations import capacity_report

from tests.functional import base

#: Models with one device type in the catalogue: two families of hosts.
_PCI = ('1b38', '15f8', '1db4', '1db6', '1db1', '1db5', '1db8', '1df6')
_PF = ('20f1', '20b5', '20b0', '20b2', '20f5', '20f3', '20b7', '2236')
#: The largest number of servers of a flavor that are booted.
_MOST = 9
_SECONDS = 300

_SETTINGS = (
    '',
    '[workarounds]\ndisable_fallback_pcpu_query = True\n',
    '[scheduler]\nenable_isolated_aggregate_filtering = True\n',
    '[scheduler]\nlimit_tenants_to_placement_aggregate = True\n',
)

#: Extra specs and their values; {c} is the resource class of the host.
_SPECS: dict[str, tuple[str, ...]] = {
    'hw:cpu_policy': ('dedicated', 'dedicated', 'shared', 'mixed'),
    'hw:cpu_dedicated_mask': ('0', '^0', '0-9'),
    'hw:cpu_thread_policy': ('prefer', 'isolate', 'require'),
    'hw:emulator_threads_policy': ('isolate', 'share'),
    'hw:cpu_realtime': ('yes', 'no'),
    'hw:cpu_realtime_mask': ('^0',),
    'hw:numa_nodes': ('1', '2', '0'),
    'hw:mem_page_size': ('small', 'large', 'any', '4', '1GB', 'x'),
    'hw:locked_memory': ('true', 'false'),
    'hw:pci_numa_affinity_policy': (
        'required',
        'preferred',
        'legacy',
        'socket',
        'requird',
    ),
    'hw:maxphysaddr_mode': ('emulate', 'passthrough', 'x'),
    'hw:tpm_version': ('2.0', '1.2', '3'),
    'hw:tpm_model': ('tpm-crb', 'tpm-tis'),
    'os:secure_boot': ('required', 'optional', 'x'),
    'hw:pmem': ('6GB',),
    'hw:mem_encryption': ('true', 'false'),
    'hw:virtio_packed_ring': ('true', 'false'),
    'hw:hide_hypervisor_id': ('true',),
    'hw:boot_menu': ('true',),
    'hw:serial_port_count': ('2', 'x'),
    'hw:cpu_sockets': ('2', 'x'),
    'quota:cpu_shares': ('2048',),
    'group_policy': ('none', 'isolate', 'other'),
    'resources:VCPU': ('0', '2', ' 2', '+3', '1_0', '-1', 'x'),
    'resources:PCPU': ('2', '4', '0'),
    'resources:MEMORY_MB': ('0', '2048', '100000'),
    'resources:DISK_GB': ('0', '3'),
    'resources:FOO': ('1',),
    'resources:{c}': ('1', '0', '2'),
    'resources1:{c}': ('1', '2'),
    'resources1:VCPU': ('1', '2'),
    'resources1:MEMORY_MB': ('256',),
    'resources2:VCPU': ('1',),
    'trait1:CUSTOM_FAST': ('required', 'forbidden'),
    'trait1:OWNER_NOVA': ('required',),
    'trait:CUSTOM_FAST': ('required', 'forbidden', 'x'),
    'trait:CUSTOM_NOSUCH': ('forbidden',),
    'trait:COMPUTE_NODE': ('required',),
    'trait:HW_CPU_HYPERTHREADING': ('required', 'forbidden'),
    'capabilities:hypervisor_type': ('QEMU', 'fake'),
    'unscoped': ('1',),
    'aggregate_instance_extra_specs:gold': ('true',),
    'pci_passthrough:spec': ('{}',),
}


@dataclasses.dataclass(frozen=True)
class _Host:
    name: str
    product: str
    device_type: str
    cards: int
    vfs: int = 0
    traits: str = ''
    resource_class: str = ''
    compute: str = ''
    numa: int = 1
    cpus: int = 8
    memory: int = 16384

    @property
    def aliases(self) -> dict[str, dict[str, str]]:
        """Valid ones first, then those with another device type."""
        ids = {'vendor_id': '10de', 'product_id': self.product}
        kind = 'type-VF' if self.vfs else self.device_type
        other = 'type-PCI' if kind != 'type-PCI' else 'type-PF'
        aliases: dict[str, dict[str, str]] = {
            'a': {**ids, 'device_type': kind},
            'b': {**ids, 'device_type': kind, 'traits': 'CUSTOM_FAST'},
            'wrong': {**ids, 'device_type': other},
            'untyped': ids,
            'near': {**ids, 'device_type': kind, 'numa_policy': 'required'},
        }
        if self.resource_class:
            for alias in aliases.values():
                alias['resource_class'] = self.resource_class
            aliases['class'] = {
                'resource_class': self.resource_class,
                'device_type': kind,
            }
        return {f'{self.name}_{key}': alias for key, alias in aliases.items()}

    @property
    def placement_class(self) -> str:
        return (
            f'CUSTOM_{self.resource_class}'
            if self.resource_class
            else f'CUSTOM_PCI_10DE_{self.product.upper()}'
        )

    def spec(self) -> dict[str, typing.Any]:
        device = {'vendor_id': '10de', 'product_id': self.product}
        if self.vfs:
            device.update(
                product_id='2235',
                type='type-PF',
                vfs=self.vfs,
                vf_product_id=self.product,
            )
        else:
            device['type'] = self.device_type
        device_spec = {'vendor_id': '10de', 'product_id': self.product}
        if self.traits:
            device_spec['traits'] = self.traits
        if self.resource_class:
            device_spec['resource_class'] = self.resource_class
        size = self.cpus // self.numa
        return {
            'name': self.name,
            'numa': [
                {
                    'cpus': f'{node * size}-{node * size + size - 1}',
                    'memory_mb': self.memory // self.numa,
                }
                for node in range(self.numa)
            ],
            'devices': [
                {**device, 'address': f'0000:{bus:02x}:00.0'}
                for bus in range(1, self.cards + 1)
            ],
            'config': (
                '[DEFAULT]\ncpu_allocation_ratio = 1.0\n'
                + self.compute
                + '[pci]\nreport_in_placement = True\n'
                + f'device_spec = {json.dumps(device_spec)}'
            ),
        }


def _hosts() -> list[_Host]:
    """Return hosts that differ in everything that affects the capacity."""
    pinned = '[compute]\ncpu_dedicated_set = 2-7\ncpu_shared_set = 0-1\n'
    dedicated = '[compute]\ncpu_dedicated_set = 0-7\n'
    return [
        *(
            _Host(f'pci{number}', product, 'type-PCI', 1 + number % 3, **more)
            for number, (product, more) in enumerate(
                zip(
                    _PCI,
                    (
                        {},
                        {'numa': 2},
                        {'compute': pinned},
                        {'traits': 'CUSTOM_FAST'},
                        {'resource_class': 'GPU_A'},
                        {'compute': dedicated, 'numa': 2},
                        {'memory': 2048},
                        {'cpus': 4},
                    ),
                    strict=True,
                )
            )
        ),
        *(
            _Host(f'pf{number}', product, 'type-PF', 1 + number % 3, **more)
            for number, (product, more) in enumerate(
                zip(
                    _PF,
                    (
                        {},
                        {'numa': 2},
                        {'compute': pinned},
                        {'traits': 'CUSTOM_FAST'},
                        {'resource_class': 'GPU_B'},
                        {'compute': dedicated},
                        {'memory': 1536},
                        {},
                    ),
                    strict=True,
                )
            )
        ),
        _Host('vf0', '3000', 'type-VF', 1, vfs=3),
        _Host('vf1', '3001', 'type-VF', 2, vfs=2, traits='CUSTOM_FAST'),
        # A device type that the catalogue does not expect.
        _Host('odd0', '2230', 'type-PF', 2),
        _Host('odd1', '2231', 'type-PCI', 2),
    ]


def _random_flavor(rng: random.Random, host: _Host) -> dict[str, typing.Any]:
    specs: dict[str, str] = {}
    # Many traits together usually exclude every host.
    number = rng.choice((0, 0, 0, 1, 1, 1, 1, 2, 2, 3))
    for key in rng.sample(sorted(_SPECS), number):
        specs[key.format(c=host.placement_class)] = rng.choice(_SPECS[key])
    if rng.random() < 0.93:
        names = list(host.aliases)
        parts = [
            f'{rng.choice(names[:1] * 9 + names)}:'
            f'{rng.choice(("1",) * 9 + ("2", "2", "0", "-1", " 1"))}'
            for _number in range(rng.choice((1, 1, 1, 1, 1, 2)))
        ]
        specs[flavor_model.ALIASES] = rng.choice(
            [','.join(parts)] * 20 + ['', f'{names[0]}', f'{names[0]}:1:2']
        )
    elif not any(host.placement_class in key for key in specs):
        specs[f'resources:{host.placement_class}'] = '1'
    return {
        'vcpus': rng.choice((1, 2, 2, 3, 4, 5)),
        'ram': rng.choice((256, 512, 1024)),
        'disk': rng.choice((0, 1, 2)),
        'ephemeral': rng.choice((0, 0, 1)),
        'swap': rng.choice((0, 0, 512)),
        'extra_specs': specs,
    }


@dataclasses.dataclass
class _Trial:
    host: _Host
    flavor: flavor_model.Flavor
    forecast: capacity.Forecast
    #: HTTP statuses of the requests that nova-api refused.
    answers: list[int] = dataclasses.field(default_factory=list)
    active: int = 0

    def is_open(self, number: int) -> bool:
        """Return whether to try another server.

        One more than fits; none after a server got no host.
        """
        return (
            self.forecast.count is not None
            and not self.answers
            and self.active == number <= self.forecast.count
        )

    @property
    def verdict(self) -> str:
        count = self.forecast.count
        if count is None:
            return 'unknown'
        if self.active > count:
            return 'WRONG'
        if self.forecast.exact:
            if self.active != min(count, _MOST + 1):
                return 'WRONG'
            return 'exact' if count else 'exactly none'
        return 'at most'


class _Run:
    def __init__(self, cloud: connection.Connection, files: list[str]) -> None:
        self._cloud = cloud
        self._files = files
        (image,) = cloud.image.images(name='blank')
        self._image = image.id
        self._project = cloud.current_project_id

    def round(
        self, wanted: list[tuple[_Host, dict[str, typing.Any]]]
    ) -> list[_Trial]:
        """Predict the capacity for a flavor of each host; boot its servers."""
        by_id = {self._create(spec): host for host, spec in wanted}
        flavors = {
            flavor.id: flavor
            for flavor in nova_flavors.list_flavors(self._cloud.compute)
        }
        report = capacity_report.read(
            self._cloud,
            [flavors[flavor_id] for flavor_id in by_id],
            self._files,
            project_id=self._project,
        )
        if report.failures:
            raise RuntimeError(report.failures)
        trials = [
            _Trial(by_id[forecast.flavor.id], forecast.flavor, forecast)
            for forecast in report.value.forecasts
        ]
        # One after another, as users do: of servers that are requested at
        # once, Nova tries one allocation for all.
        for number in range(_MOST + 1):
            booting = [trial for trial in trials if trial.is_open(number)]
            if not booting:
                break
            for trial in booting:
                self._request(trial, 1)
            self._count(trials)
        self._clear()
        for flavor_id in by_id:
            self._cloud.compute.delete_flavor(flavor_id)
        return trials

    def _create(self, spec: dict[str, typing.Any]) -> str:
        specs = spec.pop('extra_specs')
        flavor = self._cloud.compute.create_flavor(
            name=f'random-{time.monotonic_ns()}', **spec
        )
        if specs:
            # As an old client does, whose requests are not validated.
            response = self._cloud.compute.post(
                f'/flavors/{flavor.id}/os-extra_specs',
                json={'extra_specs': specs},
                microversion='2.85',
            )
            response.raise_for_status()
        return str(flavor.id)

    def _request(self, trial: _Trial, count: int) -> None:
        response = self._cloud.compute.post(
            '/servers',
            json={
                'server': {
                    'name': trial.flavor.id,
                    'flavorRef': trial.flavor.id,
                    'imageRef': self._image,
                    'networks': 'none',
                    'min_count': count,
                    'max_count': count,
                }
            },
            microversion='2.87',
        )
        if response.status_code != 202:
            trial.answers.append(response.status_code)

    def _count(self, trials: collections.abc.Iterable[_Trial]) -> None:
        servers = base.wait_until(
            lambda: base.settled_servers(self._cloud),
            _SECONDS,
            'servers are settled',
        )
        active = collections.Counter(
            server.name.rsplit('-', 1)[0]
            if server.name.count('-') > 4
            else server.name
            for server in servers
            if server.status == 'ACTIVE'
        )
        for trial in trials:
            trial.active = active[trial.flavor.id]

    def _clear(self) -> None:
        for server in self._cloud.compute.servers():
            self._cloud.compute.delete_server(server)
        base.wait_until(
            lambda: not list(self._cloud.compute.servers()),
            _SECONDS,
            'servers are deleted',
        )


def _set_up(cloud: connection.Connection, settings: str) -> None:
    """Create aggregates whose effect depends on settings."""
    project = cloud.current_project_id
    if 'limit_tenants' not in settings:
        # If only this host has an aggregate, no other number is exact.
        project = f'{project},{"e" * 32}'
    for number, (hosts, metadata) in enumerate(
        (
            (('pci0', 'pf0'), {'filter_tenant_id': project}),
            (('pci7', 'pf7'), {'filter_tenant_id': 'f' * 32}),
            (('pci3', 'pf1'), {'trait:CUSTOM_FAST': 'required'}),
        )
    ):
        aggregate = cloud.compute.create_aggregate(name=f'group{number}')
        for host in hosts:
            cloud.compute.add_host_to_aggregate(aggregate, host)
        cloud.compute.set_aggregate_metadata(aggregate, metadata)


def _openstack(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, '-m', 'openstackclient.shell', *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def _tell(text: str) -> None:
    sys.stdout.write(f'{text}\n')
    sys.stdout.flush()


def run(count: int, seed: int) -> int:
    """Try random flavors; return how many numbers were wrong."""
    rng = random.Random(seed)
    start = time.monotonic()
    verdicts: collections.Counter[str] = collections.Counter()
    servers = 0
    for number, settings in enumerate(_SETTINGS, 1):
        _tell(f'seed {seed}, settings {settings!r}')
        tried = verdicts.total()
        servers += _run_with(
            settings, count * number // len(_SETTINGS) - tried, rng, verdicts
        )
        _tell(
            f'{verdicts.total()} flavors after '
            f'{time.monotonic() - start:.0f} s: {dict(verdicts)}'
        )
    _tell(
        f'seed {seed}: {verdicts.total()} flavors in '
        f'{time.monotonic() - start:.0f} s: {verdicts["exact"]} exact, '
        f'{verdicts["exactly none"]} exactly none, '
        f'{verdicts["at most"]} at most, {verdicts["unknown"]} unknown, '
        f'{verdicts["WRONG"]} wrong; {servers} servers booted'
    )
    return verdicts['WRONG']


def _run_with(
    settings: str,
    count: int,
    rng: random.Random,
    verdicts: collections.Counter[str],
) -> int:
    """Try flavors in a cloud with settings of nova-scheduler.

    :param verdicts: The verdicts are added to these.
    :returns: The number of servers that booted.
    """
    hosts = _hosts()
    lines = ['[pci]'] + [
        f'alias = {json.dumps({"name": name, **alias})}'
        for host in hosts
        for name, alias in host.aliases.items()
    ]
    folder = pathlib.Path(tempfile.mkdtemp(prefix='gpu-'))
    os.environ['XDG_STATE_HOME'] = os.fspath(folder / 'state')
    os.environ['XDG_CONFIG_HOME'] = os.fspath(folder / 'config')
    spec, aliases = folder / 'spec.yaml', folder / 'nova.conf'
    aliases.write_text('\n'.join(lines))
    spec.write_text(
        yaml.safe_dump(
            {
                'control_plane': {
                    'config': '[filter_scheduler]\npci_in_placement = True\n'
                    + settings,
                    'api': [{'config': '\n'.join(lines)}],
                },
                'hosts': [host.spec() for host in hosts],
            }
        )
    )
    servers = tried = 0
    try:
        shown = json.loads(
            _openstack(
                *('gpu', 'rehearsal', 'start', 'random', '--spec'),
                *(os.fspath(spec), '-f', 'json'),
                *('--bound-to', str(os.getpid())),
            )
        )
        os.environ['OS_CLIENT_CONFIG_FILE'] = os.path.join(
            shown['directory'], 'clouds.yaml'
        )
        with openstack.connect(cloud='random') as cloud:
            _set_up(cloud, settings)
            trial = _Run(cloud, [os.fspath(aliases)])
            while tried < count:
                chosen = hosts[: count - tried]
                tried += len(chosen)
                for done in trial.round(
                    [(host, _random_flavor(rng, host)) for host in chosen]
                ):
                    verdicts[done.verdict] += 1
                    servers += done.active
                    if done.verdict == 'WRONG':
                        _tell(
                            f'WRONG on {done.host.name}: {done.flavor}: said '
                            f'{done.forecast.count}, exact '
                            f'{done.forecast.exact} '
                            f'({done.forecast.at_most}), '
                            f'{done.active} active, {done.answers}, '
                            f'{done.forecast.limited_by}'
                        )
    finally:
        _openstack('gpu', 'rehearsal', 'stop', 'random', '--delete')
        shutil.rmtree(folder, ignore_errors=True)
    return servers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=300)
    parser.add_argument(
        '--seed', type=int, default=random.SystemRandom().randrange(10**6)
    )
    arguments = parser.parse_args()
    # The cloud is also stopped in this case.
    signal.signal(signal.SIGTERM, lambda *_signal: sys.exit(1))
    return 1 if run(arguments.count, arguments.seed) else 0


if __name__ == '__main__':
    sys.exit(main())
