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
"""Which devices match which alias: GPU122, 213, 215, 307, 309 and 902.

Against Nova's own pools (``nova.pci.stats.PciDeviceStats``), its requests of
Placement (``nova.objects.request_spec``) and its providers
(``nova.compute.pci_placement_translator``), on device trees. Our verdict for
all hosts is compared with the host of the case, and with a host that has
the device that we name as an example.
"""

import dataclasses
import random
import typing

from nova import exception as nova_exception

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import device_sets
from gpuclient.model import device_spec
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import alias_matching
from gpuclient.rules import placement_tracking
from tests.unit.differential import comparing
from tests.unit.differential import making
from tests.unit.differential import nova_side

_PLACE = configuration.Place('nova.conf')
#: An interface of an example; no case has this address by chance.
_ELSEWHERE = 'fffe:ff:1f.7'


def generate(source: random.Random) -> comparing.Case:
    wrong = source.choice((0, 0, 0.05))
    in_placement = source.random() < 0.5
    host = making.host(source)
    devices = host['devices']
    return {
        'host': host,
        'specs': making.specs(source, wrong, devices),
        'aliases': making.alias_texts(source, wrong, devices),
        'in_placement': in_placement,
        'report': source.random() < (0.9 if in_placement else 0.3),
    }


def accepts(case: comparing.Case) -> bool:
    """Return whether a server can have a device by one of the aliases."""
    host = making.of_case(case['host'])
    try:
        in_placement = nova_side.effective(case['in_placement'])
        asked = nova_side.aliases(case['aliases'], in_placement)
    except nova_exception.PciInvalidAlias:
        return False
    with nova_side.on(host):
        compute = nova_side.compute(
            case['specs'],
            host.devices,
            dict(host.interfaces),
            case['report'],
        )
    if isinstance(compute, Exception):
        return False
    try:
        return any(
            compute.serves(specs, in_placement)
            for _policy, specs in asked.values()
        )
    except nova_side.CRASHES:
        return False


def compare(case: comparing.Case) -> str | None:
    host = making.of_case(case['host'])
    report = case['report']
    in_placement = nova_side.effective(case['in_placement'])
    try:
        known = device_spec.parse_all(
            case['specs'],
            report_in_placement=report,
            host=host,
            release=nova_side.RELEASE,
        )
        anywhere = device_spec.parse_all(
            case['specs'],
            report_in_placement=report,
            release=nova_side.RELEASE,
        )
        names = alias_model.merge(
            case['aliases'], in_placement, nova_side.RELEASE
        )
        asked = nova_side.aliases(case['aliases'], in_placement)
    except (exceptions.GPUError, nova_exception.PciInvalidAlias):
        # Other comparisons cover these errors.
        return None
    with nova_side.on(host):
        compute = nova_side.compute(
            case['specs'], host.devices, dict(host.interfaces), report
        )
    difference = _compare_order(case, anywhere, host)
    if difference is not None:
        return difference
    if isinstance(compute, Exception):
        return _compare_crash(compute, known, host, report)
    if any(spec.devname for spec in known) and (report or in_placement):
        return None
    codes = _codes(case, names, anywhere)
    for name, aliases in names.items():
        served = compute.serves(asked[name][1], in_placement)
        if not alias_model.can_be_requested(aliases, in_placement):
            if served:
                return f'several values: Nova serves {name}'
            continue
        difference = (
            _compare_host(aliases, known, host, served, report, in_placement)
            or _compare_rules(
                aliases,
                anywhere,
                served,
                report,
                in_placement,
                codes.get(name, set()),
            )
            or _compare_example(
                case, asked[name][1], aliases, anywhere, in_placement
            )
        )
        if difference is not None:
            return difference
    return None


def _compare_crash(
    compute: Exception,
    known: tuple[device_spec.DeviceSpec, ...],
    host: device_spec.HostDevices,
    report: bool,
) -> str | None:
    """Compare the errors that end nova-compute, or its reports."""
    if any(
        match is not None and match.unstored_tags
        for match in (
            device_spec.first_match(known, device) for device in host.devices
        )
    ):
        return None
    if report:
        try:
            device_spec.providers('host', known, host.devices)
        except exceptions.InvalidDeviceSpec:
            return None
    return f'compute: Nova says {compute!r}, we say that it runs'


