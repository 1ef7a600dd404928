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

"""Imports go one way, and loading the plugin is cheap."""

import ast
import functools
import graphlib
import pathlib
import subprocess
import sys

import testtools

import gpuclient

ROOT = pathlib.Path(gpuclient.__file__).parent
#: The packages of ours that each package may import, besides itself.
ALLOWED = {
    'data': {'exceptions'},
    'model': {'data', 'model', 'exceptions', 'text'},
    'rules': {'model', 'rules', 'exceptions', 'text'},
    'files': {'exceptions', 'text'},
    'documents': {'files', 'model', 'rules', 'exceptions', 'text'},
    'cloud': {'model', 'rules', 'exceptions', 'text'},
    'host': {'files', 'model', 'rules', 'exceptions', 'text'},
    'rehearsal': {'files', 'model', 'exceptions', 'text'},
    'config_rehearsal': {
        'cloud',
        'documents',
        'files',
        'host',
        'rehearsal',
        'rules',
        'model',
        'exceptions',
        'text',
    },
    'operations': {
        'cloud',
        'config_rehearsal',
        'documents',
        'files',
        'host',
        'rehearsal',
        'rules',
        'model',
        'exceptions',
        'text',
    },
    'osc': {
        'operations',
        'cloud',
        'config_rehearsal',
        'documents',
        'files',
        'host',
        'rehearsal',
        'rules',
        'model',
        'exceptions',
        'text',
    },
}
#: The modules of the rehearsal cloud that other packages may import.
DOOR = 'gpuclient.rehearsal.api'
#: The modules below ``operations`` that ``osc`` may import, by module; other
#: modules of it parse options and show what ``operations`` return.
KNOWN_TO_COMMANDS = {
    # A connection, its timeout, and the project of an option.
    'command': {'cloud.keystone', 'cloud.request'},
    'multi_cloud': {'cloud.regions'},
    # Severities, for --fail-on and for SARIF.
    'options': {'rules.finding'},
    'sarif': {'rules.finding'},
    'upgrade': {'rules.finding'},
    # The type of a row.
    'host': {'rules.check_result'},
    'guest': {'rules.guest_result'},
    'placement_check': {'rules.placement_leaks'},
    'remedies': {'rules.remedy'},
}
#: Lines of the longest function.
LONGEST = 60
#: The modules of other packages that the pure packages may import.
PURE = {'os_resource_classes', 'os_traits', 'oslo_config', 'oslo_utils'}


