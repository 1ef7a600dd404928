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

"""The full comparison with Nova: ``python -m tests.unit.differential.full``.

Generates cases (10,000 of either option unless a number is given), compares
each verdict with Nova's own, and says how many were accepted and refused, how
much of Nova's code they ran, and which of its ``raise`` statements
they reached.
"""

import ast
import collections
import collections.abc
import importlib
import os
import pathlib
import sys
import time
import warnings

import coverage
import hypothesis
from hypothesis import strategies

CASES = 10_000
MODULES = ('nova.pci.request', 'nova.pci.devspec', 'nova.pci.whitelist')
#: Functions and classes about ports, and about values of the host itself.
#: Before it gets there Nova reads the file "product" of a device in sysfs,
#: which Linux does not have.
UNREACHABLE = ('PciDeviceInvalidPFRemoteManaged', 'the specified VF vendor ID')
OTHERS = ('get_instance_pci_request_from_vif', 'PhysicalPciAddress')


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 if no verdict differs."""
    cases = int(arguments[0]) if arguments else CASES
    warnings.simplefilter('ignore')
    watch = coverage.Coverage(
        data_file=None, branch=True, include=['*/nova/pci/*']
    )
    began = time.monotonic()
    watch.start()
    for name in MODULES:
        sys.modules.pop(name, None)
    aliases, specs = compare_aliases(cases), compare_specs(cases)
    watch.stop()
    for title, tally in (('[pci]alias', aliases), ('device_spec', specs)):
        number = tally.total()
        print(
            f'{title}: {number} cases, '
            + ', '.join(
                f'{count} {verdict} ({100 * count / number:.0f} %)'
                for verdict, count in sorted(tally.items())
            )
        )
    missed = []
    for name in MODULES:
        module = importlib.import_module(name)
        path = pathlib.Path(str(module.__file__))
        analysis = watch._analyze(os.fspath(path))
        numbers = analysis.numbers
        print(
            f'{name}: {numbers.n_executed} of {numbers.n_statements} '
            f'statements, {numbers.n_executed_branches} of '
            f'{numbers.n_branches} branches'
        )
        missed += [
            f'{name}:{line}'
            for line in raises(path)
            if line in analysis.missing
        ]
    print(f'raise statements not reached: {", ".join(missed) or "none"}')
    differ = aliases['DIFFERENT'] + specs['DIFFERENT']
    print(f'disagreements: {differ}, {time.monotonic() - began:.0f} s')
    return int(bool(differ or missed))


def raises(path: pathlib.Path) -> list[int]:
    """Return the lines with a ``raise`` in code about the options."""

    def walk(node: ast.AST) -> collections.abc.Iterator[int]:
        if getattr(node, 'name', '') in OTHERS:
            return
        if isinstance(node, ast.Raise) and not any(
            phrase in ast.unparse(node) for phrase in UNREACHABLE
        ):
            yield node.lineno
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    return sorted(set(walk(ast.parse(path.read_text()))))


def _settings(cases: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def compare_aliases(cases: int) -> collections.Counter[str]:
    """Return the number of cases of each verdict."""
    from nova.pci import request

    from tests.unit.differential import test_alias

    tally: collections.Counter[str] = collections.Counter()

    @_settings(cases)
    @hypothesis.given(
        strategies.one_of(
            strategies.lists(test_alias.RIGHT, min_size=1, max_size=2),
            strategies.lists(test_alias.RIGHT, min_size=1, max_size=1),
            strategies.lists(test_alias.TEXTS, min_size=1, max_size=3),
        ),
        strategies.booleans(),
    )
    def run(texts: list[str], pci_in_placement: bool) -> None:
        nova_says = test_alias.of_nova(texts, pci_in_placement)
        ours = test_alias.of_ours(texts, pci_in_placement)
        if isinstance(nova_says, Exception):
            same = isinstance(ours, Exception)
            tally['refused' if same else 'DIFFERENT'] += 1
        else:
            tally['accepted' if nova_says == ours else 'DIFFERENT'] += 1

    run()
    try:
        request._translate_alias_to_requests('nosuch:1')
    except Exception as exc:
        assert 'nosuch is not defined' in str(exc)
    return tally


def compare_specs(cases: int) -> collections.Counter[str]:
    """Return the number of cases of each verdict."""
    from tests.unit.differential import test_device_spec

    case = test_device_spec.TestDeviceSpec('test_verdict')
    tally: collections.Counter[str] = collections.Counter()

    @_settings(cases)
    @hypothesis.given(
        strategies.lists(test_device_spec.TEXTS, min_size=1, max_size=3),
        strategies.booleans(),
    )
    def run(texts: list[str], report: bool) -> None:
        try:
            tally[case.compare(texts, report)] += 1
        except AssertionError:
            tally['DIFFERENT'] += 1

    run()
    for text, _verdict in test_device_spec.CHOSEN:
        for report in (False, True):
            tally[case.compare([text], report)] += 1
    return tally


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