def _compare_order(
    case: comparing.Case,
    specs: tuple[device_spec.DeviceSpec, ...],
    host: device_spec.HostDevices,
) -> str | None:
    """Compare which entries are ever the first that matches: GPU213, 215."""
    with nova_side.options(report=case['report']), nova_side.on(host):
        try:
            entries = nova_side.whitelist.Whitelist(case['specs'])
        except (nova_exception.NovaException, *nova_side.CRASHES):
            return None
        firsts = set(nova_side.first_matches(entries, host.devices))
    for number, spec in enumerate(specs):
        example = device_sets.reached(spec, specs[:number], specs)
        if example is None:
            if number in firsts:
                return f'order: entry {number} is the first for a device'
            continue
        if example.device is None:
            continue
        other = _host_of(example, specs)
        with nova_side.options(report=case['report']), nova_side.on(other):
            try:
                entries = nova_side.whitelist.Whitelist(case['specs'])
            except nova_exception.NovaException as exc:
                return f'order example: {example.device}: {exc}'
            (first,) = nova_side.first_matches(entries, [example.device])
        if first != number:
            return f'order example: {first} takes {example.device}'
    return None


def _host_of(
    example: device_sets.Example, specs: tuple[device_spec.DeviceSpec, ...]
) -> device_spec.HostDevices:
    """Return a host that has the device of an example."""
    device = example.device
    assert device is not None
    parents = (
        [
            device_spec.HostDevice(
                device.parent_address, device.vendor_id, 'ffff', 'type-PF'
            )
        ]
        if device.parent_address
        else []
    )
    return device_spec.HostDevices(
        (device, *parents),
        {
            **{
                str(spec.devname): _ELSEWHERE
                for spec in specs
                if spec.devname and spec.remote_managed
            },
            **(
                {str(example.spec.devname): device.address}
                if example.spec.devname
                else {}
            ),
        },
    )


def _compare_host(
    aliases: tuple[alias_model.Alias, ...],
    specs: tuple[device_spec.DeviceSpec, ...],
    host: device_spec.HostDevices,
    served: bool,
    report: bool,
    in_placement: bool,
) -> str | None:
    """Compare whether devices of the case's host match an alias."""
    split = in_placement and device_spec.split_providers(specs, host.devices)
    ours = (
        (report or not in_placement)
        and not split
        and any(
            spec is not None
            and spec.serves(device, alias, in_placement=in_placement)
            for alias in aliases
            for device in host.devices
            for spec in [device_spec.first_match(specs, device)]
        )
    )
    return (
        None
        if served == ours
        else f'host: Nova says {served}, we say {ours}: {aliases[0].name}'
    )


def _compare_rules(
    aliases: tuple[alias_model.Alias, ...],
    specs: tuple[device_spec.DeviceSpec, ...],
    served: bool,
    report: bool,
    in_placement: bool,
    codes: set[str],
) -> str | None:
    """Compare the findings of the rules, which do not know the host."""
    if served and codes:
        return f'false alarm: {codes} on {aliases[0].name}, which is served'
    if in_placement and not report and specs and not codes:
        # Nothing is reported, so no alias is served.
        return f'miss: nothing on {aliases[0].name}, which is not served'
    if in_placement and any(
        alias.resource_class is None and not alias.has_ids for alias in aliases
    ):
        # GPU123 or GPU301 reports it, which the services have alone.
        return None
    possible = any(
        device_sets.serves(specs, alias, in_placement=in_placement)
        for alias in aliases
    )
    # Without an entry, GPU122 is the only finding about an alias.
    if specs and possible == bool(codes & {'GPU122', 'GPU307', 'GPU902'}):
        return f'rules: {codes} on {aliases[0].name}'
    return None


def _compare_example(
    case: comparing.Case,
    asked: list[dict[str, str]],
    aliases: tuple[alias_model.Alias, ...],
    specs: tuple[device_spec.DeviceSpec, ...],
    in_placement: bool,
) -> str | None:
    """Compare whether the device that we name as an example is served."""
    for alias in aliases:
        example = device_sets.serves(specs, alias, in_placement=in_placement)
        if example is None or example.device is None:
            continue
        if example.spec.unstored_tags:
            continue
        report = in_placement or case['report']
        host = _host_of(example, specs)
        with nova_side.on(host):
            compute = nova_side.compute(
                case['specs'],
                [example.device],
                dict(host.interfaces),
                report,
            )
        if isinstance(compute, Exception):
            if not in_placement and report:
                # Other rules cover devices that cannot be reported.
                continue
            return f'example: {example.device}: {compute!r}'
        if not compute.serves(asked, in_placement):
            return f'example: {example.device} does not serve {alias.name}'
    return None