@functools.cache
def imported(path: pathlib.Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return frozenset(names)


class TestImports(testtools.TestCase):
    def test_every_package_has_import_rules(self) -> None:
        self.assertEqual(
            {path.parent.name for path in ROOT.glob('*/__init__.py')},
            set(ALLOWED),
        )

    def test_packages_import_one_way(self) -> None:
        for package, allowed in ALLOWED.items():
            for path in (ROOT / package).rglob('*.py'):
                ours = {
                    name.split('.')[1]
                    for name in imported(path)
                    if name.startswith('gpuclient.')
                }
                self.assertEqual(set(), ours - allowed - {package}, path)

    def test_only_the_api_of_the_rehearsal_cloud_is_imported(self) -> None:
        for path in ROOT.rglob('*.py'):
            if path.relative_to(ROOT).parts[0] != 'rehearsal':
                self.assertEqual(
                    set(),
                    {
                        name
                        for name in imported(path)
                        if name.startswith('gpuclient.rehearsal')
                    }
                    - {DOOR},
                    path,
                )

    def test_processes_of_nova(self) -> None:
        """They import no module of ours that needs newer libraries."""
        room = ROOT / 'rehearsal' / 'nova_worker'
        beside = {'gpuclient.rehearsal.messaging'}
        for path in (*room.glob('*.py'), ROOT / 'rehearsal' / 'messaging.py'):
            self.assertEqual(
                set(),
                {
                    name
                    for name in imported(path)
                    if name.startswith('gpuclient')
                    and not name.startswith('gpuclient.rehearsal.nova_worker')
                }
                - beside,
                path,
            )

    def test_commands_parse_and_print(self) -> None:
        """They neither read clouds and hosts nor apply rules themselves."""
        below = ('cloud', 'host', 'rules', 'rehearsal', 'config_rehearsal')
        for path in (ROOT / 'osc').rglob('*.py'):
            if 'rehears' in path.stem:
                # These commands start and stop their own clouds.
                continue
            known = {
                name.removeprefix('gpuclient.')
                for name in imported(path)
                if name.startswith(
                    tuple(f'gpuclient.{room}.' for room in below)
                )
            }
            self.assertEqual(
                set(), known - KNOWN_TO_COMMANDS.get(path.stem, set()), path
            )

    def test_functions_are_short(self) -> None:
        for path in ROOT.rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef):
                    lines = (node.end_lineno or 0) - node.lineno + 1
                    self.assertLessEqual(
                        lines, LONGEST, f'{path}: {node.name}'
                    )

    def test_no_circles(self) -> None:
        """Not even for type annotations."""
        graph = {}
        for path in ROOT.rglob('*.py'):
            parts = path.relative_to(ROOT.parent).with_suffix('').parts
            if parts[-1] == '__init__':
                parts = parts[:-1]
            graph['.'.join(parts)] = imported(path)
        modules = set(graph)
        sorter = graphlib.TopologicalSorter(
            {name: names & modules for name, names in graph.items()}
        )
        try:
            sorter.prepare()
        except graphlib.CycleError as exc:
            self.fail(' -> '.join(exc.args[1]))

    def test_texts_are_not_translated(self) -> None:
        """Some messages are built without a catalog, so none is marked."""
        for path in ROOT.rglob('*.py'):
            self.assertNotIn(
                'oslo_i18n',
                {name.split('.')[0] for name in imported(path)},
                path,
            )

    def test_model_and_rules_are_pure(self) -> None:
        for package in ('model', 'rules'):
            for path in (ROOT / package).rglob('*.py'):
                others = {
                    name.split('.')[0]
                    for name in imported(path)
                    if not name.startswith('gpuclient.')
                }
                self.assertEqual(
                    set(), others - sys.stdlib_module_names - PURE, path
                )
                self.assertFalse(
                    others & {'os', 'time', 'subprocess', 'socket'}, path
                )

    def test_only_cloud_and_commands_know_the_sdk(self) -> None:
        for path in ROOT.rglob('*.py'):
            package = path.relative_to(ROOT).parts[0]
            if package not in (
                'cloud',
                'config_rehearsal',
                'operations',
                'osc',
                'rehearsal',
            ):
                self.assertFalse(
                    [
                        name
                        for name in imported(path)
                        if name.split('.')[0] in ('openstack', 'requests')
                    ],
                    path,
                )

    def test_plugin_module(self) -> None:
        """It is imported for every openstack command."""
        script = (
            'import sys\n'
            'before = set(sys.modules)\n'
            'import gpuclient.osc.plugin\n'
            'print(*sorted({name.split(".")[0] for name in sys.modules}'
            ' - {name.split(".")[0] for name in before}'
            ' - sys.stdlib_module_names))\n'
        )
        done = subprocess.run(
            [sys.executable, '-c', script],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual('gpuclient', done.stdout.strip())

    def test_command_modules(self) -> None:
        """cliff loads them all for every openstack command."""
        script = (
            'import importlib, pathlib, sys, types\n'
            'import gpuclient.osc.v1 as package\n'
            'for path in pathlib.Path(package.__path__[0]).glob("*.py"):\n'
            '    importlib.import_module(f"gpuclient.osc.v1.{path.stem}")\n'
            'print(*sorted(name for name, module in sys.modules.items()'
            ' if name.startswith("gpuclient.")'
            ' and type(module) is types.ModuleType'
            ' and not hasattr(module, "__path__")))\n'
        )
        done = subprocess.run(
            [sys.executable, '-c', script],
            capture_output=True,
            text=True,
            check=True,
        )
        executed = {
            name
            for name in done.stdout.split()
            if not name.startswith('gpuclient.osc.v1.')
        }
        self.assertEqual(
            {
                'gpuclient.exceptions',
                'gpuclient.osc.command',
                'gpuclient.osc.multi_cloud',
                'gpuclient.osc.lazy_imports',
                'gpuclient.osc.plugin',
                'gpuclient.text',
            },
            executed,
        )
