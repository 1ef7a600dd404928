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

"""Explain random requests, and boot them on every host.

::

    python -m tests.functional.random_explain --count 300 --seed 7

Hosts with the same model of device form a group, so that a request of each
group is tried at once. Before each round, compute services are disabled and
forced down, devices reserved, traits set and servers booted at random. A
request must boot, forced, on exactly the hosts that fit by the explanation;
not forced, it must boot if there is one, on one of them. If a cause is
suspected, it may boot on fewer. Conflicts are compared with all subsets of the
conditions, requests without a condition with the changed flavor, and Placement
must agree.
"""

import argparse
import collections
import collections.abc
import contextlib
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

from gpuclient.model import demand
from gpuclient.model import explanation as model
from gpuclient.model import host as host_model
from gpuclient.model import pci
from gpuclient.model import release as release_model
from gpuclient.model import twin
from gpuclient.operations import explanation
from gpuclient.operations import server_explanation

from tests.functional import base
from tests.unit.model import brute_force

#: Models with one device type in the catalogue, one for each group.
_MODELS = (
    ('1b38', 'type-PCI'),
    ('1db4', 'type-PCI'),
    ('20f1', 'type-PF'),
    ('20b5', 'type-PF'),
)
_HOSTS = 4
#: Requests of each group before the cloud is changed again.
_TRIALS = 4
_SECONDS = 300
_GOLD = 'CUSTOM_GOLD'
_FILTERS = (
    '[filter_scheduler]\npci_in_placement = True\nenabled_filters = '
    'ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter,'
    'NUMATopologyFilter,PciPassthroughFilter'
)
_SETTINGS = (
    '',
    ',AggregateMultiTenancyIsolation',
    '\n[scheduler]\nenable_isolated_aggregate_filtering = True\n'
    '[workarounds]\ndisable_fallback_pcpu_query = True',
    '\n[scheduler]\nlimit_tenants_to_placement_aggregate = True',
)
_SPECS: dict[str, tuple[str, ...]] = {
    f'trait:{_GOLD}': ('required', 'required', 'forbidden'),
    'trait:CUSTOM_NOSUCH': ('required', 'forbidden'),
    'trait:COMPUTE_NODE': ('required', 'forbidden'),
    'hw:cpu_policy': ('dedicated', 'pinned'),
    'hw:mem_page_size': ('small',),
    'group_policy': ('isolate', 'none'),
    'resources:{c}': ('1',),
    'resources1:{c}': ('1',),
    'resources:VCPU': ('2',),
    'resources:FOO': ('1',),
    'resources1:VCPU': ('1',),
}


@dataclasses.dataclass(frozen=True)
class _Host:
    name: str
    product: str
    device_type: str
    cards: int
    fast: bool
    memory: int
    cpus: int
    pinned: bool

    def spec(self, aliases: list[str]) -> dict[str, typing.Any]:
        device_spec = {'vendor_id': '10de', 'product_id': self.product}
        if self.fast:
            device_spec['traits'] = 'CUSTOM_FAST'
        pinning = (
            f'[compute]\ncpu_dedicated_set = 2-{self.cpus - 1}\n'
            'cpu_shared_set = 0-1\n'
            if self.pinned
            else ''
        )
        return {
            'name': self.name,
            'numa': [{'cpus': f'0-{self.cpus - 1}', 'memory_mb': self.memory}],
            'devices': [
                {
                    'vendor_id': '10de',
                    'product_id': self.product,
                    'type': self.device_type,
                    'address': f'0000:{bus:02x}:00.0',
                }
                for bus in range(1, self.cards + 1)
            ],
            'config': (
                '[DEFAULT]\ncpu_allocation_ratio = 1.0\n'
                'ram_allocation_ratio = 1.0\n'
                f'{pinning}[pci]\nreport_in_placement = True\n'
                f'device_spec = {json.dumps(device_spec)}\n'
                + '\n'.join(aliases)
            ),
        }

    def bundle(self) -> host_model.Host:
        """Return the hardware, as a bundle of the host would show it."""
        return host_model.Host(
            self.name,
            devices=tuple(
                host_model.PciDevice(
                    pci.parse_address(f'0000:{bus:02x}:00.0'),
                    vendor_id='10de',
                    product_id=self.product,
                    sriov_total_vfs=4 if self.device_type == 'type-PF' else 0,
                )
                for bus in range(1, self.cards + 1)
            ),
        )


