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

"""The options of a process with a file and drop-ins, against oslo.config.

Old names, values of several files, sections in any case, continued lines and
values that oslo.config refuses are among the cases.
"""

import collections.abc
import contextlib
import functools
import os
import random
import shutil
import tempfile
import typing

import nova.conf
from oslo_config import cfg

from gpuclient.documents import tree
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import nova_schema
from gpuclient.rules import configuration as configuration_rules
from gpuclient.rules import options as options_rules
from tests.unit.differential import comparing
from tests.unit.differential import nova_side

_BOOLEANS = (
    'True', 'false', 'ON', 'yes', '0', '1', ' true ', '"true"', 'no', 'off',
)  # fmt: skip
#: oslo.config refuses these, and the service that reads them ends.
_WRONG = ('y', 't', 'enabled', '', '-1', '$nosuch', '$pci.nosuch', 'None')
_OPTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ('pci', 'alias', ('{"name": "a"}', '{"name": "b%s"}', "'{}'", 'x = y')),
    ('DEFAULT', 'pci_alias', ('{"name": "old"}',)),
    ('pci', 'device_spec', ('{"address": "1"}', '{"address": "2"}', '{}')),
    ('pci', 'passthrough_whitelist', ('{"address": "3"}',)),
    ('DEFAULT', 'pci_passthrough_whitelist', ('{"address": "4"}',)),
    ('pci', 'report_in_placement', _BOOLEANS),
    ('filter_scheduler', 'pci_in_placement', _BOOLEANS),
    ('pci', 'device_specs', ('{"address": "5"}',)),
    ('PCI', 'alias', ('{"name": "upper"}',)),
    ('Pci', 'report_in_placement', _BOOLEANS),
    ('pci', 'alias', ('{"name": "$$a"}', '{"name": "$nosuch"}')),
    ('pci', 'report_in_placement', _WRONG),
    ('filter_scheduler', 'pci_in_placement', _WRONG),
)


#: For options of any type; some are valid for several types, some for none.
_OF_ANY_TYPE = (
    *('x', 'none', 'True', '1', '29', '256', '65536', '1.5', 'qcow2  # x'),
    *('500,503', '500,x', 'a:1,b', 'a:1,a:2', '::', '0.0.0.0  # x', 'my_host'),
    *('http://a/', 'ftp://a', 'day@3', '1:2', 'a b', 'kvm,', ''),
)


@functools.cache
def _typed() -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """Return all options of Nova, with values that some of them accept."""
    groups = {'DEFAULT': nova.conf.CONF._opts} | {
        name: group._opts for name, group in nova.conf.CONF._groups.items()
    }
    typed = []
    for section, entries in sorted(groups.items()):
        for entry in entries.values():
            option = entry['opt']
            known = nova_schema.find(section, option.name.replace('-', '_'))
            if (
                entry.get('cli')
                or known is None
                or known.kind == nova_schema.OTHER
                # Its items are checked with os-resource-classes.
                or option.name == 'unified_limits_resource_list'
            ):
                continue
            choices = getattr(option.type, 'choices', None) or ()
            typed.append(
                (section, option.dest, (*_OF_ANY_TYPE, *map(str, choices)))
            )
    return tuple(typed)


def generate(source: random.Random) -> comparing.Case:
    return {
        'files': [
            [
                [section, name, source.choice(values)]
                for section, name, values in (
                    *source.choices(_OPTIONS, k=source.randrange(1, 6)),
                    *source.choices(_typed(), k=source.randrange(3)),
                )
            ]
            for _ in range(source.choice((1, 1, 2, 3)))
        ]
    }


@functools.cache
def options() -> cfg.ConfigOpts:
    """Return Nova's options, apart from those of the running tests."""
    conf = cfg.ConfigOpts()
    conf.register_opts(_registered(nova.conf.CONF._opts))
    for name, group in nova.conf.CONF._groups.items():
        conf.register_opts(_registered(group._opts), group=name)
    return conf


def _registered(
    entries: dict[str, dict[str, typing.Any]],
) -> list[typing.Any]:
    return [entry['opt'] for entry in entries.values() if not entry['cli']]


def _text(lines: list[list[str]]) -> str:
    return ''.join(
        f'[{section}]\n{name} = {value}\n' for section, name, value in lines
    )


