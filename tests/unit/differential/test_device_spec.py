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

"""Our verdicts on [pci]device_spec, compared with Nova's own.

Nova reads the host's sysfs while it parses the option; here it reads
a host that both sides have.
"""

import json

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from gpuclient.model import device_spec
from tests.unit.differential import compare_device_spec

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
HOST = device_spec.HostDevices(
    DEVICES, {'pf0': PF.address, 'eth0': '0000:1a:1f.7'}
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
#: Mostly valid, so that the later rules are reached.
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


#: Corner cases and their verdicts.
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


@ddt.ddt
class TestDeviceSpec(testtools.TestCase):
    def compare(self, texts: list[str], report: bool) -> str:
        """Compare both sides; return the verdict."""
        case = {'specs': texts, 'report': report}
        self.assertIsNone(
            compare_device_spec.compare_on(case, HOST), (texts, report)
        )
        outcome = compare_device_spec.of_nova(case, HOST)
        if isinstance(outcome, Exception):
            return 'refused'
        return (
            'not reported' if isinstance(outcome[2], Exception) else 'accepted'
        )

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