def _random_hosts(rng: random.Random) -> list[list[_Host]]:
    """Return the hosts of each group; they differ at random."""
    return [
        [
            _Host(
                f'g{group}h{number}',
                product,
                device_type,
                rng.choice((0, 1, 2, 2, 3, 4)),
                rng.random() < 0.5,
                rng.choice((2048, 4096, 8192)),
                rng.choice((4, 8)),
                rng.random() < 0.3,
            )
            for number in range(_HOSTS)
        ]
        for group, (product, device_type) in enumerate(_MODELS)
    ]


def _aliases() -> list[str]:
    aliases = []
    for group, (product, kind) in enumerate(_MODELS):
        ids = {'vendor_id': '10de', 'product_id': product}
        other = 'type-PCI' if kind == 'type-PF' else 'type-PF'
        for name, keys in (
            ('a', {'device_type': kind}),
            ('b', {'device_type': kind, 'traits': 'CUSTOM_FAST'}),
            ('wrong', {'device_type': other}),
            ('migratable', {'device_type': kind, 'live_migratable': 'true'}),
        ):
            alias = {'name': f'g{group}_{name}', **ids, **keys}
            aliases.append(f'alias = {json.dumps(alias)}')
    return aliases


@dataclasses.dataclass(frozen=True)
class _Request:
    """What is tried."""

    group: int
    vcpus: int
    ram: int
    disk: int
    extra_specs: dict[str, str]
    image: str
    project: str
    zone: str | None


def _random_request(rng: random.Random, group: int) -> _Request:
    product = _MODELS[group][0].upper()
    specs = {}
    for key in rng.sample(sorted(_SPECS), rng.choice((0, 0, 0, 0, 1, 1, 2))):
        specs[key.format(c=f'CUSTOM_PCI_10DE_{product}')] = rng.choice(
            _SPECS[key]
        )
    names = rng.choice(
        ['a'] * 12 + ['b'] * 4 + ['a,b'] * 2 + ['wrong', 'migratable']
    ).split(',')
    specs['pci_passthrough:alias'] = ','.join(
        f'g{group}_{name}:{rng.choice((1, 1, 1, 1, 2, 3))}' for name in names
    )
    return _Request(
        group,
        rng.choice((1, 1, 2, 2, 4, 6)),
        rng.choice((256, 512, 1024, 3000)),
        rng.choice((0, 1)),
        specs,
        rng.choice(('blank',) * 5 + ('gold', 'pinned')),
        rng.choice(('admin', 'demo')),
        rng.choice((None,) * 5 + ('z1', 'z1', 'nova')),
    )


@dataclasses.dataclass
class _Trial:
    request: _Request
    flavor_id: str
    explained: explanation.Explanation
    #: Whether the types of devices were known.
    with_bundles: bool
    #: Statuses of the servers: by the host that was forced, or ''.
    statuses: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Where the server is that was not forced.
    chosen: str = ''
    faults: list[str] = dataclasses.field(default_factory=list)

    @property
    def expected(self) -> set[str]:
        return {host.node.name for host in self.explained.evaluation.fitting}

    @property
    def booted(self) -> set[str]:
        return {
            name
            for name, status in self.statuses.items()
            if name and status == 'ACTIVE'
        }

    @property
    def certain(self) -> bool:
        return all(cause.proved for cause in self.explained.unseen)

    def judge(self) -> str:
        """Return the verdict; faults are collected."""
        answer = self.explained.placement
        if answer.agrees is False:
            self.faults.append(answer.note)
        self.faults += brute_force.find_faults(self.explained.evaluation)
        self.faults += brute_force.find_faults_without(
            self.explained.evaluation,
            twin.Request(
                self.explained.flavor,
                self.explained.image,
                self.explained.restrictions,
            ),
            self._evaluate,
        )
        wrong = self.booted - self.expected
        if self.certain:
            wrong ^= self.expected - self.booted
        if wrong:
            self.faults.append(
                f'fits on {sorted(self.expected)}, boots on '
                f'{sorted(self.booted)}'
            )
        free = self.statuses.get('') == 'ACTIVE'
        if free and self.chosen not in self.expected:
            self.faults.append(f'booted on {self.chosen}')
        if free is not bool(self.booted):
            self.faults.append(f'not forced: {self.statuses.get("")}')
        if self.faults:
            return 'WRONG'
        if not self.certain:
            return 'at most'
        return 'fits' if self.expected else 'fits nowhere'

    def _evaluate(self, request: twin.Request) -> model.Evaluation:
        """Evaluate another request, with the same filters of hosts."""
        explained = self.explained
        wanted = demand.demand(
            request.flavor,
            explained.aliases,
            image=request.image,
            release=explained.release,
        )
        if explained.options.no_pcpu_fallback:
            wanted = dataclasses.replace(wanted, vcpus_in_place_of_pcpus=0)
        own = model.evaluate(
            explained.evaluation.wanted,
            explained.evaluation.facts,
            explained.restrictions,
            explained.options,
        )
        return model.evaluate(
            wanted,
            explained.evaluation.facts,
            request.restrictions,
            explained.options,
            explained.evaluation.conditions[len(own.conditions) :],
        )


