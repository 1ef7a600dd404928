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

"""The published schemas accept what the readers accept."""

import collections.abc
import configparser
import copy
import json
import pathlib
import typing

import jsonschema
import testtools

import gpuclient
from gpuclient import data
from gpuclient.documents import yaml_file
from gpuclient import exceptions
from gpuclient.model import catalogue
from gpuclient.model import description_reader
from gpuclient.model import placement_write
from gpuclient.model import project_file
from gpuclient.operations import placement_journal
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import spec_reader

_DATA = pathlib.Path(gpuclient.__file__).parent / 'data'
_ABSENT = object()
#: Replacements for each value of an example.
_VALUES = (
    _ABSENT,
    None,
    True,
    False,
    -1,
    0,
    1,
    5,
    2.5,
    2**64,
    '',
    'x',
    'type-PF',
    '0-3',
    '1G',
    '{{ x }}',
    'a\nb',
    [],
    [1],
    ['x'],
    [None],
    [{}],
    {},
    {'x': 1},
    {'x': 'y'},
)


def _places(
    value: typing.Any, place: tuple[typing.Any, ...] = ()
) -> collections.abc.Iterator[tuple[typing.Any, ...]]:
    """Yield the path of each value in an example; of lists, the first item."""
    yield place
    items: collections.abc.Iterable[tuple[typing.Any, typing.Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value[:1])
    for key, item in items:
        yield from _places(item, (*place, key))


def _changed(
    example: typing.Any, place: tuple[typing.Any, ...], value: typing.Any
) -> typing.Any:
    """Return a copy of an example with another value at a path."""
    if not place:
        return {} if value is _ABSENT else value
    changed = copy.deepcopy(example)
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    if value is _ABSENT:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    return changed


class TestPackage(testtools.TestCase):
    def test_every_data_file_is_package_data(self) -> None:
        """This is also true for a wheel that is built without Git."""
        setup = configparser.ConfigParser()
        setup.read(_DATA.parents[1] / 'setup.cfg')
        patterns = dict(
            line.split(' = ')
            for line in setup['files']['package_data'].strip().splitlines()
        )
        paths = [
            path
            for path in _DATA.rglob('*')
            if path.suffix not in {'', '.py', '.pyc', '.rst'}
        ]
        self.assertNotEqual([], paths)
        for path in paths:
            package = '.'.join(path.relative_to(_DATA.parents[1]).parts[:-1])
            self.assertTrue(path.match(patterns[package]), path)


class SchemaCase(testtools.TestCase):
    """A file format with its schema and its reader."""

    NAME = ''
    EXAMPLES: tuple[typing.Any, ...] = ()
    #: Keys of mappings that may have any keys.
    OPEN: tuple[str, ...] = ()

    def read(self, content: typing.Any) -> None:
        """Read the data of a file.

        :raises gpuclient.exceptions.InvalidData: It is refused.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        if not self.NAME:
            return
        self.schema = data.load(f'schema/{self.NAME}.json')
        self.validator = jsonschema.Draft202012Validator(self.schema)

    def _is_read(self, content: typing.Any) -> bool:
        try:
            self.read(content)
        except exceptions.InvalidValue:
            return False
        return True

    def _check(self) -> None:
        jsonschema.Draft202012Validator.check_schema(self.schema)
        self.assertNotEqual((), self.EXAMPLES)
        for example in self.EXAMPLES:
            self.read(example)
            self.validator.validate(example)

    def _check_changes(self) -> None:
        """Change every value of the examples."""
        accepted = refused = 0
        for example in self.EXAMPLES:
            for place in _places(example):
                for value in _VALUES:
                    content = _changed(example, place, value)
                    if self._is_read(content):
                        accepted += 1
                        self.validator.validate(content)
                    else:
                        refused += 1
        self.assertLess(0, accepted)
        self.assertLess(0, refused)

    def _check_unknown_keys(self) -> None:
        """Add a key to every mapping of the examples."""
        for example in self.EXAMPLES:
            for place in _places(example):
                content = copy.deepcopy(example)
                parent = content
                for key in place:
                    parent = parent[key]
                if not isinstance(parent, dict) or ({*place} & {*self.OPEN}):
                    continue
                parent['unknown_key'] = 1
                self.assertFalse(self._is_read(content), place)
                self.assertFalse(self.validator.is_valid(content), place)


class TestCatalogue(SchemaCase):
    NAME = 'catalogue'
    EXAMPLES = (
        {
            '$schema': 'https://example.com/catalogue.json',
            'sources': {'box': 'its box'},
            'models': {
                'nvidia_a40': {
                    'device_types': ['type-PCI'],
                    'notes': None,
                },
                'x_1': {
                    'name': 'X 1',
                    'designation': 'X',
                    'vendor_id': '10DE',
                    'product_id': 'ffff',
                    'architecture': 'Y',
                    'device_types': ['type-PF', 'type-PCI'],
                    'memory_mb': 8192,
                    'bars': [
                        {'number': 0, 'size': 2**24},
                        {'number': 1, 'size': 2**33, 'prefetchable': True},
                    ],
                    'nvswitch': False,
                    'driver': 'nvidia',
                    'driver_floor': 535,
                    'open_kernel_modules': 'required',
                    'form_factor': 'PCIe',
                    'audio_product_id': '1aef',
                    'subsystem_ids': ['10DE:0x157E'],
                    'notes': 'A note',
                    'sources': ['box', 'a label'],
                },
            },
        },
    )

    def read(self, content: typing.Any) -> None:
        catalogue.merged(catalogue.builtin(), content, 'path')

    def test_examples(self) -> None:
        self._check()

    def test_changes(self) -> None:
        self._check_changes()

    def test_unknown_keys(self) -> None:
        self._check_unknown_keys()

    def test_tables_of_the_package(self) -> None:
        paths = list((_DATA / 'gpus').glob('*.json'))
        self.assertEqual(set(catalogue.TABLES), {path.stem for path in paths})
        for path in paths:
            content = json.loads(path.read_text())
            self.validator.validate(content)
            self.assertEqual('../schema/catalogue.json', content['$schema'])
            # Every text is used by a record.
            used = {
                text
                for fields in content['models'].values()
                for text in fields['sources']
            }
            self.assertEqual(set(), set(content['sources']) - used, path)
            for slug, fields in content['models'].items():
                self.assertEqual(
                    slug, '_'.join(catalogue.name_words(fields['name']))
                )


_EXAMPLES = _DATA.parents[1] / 'doc/source/user/examples'


class TestDescription(SchemaCase):
    NAME = 'description'
    EXAMPLES = tuple(
        yaml_file.load(str(path)) for path in sorted(_EXAMPLES.glob('*.yaml'))
    )
    OPEN = (
        'ansible_vars',
        'fixed_ips',
        'labels',
        'network_data',
        'preprovisioning_network_data',
    )

    def read(self, content: typing.Any) -> None:
        description_reader.parse(content, catalogue.builtin())

    def test_examples(self) -> None:
        self.assertEqual(3, len(self.EXAMPLES))
        self._check()

    def test_changes(self) -> None:
        self._check_changes()

    def test_unknown_keys(self) -> None:
        self._check_unknown_keys()


class TestRehearsal(SchemaCase):
    NAME = 'rehearsal'
    EXAMPLES = (
        spec.default(2, 2),
        {
            'control_plane': {
                'config': ['[a]', '[b]'],
                'conductor': [{'config': '[c]'}, {}],
                'scheduler': {'config': '[c]', 'template': '[d]'},
                'transport_url': 'rabbit://nova:x@127.0.0.1:5672/',
            },
            'hosts': [
                {
                    'name': 'a',
                    'hypervisor_hostname': 'a.example.com',
                    'disk_gb': 10,
                    'numa': [
                        {
                            'cpus': '0-3',
                            'memory_mb': 4096,
                            'threads': 1,
                            'hugepages': [{'size_kb': 2048, 'total': 5}],
                        },
                    ],
                    'devices': [
                        {
                            'address': '0000:04:00.0',
                            'vendor_id': '10de',
                            'product_id': '20f1',
                            'type': 'type-PF',
                            'numa_node': 0,
                            'vfs': 2,
                            'vf_product_id': '20f2',
                        },
                        {
                            'address': '0000:05:00.1',
                            'vendor_id': '10de',
                            'product_id': '20f2',
                            'type': 'type-VF',
                            'parent_address': '0000:05:00.0',
                        },
                    ],
                    'config': '[pci]',
                },
                {'name': 'b', 'vcpus': 4, 'memory_mb': 2048},
            ],
        },
    )

    def read(self, content: typing.Any) -> None:
        spec_reader.read(content)

    def test_examples(self) -> None:
        self._check()

    def test_changes(self) -> None:
        self._check_changes()

    def test_unknown_keys(self) -> None:
        self._check_unknown_keys()


class TestProjects(SchemaCase):
    NAME = 'projects'
    EXAMPLES = (
        {
            '$schema': 'https://example.com/projects.json',
            'domain': 'default',
            'projects': [
                {
                    'name': 'research',
                    'domain': 'lab',
                    'flavors': ['gpu.1', 'gpu.2'],
                    'limits': {'nvidia_a100': 4, 'servers': -1},
                    'quotas': {'cores': 8, 'instances': 2, 'ram': 512},
                    'server_groups': {'ring': 'soft-affinity'},
                    'aggregates': ['gpus'],
                },
                {'id': '1f', 'state': 'absent'},
            ],
        },
    )
    OPEN = ('limits', 'server_groups')

    def read(self, content: typing.Any) -> None:
        project_file.parse(content)

    def test_examples(self) -> None:
        self._check()

    def test_changes(self) -> None:
        self._check_changes()

    def test_unknown_keys(self) -> None:
        self._check_unknown_keys()


_UUID = '6f1a2c3d-0000-4000-8000-00000000000'
_ALLOCATIONS = {
    'allocations': {f'{_UUID}1': {'resources': {'CUSTOM_A': 1}}},
    'consumer_generation': 3,
    'consumer_type': 'INSTANCE',
    'project_id': 'p',
    'user_id': 'u',
}
_WRITES = (
    {
        'write': 'allocations',
        'consumer': f'{_UUID}2',
        'before': _ALLOCATIONS,
        'after': {'allocations': {}},
    },
    {
        'write': 'reserved',
        'provider': f'{_UUID}1',
        'name': 'host_0000:04:00.0',
        'before': {'CUSTOM_A': 1},
        'after': {'CUSTOM_A': 0},
    },
    {
        'write': 'delete',
        'provider': {
            'uuid': f'{_UUID}1',
            'name': 'host_0000:04:00.0',
            'parent': f'{_UUID}3',
            'inventories': {
                'CUSTOM_A': {
                    'total': 1,
                    'reserved': 0,
                    'min_unit': 1,
                    'max_unit': 1,
                    'step_size': 1,
                    'allocation_ratio': 1.0,
                }
            },
            'traits': ['CUSTOM_FAST'],
            'aggregates': [f'{_UUID}4'],
        },
    },
)


def _file(kind: str, **more: typing.Any) -> dict[str, typing.Any]:
    return {
        'format': kind,
        'version': 1,
        'cloud': {'auth_url': 'http://cloud/v3', 'region': None},
        'started': '2026-11-29T11:42:45+00:00',
        **more,
    }


class PlacementFileCase(SchemaCase):
    #: Keys that are IDs and resource classes.
    OPEN = (
        'allocations',
        'resources',
        'inventories',
        'generations',
        'others',
    )


class TestPlacementPlan(PlacementFileCase):
    NAME = 'placement_plan'
    EXAMPLES = tuple(
        _file(
            placement_write.PLAN,
            steps=[
                {
                    'action': 'remove',
                    'codes': ['GPU610'],
                    'host': 'host',
                    'problem': 'It is wrong.',
                    'devices': [
                        {
                            'id': f'{_UUID}1',
                            'host': 'host',
                            'address': '0000:04:00.0',
                            'resource_class': 'CUSTOM_A',
                        }
                    ],
                    'holder': {'kind': 'server', 'name': 'n', 'host': 'h'},
                    'generations': {f'{_UUID}1': 4},
                    'expected': 0,
                    **write,
                }
            ],
        )
        for write in _WRITES
    )

    def read(self, content: typing.Any) -> None:
        placement_journal.read_document(content, placement_write.PLAN)

    def test_examples(self) -> None:
        self._check()

    def test_changes(self) -> None:
        self._check_changes()

    def test_unknown_keys(self) -> None:
        self._check_unknown_keys()


class TestPlacementJournal(PlacementFileCase):
    NAME = 'placement_journal'
    EXAMPLES = tuple(
        _file(
            placement_write.JOURNAL,
            state='done',
            entries=[
                {
                    'state': 'done',
                    'time': '2026-11-29T11:42:46+00:00',
                    'codes': ['GPU612'],
                    'waits': True,
                    'temporary': False,
                    'others': {f'{_UUID}1': {f'{_UUID}5': 1}},
                    **(
                        {'result': _ALLOCATIONS}
                        if write['write'] == 'allocations'
                        else {}
                    ),
                    **write,
                }
            ],
        )
        for write in _WRITES
    )

    def read(self, content: typing.Any) -> None:
        placement_journal.read_document(content, placement_write.JOURNAL)

    def test_examples(self) -> None:
        self._check()

    def test_changes(self) -> None:
        self._check_changes()

    def test_unknown_keys(self) -> None:
        self._check_unknown_keys()
