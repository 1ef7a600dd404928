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

"""What ``gpu config create`` writes, as oslo.config and Nova read it."""

import contextlib
import os
import pathlib
import typing

import fixtures
import nova.conf
from nova.pci import request as nova_request
from nova.pci import whitelist
from nova.virt import hardware
from oslo_config import cfg
import testtools
import yaml

import gpuclient
from gpuclient.documents.deployers import kolla
from gpuclient.documents.generate import created_files
from gpuclient.documents import nova_conf
from gpuclient.model import catalogue
from gpuclient.model import configuration
from gpuclient.model import description

_EXAMPLES = (
    pathlib.Path(gpuclient.__file__).parent.parent
    / 'doc'
    / 'source'
    / 'user'
    / 'examples'
)
#: Where each nova.conf is in values of RHOSO: the file, its keys, the
#: services that read it.
_PLACES = (
    ('control-plane/service-values.yaml', 'apiServiceTemplate', 'nova-api'),
    (
        'control-plane/service-values.yaml',
        'schedulerServiceTemplate',
        'nova-scheduler',
    ),
    (
        'control-plane/service-values.yaml',
        'cell0.conductorServiceTemplate',
        'nova-conductor',
    ),
    (
        'control-plane/service-values.yaml',
        'cell1.conductorServiceTemplate',
        'nova-conductor',
    ),
    ('edpm/nodeset/values.yaml', 'compute', 'nova-compute'),
    ('edpm/nodeset/values.yaml', 'pci', 'nova-compute'),
)


class TestNova(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path

    def create(self, name: str) -> description.Description:
        wanted = created_files.read_description(
            os.fspath(_EXAMPLES / f'{name}.yaml'), catalogue.builtin()
        )
        files, _others = created_files.read(
            self.folder, created_files.create(wanted).artifacts
        )
        for file in files:
            file.write()
        return wanted

    def file(self, name: str, text: str) -> str:
        path = pathlib.Path(self.folder, name)
        path.write_text(text)
        return os.fspath(path)

    @contextlib.contextmanager
    def reads(self, paths: list[str]) -> typing.Iterator[cfg.ConfigOpts]:
        """Let Nova read files, as a service does at startup."""
        conf = nova.conf.CONF
        conf.clear()
        conf(
            ['--config-file', '/dev/null']
            + [word for path in paths for word in ('--config-file', path)],
            project='nova',
        )
        nova_request.get_alias_from_config.cache_clear()
        try:
            yield conf
        finally:
            nova_request.get_alias_from_config.cache_clear()
            conf.clear()
            conf([], default_config_files=[], project='nova')

    def assert_control(
        self, wanted: description.Description, service: str, path: str
    ) -> None:
        with self.reads([path]) as conf:
            self.assertIs(True, conf.filter_scheduler.pci_in_placement)
            names = set(nova_request.get_alias_from_config())
        self.assertEqual(
            {alias.name for alias in wanted.aliases}
            if service == configuration.API
            else set(),
            names,
        )

    def assert_compute(
        self,
        wanted: description.Description,
        host: description.ComputeHost,
        paths: list[str],
    ) -> None:
        with self.reads(paths) as conf:
            self.assertIs(True, conf.pci.report_in_placement)
            self.assertEqual(
                {alias.name for alias in wanted.aliases},
                set(nova_request.get_alias_from_config()),
            )
            # The devices of this host do not matter for a single spec.
            specs = whitelist.Whitelist(conf.pci.device_spec).specs
            self.assertEqual(host.dedicated, hardware.get_cpu_dedicated_set())
            self.assertEqual(host.shared, hardware.get_cpu_shared_set())
            self.assertEqual(
                host.reserved_host_memory_mb, conf.reserved_host_memory_mb
            )
            pages = host.huge_pages
            self.assertEqual(
                {
                    node: {pages.size // 1024: count}
                    for node, count in enumerate(pages.reserved or ())
                    if count
                }
                if pages is not None
                else {},
                {
                    node: dict(by_size)
                    for node, by_size in (
                        hardware.numa_get_reserved_huge_pages().items()
                    )
                },
            )
        for cards in host.cards:
            alias = wanted.alias(cards.alias)
            for address in cards.addresses or ('0000:99:00.0',):
                device = {
                    'address': address,
                    'vendor_id': alias.vendor_id,
                    'product_id': alias.product_id,
                    'dev_type': alias.device_type,
                }
                self.assertEqual(
                    1, sum(spec.match(device) for spec in specs), address
                )

    def test_rhoso(self) -> None:
        wanted = self.create('rhoso')
        computes = []
        for path, keys, service in _PLACES:
            node = yaml.safe_load(pathlib.Path(self.folder, path).read_text())[
                'data'
            ]['nova']
            for key in keys.split('.'):
                node = node[key]
            text = node.get('customServiceConfig') or node['conf']
            file = self.file(f'{keys}.conf', text)
            if service == configuration.COMPUTE:
                computes.append(file)
            else:
                self.assert_control(wanted, service, file)
        self.assert_compute(wanted, wanted.hosts[0], computes)

    def test_plain(self) -> None:
        wanted = self.create('plain')
        for service in ('nova-api', 'nova-scheduler', 'nova-conductor'):
            self.assert_control(
                wanted,
                service,
                f'{self.folder}/control-plane/etc/nova/{service}.conf.d/'
                '50-gpu.conf',
            )
        for host in wanted.hosts:
            self.assert_compute(
                wanted,
                host,
                [
                    f'{self.folder}/hosts/{host.name}/etc/nova/'
                    'nova-compute.conf.d/50-gpu.conf'
                ],
            )

    def test_kolla(self) -> None:
        """Nova reads the layers as Kolla merges them."""
        wanted = self.create('kolla')
        files = kolla.CustomConfiguration(f'{self.folder}/config')
        hosts = {host.name: host for host in wanted.hosts}
        for number, reading in enumerate(files.readings()):
            options = (
                (section, name, value.text)
                for _conf, section, name, value in nova_conf.merged(reading)
            )
            path = self.file(f'{number}.conf', nova_conf.render(options))
            name = pathlib.Path(reading.confs[-1].path).parent.name
            if reading.service != configuration.COMPUTE:
                self.assert_control(wanted, str(reading.service), path)
            elif name in hosts:
                self.assert_compute(wanted, hosts.pop(name), [path])
        self.assertEqual({}, hosts)
        with self.reads(
            [f'{self.folder}/config/nova/nova-scheduler.conf']
        ) as conf:
            default = nova.conf.scheduler.filter_scheduler_group
            self.assertEqual('filter_scheduler', default.name)
            (option,) = (
                option
                for option in nova.conf.scheduler.filter_scheduler_opts
                if option.name == 'enabled_filters'
            )
            self.assertEqual(
                [
                    *option.default,
                    'PciPassthroughFilter',
                    'NUMATopologyFilter',
                ],
                conf.filter_scheduler.enabled_filters,
            )
