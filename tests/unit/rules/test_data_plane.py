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

"""Nodes and machines in large numbers."""

import testtools

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.rules import data_plane

PLACE = configuration.Place('nodes.yaml', 1)
NODES = 1000


def node_set(selectors: list[str]) -> deployment.NodeSet:
    return deployment.NodeSet(
        PLACE,
        (),
        selector_place=PLACE,
        nodes=tuple(
            configuration.NodeSetNode(f'n{number}', ((label, 'yes'),), PLACE)
            for number, label in enumerate(selectors)
        ),
    )


def machines(count: int) -> list[configuration.Machine]:
    """Return machines, each with the labels of two nodes."""
    return [
        configuration.Machine(
            f'm{number}',
            PLACE,
            ((f'l{number}', 'yes'), (f'l{number + 1}', 'yes')),
        )
        for number in range(count)
    ]


class TestMachines(testtools.TestCase):
    def check(
        self, selectors: list[str], machines: list[configuration.Machine]
    ) -> list[str]:
        return [
            located.finding.code
            for located in data_plane.check_machines(
                node_set(selectors), machines
            )
        ]

    def test_chain(self) -> None:
        """The last node gets a machine if all others are reassigned."""
        labels = [f'l{number}' for number in range(1, NODES)]
        self.assertEqual([], self.check([*labels, 'l0'], machines(NODES)))
        self.assertEqual(
            [], self.check([*labels, f'l{NODES}'], machines(NODES))
        )

    def test_chain_without_end(self) -> None:
        labels = [f'l{number}' for number in range(NODES + 1)]
        self.assertEqual(['GPU320'], self.check(labels, machines(NODES)))
