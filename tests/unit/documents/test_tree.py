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

"""Trees of configuration: the files that are read or ignored."""

import os
import pathlib
import shutil
import tempfile

import ddt
import testtools

from gpuclient.documents import tree
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.rules import configuration as configuration_rules

ALIAS = (
    'alias = {"vendor_id": "10de", "product_id": "20f1", '
    '"device_type": "type-PF", "name": "nvidia_a100"}\n'
)
SPEC = (
    'device_spec = {"vendor_id": "10de", "product_id": "20f1", '
    '"address": "0000:04:00.0"}\n'
)
ON = '[filter_scheduler]\npci_in_placement = True\n'
CLEAN = {
    'nova-api.conf': f'{ON}[pci]\n{ALIAS}',
    'nova-scheduler.conf': (
        f'{ON}enabled_filters = ComputeFilter,PciPassthroughFilter\n'
    ),
    'nova-conductor.conf': ON,
    'nova-compute.conf': (f'[pci]\nreport_in_placement = True\n{SPEC}{ALIAS}'),
}
API, COMPUTE = 'nova-api.conf', 'nova-compute.conf'
SCHEDULER = 'nova-scheduler.conf'


class TreeTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, files: dict[str, str]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    def check(self, files: dict[str, str]) -> list[tuple[str, str, object]]:
        self.write(files)
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual((), contents.unreadable)
        return [
            (
                located.finding.code,
                os.path.relpath(located.place.path, self.folder),
                located.place.line,
            )
            for located in configuration_rules.check(contents.deployment)
        ]


def changed(name: str, old: str, new: str) -> dict[str, str]:
    assert old in CLEAN[name]
    return {**CLEAN, name: CLEAN[name].replace(old, new)}


