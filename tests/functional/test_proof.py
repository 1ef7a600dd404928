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

"""A real nova-scheduler decides as explanations and suggestions say."""

import collections.abc
import dataclasses
import os
import typing

import fixtures
import testtools

from gpuclient.model import capacity
from gpuclient.model import explanation
from gpuclient.model import flavor as flavor_model
from gpuclient.model import freeing
from gpuclient.model import image as image_model
from gpuclient.model import passthrough_filter
from gpuclient.model import scheduler_options
from gpuclient.operations import explanation as operation
from gpuclient.operations import proof
from gpuclient.rehearsal import api as rehearsal

from tests.functional import base
from tests.functional import fault_bench
from tests.unit.model import test_explanation
from tests.unit.operations import explanations

_AVX = 'HW_CPU_X86_AVX512F'
_PROJECT = 'f5a1e4b7c2d84f0e9b6a3d1c0e5f7a92'
_TENANTS = scheduler_options.SchedulerOptions(
    filters=frozenset(
        {'AggregateMultiTenancyIsolation', 'PciPassthroughFilter'}
    )
)
_OTHERS = capacity.Aggregate(
    'others',
    frozenset({'a'}),
    {'filter_tenant_id': '0c9d'},
    '5a3c1d9e-0b7f-4e21-8d64-93d1a2c4e6b8',
    7,
)
_ZONE = capacity.Aggregate(
    'rack',
    frozenset({'b'}),
    {'availability_zone': 'z'},
    '0b1d2a7e-6a3c-4f0e-9a55-0d2f6f3f1c01',
)


def host(name: str, cards: int = 0, **values: typing.Any) -> typing.Any:
    return explanations.with_ids(test_explanation.host(name, cards, **values))


def flavor(
    aliases: str = 'h100:1', *, disk: int = 10, **specs: str
) -> flavor_model.Flavor:
    made = test_explanation.flavor(aliases, **specs)
    return dataclasses.replace(made, disk=disk)


def _held(
    card: capacity.HostCapacity,
) -> collections.abc.Iterator[freeing.Holder]:
    for number, device in enumerate(card.devices):
        if device.used:
            yield freeing.Holder(
                f'server-{number}', f's{number}', True, {}, {device.uuid: 1}
            )


def _in_use() -> operation.Explanation:
    full = host('a', 2, used=2)
    return explanations.explain(
        [full, host('b', 1, used=1)],
        flavor(),
        holders=list(_held(full)),
    )


def _one_each() -> operation.Explanation:
    half = host('a', 2, used=1)
    return explanations.explain(
        [half, host('b', 2, used=1)],
        flavor('h100:2'),
        holders=list(_held(half)),
    )


def _other_ids() -> operation.Explanation:
    card = host('a', 1)
    return explanations.explain(
        [card, host('c')],
        flavor(),
        aliases=test_explanation.ALIASES,
        devices={
            card.devices[0].uuid: passthrough_filter.DeviceFacts(
                ('10de', '1eb8')
            )
        },
    )


def _explain(
    hosts: list[typing.Any],
    wanted: flavor_model.Flavor | None = None,
    **others: typing.Any,
) -> collections.abc.Callable[[], operation.Explanation]:
    return lambda: explanations.explain(hosts, wanted or flavor(), **others)


