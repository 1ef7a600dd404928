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
"""Our reading of [pci]device_spec, against ``nova.pci.whitelist``.

Also the devices that nova-compute reports to Placement, against
``nova.compute.pci_placement_translator``.
"""

import random
import typing

import jsonschema
from nova import exception as nova_exception
from nova.pci import whitelist
import os_resource_classes
import os_traits
from placement.schemas import resource_class as resource_class_schema
from placement.schemas import trait as trait_schema

from gpuclient import exceptions
from gpuclient.model import device_spec
from gpuclient.model import release as release_model
from gpuclient.rules import device_spec as device_spec_rules
from tests.unit.differential import comparing
from tests.unit.differential import making
from tests.unit.differential import nova_side
from tests.unit.differential import quoted


def generate(source: random.Random) -> comparing.Case:
    host = making.host(source)
    return {
        'host': host,
        'specs': making.specs(
            source, source.choice((0, 0.05, 0.2)), host['devices']
        ),
        'report': source.random() < 0.6,
    }


def of_nova(case: comparing.Case, host: device_spec.HostDevices) -> typing.Any:
    """Return tags, first matches and what is reported; or the error."""
    with nova_side.options(report=case['report']), nova_side.on(host):
        try:
            specs = whitelist.Whitelist(case['specs'])
        except (nova_exception.NovaException, *nova_side.CRASHES) as exc:
            return exc
        return (
            [spec.get_tags() for spec in specs.specs],
            nova_side.first_matches(specs, host.devices),
            _reported(specs, host),
        )


def _reported(
    specs: whitelist.Whitelist, host: device_spec.HostDevices
) -> typing.Any:
    try:
        view = nova_side.view(specs, map(nova_side.record, host.devices))
    except (nova_exception.NovaException, *nova_side.CRASHES) as exc:
        return exc
    return [
        (name, provider.resource_class, len(provider.devs), provider.traits)
        for name, provider in sorted(view.rps.items())
    ]


def of_ours(case: comparing.Case, host: device_spec.HostDevices) -> typing.Any:
    return verdict(case, host, nova_side.RELEASE)


def verdict(
    case: comparing.Case,
    host: device_spec.HostDevices,
    release: release_model.Release,
) -> typing.Any:
    """Return our verdict for a release."""
    try:
        specs = device_spec.parse_all(
            case['specs'],
            report_in_placement=case['report'],
            host=host,
            release=release,
        )
    except exceptions.InvalidDeviceSpec as exc:
        return exc
    reported: typing.Any
    try:
        reported = [
            (
                provider.name,
                provider.resource_class,
                provider.total,
                set(provider.traits),
            )
            for provider in device_spec.providers('host', specs, host.devices)
        ]
    except exceptions.InvalidDeviceSpec as exc:
        reported = exc
    return (
        [spec.tags for spec in specs],
        first_matches(specs, host.devices),
        reported,
    )


def first_matches(
    specs: typing.Sequence[device_spec.DeviceSpec],
    devices: typing.Iterable[device_spec.HostDevice],
) -> list[int | None]:
    """Return the number of the entry that we match with each device."""
    matches = []
    for device in devices:
        match = device_spec.first_match(specs, device)
        # By identity: entries may be equal.
        matches.append(
            next(
                (number for number, spec in enumerate(specs) if spec is match),
                None,
            )
        )
    return matches


def accepts(case: comparing.Case) -> bool:
    found = of_nova(case, making.of_case(case['host']))
    # nova-compute fails neither at startup nor when it reports.
    return not (
        isinstance(found, Exception)
        or (case['report'] and isinstance(found[2], Exception))
    )


def compare(case: comparing.Case) -> str | None:
    return compare_on(case, making.of_case(case['host']))


def compare_on(
    case: comparing.Case, host: device_spec.HostDevices
) -> str | None:
    """Return how the sides differ on a host."""
    nova_says, ours = of_nova(case, host), of_ours(case, host)
    difference = _differ('start', nova_says, ours)
    if difference or isinstance(nova_says, Exception):
        return difference
    if nova_says[:2] != ours[:2]:
        return f'matches: Nova says {nova_says[:2]}, we say {ours[:2]}'
    return _differ('report', nova_says[2], ours[2]) or _compare_rules(
        case, host, nova_says
    )