@ddt.ddt
class TestCheck(TreeTestCase):
    def test_clean(self) -> None:
        self.assertEqual([], self.check(CLEAN))

    def test_clean_in_one_file(self) -> None:
        self.assertEqual(
            [],
            self.check(
                {
                    'nova.conf': f'{ON}[pci]\nreport_in_placement = 1\n'
                    f'{ALIAS}{SPEC}'
                }
            ),
        )

    def test_single_service_is_not_compared(self) -> None:
        for name in (API, COMPUTE):
            self.assertEqual([], self.check({name: CLEAN[name]}))
            (self.folder / name).unlink()

    @ddt.data(
        (changed(API, '"type-PF"', '"PF"'), [('GPU301', API, 4)]),
        (
            changed(API, ALIAS, ALIAS + ALIAS),
            [('GPU301', API, 5)],
        ),
        (
            changed(COMPUTE, '"0000:04:00.0"', '"0000:04:99.0"'),
            [('GPU302', COMPUTE, 3)],
        ),
        (
            changed(COMPUTE, '0000:04:00.0', '<address>'),
            [('GPU302', COMPUTE, 3), ('GPU303', COMPUTE, 3)],
        ),
        (
            changed(COMPUTE, ALIAS, ALIAS.replace('type-PF', 'type-PCI')),
            [('GPU120', COMPUTE, 4), ('GPU304', COMPUTE, 4)],
        ),
        (
            changed(COMPUTE, ALIAS, ALIAS + ALIAS.replace('_a100', '_card')),
            [('GPU305', COMPUTE, 5)],
        ),
        (changed(COMPUTE, ALIAS, ''), [('GPU306', API, 4)]),
        (
            changed(COMPUTE, SPEC, SPEC.replace('20f1', '2330')),
            [('GPU307', API, 4), ('GPU307', COMPUTE, 4)],
        ),
        (changed(SCHEDULER, 'True', 'False'), [('GPU308', SCHEDULER, None)]),
        (
            changed(COMPUTE, 'report_in_placement = True\n', ''),
            [('GPU309', COMPUTE, 2)],
        ),
        (
            changed(SCHEDULER, ',PciPassthroughFilter', ''),
            [('GPU310', SCHEDULER, 3)],
        ),
        (
            changed(COMPUTE, SPEC, SPEC + SPEC),
            [('GPU213', COMPUTE, 4)],
        ),
    )
    @ddt.unpack
    def test_each_rule(
        self, files: dict[str, str], expected: list[tuple[str, str, object]]
    ) -> None:
        self.assertEqual(expected, self.check(files))

    def test_deployments_are_not_compared(self) -> None:
        """A repository has many deployments; each is checked separately."""
        spec = SPEC.replace('20f1', '2330')
        alias = ALIAS.replace('20f1', '2330').replace('a100', 'h100')
        files = {f'a/{name}': text for name, text in CLEAN.items()}
        files |= {
            'b/control/nova-api.conf': f'[pci]\n{alias}',
            'b/edpm/nova-compute.conf': f'[pci]\n{spec}{alias}',
        }
        self.assertEqual([], self.check(files))

    @ddt.data(
        ('nova-api.conf', ('nova-api',)),
        ('NOVA_compute_1.conf', ('nova-compute',)),
        ('compute2.conf', ('nova-compute',)),
        ('overcloud-novacompute-0.conf', ('nova-compute',)),
        ('10-scheduler.conf', ('nova-scheduler',)),
        ('nova-compute.conf.d/10-api.conf', ('nova-compute',)),
        ('nova.conf', configuration.ALL),
        ('rapid.conf', configuration.ALL),
        ('supercomputer.conf', configuration.ALL),
    )
    @ddt.unpack
    def test_who_reads_a_file(
        self, name: str, readers: tuple[str, ...]
    ) -> None:
        self.write({name: f'[pci]\n{ALIAS}'})
        (service,) = tree.read([os.fspath(self.folder)]).deployment.processes
        self.assertEqual(readers, service.readers)

    def test_host_of_a_file(self) -> None:
        """The file name is used if the content does not name the host."""
        self.write(
            dict.fromkeys(
                (
                    *('nova/a.conf', 'novacompute.conf', 'my-nova2.ini'),
                    *('innovation/b.conf', 'renovate.conf', 'casanova.ini'),
                ),
                '[DEFAULT]\ndebug = true\n',
            )
        )
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual(
            {'nova/a.conf', 'novacompute.conf', 'my-nova2.ini'},
            {
                os.path.relpath(service.place.path, self.folder)
                for service in contents.deployment.processes
            },
        )

    def test_swapped_ids(self) -> None:
        swapped = SPEC.replace('10de', 'x').replace('20f1', '10de')
        swapped = swapped.replace('"x"', '"20f1"')
        self.write(changed(COMPUTE, SPEC, swapped))
        contents = tree.read([os.fspath(self.folder)])
        message = configuration_rules.check(contents.deployment)[
            0
        ].finding.message
        self.assertIn('vendor_id and product_id are swapped', message)

    def test_devices_of_neutron(self) -> None:
        self.assertEqual(
            [],
            self.check(
                changed(
                    COMPUTE,
                    'report_in_placement = True\n',
                    'device_spec = {"vendor_id": "8086", '
                    '"physical_network": "net"}\nreport_in_placement = True\n',
                )
            ),
        )

    def test_drop_ins_add_up(self) -> None:
        """oslo.config concatenates the values of all files of a folder."""
        self.assertEqual(
            [('GPU301', 'nova.conf.d/20-b.conf', 2)],
            self.check(
                {
                    'nova.conf.d/10-a.conf': f'{ON}[pci]\n{ALIAS}',
                    'nova.conf.d/20-b.conf': f'[pci]\n{ALIAS}',
                }
            ),
        )

    def test_resource_classes(self) -> None:
        alias = (
            'alias = {"name": "h", "resource_class": "gpu_h100", '
            '"device_type": "type-PF"}\n'
        )
        spec = 'device_spec = {"vendor_id": "10de", "resource_class": "%s"}\n'
        for name, codes in (
            ('CUSTOM_GPU_H100', ['GPU111']),
            ('gpu_h100', ['GPU111']),
            ('CUSTOM_OTHER', ['GPU111', 'GPU307']),
        ):
            findings = self.check(
                {
                    'nova.conf': f'{ON}[pci]\nreport_in_placement = 1\n'
                    f'{alias}{spec % name}'
                }
            )
            self.assertEqual(codes, [location[0] for location in findings])

    def test_values_of_rhoso(self) -> None:
        """A valid example, and one with a mistake."""
        control_plane = (
            'data:\n  nova:\n'
            '    apiServiceTemplate:\n      customServiceConfig: |\n'
            '        [filter_scheduler]\n        pci_in_placement = True\n'
            '        [pci]\n'
            '        alias = { "vendor_id":"10de", "product_id":"20f1", '
            '"device_type":"type-PF", "name":"nvidia_a100" }\n'
            '    schedulerServiceTemplate:\n      customServiceConfig: |\n'
            '        [filter_scheduler]\n        pci_in_placement = True\n'
            '    cellTemplates:\n      cell1:\n'
            '        conductorServiceTemplate:\n'
            '          customServiceConfig: |\n'
            '            [filter_scheduler]\n'
            '            pci_in_placement = True\n'
        )
        nodeset = (
            'data:\n  nova:\n    pci:\n      conf: |\n        [pci]\n'
            '        report_in_placement = True\n'
            '        device_spec = { "vendor_id":"10de", '
            '"product_id":"20f1", "address": "0000:04:00.0" }\n'
            '        device_spec = { "vendor_id":"10de", '
            '"product_id":"20f1", "address": "0000:82:00.0" }\n'
            '        alias = { "vendor_id":"10de", "product_id":"20f1", '
            '"device_type":"type-PF", "name":"nvidia_a100" }\n'
        )
        files = {
            'control-plane/service-values.yaml': control_plane,
            'edpm/nodeset/values.yaml': nodeset,
        }
        self.assertEqual([], self.check(files))
        files['edpm/nodeset/values.yaml'] = nodeset.replace(
            '"type-PF"', '"type-VF"'
        )
        self.assertEqual(
            [('GPU304', 'edpm/nodeset/values.yaml', 9)], self.check(files)
        )