#: By fault: an explanation of it, and of which suggestion nothing can be
#: tried.
FAULTS: dict[str, collections.abc.Callable[[], operation.Explanation]] = {
    'all devices in use': _in_use,
    'one free device on each host': _one_each,
    'devices do not match the alias': _other_ids,
    'devices reserved': _explain([host('a', 2, reserved=2), host('b')]),
    'reserved and in use': _explain([host('a', 2, used=1, reserved=1)]),
    'compute service disabled': _explain(
        [host('a', 2, disabled='nova-compute is disabled'), host('b')]
    ),
    'compute service down': _explain(
        [host('a', 2, down='nova-compute is down'), host('b')]
    ),
    'disabled and reserved': _explain(
        [host('a', 1, reserved=1, disabled='nova-compute is disabled')]
    ),
    'little memory': _explain([host('a', 2, memory=4096), host('b', 0)]),
    'few CPUs': _explain([host('a', 2, vcpus=4)]),
    'little disk': _explain([host('a', 2)], flavor(disk=2000)),
    'devices and memory on different hosts': _explain(
        [host('a', 2, memory=4096), host('b', 1, used=1)]
    ),
    'no trait of the host': _explain(
        [host('a', 2)], flavor(**{f'trait:{_AVX}': 'required'})
    ),
    'no custom trait of the host': _explain(
        [host('a', 2), host('b')],
        flavor(**{'trait:CUSTOM_LICENSED': 'required'}),
    ),
    'forbidden trait of the host': _explain(
        [host('a', 2, traits=(_AVX,))],
        flavor(**{f'trait:{_AVX}': 'forbidden'}),
    ),
    'trait of devices': _explain([host('a', 2)], flavor('nvlink:1')),
    'trait of too few devices': _explain(
        [
            host('a', 2, card_traits=('CUSTOM_NVLINK',)),
            host('b', 3),
        ],
        flavor('nvlink:3'),
    ),
    'more devices than a host has': _explain(
        [host('a', 2), host('b', 1)], flavor('h100:3')
    ),
    'devices in another zone': _explain(
        [host('a', 2), host('b', 1, used=1, aggregates=(_ZONE,))],
        restrictions=explanation.Restrictions(zone='z'),
    ),
    'devices on another host': _explain(
        [host('a', 2), host('b', 1, used=1)],
        restrictions=explanation.Restrictions(host='b'),
    ),
    'no devices at all': _explain([host('a', 1, used=1), host('b')]),
    'trait of an image': _explain(
        [host('a', 2)],
        image=image_model.Image('i', 'i', {f'trait:{_AVX}': 'required'}),
    ),
    'too many devices and little memory': _explain(
        [host('a', 2, memory=4096), host('b', 1)], flavor('h100:2')
    ),
    'too many CPUs and too much memory': _explain(
        [host('a', 2)],
        flavor(**{'resources:VCPU': '500', 'resources:MEMORY_MB': '200000'}),
    ),
    'CPUs of the flavor twice': _explain(
        [host('a', 2, vcpus=16)], flavor(**{'resources:VCPU': '17'})
    ),
}
#: Only where nova-scheduler has the filter.
ISOLATED = _explain(
    [host('a', 2, aggregates=(_OTHERS,)), host('b')],
    options=_TENANTS,
    restrictions=explanation.Restrictions(project_id=_PROJECT),
)
#: It fits as it is.
HEALTHY = _explain([host('a', 2), host('b', 1, used=1), host('c')])