def _compare_rules(
    case: comparing.Case, host: device_spec.HostDevices, nova_says: typing.Any
) -> str | None:
    """Compare findings about entries: GPU203, 204, 205 and 302."""
    specs = device_spec.parse_all(
        case['specs'],
        report_in_placement=case['report'],
        host=host,
        release=nova_side.RELEASE,
    )
    codes = [
        {finding.code for finding in device_spec_rules.check_reporting(spec)}
        for spec in specs
    ]
    matched = [
        codes[number]
        for number in nova_says[1]
        if number is not None and specs[number].in_placement
    ]
    reported = nova_says[2]
    if isinstance(reported, nova_side.CRASHES):
        expected = any('GPU205' in spec_codes for spec_codes in matched)
        return None if expected else f'rules: no GPU205: {reported!r}'
    if isinstance(reported, Exception):
        expected = 'devname' in str(reported)
        if expected == any('GPU302' in spec_codes for spec_codes in codes):
            return None
        return f'rules: {codes}: {reported!r}'
    if any('GPU205' in spec_codes for spec_codes in matched):
        return 'rules: GPU205, and Nova reports all'
    refused = any(
        not _is_class(resource_class) or not all(map(_is_trait, traits))
        for _name, resource_class, _total, traits in reported
    )
    if refused != any(
        spec_codes & {'GPU203', 'GPU204'} for spec_codes in matched
    ):
        return f'rules: {matched}: {reported}'
    return None


def _is_class(name: str) -> bool:
    """Return whether Placement accepts a resource class."""
    return name in os_resource_classes.STANDARDS or _is_valid(
        {'name': name}, resource_class_schema.PUT_RC_SCHEMA_V1_2
    )


def _is_trait(name: str) -> bool:
    """Return whether Placement accepts a trait."""
    return not os_traits.check_traits([name])[1] or _is_valid(
        name, trait_schema.CUSTOM_TRAIT
    )


def _is_valid(value: object, schema: dict[str, typing.Any]) -> bool:
    validator = jsonschema.validators.validator_for(schema)
    return bool(validator(schema).is_valid(value))


def _differ(
    aspect: str, nova_says: typing.Any, ours: typing.Any
) -> str | None:
    """Return how two verdicts differ, including the text of Nova's errors."""
    if not isinstance(nova_says, Exception):
        if isinstance(ours, Exception) or (
            aspect == 'report' and nova_says != ours
        ):
            return f'{aspect}: Nova says {nova_says!r}, we say {ours!r}'
        return None
    same = isinstance(ours, Exception)
    if same and isinstance(nova_says, nova_exception.NovaException):
        # Some only contain the address, or the name of a Python object.
        same = (
            'not found' in str(ours)
            if isinstance(nova_says, nova_exception.PciDeviceNotFoundById)
            else quoted.as_ours(nova_says, ours) == str(ours)
        )
    if same:
        return None
    return f'{aspect}: Nova says {nova_says!r}, we say {ours!r}'


_PF = {
    'address': '0000:04:00.0',
    'vendor_id': '10de',
    'product_id': '20f1',
    'device_type': 'type-PF',
}
_VF = {
    **_PF,
    'address': '0000:04:02.3',
    'product_id': '20f2',
    'device_type': 'type-VF',
    'parent': '0000:04:00.0',
}
EXAMPLES = tuple(
    {
        'host': {
            'devices': [_PF, _VF],
            'interfaces': {'eth0': '0000:04:00.0'},
        },
        'specs': specs,
        'report': True,
    }
    for specs in (
        ['{"devname": ["eth0"]}'],
        ['{"devname": {"eth0": 1}, "physical_network": "net"}'],
        # Linux has no file "product" in sysfs.
        ['{"devname": "eth0", "remote_managed": "1", "product_id": "20f2"}'],
        # The conflict of PF and VF comes before class and traits.
        [
            '{"address": "0000:04:00.0", "product_id": "20f1"}',
            '{"product_id": "20f2", "resource_class": 7}',
        ],
        [
            '{"product_id": "20f2", "traits": "a"}',
            '{"address": "0000:04:00.0", "traits": ["b"]}',
        ],
    )
)
COMPARISON = comparing.Comparison(
    'device_spec', generate, compare, accepts, EXAMPLES, weight=2
)