class TestKolla(TreeTestCase):
    """A later layer replaces all values of an option in an earlier one."""

    def test_layers(self) -> None:
        tree_of_kolla = {
            # One file for all, which the files of compute hosts override.
            'config/nova.conf': f'{ON}[pci]\n{ALIAS}',
            'config/nova/nova-compute.conf': (
                f'[pci]\nreport_in_placement = True\n{SPEC}'
            ),
        }
        self.assertEqual([], self.check(tree_of_kolla))
        # If the files were concatenated, services would not start.
        tree_of_kolla['config/nova/nova-api.conf'] = f'[pci]\n{ALIAS}'
        self.assertEqual([], self.check(tree_of_kolla))
        other = ALIAS.replace('nvidia_a100', 'nvidia_a3')
        tree_of_kolla['config/nova/nova-api.conf'] = f'[pci]\n{other}'
        self.assertEqual(
            [
                ('GPU305', 'config/nova.conf', 4),
                ('GPU306', 'config/nova/nova-api.conf', 2),
            ],
            self.check(tree_of_kolla),
        )

    def test_layers_are_one_deployment(self) -> None:
        """The layers of a service are in several folders."""
        findings = self.check(
            {
                'config/nova.conf': f'{ON}[pci]\n{ALIAS}',
                'config/nova/nova-scheduler.conf': (
                    '[filter_scheduler]\nenabled_filters = '
                    'ComputeFilter,PciPassthroughFilter\n'
                ),
                'config/nova/nova-compute.conf': (
                    '[pci]\nreport_in_placement = True\n'
                    + SPEC.replace('20f1', '2330')
                ),
            }
        )
        self.assertEqual([('GPU307', 'config/nova.conf', 4)], findings)

    def test_paths_of_both_kinds(self) -> None:
        """Absolute and relative paths have no common folder."""
        self.assertEqual(
            '/etc/nova',
            deployment.folder_of(
                deployment.Process((), configuration.Place(path))
                for path in ('nova/nova.conf', '/etc/nova/nova.conf')
            ),
        )

    def test_options_are_merged(self) -> None:
        """Replaced values are not read; the others keep their lines."""
        self.write(
            {
                'config/nova.conf': '[DEFAULT]\na = 1\nb = 2\n[PCI]\nc = 3\n',
                'config/nova/nova-api.conf': '[pci]\nc = 4\nc = 5\n',
            }
        )
        contents = tree.read([os.fspath(self.folder)])
        (api,) = (
            process
            for process in contents.deployment.processes
            if 'nova-api' in process.readers
        )
        self.assertEqual(
            [
                ('DEFAULT', 'a', '1', 'config/nova.conf:2'),
                ('DEFAULT', 'b', '2', 'config/nova.conf:3'),
                ('pci', 'c', '4', 'config/nova/nova-api.conf:2'),
                ('pci', 'c', '5', 'config/nova/nova-api.conf:3'),
            ],
            [
                (
                    option.section,
                    option.name,
                    option.setting.text,
                    os.path.relpath(str(option.setting.place), self.folder),
                )
                for option in api.options
            ],
        )

    def test_hosts(self) -> None:
        host = f'[pci]\nreport_in_placement = True\n{SPEC}'
        self.assertEqual(
            [('GPU302', 'config/nova/gpu-1/nova.conf', 3)],
            self.check(
                {
                    'config/nova.conf': f'{ON}[pci]\n{ALIAS}',
                    'config/nova/gpu-0/nova.conf': host,
                    'config/nova/gpu-1/nova.conf': host.replace(
                        '04:00.0', '04:00.9'
                    ),
                }
            ),
        )

    def test_environments_of_kayobe(self) -> None:
        """Files of the same name are concatenated."""
        env = 'environments/lab/kolla/config'
        files = {
            'kolla/config/nova.conf': f'{ON}[pci]\n{ALIAS}',
            f'{env}/nova.conf': '[pci]\n' + ALIAS.replace('_a100', '_card'),
            f'{env}/nova/nova-compute.conf': (
                f'[pci]\nreport_in_placement = True\n{SPEC}'
            ),
        }
        self.assertEqual([], self.check(files))
        (compute,) = (
            process
            for process in tree.read(
                [os.fspath(self.folder)]
            ).deployment.processes
            if process.readers == ('nova-compute',) and process.device_specs
        )
        self.assertEqual(2, len(compute.aliases))
        self.assertTrue(compute.pci_in_placement)
        files[f'{env}/nova/nova-compute.conf'] += ALIAS
        self.assertEqual(
            [('GPU306', f'{env}/nova.conf', 2)], self.check(files)
        )

    def test_plain_folder_is_not_detected_as_kolla(self) -> None:
        self.write(
            {
                'etc/nova/nova.conf': ON,
                'etc/nova/nova-compute.conf': '[pci]\n',
            }
        )
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual(2, len(contents.deployment.processes))