class _Run:
    """Trials on one cloud."""

    def __init__(
        self,
        rng: random.Random,
        cloud: connection.Connection,
        projects: dict[str, connection.Connection],
        groups: list[list[_Host]],
        files: list[str],
    ) -> None:
        self._rng = rng
        self._cloud = cloud
        self._projects = projects
        self._groups = groups
        self._files = files
        self._images = {image.name: image.id for image in cloud.image.images()}
        self._roots = {
            provider['name']: provider['uuid']
            for provider in self._placement('/resource_providers')[
                'resource_providers'
            ]
        }

    def _placement(self, path: str) -> dict[str, typing.Any]:
        response = self._cloud.placement.get(path, microversion='1.39')
        response.raise_for_status()
        return typing.cast(dict[str, typing.Any], response.json())

    def _hosts(self) -> list[_Host]:
        return [host for group in self._groups for host in group]

    def round(self, requests: int) -> list[_Trial]:
        """Change the cloud, and try some requests of each group."""
        self._ballast()
        self._reserve()
        self._set_traits()
        states = self._set_services()
        tried = []
        try:
            for _number in range(min(_TRIALS, requests)):
                tried += self._try()
        finally:
            self._clear()
            self._restore(states)
        return tried

    def _try(self) -> list[_Trial]:
        """Explain a request of each group, and boot its servers."""
        trials = [
            self._explain(_random_request(self._rng, number))
            for number in range(len(self._groups))
        ]
        self._boot_forced(trials)
        self._boot_again(trials)
        self._boot_freely(trials)
        self._clear(keep='ballast')
        for trial in trials:
            self._cloud.compute.delete_flavor(trial.flavor_id)
        return trials

    def _ballast(self) -> None:
        """Boot servers that take devices, CPUs and memory."""
        flavors = []
        for group, hosts in enumerate(self._groups):
            flavor = self._flavor(
                1,
                512,
                0,
                {'pci_passthrough:alias': f'g{group}_a:1'},
            )
            flavors.append(flavor)
            for host in hosts:
                if self._rng.random() < 0.3:
                    self._request(
                        'ballast', flavor, 'blank', 'admin', None, host.name
                    )
        self._settle()
        for flavor in flavors:
            self._cloud.compute.delete_flavor(flavor)

    def _devices(self) -> list[dict[str, typing.Any]]:
        return list(
            self._placement(
                '/resource_providers?required=COMPUTE_MANAGED_PCI_DEVICE'
            )['resource_providers']
        )

    def _reserve(self) -> None:
        """Reserve some devices, and release the others."""
        for provider in self._devices():
            path = f'/resource_providers/{provider["uuid"]}/inventories'
            inventories = self._placement(path)
            usages = self._placement(
                f'/resource_providers/{provider["uuid"]}/usages'
            )['usages']
            reserve = self._rng.random() < 0.15
            for name, record in inventories['inventories'].items():
                if usages.get(name):
                    reserve = False
                if record['reserved'] == int(reserve):
                    continue
                record['reserved'] = int(reserve)
                self._cloud.placement.put(
                    path, json=inventories, microversion='1.39'
                ).raise_for_status()

    def _set_traits(self) -> None:
        """Give some hosts a trait."""
        self._cloud.placement.put(f'/traits/{_GOLD}', microversion='1.39')
        for host in self._hosts():
            path = f'/resource_providers/{self._roots[host.name]}/traits'
            traits = self._placement(path)
            wanted = set(traits['traits']) - {_GOLD}
            if self._rng.random() < 0.5:
                wanted.add(_GOLD)
            if wanted != set(traits['traits']):
                traits['traits'] = sorted(wanted)
                self._cloud.placement.put(
                    path, json=traits, microversion='1.39'
                ).raise_for_status()

    def _services(self) -> dict[str, str]:
        return {
            service.host: service.id
            for service in self._cloud.compute.services(binary='nova-compute')
        }

    def _set_services(self) -> dict[str, dict[str, typing.Any]]:
        """Disable some services, and force some down; return how to undo."""
        undo: dict[str, dict[str, typing.Any]] = {}
        ids = self._services()
        for host in self._hosts():
            chance = self._rng.random()
            if chance < 0.12:
                self._put_service(ids[host.name], {'status': 'disabled'})
                undo[ids[host.name]] = {'status': 'enabled'}
            elif chance < 0.2:
                self._put_service(ids[host.name], {'forced_down': True})
                undo[ids[host.name]] = {'forced_down': False}
        return undo

    def _put_service(
        self, service_id: str, change: dict[str, typing.Any]
    ) -> None:
        self._cloud.compute.put(
            f'/os-services/{service_id}', json=change, microversion='2.53'
        ).raise_for_status()

    def _restore(self, states: dict[str, dict[str, typing.Any]]) -> None:
        for service_id, change in states.items():
            self._put_service(service_id, change)

    def _flavor(
        self, vcpus: int, ram: int, disk: int, specs: dict[str, str]
    ) -> str:
        flavor = self._cloud.compute.create_flavor(
            name=f'random-{time.monotonic_ns()}',
            vcpus=vcpus,
            ram=ram,
            disk=disk,
        )
        # As an old client does, whose requests are not validated.
        self._cloud.compute.post(
            f'/flavors/{flavor.id}/os-extra_specs',
            json={'extra_specs': specs},
            microversion='2.85',
        ).raise_for_status()
        return str(flavor.id)

    def _explain(self, request: _Request) -> _Trial:
        flavor_id = self._flavor(
            request.vcpus, request.ram, request.disk, request.extra_specs
        )
        with_bundles = self._rng.random() < 0.5
        bundles = (
            tuple(host.bundle() for host in self._hosts())
            if with_bundles
            else ()
        )
        answer = explanation.explain_flavor(
            self._cloud,
            flavor_id,
            explanation.Request(
                files=tuple(self._files),
                project_id=self._projects[request.project].current_project_id,
                image=request.image,
                zone=request.zone,
            ),
            release_model.newest(),
            hardware=bundles,
        )
        if answer.failures:
            raise RuntimeError(answer.failures)
        return _Trial(request, flavor_id, answer.value, with_bundles)

    def _request(
        self,
        name: str,
        flavor_id: str,
        image: str,
        project: str,
        zone: str | None,
        host: str | None,
    ) -> int:
        server = {
            'name': name,
            'flavorRef': flavor_id,
            'imageRef': self._images[image],
            'networks': 'none',
        }
        if zone is not None:
            server['availability_zone'] = zone
        if host is not None:
            server['host'] = host
        response = self._projects[project].compute.post(
            '/servers', json={'server': server}, microversion='2.90'
        )
        return int(response.status_code)

    def _boot_forced(self, trials: list[_Trial]) -> None:
        """Boot a server on each host, at once: none is in the way."""
        for number, trial in enumerate(trials):
            for host in self._groups[trial.request.group]:
                status = self._send(number, trial, host.name)
                if status != 202:
                    trial.statuses[host.name] = str(status)
        for server in self._settle():
            number, _dash, host = server.name.partition('-')
            if number.isdigit():
                trials[int(number)].statuses[host] = server.status
        self._clear(keep='ballast')

    def _boot_again(self, trials: list[_Trial]) -> None:
        """Boot again where a server failed on a host that fits.

        A nova-compute that was late to report is down for a moment.
        """
        sent = False
        for number, trial in enumerate(trials):
            if not trial.certain:
                continue
            for host in sorted(trial.expected - trial.booted):
                if self._send(number, trial, host) == 202:
                    sent = True
        if not sent:
            return
        for server in self._settle():
            number, _dash, host = server.name.partition('-')
            if number.isdigit():
                trials[int(number)].statuses[host] = server.status
        self._clear(keep='ballast')

    def _send(self, number: int, trial: _Trial, host: str | None) -> int:
        return self._request(
            f'{number}-{host or ""}',
            trial.flavor_id,
            trial.request.image,
            trial.request.project,
            trial.request.zone,
            host,
        )

    def _boot_freely(self, trials: list[_Trial]) -> None:
        for number, trial in enumerate(trials):
            status = self._send(number, trial, None)
            if status != 202:
                trial.statuses[''] = str(status)
        for server in self._settle():
            number, dash, _host = server.name.partition('-')
            if dash and number.isdigit():
                trial = trials[int(number)]
                trial.statuses[''] = server.status
                trial.chosen = server.hypervisor_hostname or ''
                if server.status == 'ERROR':
                    self._explain_server(trial, server.id)

    def _explain_server(self, trial: _Trial, server_id: str) -> None:
        """What is true of a flavor and an image is true of their server."""
        answer = server_explanation.explain_server(
            self._cloud,
            server_id,
            explanation.Request(files=tuple(self._files)),
            release_model.newest(),
        )
        if answer.failures:
            raise RuntimeError(answer.failures)
        explained = answer.value.explanation
        if explained is None and trial.expected:
            # A nova-compute refused it.
            return
        fitting = explained and {
            host.node.name for host in explained.evaluation.fitting
        }
        if trial.with_bundles:
            # The server is explained without them, so that more may fit.
            fitting = fitting and fitting & trial.expected
        if fitting != trial.expected:
            trial.faults.append(f'the server fits on {fitting}')

    def _servers(self) -> list[typing.Any]:
        return list(self._cloud.compute.servers(all_projects=True))

    def _settle(self) -> list[typing.Any]:
        def settled() -> list[typing.Any] | None:
            servers = self._servers()
            if all(server.status in ('ACTIVE', 'ERROR') for server in servers):
                return servers
            return None

        return base.wait_until(settled, _SECONDS, 'servers are settled')

    def _clear(self, keep: str | None = None) -> None:
        def others() -> list[typing.Any]:
            return [
                server for server in self._servers() if server.name != keep
            ]

        for server in others():
            self._cloud.compute.delete_server(server)
        base.wait_until(lambda: not others(), _SECONDS, 'servers are deleted')


