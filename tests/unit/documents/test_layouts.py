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

"""The files that each process reads, for each layout."""

import os

import ddt

from gpuclient.documents import tree
from gpuclient.model import configuration
from gpuclient.rules import configuration as configuration_rules
from tests.unit.documents import test_tree

ALIAS, SPEC, ON = test_tree.ALIAS, test_tree.SPEC, test_tree.ON
API, COMPUTE = configuration.API, configuration.COMPUTE
CONDUCTOR, SCHEDULER = configuration.CONDUCTOR, configuration.SCHEDULER
CONTROL = (API, CONDUCTOR, SCHEDULER)
REPORT = 'report_in_placement = True\n'
FILTERS = 'enabled_filters = ComputeFilter,PciPassthroughFilter\n'
#: Valid configuration of controllers, and of compute hosts.
OF_CONTROL = f'{ON}{FILTERS}[pci]\n{ALIAS}'
OF_COMPUTE = f'[pci]\n{REPORT}{SPEC}{ALIAS}'
TRIPLEO = 'var/lib/config-data/puppet-generated'

#: Trees without findings; a file of a compute host in each, without
#: [pci]report_in_placement.
LAYOUTS = {
    'debian': (
        {
            'etc/nova/nova.conf': f'{OF_CONTROL}{REPORT}',
            'etc/nova/nova-compute.conf': f'[libvirt]\n[pci]\n{SPEC}',
        },
        'etc/nova/nova.conf',
        ('etc/nova/nova-compute.conf', 3),
    ),
    'drop-ins': (
        {
            'etc/nova/nova.conf': f'{ON}{FILTERS}',
            'etc/nova/nova.conf.d/10-alias.conf': f'[pci]\n{ALIAS}',
            'etc/nova/nova.conf.d/20-gpu.conf': f'[pci]\n{REPORT}',
            'etc/nova/nova-compute.conf.d/gpu.conf': f'[pci]\n{SPEC}',
        },
        'etc/nova/nova.conf.d/20-gpu.conf',
        ('etc/nova/nova-compute.conf.d/gpu.conf', 2),
    ),
    'kolla': (
        {
            'etc/kolla/nova-api/nova.conf': OF_CONTROL,
            'etc/kolla/nova-scheduler/nova.conf': OF_CONTROL,
            'etc/kolla/nova-conductor/nova.conf': OF_CONTROL,
            'etc/kolla/nova-super-conductor/nova.conf': OF_CONTROL,
            'etc/kolla/nova-api-bootstrap/nova.conf': '[api]\n',
            'etc/kolla/nova-novncproxy/nova.conf': '[vnc]\n',
            'etc/kolla/nova-compute/nova.conf': OF_COMPUTE,
        },
        'etc/kolla/nova-compute/nova.conf',
        ('etc/kolla/nova-compute/nova.conf', 2),
    ),
    'tripleo': (
        {
            f'{TRIPLEO}/nova/etc/nova/nova.conf': OF_CONTROL,
            f'{TRIPLEO}/nova_metadata/etc/nova/nova.conf': '[api]\n',
            f'{TRIPLEO}/nova_libvirt/etc/nova/nova.conf': OF_COMPUTE,
        },
        f'{TRIPLEO}/nova_libvirt/etc/nova/nova.conf',
        (f'{TRIPLEO}/nova_libvirt/etc/nova/nova.conf', 2),
    ),
    'hosts': (
        {
            'controller/nova.conf': OF_CONTROL,
            'compute01/nova.conf': OF_COMPUTE,
            'compute02/nova.conf': OF_COMPUTE,
        },
        'compute02/nova.conf',
        ('compute02/nova.conf', 2),
    ),
    'hosts by content': (
        {
            'alpha/etc/nova/nova.conf': f'[scheduler]\n{OF_CONTROL}',
            'beta/etc/nova/nova.conf': OF_COMPUTE,
        },
        'beta/etc/nova/nova.conf',
        ('beta/etc/nova/nova.conf', 2),
    ),
    'devstack': (
        {
            'etc/nova/nova.conf': OF_CONTROL,
            'etc/nova/nova_cell1.conf': ON,
            'etc/nova/nova-cpu.conf': OF_COMPUTE,
            'etc/nova/nova-api-uwsgi.ini': '[uwsgi]\n',
            'etc/nova/placement.conf': '[placement]\nx = 1\n[pci]\n',
            'etc/nova/api-paste.ini': '[composite:osapi]\n',
            'etc/nova/rootwrap.conf': '[DEFAULT]\n',
        },
        'etc/nova/nova-cpu.conf',
        ('etc/nova/nova-cpu.conf', 2),
    ),
}