def _codes(
    case: comparing.Case,
    names: dict[str, tuple[alias_model.Alias, ...]],
    specs: tuple[device_spec.DeviceSpec, ...],
) -> dict[str, set[str]]:
    """Return the findings of each alias."""
    api = _process(
        configuration.API,
        (
            'filter_scheduler',
            'pci_in_placement',
            nova_side.effective(case['in_placement']),
        ),
    )
    compute = _process(
        configuration.COMPUTE,
        ('pci', 'report_in_placement', case['report']),
        *(('pci', 'device_spec', text) for text in case['specs']),
    )
    entries = []
    places: dict[configuration.Place, str] = {}
    for name, aliases in names.items():
        place = dataclasses.replace(_PLACE, line=len(places) + 1)
        places[place] = name
        entries += [
            alias_rules.AliasEntry(
                alias, configuration.Setting('', place), api
            )
            for alias in aliases
        ]
    spec_entries = [
        device_spec_rules.SpecEntry(
            spec, configuration.Setting('', _PLACE), compute
        )
        for spec in specs
    ]
    by_process: dict[str, set[str]] = {name: set() for name in names}
    for located in alias_matching.check(entries, spec_entries, [api, compute]):
        by_process[places[located.place]].add(located.finding.code)
    for located in placement_tracking.check(
        [api, compute], spec_entries, entries
    ):
        for codes in by_process.values():
            codes.add(located.finding.code)
    return by_process


def _process(
    kind: str, *options: tuple[str, str, typing.Any]
) -> deployment.Process:
    source = deployment.Source(
        _PLACE,
        tuple(
            configuration.Option(
                section, name, configuration.Setting(str(value), _PLACE)
            )
            for section, name, value in options
        ),
    )
    return deployment.Process((kind,), _PLACE, (source,))


_PF = {
    'address': '0000:04:00.0',
    'vendor_id': '10de',
    'product_id': '20f1',
    'device_type': 'type-PF',
}
_VF = {
    **_PF,
    'address': '0000:04:02.3',
    'device_type': 'type-VF',
    'parent': '0000:04:00.0',
}
_IDS = '"name": "a", "vendor_id": "10de", "product_id": "20f1"'


def _case(
    specs: list[str],
    keys: str = '',
    devices: tuple[typing.Any, ...] = (_PF, _VF),
    **values: typing.Any,
) -> comparing.Case:
    return {
        'host': {'devices': list(devices), 'interfaces': {}},
        'specs': specs,
        'aliases': [f'{{{_IDS}{keys}}}'],
        'in_placement': False,
        'report': False,
        **values,
    }


EXAMPLES = (
    # Without pci_in_placement, classes and traits are not compared.
    _case(
        ['{"vendor_id": "10de", "resource_class": "B", "traits": "b"}'],
        ', "device_type": "type-PF", "resource_class": "A", "traits": "a"',
    ),
    # The address of a PF also matches its VFs.
    _case(['{"address": "04:00.0"}', '{"address": "0000:04:00.0"}']),
    _case(['{"address": "0000:04:00.0"}', '{"address": "04:00.0"}']),
    # A remote managed entry only matches devices with a serial number.
    _case(
        [
            '{"product_id": "20f1", "remote_managed": "yes"}',
            '{"product_id": "20f1"}',
        ]
    ),
    # A tag replaces the device type of the pool.
    _case(
        ['{"vendor_id": "10de", "dev_type": "type-pf"}'],
        ', "device_type": "type-VF"',
    ),
    _case(['{"vendor_id": "10de", "dev_type": "type-pf"}']),
    _case(
        ['{"vendor_id": "10de", "capability_type": "PCI"}'],
        ', "capability_type": "pci"',
    ),
    _case(['{"vendor_id": "10de"}'], ', "capability_type": "pci"'),
    # An empty class of an alias without ids.
    _case(
        ['{"vendor_id": "10de"}'],
        in_placement=True,
        report=True,
        aliases=['{"name": "a", "resource_class": ""}'],
    ),
    _case(
        ['{"address": "0000:04:00.0", "one_time_use": "yes"}'],
        ', "device_type": "type-PF", "traits": "HW_PCI_ONE_TIME_USE"',
        (_PF,),
        in_placement=True,
        report=True,
    ),
    # An empty devname is ignored.
    _case(['{"vendor_id": "10de", "devname": ""}', '{"vendor_id": "10de"}']),
    # One of several aliases with the same name may be served.
    _case(
        ['{"vendor_id": "10de"}'],
        aliases=[
            f'{{{_IDS}, "device_type": "type-PF", "capability_type": "pci"}}',
            f'{{{_IDS}, "device_type": "type-PF"}}',
        ],
    ),
    # VFs of one PF in two pools.
    _case(
        [
            '{"address": "04:02.3"}',
            '{"address": "04:02.4", "trusted": "true"}',
        ],
        devices=(_VF, {**_VF, 'address': '0000:04:02.4'}),
        in_placement=True,
        report=True,
    ),
    _case(
        ['{}'],
        aliases=[
            f'{{{_IDS}, "device_type": "type-PF", "capability_type": "pci"}}',
            f'{{{_IDS}, "device_type": "type-PF", "live_migratable": "yes"}}',
        ],
    ),
)
COMPARISON = comparing.Comparison(
    'matching', generate, compare, accepts, EXAMPLES, weight=3
)