def _set_up(
    cloud: connection.Connection, groups: list[list[_Host]], settings: str
) -> None:
    """Create images, and aggregates whose effect depends on settings."""
    for name, properties in (
        ('gold', {f'trait:{_GOLD}': 'required'}),
        ('pinned', {'hw_cpu_policy': 'dedicated'}),
    ):
        cloud.create_image(
            name,
            data=b'x',
            container_format='bare',
            disk_format='raw',
            wait=True,
            meta=properties,
        )
    cloud.placement.put(f'/traits/{_GOLD}', microversion='1.39')
    project = cloud.current_project_id
    for name, hosts, metadata in (
        ('zone', (0, 1), {'availability_zone': 'z1'}),
        ('mine', (1, 2), {'filter_tenant_id': project}),
        ('others', (3,), {'filter_tenant_id': 'f' * 32}),
        ('gold', (2,), {f'trait:{_GOLD}': 'required'}),
    ):
        if name == 'others' and 'limit_tenants' in settings:
            continue
        aggregate = cloud.compute.create_aggregate(name=name)
        for group in groups:
            for number in hosts:
                cloud.compute.add_host_to_aggregate(
                    aggregate, group[number].name
                )
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
    """Try random requests; return how many explanations were wrong."""
    rng = random.Random(seed)
    start = time.monotonic()
    verdicts: collections.Counter[str] = collections.Counter()
    for number, settings in enumerate(_SETTINGS, 1):
        _tell(f'seed {seed}, settings {settings!r}')
        _run_with(
            settings,
            count * number // len(_SETTINGS) - verdicts.total(),
            rng,
            verdicts,
        )
        _tell(
            f'{verdicts.total()} requests after '
            f'{time.monotonic() - start:.0f} s: {dict(verdicts)}'
        )
    _tell(
        f'seed {seed}: {verdicts.total()} requests in '
        f'{time.monotonic() - start:.0f} s: {verdicts["fits"]} fit, '
        f'{verdicts["fits nowhere"]} fit nowhere, '
        f'{verdicts["at most"]} with suspected causes, '
        f'{verdicts["WRONG"]} wrong'
    )
    return verdicts['WRONG']


