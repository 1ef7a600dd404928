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

"""Our verdicts on [pci]device_spec, held against Nova's own.

Nova looks the host up in sysfs while it reads the option; here it is asked
about a host that both sides know.
"""

import json
import logging
import typing
import unittest.mock

import ddt
import hypothesis
from hypothesis import strategies
import nova.conf
from nova.compute import pci_placement_translator as translator
from nova import exception as nova_exception
from nova.objects import pci_device
from nova.pci import devspec
from nova.pci import whitelist
import testtools

from gpuclient import exceptions
from gpuclient.model import device_spec

PF = device_spec.HostDevice(
    '0000:04:00.0', '10de', '20b0', 'type-PF', serial_number='1'
)
DEVICES = (
    device_spec.HostDevice('0000:17:00.0', '10de', '25b6'),
    device_spec.HostDevice('0000:1a:1f.7', '8086', '1520'),
    device_spec.HostDevice('0001:04:00.0', '10de', '20f1', 'type-PF'),
    PF,
    *(
        device_spec.HostDevice(
            f'0000:04:00.{number}',
            '10de',
            '20f2',
            'type-VF',
            PF.address,
            'serial' if number == 1 else None,
        )
        for number in (1, 2, 3)
    ),
)
#: Nova says of each file of sysfs that it is not there.
logging.getLogger('nova').addHandler(logging.NullHandler())
HOST = device_spec.Host(DEVICES, {'pf0': PF.address, 'eth0': '0000:1a:1f.7'})
EXPECTED = (
    nova_exception.NovaException,
    AttributeError,
    TypeError,
)

_IDS: tuple[object, ...] = (
    '10de',
    '10DE',
    '0x10de',
    ' 10de ',
    '20f1',
    '20F2',
    '20b0',
    '*',
    '1_0',
    '-1',
    '+1',
    '10de\n',
    '10000',
    'zz',
    '',
    '١٠',
    4318,
    None,
    ['10de'],
)
_GLOBS = (
    '0000:04:00.0',
    '0000:04:00.*',
    '*:04:00.*',
    '04:00.0',
    ':04:00.',
    '00.1',
    '*',
    '.1',
    '0000:04:00.8',
    '0000:04:20.0',
    '0:4:0.0',
    '0000:04:00',
    '1:2:3:4',
    'x',
    '*:*:*.*',
    '0000:1?:00.0',
    ' 0000 : 04 : 00 . 0 ',
    '...',
    '10000:04:00.0',
    '0000:-1:00.0',
    '0001:04:00.0',
    '0000:1a:1f.7',
    '0000:04:00. ',
)
_REGEXES = (
    '.*',
    '04',
    '0',
    '[0-1].*',
    '(',
    '',
    '0000',
    '[',
    '1a|04',
    '^00$',
    4,
    None,
)
_BOOLEANS = ('yes', 'no', 'True', ' 0 ', 'maybe', '', True, False, 1, 2, None)
_OTHER: tuple[object, ...] = (
    'CUSTOM_A',
    'a-b',
    'a, b',
    '',
    None,
    7,
    ['x'],
    {'x': 1},
)
FIELDS: dict[str, strategies.SearchStrategy[object]] = {
    'vendor_id': strategies.sampled_from(_IDS),
    'product_id': strategies.sampled_from(_IDS),
    'address': strategies.one_of(
        strategies.sampled_from(_GLOBS),
        strategies.sampled_from(('', 0, None, 5, [], ['x'], {}, False)),
        strategies.fixed_dictionaries(
            {},
            optional={
                key: strategies.sampled_from(_REGEXES)
                for key in ('domain', 'bus', 'slot', 'function', 'other')
            },
        ),
    ),
    'devname': strategies.sampled_from(('pf0', 'eth0', 'gone', '', None)),
    'managed': strategies.sampled_from(_BOOLEANS),
    'live_migratable': strategies.sampled_from(_BOOLEANS),
    'one_time_use': strategies.sampled_from(_BOOLEANS),
    'remote_managed': strategies.sampled_from(_BOOLEANS),
    'resource_class': strategies.sampled_from(_OTHER),
    'traits': strategies.sampled_from(_OTHER),
    'physical_network': strategies.sampled_from(('net', '', None)),
    'resource_clas': strategies.just('A'),
}
ANYTHING = strategies.fixed_dictionaries({}, optional=FIELDS)
#: Mostly right, so that the later rules are reached.
GOOD = strategies.fixed_dictionaries(
    {'vendor_id': strategies.sampled_from(('10de', '8086', '*', '0x10DE'))},
    optional={
        'product_id': strategies.sampled_from(
            ('20f1', '20f2', '20B0', '25b6', '*', '1520')
        ),
        'address': strategies.one_of(
            strategies.sampled_from(
                (
                    '0000:04:00.0',
                    '*:04:00.*',
                    '0000:17:00.0',
                    '04:00.0',
                    '*:*:*.1',
                    '0001:04:00.0',
                )
            ),
            strategies.fixed_dictionaries(
                {},
                optional={
                    'bus': strategies.sampled_from(('04', '0', '1.*')),
                    'function': strategies.sampled_from(('[0-2]', '0')),
                },
            ),
        ),
        'live_migratable': strategies.sampled_from(('yes', 'no')),
        'one_time_use': strategies.sampled_from(('yes', 'no')),
        'remote_managed': strategies.sampled_from(('true', 'no')),
        'resource_class': strategies.sampled_from(('CUSTOM_A', 'a-b')),
        'traits': strategies.sampled_from(('a, b', 'CUSTOM_X')),
    },
)
TEXTS = strategies.one_of(
    GOOD.map(json.dumps),
    GOOD.map(json.dumps),
    strategies.lists(GOOD, max_size=3).map(json.dumps),
    ANYTHING.map(json.dumps),
    strategies.lists(
        strategies.one_of(GOOD, ANYTHING, strategies.just(3)), max_size=3
    ).map(json.dumps),
    strategies.sampled_from(
        (
            '',
            '{',
            "{'vendor_id': '10de'}",
            '[]',
            '{}',
            'null',
            '3',
            '[[]]',
            '{"vendor_id": "1", "vendor_id": "10de"}',
            '{} # x',
            'NaN',
        )
    ),
)