@contextlib.contextmanager
def _drop_ins(case: comparing.Case) -> collections.abc.Iterator[str]:
    """Write the files of a case."""
    folder = tempfile.mkdtemp()
    try:
        drop_ins = os.path.join(folder, 'nova-compute.conf.d')
        os.mkdir(drop_ins)
        for number, lines in enumerate(case['files']):
            path = os.path.join(drop_ins, f'{number:02}-gpu.conf')
            with open(path, 'w') as stream:
                stream.write(_text(lines))
        yield drop_ins
    finally:
        shutil.rmtree(folder)


def accepts(case: comparing.Case) -> bool:
    with _drop_ins(case) as drop_ins:
        try:
            _of_oslo(drop_ins, _names(case))
        except cfg.Error:
            return False
    return True


def compare(case: comparing.Case) -> str | None:
    with _drop_ins(case) as drop_ins:
        ours = _of_ours(drop_ins)
        try:
            nova_says = _of_oslo(drop_ins, _names(case))
        except cfg.Error as exc:
            if ours is None or _has_newer_library(case):
                return None
            return f'refused: {exc}, not by us'
    if nova_says != ours:
        return f'options: oslo.config says {nova_says}, we say {ours}'
    return None


def _has_newer_library(case: comparing.Case) -> bool:
    """Return whether an option is that of a library of a later release.

    Nova runs with the newest libraries here, and rules do not follow types
    that they did not have.
    """
    return any(
        known is not None and not known.holds_in(nova_side.RELEASE.number)
        for section, name in _names(case)
        for known in [nova_schema.find(section, name)]
    )


def _names(case: comparing.Case) -> set[tuple[str, str]]:
    """Return the options of any type in a case."""
    known = {(section, name) for section, name, _values in _typed()}
    return known & {
        (section, name)
        for lines in case['files']
        for section, name, _value in lines
    }


def _of_oslo(
    folder: str, names: set[tuple[str, str]]
) -> dict[str, typing.Any]:
    conf = options()
    conf(
        ['--config-dir', folder],
        project='test',
        default_config_files=[],
        default_config_dirs=[],
    )
    # A service logs all options when it starts, which reads them.
    for section, name in names:
        if section == 'DEFAULT':
            conf[name]
        else:
            conf[section][name]
    return {
        'alias': list(conf.pci.alias),
        'device_spec': list(conf.pci.device_spec),
        'report_in_placement': conf.pci.report_in_placement,
        # Nova 26 does not have it.
        'pci_in_placement': (
            'pci_in_placement' in conf.filter_scheduler
            and conf.filter_scheduler.pci_in_placement
        ),
    }


def _of_ours(folder: str) -> dict[str, typing.Any] | None:
    """Return our values; None if the service does not start."""
    whole = tree.read([folder]).deployment
    if any(
        # oslo.config refuses the value.
        located.finding.code == 'GPU331'
        for located in configuration_rules.check(
            whole, release=nova_side.RELEASE
        )
    ):
        return None
    process = (
        whole.processes[0]
        if whole.processes
        else deployment.Process((), configuration.Place(folder))
    )
    return {
        'alias': _texts(process, process.aliases),
        'device_spec': _texts(process, process.device_specs),
        'report_in_placement': bool(process.report_in_placement),
        'pci_in_placement': nova_side.effective(
            bool(process.pci_in_placement)
        ),
    }


def _texts(
    process: deployment.Process,
    settings: typing.Iterable[configuration.Setting],
) -> list[str | None]:
    return [
        options_rules.resolve(process, 'pci', setting) for setting in settings
    ]


EXAMPLES = (
    # oslo.config reads the values of old names first, in any order.
    {
        'files': [
            [
                ['pci', 'device_spec', '{"address": "1"}'],
                ['pci', 'passthrough_whitelist', '{"address": "3"}'],
            ]
        ]
    },
    {
        'files': [
            [
                ['pci', 'passthrough_whitelist', '{"address": "3"}'],
                ['DEFAULT', 'pci_passthrough_whitelist', '{"address": "4"}'],
            ]
        ]
    },
)
COMPARISON = comparing.Comparison(
    'options', generate, compare, accepts, EXAMPLES
)
