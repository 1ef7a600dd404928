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

"""Run a case as the command that it names would be."""

import argparse
import dataclasses
import io
import json
import os
import pathlib
import types
import typing

from gpuclient import exceptions
from gpuclient.host import bundle
from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.model import naming
from gpuclient.osc.v1 import alias
from gpuclient.osc.v1 import config
from gpuclient.osc.v1 import device_spec
from gpuclient.osc.v1 import host
from gpuclient.osc.v1 import model
from gpuclient.osc.v1 import upgrade
from gpuclient.rules import flavor as flavor_rules
from tests.field import case as field_case
from tests.field import hosts
from tests.field import nova_start

Row: typing.TypeAlias = dict[str, typing.Any]


@dataclasses.dataclass(frozen=True)
class Found:
    """One finding that a command has shown."""

    severity: str
    code: str
    file: str | None
    message: str

    def __str__(self) -> str:
        place = f' {self.file}' if self.file else ''
        return f'{self.severity} {self.code}{place}: {self.message}'


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command has said."""

    findings: tuple[Found, ...] = ()
    #: Its error, where it ends with one.
    refused: str | None = None
    #: What it shows, other than findings.
    value: typing.Any = None


def run(case: field_case.Case, folder: pathlib.Path) -> Answer:
    """Run a case in an empty folder, which is the current one."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A line end of another system is part of the case.
        path.write_bytes(content.encode())
    try:
        return _COMMANDS[case.command](case)
    except exceptions.GPUError as exc:
        return Answer(refused=str(exc))


def problems(case: field_case.Case, answer: Answer) -> list[str]:
    """Return how an answer differs from the right one."""
    problems = []
    if case.refused is None and answer.refused is not None:
        problems.append(f'refused: {answer.refused}')
    elif case.refused is not None:
        expected = field_case.Expected('error', None, None, case.refused)
        if answer.refused is None:
            problems.append(f'not refused, wanted /{case.refused}/')
        elif not expected.matches('error', '', None, answer.refused):
            problems.append(f'refused otherwise: {answer.refused}')
    for wanted in case.expected:
        if not any(_matches(wanted, finding) for finding in answer.findings):
            problems.append(f'missed: {wanted}')
    for finding in answer.findings:
        if not any(_matches(wanted, finding) for wanted in case.expected):
            problems.append(f'false alarm: {finding}')
    if case.answer is not None and case.answer != answer.value:
        problems.append(f'answer {answer.value!r}, wanted {case.answer!r}')
    return problems


def nova_disagrees(case: field_case.Case, folder: pathlib.Path) -> list[str]:
    """Return where Nova does not do what a case says that it does."""
    disagreements = nova_start.disagreements_of_flavor(case.inputs)
    for start in case.starts:
        refusal = nova_start.refusal(
            start.service, [os.fspath(folder / name) for name in start.files]
        )
        wanted = start.refuses and field_case.Expected(
            'error', None, None, start.refuses
        )
        if (refusal is None) != (wanted is None) or (
            wanted
            and refusal is not None
            and not wanted.matches('error', '', None, refusal)
        ):
            disagreements.append(
                f'{start.service} of {", ".join(start.files)}: {refusal}'
            )
    return disagreements


def _matches(wanted: field_case.Expected, finding: Found) -> bool:
    return wanted.matches(
        finding.severity, finding.code, finding.file, finding.message
    )


def _execute(command: typing.Any, *arguments: str) -> typing.Any:
    """Return what a command prints as JSON."""
    app = types.SimpleNamespace(
        stdout=io.StringIO(),
        stderr=io.StringIO(),
        options=argparse.Namespace(),
    )
    instance = command(app, argparse.Namespace())
    parsed = instance.get_parser('x').parse_args([*arguments, '-f', 'json'])
    instance.run(parsed)
    return json.loads(app.stdout.getvalue())


def _check_config(case: field_case.Case) -> Answer:
    rows: list[Row] = _execute(config.CheckConfig, *(case.arguments or ('.',)))
    return Answer(
        tuple(
            Found(
                row['Severity'],
                row['Code'],
                os.path.normpath(row['File']),
                row['Message'],
            )
            for row in rows
        )
    )


def _check_upgrade(case: field_case.Case) -> Answer:
    rows: list[Row] = _execute(upgrade.CheckUpgrade, *case.arguments)
    return Answer(
        value=[
            [
                row['Effect'],
                row['Release'],
                row['Code'],
                os.path.normpath(row['File']),
                row['Line'],
            ]
            for row in rows
        ]
    )