#: Corners, and what comes of them.
CHOSEN = (
    ('{"vendor_id": "10de\\n", "product_id": "20f2"}', 'accepted'),
    ('{"vendor_id": "10de", "product_id": "20f2\\n"}', 'accepted'),
    ('{"vendor_id": 4318}', 'refused'),
    ('{"product_id": 4318}', 'refused'),
    ('{"vendor_id": "\u0661"}', 'accepted'),
    ('{"address": "0000:04:00.0"}', 'not reported'),
    ('{"address": "0000:04:00.0", "product_id": "20f2"}', 'accepted'),
    ('{"address": "0000:04:00.0", "devname": "eth0"}', 'refused'),
    ('{"devname": "pf0"}', 'not reported'),
    ('{"devname": "gone"}', 'not reported'),
    ('{"product_id": "20f2", "physical_network": "net"}', 'accepted'),
    ('{"devname": "gone", "remote_managed": "true"}', 'refused'),
    (
        '{"address": "0000:04:00.0", "remote_managed": "true"}',
        'refused',
    ),
    (
        '{"address": "0000:04:00.0", "product_id": "ffff", '
        '"remote_managed": "true"}',
        'refused',
    ),
    (
        '{"address": "0000:04:00.0", "product_id": "20f2", '
        '"remote_managed": "true"}',
        'refused',
    ),
    ('{"devname": "pf0", "remote_managed": "true"}', 'refused'),
    (
        '{"devname": "pf0", "product_id": "ffff", "remote_managed": "true"}',
        'refused',
    ),
    (
        '{"devname": "pf0", "product_id": "20f2", "remote_managed": "true"}',
        'refused',
    ),
    ('{"devname": ["pf0"]}', 'not reported'),
    ('{"devname": {"pf0": 1}, "product_id": "20f2"}', 'not reported'),
    ('{"managed": "sometimes"}', 'refused'),
    (
        '[{"address": "0000:04:00.1", "resource_class": "a"}, '
        '{"product_id": "20f2"}]',
        'not reported',
    ),
    (
        '[{"address": "0000:04:00.1", "traits": "a"}, {"product_id": "20f2"}]',
        'not reported',
    ),
    ('{"product_id": "20f2", "one_time_use": "no"}', 'not reported'),
    ('{"product_id": "25b6", "one_time_use": "yes"}', 'accepted'),
    ('{"product_id": "25b6", "resource_class": 7}', 'not reported'),
    ('{"address": {"bus": "("}}', 'refused'),
    ('{"address": {"bus": 4}}', 'refused'),
    ('{}', 'not reported'),
    ('"x"', 'refused'),
    ('{"vendor_id": "1", "vendor_id": "10de"}', 'not reported'),
    ('{"address": "1:2:3:4"}', 'refused'),
)


class NovaHost:
    """Makes Nova look at :data:`HOST` in the place of sysfs.

    The ids of a device are really looked for: Linux has no file ``product``.
    """

    def __enter__(self) -> None:
        self._patches = [
            unittest.mock.patch.object(devspec.utils, name, function)
            for name, function in (
                ('is_physical_function', self.is_physical_function),
                ('get_function_by_ifname', self.get_function_by_ifname),
                (
                    'get_vf_product_id_by_pf_addr',
                    lambda address: HOST.vf_product_id(address),
                ),
            )
        ]
        for patch in self._patches:
            patch.start()

    def __exit__(self, *_exc: object) -> None:
        for patch in self._patches:
            patch.stop()

    @staticmethod
    def is_physical_function(*fields: str) -> bool:
        address = '{}:{}:{}.{}'.format(*fields)
        return HOST.physical_function(address) is not None

    @staticmethod
    def get_function_by_ifname(name: str) -> tuple[str | None, bool]:
        address = HOST.interfaces.get(f'{name}')
        if address is None:
            return None, False
        return address, HOST.physical_function(address) is not None