class LayoutTestCase(test_tree.TreeTestCase):
    def processes(
        self, files: dict[str, str]
    ) -> list[tuple[tuple[str, ...], str | None, list[str]]]:
        """Return kinds, host and sources of each process."""
        self.write(files)
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual((), contents.unreadable)
        return sorted(
            (
                process.readers,
                process.host,
                [
                    os.path.relpath(source.place.path, self.folder)
                    for source in process.sources
                ],
            )
            for process in contents.deployment.processes
        )


@ddt.ddt
class TestLayouts(LayoutTestCase):
    @ddt.data(*LAYOUTS)
    def test_clean(self, name: str) -> None:
        self.assertEqual([], self.check(LAYOUTS[name][0]))

    @ddt.data(*LAYOUTS)
    def test_compute_host_without_report_in_placement(self, name: str) -> None:
        """It is reported once, at the device specs."""
        files, path, (where, line) = LAYOUTS[name]
        files = {**files, path: files[path].replace(REPORT, '')}
        self.assertEqual([('GPU309', where, line)], self.check(files))

    @ddt.data(*LAYOUTS)
    def test_alias_that_nova_refuses(self, name: str) -> None:
        """A line that several services read is reported once."""
        files = {
            path: text.replace('"type-PF"', '"PF"')
            for path, text in LAYOUTS[name][0].items()
        }
        lines = {
            (
                path,
                next(
                    number
                    for number, line in enumerate(text.split('\n'), 1)
                    if '"PF"' in line
                ),
            )
            for path, text in files.items()
            # Other services do not parse aliases.
            if '"PF"' in text
            and 'conductor/' not in path
            and 'scheduler/' not in path
        }
        locations = self.check(files)
        self.assertEqual(len(set(locations)), len(locations))
        self.assertEqual(
            {('GPU301', *place) for place in lines}, set(locations)
        )

    def test_debian(self) -> None:
        files = {
            'nova.conf': '[api]\n[DEFAULT]\na = 1\n',
            'nova-compute.conf': '[DEFAULT]\nb = 1\n',
            'nova.conf.d/2.conf': '[DEFAULT]\nc = 1\n',
            'nova.conf.d/1.conf': '[DEFAULT]\nd = 1\n',
            'nova-compute.conf.d/1.conf': '[DEFAULT]\ne = 1\n',
            'nova-api.conf.d/1.conf': '[DEFAULT]\nf = 1\n',
        }
        shared = ['nova.conf.d/1.conf', 'nova.conf.d/2.conf']
        self.assertEqual(
            [
                (
                    (API,),
                    None,
                    ['nova.conf', *shared, 'nova-api.conf.d/1.conf'],
                ),
                (
                    (COMPUTE,),
                    None,
                    [
                        *('nova.conf', 'nova-compute.conf', *shared),
                        'nova-compute.conf.d/1.conf',
                    ],
                ),
                ((CONDUCTOR, SCHEDULER), None, ['nova.conf', *shared]),
            ],
            self.processes(files),
        )

    def test_drop_ins_of_several_hosts(self) -> None:
        """A rehearsal cloud has a folder for each of its hosts."""
        files = {
            'nova.conf': '[api_database]\na = 1\n',
            'nova-compute.conf.d/1.conf': f'[pci]\n{REPORT}',
            'nova-compute-gpu-0.conf.d/1.conf': f'[pci]\n{SPEC}{ALIAS}',
            'nova-compute-gpu-1.conf.d/1.conf': f'[pci]\n{SPEC}{ALIAS}',
        }
        self.assertEqual(
            [
                (
                    (COMPUTE,),
                    host,
                    [
                        *('nova.conf', 'nova-compute.conf.d/1.conf'),
                        f'nova-compute-{host}.conf.d/1.conf',
                    ],
                )
                for host in ('gpu-0', 'gpu-1')
            ],
            [
                process
                for process in self.processes(files)
                if process[0] == (COMPUTE,)
            ],
        )
        self.assertNotIn('GPU213', [code for code, *_ in self.check(files)])

    def test_host_with_nova_compute_only(self) -> None:
        """Its nova.conf has no options of the control plane."""
        files = {
            'etc/nova/nova.conf': f'[DEFAULT]\ndebug = 1\n[pci]\n{REPORT}',
            'etc/nova/nova-compute.conf': f'[pci]\n{SPEC}{ALIAS}',
        }
        self.assertEqual(
            [((COMPUTE,), None, sorted(files, reverse=True))],
            self.processes(files),
        )
        self.assertEqual([], self.check(files))

    def test_kolla_rendered(self) -> None:
        files = {
            f'compute01/etc/kolla/{name}/nova.conf': '[DEFAULT]\na = 1\n'
            for name in ('nova-compute', 'nova-api', 'nova_conductor')
        }
        self.assertEqual(
            [
                ((kind,), host, [path])
                for kind, host, path in (
                    (
                        API,
                        'compute01',
                        'compute01/etc/kolla/nova-api/nova.conf',
                    ),
                    (
                        COMPUTE,
                        'compute01',
                        'compute01/etc/kolla/nova-compute/nova.conf',
                    ),
                    (
                        CONDUCTOR,
                        'compute01',
                        'compute01/etc/kolla/nova_conductor/nova.conf',
                    ),
                )
            ],
            self.processes(files),
        )

    def test_hosts_of_a_shared_file(self) -> None:
        files = {
            'nova.conf': f'{OF_CONTROL}{REPORT}',
            'hosts/a/nova-compute.conf': f'[pci]\n{SPEC}',
            'hosts/b/nova-compute.conf': f'[pci]\n{SPEC}',
        }
        self.assertEqual(
            [
                (CONTROL, None, ['nova.conf']),
                *(
                    (
                        (COMPUTE,),
                        host,
                        ['nova.conf', f'hosts/{host}/nova-compute.conf'],
                    )
                    for host in 'ab'
                ),
            ],
            sorted(
                self.processes(files), key=lambda process: process[1] or ''
            ),
        )
        self.assertEqual([], self.check(files))

    def test_role_is_not_a_host(self) -> None:
        self.assertEqual(
            [
                ((COMPUTE,), None, ['compute/nova.conf']),
                (CONTROL, None, ['controller/nova.conf']),
            ],
            sorted(
                self.processes(
                    {
                        'compute/nova.conf': '[DEFAULT]\na = 1\n',
                        'controller/nova.conf': '[DEFAULT]\na = 1\n',
                    }
                ),
                key=lambda process: process[2],
            ),
        )


