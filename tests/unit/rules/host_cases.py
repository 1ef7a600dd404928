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

"""Hosts with one GPU, and assertions about the checks of a host."""

import json

import testtools

from gpuclient.model import alias as alias_model
from gpuclient.model import pci
from gpuclient.osc import remedies
from gpuclient.rules import check_result
from gpuclient.rules import host as host_rules
from gpuclient.rules import passthrough_view
from tests.unit.host import trees

GPU = '0000:04:00.0'
TWIN = '0000:05:00.0'
FAIL, WARN = check_result.Result.FAIL, check_result.Result.WARN


def card(
    arguments: str = trees.EARLY,
    *,
    address: str = GPU,
    host: dict[str, object] | None = None,
    **values: object,
) -> trees.Tree:
    """Return a host with one A100.

    It is configured correctly, except for the arguments.
    """
    tree = trees.Tree(arguments=arguments, **(host or {}))
    tree.initramfs('vfio-pci', maker='dracut')
    add(tree, address, **values)
    return tree


def add(tree: trees.Tree, address: str, **values: object) -> None:
    defaults = {'driver': 'vfio-pci', 'group': 4, 'total_vfs': 16}
    tree.device(address, trees.A100, 0x030200, **{**defaults, **values})


def named(*addresses: str) -> passthrough_view.Intent:
    return passthrough_view.Intent(
        addresses=frozenset(map(pci.parse_address, addresses))
    )


def specs(
    *entries: dict[str, object], **values: object
) -> passthrough_view.Intent:
    return passthrough_view.Intent(
        device_specs=tuple(map(json.dumps, entries)), of_compute=True, **values
    )


def alias(**keys: object) -> passthrough_view.Intent:
    text = json.dumps(
        {'name': 'a', 'vendor_id': '10de', 'product_id': '20f1', **keys}
    )
    return passthrough_view.Intent(aliases=(alias_model.parse(text),))


class HostTestCase(testtools.TestCase):
    def check(
        self,
        tree: trees.Tree,
        intent: passthrough_view.Intent | None = None,
    ) -> list[check_result.CheckResult]:
        return list(host_rules.check(tree.host(), intent))

    def problems(
        self,
        tree: trees.Tree,
        intent: passthrough_view.Intent | None = None,
    ) -> list[check_result.CheckResult]:
        """Return the results other than PASS."""
        problems = []
        for result in self.check(tree, intent):
            if result.code is None:
                self.assertEqual('PASS', result.result)
                self.assertIsNone(result.remedy)
            else:
                self.assertTrue(result.evidence, result)
                self.assertTrue(remedies.render(result.remedy), result)
                problems.append(result)
        return problems

    def codes(
        self,
        tree: trees.Tree,
        intent: passthrough_view.Intent | None = None,
    ) -> list[str]:
        """Return the sorted codes of all findings, with repetitions."""
        return sorted(
            str(problem.code) for problem in self.problems(tree, intent)
        )

    def problem(
        self,
        code: str,
        tree: trees.Tree,
        intent: passthrough_view.Intent | None = None,
        device: str | None = None,
    ) -> check_result.CheckResult:
        """Return the only finding with a code.

        :param device: Its address, if several devices have the finding.
        """
        problems = self.problems(tree, intent)
        matching = [
            problem
            for problem in problems
            if problem.code == code and device in (None, str(problem.device))
        ]
        self.assertEqual(1, len(matching), problems)
        return matching[0]

    def remedy(
        self,
        code: str,
        tree: trees.Tree,
        intent: passthrough_view.Intent | None = None,
        device: str | None = None,
    ) -> str:
        """Return a remedy as the command shows it."""
        problem = self.problem(code, tree, intent, device)
        return remedies.render(problem.remedy) or ''

    def finds(
        self,
        code: str,
        result: check_result.Result,
        evidence: str,
        tree: trees.Tree,
        intent: passthrough_view.Intent | None = None,
        remedy: str = '',
        device: str | None = None,
    ) -> None:
        """Assert one finding: its result, and parts of its texts."""
        problem = self.problem(code, tree, intent, device)
        self.assertEqual(result, problem.result, problem)
        self.assertNotEqual('', evidence)
        self.assertIn(evidence, problem.evidence)
        self.assertIn(remedy, remedies.render(problem.remedy) or '')
