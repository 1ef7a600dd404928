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


"""Aliases that no device can match."""

import json

import ddt
import testtools

from gpuclient.model import alias as alias_model
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import device_spec
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import alias_matching

IDS = {'vendor_id': '10de', 'product_id': '20f1'}
PLACE = configuration.Place('nova.conf', 3)


def process(kind, in_placement=None):
    options = ()
    if in_placement is not None:
        options = (
            configuration.Option(
                'filter_scheduler',
                'pci_in_placement',
                configuration.Setting(str(in_placement), PLACE),
            ),
        )
    return deployment.Process(
        (kind,), PLACE, (deployment.Source(PLACE, options),)
    )


def check(alias, specs, in_placement=False, *, api=True):
    """Return the findings about aliases, with code and message."""
    reader = process(configuration.API, in_placement)
    compute = process(configuration.COMPUTE)
    setting = configuration.Setting('', PLACE)
    aliases = alias if isinstance(alias, list) else [alias]
    return [
        (located.finding.code, located.finding.message)
        for located in alias_matching.check(
            [
                alias_rules.AliasEntry(
                    alias_model.parse(json.dumps({'name': 'a', **fields})),
                    setting,
                    reader,
                )
                for fields in aliases
            ],
            [
                device_spec_rules.SpecEntry(spec, setting, compute)
                for spec in device_spec.parse(json.dumps(specs))
            ],
            [reader, compute] if api else [compute],
        )
    ]


@ddt.ddt
class TestMatching(testtools.TestCase):
    @ddt.data(
        ({**IDS, 'resource_class': 'A', 'traits': 'b'}, [IDS]),
        (IDS, [{**IDS, 'resource_class': 'A', 'physical_network': 'net'}]),
        ({**IDS, 'vendor_id': '10DE'}, [{'address': '04:00.0'}]),
        ({**IDS, 'device_type': 'type-VF'}, [{'address': '0000:04:00.0'}]),
        (IDS, [{'product_id': '2330'}, {'devname': 'eth0'}]),
        # Alternatives, one of which matches.
        (
            [
                {**IDS, 'device_type': 'type-PF'},
                {**IDS, 'product_id': '2330', 'device_type': 'type-PF'},
            ],
            [IDS],
        ),
        (
            {**IDS, 'capability_type': 'pci'},
            [{**IDS, 'capability_type': 'pci'}],
        ),
        ({**IDS, 'live_migratable': 'yes'}, [{**IDS, 'live_migratable': '1'}]),
        (IDS, []),
    )
    @ddt.unpack
    def test_served_without_placement(self, alias, specs):
        self.assertEqual([], check(alias, specs))

    @ddt.data(
        ({**IDS, 'resource_class': 'a'}, [{**IDS, 'resource_class': 'A'}]),
        ({**IDS, 'traits': 'a'}, [{**IDS, 'traits': 'b,A'}]),
        (
            {**IDS, 'traits': 'HW_PCI_ONE_TIME_USE'},
            [{**IDS, 'one_time_use': 'yes'}],
        ),
        ({'resource_class': 'CUSTOM_PCI_10DE_20F1'}, [{'vendor_id': '10de'}]),
        ({'resource_class': 'x'}, [{**IDS, 'resource_class': 'X'}]),
        ({**IDS, 'resource_class': 'CUSTOM_PCI_10DE_20F1'}, [IDS]),
    )
    @ddt.unpack
    def test_served_with_placement(self, alias, specs):
        self.assertEqual([], check(alias, specs, True))
        # If it is unknown whether it is on, either is accepted.
        self.assertEqual([], check(alias, specs, None, api=False))

    @ddt.data(
        (IDS, [{**IDS, 'product_id': '2330'}], False, 'Add a device_spec'),
        (IDS, [{'vendor_id': '20f1', 'product_id': '10de'}], False, 'swapped'),
        (
            IDS,
            [{**IDS, 'remote_managed': 'yes'}],
            False,
            'for Neutron ports only',
        ),
        (IDS, [{**IDS, 'physical_network': 'net'}], True, 'not reported'),
        ({**IDS, 'traits': 'a'}, [IDS], True, 'traits CUSTOM_A are not'),
        (
            {**IDS, 'resource_class': 'a'},
            [IDS],
            True,
            'requests resource class CUSTOM_A, and nova.conf:3 has none',
        ),
        (IDS, [{**IDS, 'resource_class': 'a'}], True, 'nova.conf:3 has a'),
        (
            {**IDS, 'resource_class': 'CUSTOM_PCI_10DE_2330'},
            [IDS],
            True,
            'requests resource class CUSTOM_PCI_10DE_2330',
        ),
        ({'resource_class': ''}, [IDS], True, 'CUSTOM_PCI_NONE_NONE'),
        (
            {**IDS, 'device_type': 'type-PCI'},
            [{**IDS, 'dev_type': 'type-PF'}],
            False,
            "dev_type 'type-PF', which replaces",
        ),
        (
            {**IDS, 'resource_class': 'b'},
            [{'vendor_id': '10de'}, {**IDS, 'resource_class': 'b'}],
            True,
            'other entries before nova.conf:3 match all of them',
        ),
    )
    @ddt.unpack
    def test_not_served(self, alias, specs, in_placement, phrase):
        ((code, message),) = check(alias, specs, in_placement)
        self.assertEqual('GPU307', code)
        self.assertIn(phrase, message)
        self.assertIn('are not scheduled', message)

    def test_live_migratable(self):
        for wanted, spec in (('yes', {}), ('no', {'live_migratable': '1'})):
            ((code, message),) = check(
                {**IDS, 'live_migratable': wanted}, [{**IDS, **spec}]
            )
            self.assertEqual('GPU902', code)
            self.assertIn(f'live_migratable = {wanted}', message)

    def test_capability_type(self):
        for specs in ([], [IDS]):
            ((code, message),) = check(
                {**IDS, 'capability_type': 'pci'}, specs
            )
            self.assertEqual('GPU122', code)
            self.assertIn('Remove capability_type', message)