def of_nova(texts: list[str], report: bool) -> typing.Any:
    """Return what matches, what is reported, or the exception."""
    conf = nova.conf.CONF
    conf.set_override('report_in_placement', report, 'pci')
    try:
        with NovaHost():
            try:
                found = whitelist.Whitelist(texts)
            except EXPECTED as exc:
                return exc
            indexes = []
            for device in DEVICES:
                match = found.device_assignable(
                    {
                        'address': device.address,
                        'vendor_id': device.vendor_id,
                        'product_id': device.product_id,
                        'parent_addr': device.parent_address,
                        'capabilities': {
                            'vpd': {'card_serial_number': device.serial_number}
                        },
                    }
                )
                indexes.append(
                    None if match is None else found.specs.index(match)
                )
            tags = [spec.get_tags() for spec in found.specs]
            return tags, indexes, report_of_nova(found)
    finally:
        conf.clear_override('report_in_placement', 'pci')


def report_of_nova(found: whitelist.Whitelist) -> typing.Any:
    view = translator.PlacementView('host', [])
    try:
        translator.ensure_no_dev_spec_with_devname(found.specs)
        for device in DEVICES:
            record = pci_device.PciDevice(
                address=device.address,
                vendor_id=device.vendor_id,
                product_id=device.product_id,
                dev_type=device.device_type,
                parent_addr=device.parent_address,
                status='available',
                instance_uuid=None,
                extra_info=(
                    {
                        'capabilities': json.dumps(
                            {
                                'vpd': {
                                    'card_serial_number': device.serial_number
                                }
                            }
                        )
                    }
                    if device.serial_number
                    else {}
                ),
            )
            spec = found.get_devspec(record)
            if spec is not None:
                view.process_dev(record, spec)
    except EXPECTED as exc:
        return exc
    return [
        (name, provider.resource_class, provider.total, provider.traits)
        for name, provider in sorted(view.rps.items())
    ]


def of_ours(texts: list[str], report: bool) -> typing.Any:
    try:
        specs = device_spec.parse_all(
            texts, report_in_placement=report, host=HOST
        )
    except exceptions.InvalidDeviceSpec as exc:
        return exc
    indexes = []
    for device in DEVICES:
        match = device_spec.first_match(specs, device)
        # By identity: entries may be equal.
        indexes.append(
            next(
                (index for index, spec in enumerate(specs) if spec is match),
                None,
            )
        )
    reported: typing.Any
    try:
        reported = [
            (one.name, one.resource_class, one.total, set(one.traits))
            for one in device_spec.providers('host', specs, DEVICES)
        ]
    except exceptions.InvalidDeviceSpec as exc:
        reported = exc
    return [spec.tags for spec in specs], indexes, reported


@ddt.ddt
class TestDeviceSpec(testtools.TestCase):
    def compare(self, texts: list[str], report: bool) -> str:
        """Compare both sides; return what the verdict was."""
        nova_says, ours = of_nova(texts, report), of_ours(texts, report)
        if isinstance(nova_says, Exception):
            self.assertIsInstance(ours, exceptions.InvalidDeviceSpec, texts)
            if isinstance(
                nova_says, nova_exception.PciDeviceInvalidPFRemoteManaged
            ):
                # All that it says is the address.
                self.assertIn(str(nova_says), str(ours))
            elif isinstance(nova_says, nova_exception.PciDeviceNotFoundById):
                self.assertRegex(str(ours), 'PCI device .* not found')
            elif isinstance(nova_says, nova_exception.NovaException):
                self.assertEqual(str(nova_says), str(ours), texts)
            return 'refused'
        self.assertIsInstance(ours, tuple, texts)
        self.assertEqual(nova_says[:2], ours[:2], texts)
        if isinstance(nova_says[2], Exception):
            self.assertIsInstance(ours[2], exceptions.InvalidDeviceSpec, texts)
            if isinstance(nova_says[2], nova_exception.NovaException):
                self.assertEqual(str(nova_says[2]), str(ours[2]), texts)
            return 'not reported'
        self.assertEqual(nova_says[2], ours[2], texts)
        return 'accepted'

    @hypothesis.settings(max_examples=500, deadline=None)
    @hypothesis.given(
        strategies.lists(TEXTS, max_size=3), strategies.booleans()
    )
    def test_verdict(self, texts: list[str], report: bool) -> None:
        self.compare(texts, report)

    @ddt.data(*CHOSEN)
    @ddt.unpack
    def test_chosen(self, text: str, verdict: str) -> None:
        self.assertEqual(verdict, self.compare([text], True))
        self.compare([text], False)