class TestRead(TreeTestCase):
    def test_unreadable_files_are_reported(self) -> None:
        self.write({'nova.conf': 'broken\n', 'other.conf': 'broken\n'})
        (self.folder / 'nova.yaml').write_bytes(b'\xff')
        (self.folder / 'loop.conf').symlink_to('loop.conf')
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual(
            ['loop.conf', 'nova.conf', 'nova.yaml'],
            sorted(
                os.path.basename(path)
                for path, _why, _line in contents.unreadable
            ),
        )
        self.assertEqual(0, contents.files)
        missing = os.fspath(self.folder / 'missing')
        contents = tree.read([missing, missing])
        self.assertEqual(
            [
                (
                    missing,
                    'Cannot read missing: No such file or directory',
                    None,
                )
            ],
            list(contents.unreadable),
        )

    def test_line_of_what_cannot_be_read(self) -> None:
        self.write(
            {
                'nova.conf': '[pci]\nalias = {}\nbroken\n',
                'nova.yaml': 'a: 1\nb: [\n',
                'nova-api.conf': '\ufeff[pci]\nalias = {}\n',
            }
        )
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual(
            [('nova-api.conf', 1), ('nova.conf', 3), ('nova.yaml', 3)],
            sorted(
                (os.path.basename(file.path), file.line)
                for file in contents.unreadable
            ),
        )
        located = configuration_rules.unreadable(*contents.unreadable[0])
        self.assertEqual(contents.unreadable[0].line, located.place.line)

    def test_placeholders_are_not_errors(self) -> None:
        """Charts and playbooks have files with Nova in their names."""
        self.write(
            {
                'templates/job-nova.yaml': '{{- if .Values.job }}\nx: 1\n',
                'nova/policy.yaml': '{% set x = "y" %}\n{{ x }}: 1\n',
                'files/collectd_nova.conf': '<LoadPlugin "nova">\n',
            }
        )
        (self.folder / 'with-devices.yaml').write_text(
            '{{- if .Values.pci }}\nconf: |\n  [pci]\n  alias = x\n'
        )
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual((), contents.unreadable)
        self.assertEqual(
            [('with-devices.yaml', 'a template')],
            [(os.path.basename(path), name) for path, name in contents.unread],
        )
        # A file that the user specifies is reported with any content.
        path = os.fspath(self.folder / 'nova' / 'policy.yaml')
        self.assertEqual(1, len(tree.read([path]).unreadable))

    def test_links_to_folders_are_not_followed(self) -> None:
        self.write(CLEAN)
        (self.folder / 'again').symlink_to(self.folder)
        self.assertEqual(4, tree.read([os.fspath(self.folder)]).files)

    def test_unrelated_files_are_ignored(self) -> None:
        self.write(
            {
                'glance-api.conf': '[DEFAULT]\n',
                'values.yaml': 'a: 1\n',
                '.git/nova.conf': 'broken',
            }
        )
        self.assertEqual(
            tree.ConfigurationTree(deployment.Deployment(), 0, ()),
            tree.read([os.fspath(self.folder)]),
        )


