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

"""The checks of huge pages, memory and CPUs."""

from gpuclient.model import cpu
from gpuclient.rules import passthrough_view
from tests.unit.host import trees
from tests.unit.rules import host_cases
from tests.unit.rules.host_cases import FAIL
from tests.unit.rules.host_cases import WARN


class TestMemoryAndCpus(host_cases.HostTestCase):
    def test_pages_of_the_node(self) -> None:
        tree = host_cases.card(host={'nodes': 2}, node=1)
        tree.pages(0, 16)
        self.finds(
            'GPU446',
            WARN,
            'node 1',
            tree,
            remedy='hugepages=COUNT, without a node',
        )
        tree = host_cases.card(
            f'{trees.EARLY} hugepagesz=1G hugepages=0:12,1:0',
            host={'nodes': 2},
            node=1,
        )
        tree.pages(0, 12)
        remedy = 'hugepages=12 in place of hugepages=0:12,1:0'
        self.finds('GPU446', WARN, 'node 1', tree, remedy=remedy)

    def test_fewer_than_requested(self) -> None:
        tree = host_cases.card(f'{trees.EARLY} hugepagesz=1G hugepages=64')
        tree.pages(0, 60)
        self.finds(
            'GPU447', FAIL, 'request 64 of 1G, but the host has 60', tree
        )
        # The default is 2M, or 512M with 64K pages.
        arm = host_cases.card(
            'iommu.passthrough=1 hugepages=8 rd.driver.pre=vfio-pci '
            'vfio-pci.ids=10de:20f1'
        ).arm()
        self.assertEqual([], self.codes(arm))
        wrong = host_cases.card(f'{trees.EARLY} hugepagesz=3G hugepages=1')
        self.assertEqual(
            [
                'hugepagesz=3G: not a huge page size',
                'hugepages=1: does not follow a valid hugepagesz',
            ],
            [
                problem.evidence.removeprefix(
                    'the kernel ignored an argument: '
                )
                for problem in self.problems(wrong)
            ],
        )

    def test_reserved(self) -> None:
        tree = host_cases.card()
        tree.pages(0, 4)
        for text, reason in (
            ('node:0,size:1GB,count:8', 'node 0 has 4'),
            ('node:3,size:1GB,count:1', 'no node 3'),
        ):
            intent = passthrough_view.Intent(
                reserved_pages=(cpu.parse_reserved(text),)
            )
            self.finds('GPU448', FAIL, reason, tree, intent)

    def test_memory(self) -> None:
        tree = host_cases.card()
        tree.pages(0, 127)
        self.finds('GPU449', WARN, 'of node 0', tree)
        tree.pages(0, 120)
        intent = passthrough_view.Intent(reserved_memory_mb=16384)
        self.finds('GPU449', FAIL, '16384', tree, intent)

    def test_isolated(self) -> None:
        tree = host_cases.card()
        tree.isolate('2-3')
        for cpus, problem in (
            ({1, 2, 3}, '1 are in cpu_dedicated_set, but not isolated'),
            ({2}, '3 are isolated, but not in'),
        ):
            intent = passthrough_view.Intent(dedicated_cpus=frozenset(cpus))
            self.finds('GPU450', WARN, problem, tree, intent)
        tuned = host_cases.card()
        tuned.text(
            'etc/tuned/cpu-partitioning-variables.conf', 'isolated_cores=2-3\n'
        )
        intent = passthrough_view.Intent(dedicated_cpus=frozenset({2, 3}))
        self.assertEqual([], self.codes(tuned, intent))
        tuned.text(
            'etc/tuned/cpu-partitioning-variables.conf', 'isolated_cores=2-x\n'
        )
        self.finds('GPU450', WARN, 'TuneD cannot parse', tuned)
        for text in ('${f:calc_isolated_cores:2}', '${set_elsewhere}'):
            tuned.text(
                'etc/tuned/cpu-partitioning-variables.conf',
                f'isolated_cores={text}\n',
            )
            self.assertEqual([], self.codes(tuned, intent))

    def test_cpus_that_do_not_exist(self) -> None:
        intent = passthrough_view.Intent(shared_cpus=frozenset({0, 9}))
        self.finds(
            'GPU451',
            FAIL,
            '9 in cpu_shared_set do not exist',
            host_cases.card(),
            intent,
        )

    def test_cpus_of_the_node(self) -> None:
        tree = host_cases.card(host={'nodes': 2}, node=1)
        tree.isolate('2-3')
        self.finds(
            'GPU452', WARN, 'none of the isolated CPUs is on node 1', tree
        )
        intent = passthrough_view.Intent(dedicated_cpus=frozenset({2, 3}))
        self.finds('GPU452', WARN, 'cpu_dedicated_set', tree, intent)
        tuned = host_cases.card(host={'nodes': 2}, node=1)
        tuned.text(
            'etc/tuned/cpu-partitioning-variables.conf', 'isolated_cores=2-3\n'
        )
        self.finds(
            'GPU452', WARN, 'none of the isolated CPUs is on node 1', tuned
        )
