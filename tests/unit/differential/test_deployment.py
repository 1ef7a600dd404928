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

"""The options of a process, compared with oslo.config on the same files."""

import os
import pathlib
import shutil
import sys
import tempfile
import typing

import hypothesis
from hypothesis import strategies
from nova.conf import pci
from nova.conf import scheduler
from oslo_config import cfg
import testtools

from gpuclient.documents import tree
from gpuclient.model import configuration
from gpuclient.model import deployment

#: All names of each option.
LINES = strategies.sampled_from(
    (
        *('[pci]\nalias = ', '[PCI]\nalias: ', '[DEFAULT]\npci_alias = '),
        '[pci]\ndevice_spec = ',
        '[pci]\npassthrough_whitelist = ',
        '[DEFAULT]\npci_passthrough_whitelist = ',
    )
)
SWITCHES = strategies.sampled_from(
    (
        '[filter_scheduler]\npci_in_placement = True',
        '[filter_scheduler]\npci_in_placement = no',
        '[pci]\nreport_in_placement = on',
        '[pci]\nreport_in_placement = 0',
    )
)
PARTS = strategies.lists(strategies.one_of(LINES, SWITCHES), max_size=5)
SERVICES = ('nova', 'nova-compute', 'nova-scheduler', 'nova-api')
FILES = strategies.sampled_from(
    (
        *(f'{name}.conf' for name in SERVICES),
        *(
            f'{name}.conf.d/{file}'
            for name in SERVICES
            for file in (
                *('10-a.conf', '20-b.conf', 'B.conf', '.hidden.conf'),
                *('#c.conf', 'd.ini', 'e.conf.bak', 'f/g.conf'),
            )
        ),
    )
)
TREES = strategies.dictionaries(FILES, PARTS, min_size=1, max_size=8)
#: An option that makes it a file of the control plane.
CONTROL = '[quota]\ncores = 1\n'


def options() -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    pci.register_opts(conf)
    scheduler.register_opts(conf)
    return conf


def of_oslo(conf: cfg.ConfigOpts) -> dict[str, typing.Any]:
    return {
        'alias': list(conf.pci.alias),
        'device_spec': list(conf.pci.device_spec),
        'report_in_placement': conf.pci.report_in_placement,
        'pci_in_placement': conf.filter_scheduler.pci_in_placement,
    }


def of_process(
    processes: tuple[deployment.Process, ...],
) -> dict[str, typing.Any]:
    if not processes:
        return of_process((deployment.Process((), configuration.Place('')),))
    (process,) = processes
    return {
        'alias': [setting.text for setting in process.aliases],
        'device_spec': [setting.text for setting in process.device_specs],
        'report_in_placement': bool(process.report_in_placement),
        'pci_in_placement': bool(process.pci_in_placement),
    }


class TestSources(testtools.TestCase):
    def write(self, files: dict[str, list[str]]) -> pathlib.Path:
        """Write files below a home folder, each with its own value."""
        home = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, home)
        folder = home / '.nova'
        number = 0
        for name, parts in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [CONTROL] if name == 'nova.conf' else []
            for part in parts:
                number += 1
                value = f'v{number}' if part.endswith((' ', ': ')) else ''
                lines.append(f'{part}{value}\n')
            path.write_text(''.join(lines))
        self.patch(os, 'environ', {**os.environ, 'HOME': str(home)})
        return folder

    @hypothesis.settings(max_examples=300, deadline=None)
    @hypothesis.given(TREES)
    def test_defaults(self, files: dict[str, list[str]]) -> None:
        """Services without options read the files that oslo.config finds."""
        files.setdefault('nova.conf', [])
        folder = self.write(files)
        deployment = tree.read([os.fspath(folder)]).deployment
        for kind in configuration.ALL:
            conf = options()
            self.patch(sys, 'argv', [f'/usr/bin/{kind}'])
            conf([], project='nova')
            self.assertEqual(
                of_oslo(conf), of_process(deployment.of_kind(kind)), kind
            )

    @hypothesis.settings(max_examples=100, deadline=None)
    @hypothesis.given(PARTS, PARTS)
    def test_start_line_of_debian(
        self, shared: list[str], own: list[str]
    ) -> None:
        folder = self.write({'nova.conf': shared, 'nova-compute.conf': own})
        deployment = tree.read([os.fspath(folder)]).deployment
        conf = options()
        conf(
            [
                f'--config-file={folder}/nova.conf',
                f'--config-file={folder}/nova-compute.conf',
            ],
            project='nova',
            prog='nova-compute',
        )
        self.assertEqual(
            of_oslo(conf),
            of_process(deployment.of_kind(configuration.COMPUTE)),
        )

    @hypothesis.settings(max_examples=50, deadline=None)
    @hypothesis.given(PARTS, PARTS)
    def test_drop_ins_alone(self, first: list[str], second: list[str]) -> None:
        folder = self.write(
            {'nova.conf.d/1.conf': first, 'nova.conf.d/2.conf': second}
        )
        deployment = tree.read([os.fspath(folder / 'nova.conf.d')]).deployment
        conf = options()
        conf(
            [f'--config-dir={folder}/nova.conf.d'],
            project='nova',
            prog='nova-api',
            default_config_files=[],
        )
        self.assertEqual(
            of_oslo(conf), of_process(deployment.of_kind(configuration.API))
        )

    @hypothesis.settings(max_examples=150, deadline=None)
    @hypothesis.given(
        strategies.dictionaries(FILES, PARTS, min_size=1, max_size=6),
        strategies.randoms(use_true_random=False),
    )
    def test_start_lines(
        self, files: dict[str, list[str]], random: typing.Any
    ) -> None:
        """Files of --as are read like --config-file and --config-dir."""
        folder = self.write(files)
        arguments = [f'--config-dir={folder}/none']
        (folder / 'none').mkdir()
        declared = []
        names = [*sorted({name.partition('/')[0] for name in files})]
        random.shuffle(names)
        for name in names:
            path = os.fspath(folder / name)
            option = 'dir' if name.endswith('.d') else 'file'
            arguments.append(f'--config-{option}={path}')
            declared.append(
                tree.Declared((configuration.COMPUTE,), None, path)
            )
        conf = options()
        conf(
            arguments,
            project='nova',
            prog='nova-compute',
            default_config_files=[],
        )
        contents = tree.read([], declared)
        self.assertEqual((), contents.unreadable)
        self.assertEqual(
            of_oslo(conf),
            of_process(contents.deployment.of_kind(configuration.COMPUTE)),
        )