class TestTwin(testtools.TestCase):
    """All trials are decided in one cloud."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.Timeout(600, gentle=True))

    def test_planted_faults(self) -> None:
        explained = {
            'healthy': HEALTHY(),
            **{name: explain() for name, explain in FAULTS.items()},
        }
        trials = {
            name: proof.ProofTrials(each) for name, each in explained.items()
        }
        spec = dataclasses.replace(
            trials['healthy'].twin, aliases=test_explanation.ALIASES
        ).spec()
        with rehearsal.temporary(spec) as cloud:
            decisions = rehearsal.decide(
                cloud, [row for each in trials.values() for row in each.trials]
            )
        records = iter(decisions.records)
        for name, each in trials.items():
            request, *others = [next(records) for _row in each.trials]
            with self.subTest(name):
                trial = each.judge_request(request)
                self.assertEqual(
                    proof.State.PROVED, trial.state, (trial.reason, trial.log)
                )
                self.assertEqual(name == 'healthy', trial.selected is not None)
                self.assertTrue(trial.selected or trial.log)
                for result in each.judge_suggestions(others):
                    if result.state is not proof.State.NOT_TRIED:
                        self.assertEqual(
                            proof.State.PROVED,
                            result.state,
                            (result.text, result.reason, result.log),
                        )
        self.assertEqual([], list(records))

    def test_aggregate_for_other_projects(self) -> None:
        trials = proof.ProofTrials(ISOLATED())
        with rehearsal.temporary(trials.twin.spec()) as cloud:
            decisions = rehearsal.decide(cloud, trials.trials)
        request, *others = decisions.records
        self.assertEqual(
            proof.State.PROVED, trials.judge_request(request).state
        )
        (first, *_others) = trials.judge_suggestions(others)
        self.assertEqual(
            'a: take the host out of aggregate others, which isolates it',
            first.text,
        )
        self.assertEqual(
            (proof.State.PROVED, 'a'), (first.state, first.selected)
        )

    def test_a_false_explanation_is_refuted(self) -> None:
        """Of a cloud that changed since it was read."""
        full = host('a', 1, used=1)
        trials = proof.ProofTrials(
            explanations.explain([full], flavor(), holders=list(_held(full)))
        )
        free = proof.ProofTrials(
            explanations.explain([host('a', 1)], flavor())
        )
        with rehearsal.temporary(trials.twin.spec()) as cloud:
            decisions = rehearsal.decide(
                cloud,
                [*free.trials, *([trials.trials[0]] * len(trials.trials))],
            )
        trial = trials.judge_request(decisions.records[0])
        self.assertEqual(proof.State.REFUTED, trial.state)
        self.assertIn('Placement returns a', trial.reason)
        results = list(trials.judge_suggestions(decisions.records[1:]))
        self.assertEqual(proof.State.REFUTED, results[0].state)


class TestCommand(base.CommonCloudTestCase):
    """The suggestion is applied to the cloud itself, too."""

    name = 'proofs'
    arguments = ('--hosts', '1', '--gpus', '2')
    timeout = 600

    def _boot(self, flavor_id: str, *statuses: str) -> typing.Any:
        (image,) = self.connect().image.images(name='blank')
        response = self.connect().compute.post(
            '/servers',
            json={
                'server': {
                    'name': self.getUniqueString(),
                    'flavorRef': flavor_id,
                    'imageRef': image.id,
                    'networks': 'none',
                }
            },
            microversion='2.90',
        )
        self.assertEqual(202, response.status_code, response.text)
        return self.wait_for_server(response.json()['server']['id'], *statuses)

    def test_a_failure_that_the_rehearsal_does_not_show(self) -> None:
        """No API shows the type of devices, which the alias does not match."""
        with fault_bench.Bench(self) as bench:
            bench.edit(
                'nova-api-1',
                '"device_type": "type-PF"',
                '"device_type": "type-PCI"',
            )
            bench.failed(
                bench.flavor('nvidia_a100:1'), 'There are not enough hosts'
            )
            shown = self.openstack(
                *('gpu', 'server', 'explain', bench.last.id, '--prove'),
                *('--config', str(bench.etc), '-f', 'json'),
                status=3,
            )
        self.assertRegex(
            shown['cause'],
            r'Placement returns 1 of 1 host \(.*\), but at the last attempt '
            r'filters of .* \(GPU650\)\. The likeliest cause is GPU641: alias '
            'nvidia_a100 requests device_type type-PCI',
        )
        tried = shown['proof']
        self.assertEqual(
            ('inconclusive', 'inconclusive'),
            (tried['state'], tried['request']['state']),
        )
        self.assertEqual(shown['hosts'], [tried['request']['selected']])
        self.assertIn('(GPU650)', tried['request']['reason'])
        self.assertIn('GPU641', tried['request']['reason'])
        self.assertTrue(
            any(
                name.startswith('device type of 2 devices')
                for name in tried['not_rebuilt']
            ),
            tried,
        )

    def test_server_and_snapshot(self) -> None:
        compute = self.connect().compute
        made = compute.create_flavor(
            name='g.a100', vcpus=1, ram=512, disk=1, is_public=True
        )
        compute.create_flavor_extra_specs(
            made, {'pci_passthrough:alias': 'nvidia_a100:1'}
        )
        for _number in range(2):
            self._boot(made.id, 'ACTIVE')
        failed = self._boot(made.id, 'ERROR')
        folder = self.useFixture(fixtures.TempDir()).path
        path = os.path.join(folder, 'cloud.snapshot')
        self.openstack('gpu', 'snapshot', 'save', path)
        live = self.openstack(
            *('gpu', 'server', 'explain', failed.id, '--prove', '-f', 'json'),
            status=3,
        )
        shown = live['proof']
        self.assertEqual('proved', shown['state'], shown)
        self.assertIn('NoValidHost', shown['request']['error'])
        self.assertTrue(
            any(
                'no allocation candidates' in line.lower()
                for line in shown['request']['log']
            )
        )
        first = live['suggestions'][0]
        self.assertEqual(
            first['suggestion'], shown['suggestions'][0]['suggestion']
        )
        (action,) = first['actions']
        self.assertEqual('remove server', action['action'])
        self.delete(action['id'])
        booted = self._boot(made.id, 'ACTIVE')
        self.assertEqual(first['hosts'], [booted.hypervisor_hostname])
        # The same from the snapshot, of the cloud before.
        result = self.run_command(
            *('gpu', 'flavor', 'explain', 'g.a100', '--snapshot', path),
            '--prove',
        )
        self.assertEqual(3, result.status, result.stderr)
        self.assertIn('* proved: this request: NoValidHost', result.stdout)
        self.assertIn('is selected', result.stdout)
