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

"""The rows of a twin are those that an explanation knows."""

import dataclasses
import typing

import testtools

from gpuclient.model import capacity
from gpuclient.model import explanation
from gpuclient.model import image as image_model
from gpuclient.model import passthrough_filter
from gpuclient.model import release
from gpuclient.model import twin

from tests.unit.model import test_explanation
from tests.unit.operations import explanations

host = test_explanation.host


def build(
    explained: typing.Any, **changes: typing.Any
) -> tuple[twin.Twin, twin.Request]:
    evaluation = explained.evaluation
    return (
        dataclasses.replace(
            twin.Twin(
                evaluation.facts,
                evaluation.wanted,
                explained.aliases,
                explained.options,
                explained.release,
            ),
            **changes,
        ),
        twin.Request(
            explained.flavor, explained.image, explained.restrictions
        ),
    )


class TestTrial(testtools.TestCase):
    def test_hosts(self) -> None:
        group = capacity.Aggregate(
            'g', frozenset({'a'}), {'availability_zone': 'z'}, 'group'
        )
        explained = explanations.explain(
            [
                host('a', 2, used=1, aggregates=(group,), vcpus=16),
                host('b', 1, reserved=1, disabled='nova-compute is disabled'),
                host('c'),
            ],
            test_explanation.flavor(),
            restrictions=explanation.Restrictions(host='a', project_id='p'),
            providing={
                ('VCPU', 8): frozenset({'a', 'c'}),
                ('MEMORY_MB', 8192): frozenset({'a'}),
                ('DISK_GB', 10): frozenset({'a', 'c'}),
            },
        )
        made, request = build(explained)
        trial = made.trial(explained.evaluation.facts.hosts, request)
        first, second, third = trial['hosts']
        self.assertEqual(
            [('10de', '2330', 0), ('10de', '2330', 1)],
            [
                (pool['vendor_id'], pool['product_id'], pool['count'])
                for pool in first['pools']
            ],
        )
        self.assertEqual('nova-compute is disabled', second['disabled'])
        self.assertEqual([], third['pools'])
        providers = {each['name']: each for each in trial['providers']}
        self.assertEqual(
            [
                *('a', 'a_0000:00:00.0', 'a_0000:01:00.0'),
                *('b', 'b_0000:00:00.0', 'c'),
            ],
            list(providers),
        )
        self.assertEqual(16, providers['a']['inventories']['VCPU']['total'])
        card = providers['a_0000:00:00.0']
        self.assertEqual(('a', 'a'), (card['host'], card['parent']))
        self.assertEqual(1, card['inventories'][test_explanation.H100]['used'])
        self.assertEqual([], card['traits'])
        self.assertEqual(['COMPUTE_STATUS_DISABLED'], providers['b']['traits'])
        self.assertEqual(
            {'VCPU', 'DISK_GB'}, set(providers['c']['inventories'])
        )
        self.assertEqual(
            [
                {
                    'uuid': 'group',
                    'name': 'g',
                    'hosts': ['a'],
                    'metadata': {'availability_zone': 'z'},
                }
            ],
            trial['aggregates'],
        )
        self.assertEqual(
            ({'service_host': 'a', 'name': 'a'}, 'p'),
            (trial['request']['host'], trial['request']['project_id']),
        )

    def test_what_is_known_of_devices(self) -> None:
        explained = explanations.explain(
            [host('a', 1)],
            test_explanation.flavor(),
            devices={
                'a-0': passthrough_filter.DeviceFacts(
                    ('10de', '1eb8'), 'type-PF', True
                )
            },
        )
        made, request = build(explained)
        trial = made.trial(explained.evaluation.facts.hosts, request)
        (pool,) = trial['hosts'][0]['pools']
        self.assertEqual('1eb8', pool['product_id'])
        self.assertEqual(
            {
                'dev_type': 'type-PF',
                'rp_uuid': 'a-0',
                'live_migratable': 'true',
            },
            pool['tags'],
        )

    def test_services_of_an_upgrade(self) -> None:
        explained = explanations.explain(
            [host('a', 1)], test_explanation.flavor()
        )
        for number, old in ((34, 72), (33, 0)):
            made, request = build(
                explained, release=release.parse(str(number))
            )
            trial = made.trial(explained.evaluation.facts.hosts, request)
            self.assertEqual(old, trial['old_services'])

    def test_configuration(self) -> None:
        made, _request = build(
            explanations.explain(
                [host('a', 1)],
                test_explanation.flavor(),
                options=test_explanation.Options(
                    limits_tenants=True,
                    filters=frozenset(
                        {'ComputeFilter', 'NUMATopologyFilter', 'Ours'}
                    ),
                ),
            )
        )
        lines = made.config().splitlines()
        for line in (
            'pci_in_placement = True',
            'enabled_filters = ComputeFilter',
            'limit_tenants_to_placement_aggregate = True',
            'alias = {"name": "h100", "vendor_id": "10de", "product_id": '
            '"2330"}',
        ):
            self.assertIn(line, lines)
        self.assertEqual(
            [
                'NUMA nodes, CPUs and huge pages of hosts '
                '(NUMATopologyFilter)',
                'the filter Ours, which is none of Nova',
                'device type of 1 device on a (type-PCI is assumed, which '
                'alias h100 matches; a host bundle shows it)',
            ],
            made.missing(),
        )