def _check_host(case: field_case.Case) -> Answer:
    tree = hosts.build(case.inputs['host'])
    bundle.write('host.tar', tree.collected())
    rows: list[Row] = _execute(host.CheckHost, 'host.tar', *case.arguments)
    return Answer(
        tuple(
            Found(
                {'FAIL': 'error', 'WARN': 'warning'}[row['Result']],
                row['Code'],
                row['Device'],
                f'{row["Evidence"]}; {row["Remedy"]}',
            )
            for row in rows
            if row['Code'] is not None
        )
    )


def _check_flavor(case: field_case.Case) -> Answer:
    flavor = _flavor({'vcpus': 8, 'ram': 65536, 'disk': 100, **case.inputs})
    return Answer(
        tuple(
            Found(str(finding.severity), finding.code, None, finding.message)
            for finding in flavor_rules.check(
                flavor, case.inputs.get('device_classes')
            )
        )
    )


def _flavor(values: Row) -> flavor_model.Flavor:
    return flavor_model.Flavor(
        id='1',
        name='gpu',
        vcpus=values['vcpus'],
        ram=values['ram'],
        disk=values['disk'],
        is_public=False,
        extra_specs=values['extra_specs'],
    )


def _forecast(case: field_case.Case) -> Answer:
    """Return how many more servers of a flavor fit."""
    aliases = [alias_model.parse(line) for line in case.inputs['aliases']]
    forecast = capacity.forecast(
        _flavor(case.inputs['flavor']),
        [
            _compute_node(number, values)
            for number, values in enumerate(case.inputs['hosts'])
        ],
        {alias.name: alias for alias in aliases},
        zone=case.inputs.get('zone'),
    )
    shown = {'count': forecast.count, 'exact': forecast.exact}
    return Answer(value={key: shown[key] for key in case.answer})


def _compute_node(number: int, values: Row) -> capacity.HostCapacity:
    name = f'gpu{number}'
    resources = [
        inventory.Resource(resource_class, values[key], 0)
        for resource_class, key in (
            ('VCPU', 'vcpus'),
            ('PCPU', 'pcpus'),
            ('MEMORY_MB', 'memory'),
            ('DISK_GB', 'disk'),
        )
        if key in values
    ]
    cards = [
        *((ids, 0) for ids in values['devices']),
        *((ids, 1) for ids in values.get('taken', ())),
    ]
    return capacity.HostCapacity(
        inventory.ComputeProvider(
            name, name, tuple(resources), (*values.get('traits', ()),)
        ),
        name,
        tuple(
            inventory.Device(
                uuid=f'{name}-{slot}',
                name=f'{name}_0000:{slot:02X}:00.0',
                root_uuid=name,
                host=name,
                address=f'0000:{slot:02x}:00.0',
                resource_class=naming.resource_class(*ids.split(':')),
                total=1,
                reserved=0,
                used=used,
                traits=('COMPUTE_MANAGED_PCI_DEVICE',),
            )
            for slot, (ids, used) in enumerate(cards)
        ),
        (),
        values.get('closed', ''),
    )


def _warned(case: field_case.Case, command: typing.Any) -> Answer:
    """Run a command that shows warnings with their codes."""
    shown = _execute(command, *case.arguments)
    findings = []
    for text in shown['warnings']:
        code, _colon, message = text.partition(': ')
        findings.append(Found('warning', code, None, message))
    return Answer(tuple(findings))


def _create_alias(case: field_case.Case) -> Answer:
    return _warned(case, alias.CreateAlias)


def _create_device_spec(case: field_case.Case) -> Answer:
    return _warned(case, device_spec.CreateDeviceSpec)


def _list_models(case: field_case.Case) -> Answer:
    rows: list[Row] = _execute(model.ListModel)
    known = {f'{row["Vendor ID"]}:{row["Product ID"]}' for row in rows}
    return Answer(value=sorted(known & set(case.inputs['ids'])))


_COMMANDS = {
    'alias create': _create_alias,
    'capacity': _forecast,
    'config check': _check_config,
    'device spec create': _create_device_spec,
    'flavor': _check_flavor,
    'host check': _check_host,
    'model list': _list_models,
    'upgrade check': _check_upgrade,
}
