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

import os
import pathlib

import ddt
import fixtures
from nova import conf as nova_conf
from oslo_config import cfg
import testtools

from gpuclient.documents import tree
from gpuclient.rules import configuration

_ALIAS = '{"name": "a", "vendor_id": "10de", "product_id": "1db4"}'


@ddt.ddt
class TestSectionNames(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.path = folder / 'nova.conf'

    def check(self, text: str) -> list[str]:
        self.path.write_text(text)
        contents = tree.read([os.fspath(self.path)])
        return [
            str(located.finding)
            for located in configuration.check(contents.deployment)
            if located.finding.code == 'GPU312'
        ]

    def aliases_of_nova(self, text: str) -> list[str]:
        self.path.write_text(text)
        conf = cfg.ConfigOpts()
        nova_conf.pci.register_opts(conf)
        conf(
            ['--config-file', os.fspath(self.path)],
            default_config_files=[],
            default_config_dirs=[],
        )
        aliases: list[str] = conf.pci.alias
        return aliases

    @ddt.data(
        ('[default]', 'pci_alias', 'default', 'DEFAULT'),
        ('[Default]', 'pci_alias', 'default', 'DEFAULT'),
        ('[DEFAULT ]', 'pci_alias', 'default ', 'DEFAULT'),
        ('[ pci ]', 'alias', ' pci ', 'pci'),
        ('[pci.]', 'alias', 'pci.', 'pci'),
    )
    @ddt.unpack
    def test_ignored(
        self, header: str, option: str, section: str, meant: str
    ) -> None:
        text = f'{header}\n{option} = {_ALIAS}\n'
        (message,) = self.check(text)
        self.assertIn(
            f'GPU312: Nova has no section [{section}] and ignores its '
            f'options: {option}. Write [{meant}]',
            message,
        )
        self.assertEqual([], self.aliases_of_nova(text))

    @ddt.data(
        ('[DEFAULT]', 'pci_alias'),
        ('[pci]', 'alias'),
        ('[PCI]', 'alias'),
    )
    @ddt.unpack
    def test_read(self, header: str, option: str) -> None:
        text = f'{header}\n{option} = {_ALIAS}\n'
        self.assertEqual([], self.check(text))
        self.assertEqual([_ALIAS], self.aliases_of_nova(text))

    @ddt.data(
        ('[default]\nreserved_host_memory_mb = 512', 'DEFAULT'),
        ('[default]\nhost = gpu-1', 'DEFAULT'),
        ('[filter-scheduler]\nenabled_filters = x', 'filter_scheduler'),
        ('[FilterScheduler]\npci_in_placement = True', 'filter_scheduler'),
        ('[device]\nenabled_mdev_types = nvidia-35', 'devices'),
    )
    @ddt.unpack
    def test_similar(self, text: str, meant: str) -> None:
        (message,) = self.check(f'{text}\n')
        self.assertIn(f'. Write [{meant}]', message)

    def test_once_for_a_file(self) -> None:
        names = ('debug', 'host', 'my_ip', 'pci_alias', 'log_dir',
                 'transport_url', 'use_journal', 'state_path')  # fmt: skip
        lines = '\n'.join(f'{name} = 1' for name in names)
        (message,) = self.check(f'[default]\n{lines}\n')
        self.assertIn(f'{", ".join(names[:6])} and 2 more', message)

    @ddt.data(
        # Not options of Nova.
        '[default]\nfrobnicate = 1\n',
        # Sections of Nova and of others.
        '[mdev_nvidia-35]\ndevice_addresses = 0000:84:00.0\n',
        '[api]\nauth_strategy = keystone\n',
        '[neutron]\nauth_type = password\n',
        '[placement_database]\nconnection = sqlite://\n',
        '[scheduler]\nworkers = 2\n',
    )
    def test_silent(self, text: str) -> None:
        self.assertEqual([], self.check(text))