class TestGiveUp(testtools.TestCase):
    def change(
        self, key: str, amount: int | None = None, **specs: str
    ) -> typing.Any:
        explained = explanations.explain(
            [host('a', 1)],
            test_explanation.flavor('h100:1,nvlink:2', **specs),
            image=image_model.Image(
                'i', 'image', {'trait:Z': 'required', 'os_type': 'linux'}
            ),
            restrictions=explanation.Restrictions(host='a', zone='z'),
        )
        _made, request = build(explained)
        condition = explanation.Condition(key, explanation.Kind.TRAIT, key, {})
        hosts = explained.evaluation.facts.hosts
        if amount is not None:
            return twin.lower(condition, amount, request, hosts)
        return twin.give_up(condition, request, hosts)

    def test_places(self) -> None:
        self.assertIsNone(self.change('zone').request.restrictions.zone)
        self.assertIsNone(self.change('host').request.restrictions.host)

    def test_flavor(self) -> None:
        for key, specs in (
            (
                'resource:MEMORY_MB',
                {
                    'pci_passthrough:alias': 'h100:1,nvlink:2',
                    'trait:X': 'required',
                    'resources:MEMORY_MB': '0',
                },
            ),
            ('trait:X', {'pci_passthrough:alias': 'h100:1,nvlink:2'}),
            (
                'devices:h100',
                {
                    'pci_passthrough:alias': 'nvlink:2',
                    'trait:X': 'required',
                },
            ),
        ):
            change = self.change(key, **{'trait:X': 'required'})
            self.assertEqual(specs, change.request.flavor.extra_specs)
        change = self.change('trait:!X', **{'trait:X': 'forbidden'})
        self.assertNotIn('trait:X', change.request.flavor.extra_specs)
        name = 'resources1:CUSTOM_X'
        change = self.change(f'devices:{name}', **{name: '1'})
        self.assertNotIn(name, change.request.flavor.extra_specs)

    def test_image(self) -> None:
        change = self.change('trait:Z')
        self.assertEqual({'os_type': 'linux'}, change.request.image.properties)

    def test_smaller(self) -> None:
        for key, amount, specs in (
            ('resource:DISK_GB', 5, {'resources:DISK_GB': '5'}),
            (
                'devices:nvlink',
                1,
                {'pci_passthrough:alias': 'h100:1,nvlink:1'},
            ),
        ):
            change = self.change(key, amount)
            for name, value in specs.items():
                self.assertEqual(
                    value, change.request.flavor.extra_specs[name]
                )
        self.assertEqual(
            3, self.change('resource:PCPU', 3).request.flavor.vcpus
        )
        self.assertIsNone(self.change('resource:PCPU'))

    def test_what_cannot_be_tried(self) -> None:
        for key in ('project', 'aggregate:g', 'filter:h100', 'trait:Y'):
            self.assertIsNone(self.change(key))