@contextlib.contextmanager
def _cloud(
    groups: list[list[_Host]], settings: str, folder: pathlib.Path
) -> collections.abc.Iterator[
    tuple[connection.Connection, dict[str, connection.Connection], list[str]]
]:
    """Start a cloud; yield a connection, those of projects, and its files."""
    os.environ['XDG_STATE_HOME'] = os.fspath(folder / 'state')
    os.environ['XDG_CONFIG_HOME'] = os.fspath(folder / 'config')
    aliases = _aliases()
    control = f'{_FILTERS}{settings}\n[pci]\n' + '\n'.join(aliases)
    (folder / 'nova.conf').write_text(control)
    (folder / 'spec.yaml').write_text(
        yaml.safe_dump(
            {
                'control_plane': {
                    'config': f'{_FILTERS}{settings}\n',
                    'api': [{'config': '[pci]\n' + '\n'.join(aliases)}],
                },
                'hosts': [
                    host.spec(aliases) for group in groups for host in group
                ],
            }
        )
    )
    shown = json.loads(
        _openstack(
            *('gpu', 'rehearsal', 'start', 'random', '--spec'),
            *(os.fspath(folder / 'spec.yaml'), '-f', 'json'),
            *('--bound-to', str(os.getpid())),
        )
    )
    os.environ['OS_CLIENT_CONFIG_FILE'] = os.path.join(
        shown['directory'], 'clouds.yaml'
    )
    with contextlib.ExitStack() as stack:
        cloud = stack.enter_context(openstack.connect(cloud='random'))
        demo = cloud.identity.find_project('demo')
        role = cloud.identity.find_role('admin')
        cloud.identity.assign_project_role_to_user(
            demo, cloud.current_user_id, role
        )
        in_demo = stack.enter_context(
            openstack.connect(cloud='random', project_name='demo')
        )
        yield (
            cloud,
            {'admin': cloud, 'demo': in_demo},
            [os.fspath(folder / 'nova.conf')],
        )


