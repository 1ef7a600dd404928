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

import json
import pathlib
import re
import sys
from unittest import mock

from prometheus_client.openmetrics import parser
import testtools
import yaml

import gpuclient
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.model import metrics
from gpuclient.osc import openmetrics

EXAMPLES = pathlib.Path(gpuclient.__file__).parent.parent / 'doc' / 'examples'
A100 = 'CUSTOM_PCI_10DE_20F1'
EVIL = 'a"b\\c\nd{}'


def families() -> tuple[metrics.MetricFamily, ...]:
    devices = [
        inventory.Device(
            uuid=str(number),
            name=f'h_0000:{number:02X}:00.0',
            root_uuid='root',
            host='h',
            address=f'0000:{number:02x}:00.0',
            resource_class=A100,
            total=total,
            reserved=reserved,
            used=used,
            consumers=(inventory.Consumer('s', 1, 'p'),) if used else (),
        )
        for number, total, reserved, used in (
            (1, 1, 0, 1),
            (2, 1, 1, 0),
            (3, 1, 0, 0),
            # A value that could not be read.
            (4, None, None, None),
        )
    ]
    host = capacity.HostCapacity(
        inventory.ComputeProvider(
            'root',
            'h',
            (
                inventory.Resource('VCPU', 8, 7),
                inventory.Resource('MEMORY_MB', 8192, 0),
            ),
        ),
        'h',
        tuple(devices),
        (
            capacity.Aggregate(
                'gold', frozenset({'h'}), {'availability_zone': 'az1'}
            ),
            capacity.Aggregate(
                EVIL, frozenset({'h'}), {'filter_tenant_id': 'p'}
            ),
        ),
    )
    flavors = [
        flavor_model.Flavor(
            'id', name, 2, 1024, 0, False, {'pci_passthrough:alias': value}
        )
        for name, value in ((EVIL, 'a100:1'), ('unknown', 'nosuch:1'))
    ]
    aliases = {
        'a100': alias_model.Alias('a100', vendor_id='10de', product_id='20f1')
    }
    return metrics.families(
        devices,
        [host],
        [capacity.forecast(flavor, [host], aliases) for flavor in flavors],
        {'p': EVIL},
    )


class TestMetrics(testtools.TestCase):
    def test_samples(self) -> None:
        samples = {
            family.name.removeprefix('openstack_'): dict(family.samples)
            for family in families()
        }
        self.assertEqual(
            {
                'free_capacity_by_flavor_total': {(EVIL, 'False'): 0},
                'free_capacity_hypervisor_by_flavor': {
                    ('h', EVIL, 'az1', EVIL): 0
                },
                'project_filter_aggregate': {('p', EVIL): 1},
                'hypervisor_placement_allocated': {
                    ('h', A100): 1,
                    ('h', 'MEMORY_MB'): 0,
                    ('h', 'VCPU'): 7,
                },
                'hypervisor_placement_allocatable_capacity': {
                    ('h', A100): 2,
                    ('h', 'MEMORY_MB'): 8192,
                    ('h', 'VCPU'): 8,
                },
                'project_usage': {('p', EVIL, A100): 1},
                'gpu_device_units': {
                    ('h', f'0000:0{number}:00.0', A100): 1
                    for number in (1, 2, 3)
                },
                'gpu_device_reserved': {
                    ('h', '0000:01:00.0', A100): 0,
                    ('h', '0000:02:00.0', A100): 1,
                    ('h', '0000:03:00.0', A100): 0,
                },
                'gpu_device_used': {
                    ('h', '0000:01:00.0', A100): 1,
                    ('h', '0000:02:00.0', A100): 0,
                    ('h', '0000:03:00.0', A100): 0,
                },
                'gpu_stranded': {('h', A100): 1},
            },
            samples,
        )

    def test_text(self) -> None:
        text = openmetrics.renderer()(families()).decode()
        self.assertTrue(text.endswith('# EOF\n'))
        self.assertIn(r'flavor_name="a\"b\\c\nd{}"', text)
        parsed = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parser.text_string_to_metric_families(text)
            for sample in family.samples
        }
        self.assertEqual(
            {
                (
                    family.name,
                    frozenset(zip(family.labels, labels, strict=True)),
                ): value
                for family in families()
                for labels, value in family.samples
            },
            parsed,
        )

    def test_library_is_missing(self) -> None:
        with mock.patch.dict(sys.modules, {'prometheus_client': None}):
            exc = self.assertRaises(exceptions.GPUError, openmetrics.renderer)
        self.assertIn("pip install 'python-gpuclient[metrics]'", str(exc))

    def test_examples_use_what_there_is(self) -> None:
        """The dashboard and the alerts only use metrics of this package."""
        names = {family.name for family in families()}
        dashboard = json.loads((EXAMPLES / 'gpu-dashboard.json').read_text())
        rules = yaml.safe_load((EXAMPLES / 'gpu-alerts.yaml').read_text())
        expressions = [
            target['expr']
            for panel in dashboard['panels']
            for target in panel['targets']
        ] + [
            rule['expr']
            for group in rules['groups']
            for rule in group['rules']
        ]
        self.assertTrue(len(expressions) > 8)
        used = {
            name
            for expression in expressions
            for name in re.findall(r'openstack_\w+', expression)
        }
        self.assertEqual(set(), used - names)
