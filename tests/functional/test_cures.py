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

"""The first suggestion of an explanation lets the cloud boot the server.

Each fault is planted, ``explain --prove`` tries its suggestions with a real
nova-scheduler, and the first of them is applied to the cloud itself.
"""

import dataclasses
import os
import pathlib
import re
import typing

from tests.functional import base
from tests.functional import fault_bench
from tests.functional import faults

_SPEC = pathlib.Path(__file__).parent / 'faults.yaml'
#: The faults of which a suggestion follows, by the name of the function.
FAULTS = (
    '_alias_class',
    '_alias_trait',
    '_deleted_consumer',
    '_disabled',
    '_down',
    '_forced_down',
    '_host',
    '_image_trait',
    '_in_use',
    '_memory_in_use',
    '_one_free_each',
    '_other_product',
    '_physical_network',
    '_removed_host',
    '_reserved',
    '_surplus',
    '_tenants',
    '_too_large_disk',
    '_too_many',
    '_too_many_cpus',
    '_too_much_memory',
    '_trait',
    '_wrong_host',
    '_zone',
)
#: The property of a flavor that a condition is about.
_AMOUNTS = {
    r'\d+ VCPU': 'vcpus',
    r'\d+ MiB memory': 'ram',
    r'\d+ GiB disk': 'disk',
}
_ROWS: list[tuple[str, ...]] = []


@dataclasses.dataclass
class _Request:
    """A request for a server that a suggestion may change."""

    #: Arguments of :meth:`fault_bench.Bench.flavor`.
    flavor: dict[str, typing.Any]
    #: Arguments of :meth:`fault_bench.Bench.boot`.
    others: dict[str, typing.Any]


class TestCures(base.CommonCloudTestCase):
    name = 'cures'
    arguments = ('--spec', os.fspath(_SPEC))
    timeout = 600

    def cure(self, fault: fault_bench.Fault) -> None:
        with fault_bench.Bench(self) as bench:
            observed = fault.plant(bench)
            flavor, others = bench.last_request
            answer = self.prove(bench, observed, flavor, others)
            suggestion = answer['suggestions'][0]
            proof = answer['proof']
            self.assertEqual('proved', proof['state'], proof)
            trial = proof['suggestions'][0]
            self.assertEqual(suggestion['suggestion'], trial['suggestion'])
            self.assertIn(trial['selected'], suggestion['hosts'])
            request = self.request(flavor, others)
            for action in suggestion['actions']:
                self.act(bench, action)
                # An allocation may have had devices of other hosts, too.
                request.others['host'] = action['host']
            if suggestion['amount']:
                self.lower(suggestion, request)
            elif suggestion['condition']:
                self.give_up(suggestion['condition'], request, bench)
            server = bench.booted(
                bench.flavor(**request.flavor), **request.others
            )
            self.assertIn(server.hypervisor_hostname, suggestion['hosts'])
        self.note(fault, observed, suggestion, server)

    def prove(
        self,
        bench: fault_bench.Bench,
        observed: fault_bench.Observed,
        flavor: typing.Any,
        others: dict[str, typing.Any],
    ) -> typing.Any:
        """Return the explanation of a request, and what was tried."""
        command = observed.tool
        if 'explain' not in command:
            command = faults.explain(bench, flavor)
            if 'host' in others:
                command += ('--host', others['host'])
        return self.openstack(*command, '--prove', '-f', 'json', status=3)

    def request(
        self, flavor: typing.Any, others: dict[str, typing.Any]
    ) -> _Request:
        specs = self.connect().compute.fetch_flavor_extra_specs(flavor)
        return _Request(
            {
                'vcpus': flavor.vcpus,
                'ram': flavor.ram,
                'disk': flavor.disk,
                'request': None,
                **specs.extra_specs,
            },
            dict(others),
        )

    def act(
        self, bench: fault_bench.Bench, action: dict[str, typing.Any]
    ) -> None:
        """Do what a suggestion says of a server, device or service."""
        compute = bench.cloud.compute
        target = action['id']
        match action['action']:
            case 'remove server':
                self.delete(target)
            case 'remove allocation':
                bench.placement('DELETE', f'/allocations/{target}')
            case 'repair allocation':
                result = self.run_command(
                    'gpu', 'placement', 'check', '--fix', '--yes'
                )
                self.assertEqual(0, result.status, result.stderr)
            case 'release device':
                bench.release(target)
            case 'enable service':
                (service,) = compute.services(
                    binary='nova-compute', host=target
                )
                compute.enable_service(service)
            case 'end forced down':
                bench.force_down(target, False)
            case 'start service':
                bench.resume('nova-compute', target)
            case 'leave aggregate':
                compute.remove_host_from_aggregate(target, action['host'])
            case 'set trait':
                self.set_trait(bench, action['host'], target)
            case other:
                self.fail(f'no such action: {other}')

    def set_trait(
        self, bench: fault_bench.Bench, host: str, trait: str
    ) -> None:
        """Set a trait of a host, until the end of the test."""
        (root,) = bench.providers(re.escape(host))
        path = f'/resource_providers/{root["uuid"]}/traits'
        before = bench.placement('GET', path)['traits']

        def put(traits: list[str]) -> None:
            record = bench.placement('GET', path)
            bench.placement('PUT', path, {**record, 'traits': traits})

        bench.later(put, before)
        put([*before, trait])

    def lower(
        self, suggestion: dict[str, typing.Any], request: _Request
    ) -> None:
        """Request a smaller amount."""
        condition, amount = suggestion['condition'], suggestion['amount']
        for pattern, name in _AMOUNTS.items():
            if re.fullmatch(pattern, condition):
                request.flavor[name] = amount
                return
        alias = condition.split()[2]
        request.flavor[fault_bench.ALIAS] = f'{alias}:{amount}'

    def give_up(
        self, condition: str, request: _Request, bench: fault_bench.Bench
    ) -> None:
        """Change a request so that it is without a condition."""
        kind, _space, name = condition.rpartition(' ')
        if kind in ('availability zone', 'host'):
            del request.others[kind.replace(' ', '_')]
        elif kind == 'trait':
            del request.flavor[f'trait:{name}']
        elif kind == 'image trait':
            request.others['image'] = bench.image()
        else:
            self.assertRegex(condition, r'\d+ x \S+ \(')
            del request.flavor[fault_bench.ALIAS]

    def note(
        self,
        fault: fault_bench.Fault,
        observed: fault_bench.Observed,
        suggestion: dict[str, typing.Any],
        server: typing.Any,
    ) -> None:
        """Add a row to the table."""
        _ROWS.append(
            (
                fault.name,
                ' '.join(observed.symptom.split())[:100],
                suggestion['suggestion'],
                'selected',
                f'{server.status} on {server.hypervisor_hostname}',
            )
        )
        path = os.environ.get('CURES_TABLE')
        if path:
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(path).write_text(_table())


def _table() -> str:
    header = (
        'fault',
        'symptom',
        'first suggestion',
        'in the rehearsal',
        'in the cloud',
    )
    return ''.join(
        f'| {" | ".join(cell.replace("|", "/") for cell in row)} |\n'
        for row in (header, ('---',) * len(header), *_ROWS)
    )


def _add(fault: fault_bench.Fault) -> None:
    def test(self: typing.Any) -> None:
        self.cure(fault)

    setattr(TestCures, f'test{fault.plant.__name__}', test)


for _fault in faults.FAULTS:
    if _fault.plant.__name__ in FAULTS:
        _add(_fault)