def _run_with(
    settings: str,
    count: int,
    rng: random.Random,
    verdicts: collections.Counter[str],
) -> None:
    """Try requests in a cloud with settings of nova-scheduler."""
    groups = _random_hosts(rng)
    folder = pathlib.Path(tempfile.mkdtemp(prefix='gpu-'))
    try:
        with _cloud(groups, settings, folder) as (cloud, projects, files):
            _set_up(cloud, groups, settings)
            trials = _Run(rng, cloud, projects, groups, files)
            done = 0
            while done < count:
                # Each request is one of each group.
                for trial in trials.round(-(-(count - done) // len(groups))):
                    done += 1
                    verdict = trial.judge()
                    verdicts[verdict] += 1
                    if verdict == 'WRONG':
                        _tell(_describe(trial))
    finally:
        _openstack('gpu', 'rehearsal', 'stop', 'random', '--delete')
        shutil.rmtree(folder, ignore_errors=True)


def _describe(trial: _Trial) -> str:
    evaluation = trial.explained.evaluation
    rows = [
        f'  {row.condition.name}: {row.alone}, {row.left}, '
        + str(
            {
                reason: [host.node.name for host in hosts]
                for reason, hosts in row.removed.items()
            }
        )
        for row in evaluation.rows
    ]
    return '\n'.join(
        [
            f'WRONG: {trial.faults}',
            f'  {trial.request}, bundles {trial.with_bundles}',
            f'  {trial.statuses} {trial.chosen}',
            f'  {trial.explained.cause}',
            *rows,
            *(f'  {cause}' for cause in trial.explained.unseen),
        ]
    )


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
