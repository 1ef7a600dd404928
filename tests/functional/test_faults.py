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

"""Each fault that is planted is named first, with nothing false beside it."""

import os
import pathlib
import typing

from tests.functional import base
from tests.functional import fault_bench
from tests.functional import faults

_SPEC = pathlib.Path(__file__).parent / 'faults.yaml'
_VERDICTS: list[fault_bench.Verdict] = []


class TestFaults(base.CommonCloudTestCase):
    name = 'faults'
    arguments = ('--spec', os.fspath(_SPEC))

    def setUp(self) -> None:
        super().setUp()
        compute = self.connect().compute
        for name in ('a100', 'v100', 'vf'):
            # Of a cloud that works.
            if compute.find_flavor(f'gpu.{name}') is None:
                flavor = compute.create_flavor(
                    name=f'gpu.{name}',
                    vcpus=1,
                    ram=512,
                    disk=1,
                    is_public=False,
                )
                compute.create_flavor_extra_specs(
                    flavor, {fault_bench.ALIAS: f'{name}:1'}
                )

    def examine(self, fault: fault_bench.Fault) -> None:
        verdict = fault_bench.examine(self, fault)
        _VERDICTS.append(verdict)
        path = os.environ.get('FAULTS_TABLE')
        if path:
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(path).write_text(fault_bench.table(_VERDICTS))
        self.assertTrue(verdict.right, verdict)
        self.assertEqual((), verdict.false, verdict)

    def healthy(self) -> None:
        etc = os.path.join(self.started.cloud['directory'], 'etc', 'nova')
        for arguments in ((), ('--config', etc)):
            rows = self.openstack('gpu', 'check', '-f', 'json', *arguments)
            self.assertEqual([], [row for row in rows if row['Code']])
        self.assertEqual(
            [],
            self.openstack('gpu', 'placement', 'check', '-f', 'json'),
        )
        for name in ('a100', 'v100', 'vf'):
            answer = self.openstack(
                *('gpu', 'flavor', 'explain', f'gpu.{name}'),
                *('--config', etc, '-f', 'json'),
            )
            self.assertTrue(answer['fits'])

    def test_0_healthy(self) -> None:
        self.healthy()

    def test_2_healthy_with_servers(self) -> None:
        with fault_bench.Bench(self) as bench:
            for name in ('a100:2', 'v100:1', 'vf:3'):
                bench.booted(bench.flavor(name))
            self.healthy()

    def test_2_healthy_with_limits(self) -> None:
        with fault_bench.Bench(self) as bench:
            for resource_class in bench.device_classes():
                bench.limit(f'class:{resource_class}', 1)
            bench.limit('servers', 10)
            bench.use_unified_limits()
            # Limits make a public flavor safe.
            bench.booted(bench.flavor(public=True))
            self.healthy()

    def test_3_healthy_again(self) -> None:
        self.healthy()


def _add(number: int, fault: fault_bench.Fault) -> None:
    def test(self: typing.Any) -> None:
        self.examine(fault)

    name = f'test_{1 + number / 100:.2f}_{fault.plant.__name__.strip("_")}'
    setattr(TestFaults, name.replace('.', '_'), test)


for _number, _fault in enumerate(faults.FAULTS):
    _add(_number, _fault)