class TestDeclared(LayoutTestCase):
    """Files whose services the user specifies."""

    def declared(
        self,
        files: dict[str, str],
        *declarations: tuple[tuple[str, ...], str, str],
    ) -> list[tuple[tuple[str, ...], str | None, list[str]]]:
        self.write(files)
        contents = tree.read(
            [os.fspath(self.folder)],
            [
                tree.Declared(
                    kinds, host or None, os.fspath(self.folder / path)
                )
                for kinds, host, path in declarations
            ],
        )
        self.assertEqual((), contents.unreadable)
        self.assertEqual(len(files), contents.files)
        return [
            (
                process.readers,
                process.host,
                [
                    os.path.relpath(source.place.path, self.folder)
                    for source in process.sources
                ],
            )
            for process in contents.deployment.processes
        ]

    def test_files(self) -> None:
        """They are read in the given order, and by no other service."""
        text = '[DEFAULT]\na = 1\n'
        self.assertEqual(
            [
                (CONTROL, None, ['z/a.conf']),
                ((COMPUTE,), 'gpu-1', ['z/c.conf', 'z/b.conf']),
            ],
            self.declared(
                {'z/a.conf': text, 'z/b.conf': text, 'z/c.conf': text},
                (CONTROL, '', 'z/a.conf'),
                ((COMPUTE,), 'gpu-1', 'z/c.conf'),
                ((COMPUTE,), 'gpu-1', 'z/b.conf'),
            ),
        )

    def test_folders(self) -> None:
        """Files of other services in the folders are ignored."""
        text = '[DEFAULT]\na = 1\n'
        files = {
            f'a/{name}': text
            for name in (
                'nova.conf',
                'nova-api.conf',
                'nova-compute.conf',
                'nova.conf.d/1.conf',
                'nova-api.conf.d/1.conf',
            )
        }
        self.assertEqual(
            [
                (
                    (API,),
                    None,
                    [
                        *('a/nova.conf', 'a/nova-api.conf'),
                        *('a/nova.conf.d/1.conf', 'a/nova-api.conf.d/1.conf'),
                    ],
                ),
                (
                    (CONDUCTOR, SCHEDULER),
                    None,
                    ['a/nova.conf', 'a/nova.conf.d/1.conf'],
                ),
            ],
            self.declared(files, (CONTROL, '', 'a')),
        )

    def test_file_of_two(self) -> None:
        self.assertEqual(
            [
                ((API,), None, ['a.conf']),
                ((COMPUTE,), None, ['a.conf', 'b.conf']),
            ],
            self.declared(
                {'a.conf': '[pci]\na = 1\n', 'b.conf': '[pci]\na = 1\n'},
                ((API,), '', 'a.conf'),
                ((COMPUTE,), '', 'a.conf'),
                ((COMPUTE,), '', 'b.conf'),
            ),
        )

    def test_unreadable(self) -> None:
        contents = tree.read([], [tree.Declared((API,), None, '/nowhere')])
        self.assertEqual(
            ['/nowhere'], [failure[0] for failure in contents.unreadable]
        )