class TestBadInput(TreeTestCase):
    """Each is a one-line error, immediately and with little memory."""

    def reason(self, path: str) -> str:
        ((_path, reason, _line),) = tree.read([path]).unreadable
        self.assertNotIn('\n', reason)
        return reason

    def test_special_files_are_ignored(self) -> None:
        fifo = os.fspath(self.folder / 'nova.conf')
        os.mkfifo(fifo)
        for path in (fifo, '/dev/zero'):
            self.assertIn('not a regular file', self.reason(path))
        self.assertIn(
            'not a regular file', self.reason(os.fspath(self.folder))
        )

    def test_large_files(self) -> None:
        for name in ('nova.conf', 'nova.yaml'):
            path = self.folder / name
            with open(path, 'wb') as stream:
                stream.truncate(50 * 2**20)
            self.assertIn('larger than 16 MiB', self.reason(os.fspath(path)))
            # A small file, but with many lines.
            path.write_bytes(b'a = 1\n' * 300_000)
            self.assertIn('lines or items', self.reason(os.fspath(path)))

    def test_encodings(self) -> None:
        path = self.folder / 'nova.conf'
        for content, message in (
            ('[pci]\n'.encode('utf-16'), 'not UTF-8 (byte 0)'),
            (b'[pci]\n\xe9\n', 'not UTF-8 (byte 6)'),
            (b'\xef\xbb\xbf[pci]\r\nalias\r\n', 'line 2: No'),
            (b'\t[pci]\n', 'Unexpected continuation'),
        ):
            path.write_bytes(content)
            self.assertIn(message, self.reason(os.fspath(path)))

    def test_no_permission(self) -> None:
        path = self.folder / 'nova.conf'
        path.write_text('[pci]\n')
        path.chmod(0)
        self.folder.chmod(0o755)
        child = os.fork()
        if not child:
            status = 1
            try:
                if os.geteuid() == 0:
                    os.seteuid(65534)
                reason = tree.read([os.fspath(path)]).unreadable[0][1]
                status = int('Permission denied' not in reason)
            finally:
                os._exit(status)
        self.assertEqual(0, os.waitpid(child, 0)[1])

    def test_loops_of_links(self) -> None:
        (self.folder / 'a').mkdir()
        (self.folder / 'a' / 'b').symlink_to(self.folder)
        (self.folder / 'nova.conf').symlink_to('nova.conf')
        self.assertIn('Too many levels', self.reason(os.fspath(self.folder)))

    def test_a_thousand_aliases(self) -> None:
        lines = ''.join(
            ALIAS.replace('nvidia_a100', f'card-{number}')
            for number in range(1000)
        )
        spec = f'[libvirt]\nvirt_type = kvm\n[pci]\n{lines}{SPEC}'
        self.assertEqual([], self.check({'nova.conf': spec}))
        self.assertEqual(
            [('GPU301', 'nova.conf', 1005)],
            self.check({'nova.conf': f'{ON}[pci]\n{lines}{ALIAS * 2}'})[-1:],
        )