@ddt.ddt
class TestUnread(LayoutTestCase):
    def messages(self, files: dict[str, str]) -> list[tuple[str, str]]:
        self.write(files)
        contents = tree.read([os.fspath(self.folder)])
        return [
            (os.path.relpath(unread.place.path, self.folder), unread.reason)
            for unread in contents.deployment.unread
        ]

    @ddt.data(
        ('.h.conf', 'oslo.config ignores hidden files in nova.conf.d'),
        ('x.ini', 'oslo.config reads only *.conf in nova.conf.d'),
        ('a/x.conf', 'oslo.config does not read folders in nova.conf.d'),
    )
    @ddt.unpack
    def test_drop_ins(self, name: str, reason: str) -> None:
        files = {f'nova.conf.d/{name}': f'[pci]\n{SPEC}'}
        self.assertEqual(
            [(f'nova.conf.d/{name}', reason)], self.messages(files)
        )
        self.assertEqual(
            [('GPU330', f'nova.conf.d/{name}', None)], self.check(files)
        )

    def test_names_of_drop_ins_are_shown(self) -> None:
        folder = 'nova-compute.conf.d'
        names = [
            f'{folder}/{name}' for name in ('.99_gpu-a100.conf', '20-spec.ini')
        ]
        self.write(dict.fromkeys(names, f'[pci]\n{SPEC}'))
        configured = tree.read([os.fspath(self.folder)]).deployment
        self.assertEqual(
            names,
            sorted(
                located.finding.message.partition(' is not read')[0]
                for located in configuration_rules.check(configured)
            ),
        )

    @ddt.data('#x.conf', 'B.conf')
    def test_drop_ins_that_are_read(self, name: str) -> None:
        self.assertEqual(
            [], self.check({f'nova.conf.d/{name}': f'[pci]\n{SPEC}'})
        )

    def test_other_files_beside_drop_ins(self) -> None:
        self.assertEqual(
            [],
            self.check(
                {
                    'nova.conf.d/a.conf': f'[pci]\n{SPEC}',
                    'nova.conf.d/readme.ini': 'notes\n',
                }
            ),
        )

    def test_kolla(self) -> None:
        files = {
            'config/nova.conf': f'{ON}[pci]\n{ALIAS}',
            'config/nova/nova-compute.conf': f'[pci]\n{REPORT}{SPEC}',
            'config/nova/nova-novncproxy.conf': '[vnc]\n',
            'config/nova/gpu-1/nova.conf': '[pci]\n',
        }
        self.assertEqual([], self.check(files))
        files['config/nova/nova.conf'] = f'[pci]\n{SPEC}'
        self.assertEqual(
            [('GPU330', 'config/nova/nova.conf', None)], self.check(files)
        )

    def test_other_folders_of_drop_ins(self) -> None:
        """oslo.config reads nova.conf.d and <service>.conf.d by default."""
        for folder, name in (
            ('nova.d', 'nova.conf.d'),
            ('nova-compute.d', 'nova-compute.conf.d'),
            ('conf.d', 'nova.conf.d'),
        ):
            files = {
                'nova/nova.conf': f'{ON}{FILTERS}',
                f'nova/{folder}/gpu.conf': f'[pci]\n{REPORT}{SPEC}{ALIAS}',
            }
            path = f'nova/{folder}/gpu.conf'
            self.assertEqual([('GPU330', path, None)], self.check(files))
            (unread,) = tree.read([os.fspath(self.folder)]).deployment.unread
            self.assertIn(f'Rename {folder} to {name}.', unread.remedy)
            # What --config-dir names is read.
            contents = tree.read(
                [os.fspath(self.folder / 'nova/nova.conf')],
                [
                    tree.Declared(
                        (COMPUTE,),
                        None,
                        os.fspath(self.folder / f'nova/{folder}'),
                    )
                ],
            )
            self.assertEqual((), contents.deployment.unread)
            self.assertEqual(2, contents.files)
            # So is a file that the user names.
            contents = tree.read([os.fspath(self.folder / path)])
            self.assertEqual((), contents.deployment.unread)
            (self.folder / path).unlink()

    def test_kolla_does_not_read_files_of_services_of_a_host(self) -> None:
        files = {
            'kolla/config/nova.conf': f'{ON}[pci]\n{ALIAS}',
            'kolla/config/nova/gpu-1/nova-compute.conf': (
                f'[pci]\n{REPORT}{SPEC}'
            ),
        }
        path = 'kolla/config/nova/gpu-1/nova-compute.conf'
        self.assertEqual([('GPU330', path, None)], self.check(files))
        files['kolla/config/nova/gpu-1/nova.conf'] = files.pop(path)
        (self.folder / path).unlink()
        self.assertEqual([], self.check(files))

    def test_devstack(self) -> None:
        text = f'[[post-config|$NOVA_CONF]]\n[pci]\n{REPORT}'
        other = '[[post-config|$GLANCE_API_CONF]]\n[DEFAULT]\na = 1\n'
        self.assertEqual([], self.check({'local.conf': text + other}))
        self.assertEqual(
            [('GPU330', 'local.conf', 8)],
            self.check({'local.conf': f'{text}{other}[pci]\n{REPORT}'}),
        )
