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

"""CPU sets and reserved pages: our verdicts, compared with Nova's."""

import decimal
import typing

import fixtures
import hypothesis
from hypothesis import strategies
from nova import exception
from nova.virt import hardware
from nova.virt.libvirt import driver
import testtools

from gpuclient import exceptions
from gpuclient.model import configuration
from gpuclient.model import cpu
from gpuclient.model import deployment
from gpuclient.rules import cpu as cpu_rules
from tests.unit.differential import quoted

SPECS = strategies.text('0123456789,-^ +_x٣', max_size=12)
RULES = strategies.lists(
    strategies.one_of(
        strategies.integers(0, 300).map(str),
        strategies.tuples(
            strategies.sampled_from(('', '^', ' ', '^ ')),
            strategies.integers(0, 40),
            strategies.integers(0, 60),
        ).map(lambda bounds: f'{bounds[0]}{bounds[1]}-{bounds[2]}'),
        strategies.integers(0, 40).map(lambda number: f'^{number}'),
        strategies.sampled_from(('', ' ', '^', '-', 'a', '3-', '-3', '5--3')),
    ),
    max_size=6,
).map(','.join)
RESERVATIONS = strategies.tuples(
    strategies.sampled_from(('node:0', 'node:1', 'node:x', 'node: 2', '')),
    strategies.sampled_from(
        (
            'size:2048',
            'size:1GB',
            'size:1G',
            'size:1GiB',
            'size:.5MB',
            'size:2Mb',
            'size:8bit',
            'size:1.5KB',
            'size:1_0',
            'size:٣KB',
            'size:',
            'pages:4',
        )
    ),
    strategies.sampled_from(
        ('count:64', 'count:-1', 'count:', 'count', 'a:b')
    ),
    strategies.sampled_from(('', ',node:3', ',x', ',:1', ',other:1,2')),
).map(lambda parts: ','.join(part for part in parts[:3] if part) + parts[3])


def reserved_by_nova(values: list[str]) -> typing.Any:
    """Return Nova's values, or its error."""
    option = hardware.CONF._opts['reserved_huge_pages']['opt']
    try:
        parsed = [option.type(value) for value in values]
        hardware.CONF.set_override('reserved_huge_pages', parsed)
        try:
            return dict(hardware.numa_get_reserved_huge_pages())
        finally:
            hardware.CONF.clear_override('reserved_huge_pages')
    except (ValueError, exception.InvalidReservedMemoryPagesOption) as exc:
        return str(exc)


class TestCpuSets(testtools.TestCase):
    @hypothesis.settings(max_examples=600, deadline=None)
    @hypothesis.given(text=strategies.one_of(SPECS, RULES))
    def test_parse(self, text: str) -> None:
        try:
            expected: typing.Any = hardware.parse_cpu_spec(text)
        except exception.Invalid as exc:
            expected = str(exc)
        except (MemoryError, OverflowError):
            hypothesis.assume(False)
        outcome: typing.Any
        try:
            outcome = set(cpu.parse(text))
        except exceptions.InvalidCPUSet as exc:
            outcome = str(exc)
            if outcome.startswith('No machine has'):
                return
        if isinstance(outcome, str):
            expected = quoted.as_ours(expected, outcome)
        self.assertEqual(expected, outcome)

    @hypothesis.settings(max_examples=100, deadline=None)
    @hypothesis.given(
        cpus=strategies.sets(strategies.integers(0, 70), max_size=40)
    )
    def test_render(self, cpus: set[int]) -> None:
        self.assertEqual(hardware.format_cpu_spec(cpus), cpu.render(cpus))
        self.assertEqual(cpus, set(cpu.parse(cpu.render(cpus))))
        self.assertEqual(cpus, set(cpu.parse_list(cpu.render(cpus))))
        self.assertEqual(cpus, set(cpu.parse_tuned(cpu.render(cpus))))

    def test_empty_set_is_rejected(self) -> None:
        hardware.CONF.set_override('cpu_dedicated_set', '3,^3', 'compute')
        self.addCleanup(
            hardware.CONF.clear_override, 'cpu_dedicated_set', 'compute'
        )
        theirs = self.assertRaises(
            exception.Invalid, hardware.get_cpu_dedicated_set
        )
        ours = self.assertRaises(
            exceptions.InvalidCPUSet,
            cpu.parse_option,
            '[compute] cpu_dedicated_set',
            '3,^3',
        )
        self.assertEqual(quoted.as_ours(theirs, ours), str(ours))
        self.assertIsNone(cpu.parse_option('[compute] cpu_shared_set', ''))


class TestReservedPages(testtools.TestCase):
    @hypothesis.settings(max_examples=400, deadline=None)
    @hypothesis.given(text=RESERVATIONS)
    def test_parse(self, text: str) -> None:
        expected = reserved_by_nova([text])
        try:
            pages = cpu.parse_reserved(text)
        except exceptions.InvalidHugePages as exc:
            self.assertIsInstance(expected, str)
            if not expected.startswith('The format'):
                self.assertEqual(quoted.as_ours(expected, exc), str(exc))
            else:
                # Nova shows the value as oslo.config parses it.
                self.assertEqual(
                    expected.split('(found')[0], str(exc).split('(found')[0]
                )
            return
        self.assertEqual(
            {pages.node: {decimal.Decimal(pages.size_kib): pages.count}},
            expected,
        )


SETS = strategies.sampled_from(
    (None, '', '0-3', '4-7', '2-5', '0,^0', '3-1', 'a', ' ,', '8')
)


class TestStart(testtools.TestCase):
    """The validation of CPU sets when nova-compute starts."""

    def setUp(self) -> None:
        super().setUp()
        # Nova warns about deprecated options.
        self.useFixture(fixtures.FakeLogger())

    @hypothesis.settings(max_examples=400, deadline=None)
    @hypothesis.given(
        shared=SETS,
        dedicated=SETS,
        pinned=SETS,
        reserved=strategies.sampled_from((None, '0', '2')),
    )
    def test_start(
        self,
        shared: str | None,
        dedicated: str | None,
        pinned: str | None,
        reserved: str | None,
    ) -> None:
        options = (
            ('compute', 'cpu_shared_set', shared),
            ('compute', 'cpu_dedicated_set', dedicated),
            ('DEFAULT', 'vcpu_pin_set', pinned),
            ('DEFAULT', 'reserved_host_cpus', reserved),
        )
        expected = ''
        for section, name, text in options:
            group = None if section == 'DEFAULT' else section
            value = (
                int(text) if name == 'reserved_host_cpus' and text else text
            )
            if value is not None:
                hardware.CONF.set_override(name, value, group)
        try:
            driver.LibvirtDriver._check_cpu_set_configuration(None)
        except exception.NovaException as exc:
            expected = str(exc)
        finally:
            hardware.CONF.reset()
            for section, name, _text in options:
                hardware.CONF.clear_override(
                    name, None if section == 'DEFAULT' else section
                )
        place = configuration.Place('nova.conf')
        service = deployment.Process(
            (configuration.COMPUTE,),
            place,
            (
                deployment.Source(
                    place,
                    tuple(
                        configuration.Option(
                            section, name, configuration.Setting(text, place)
                        )
                        for section, name, text in options
                        if text is not None
                    ),
                ),
            ),
        )
        messages = [
            located.finding.message
            for located in cpu_rules.check_service(service)
        ]
        if not expected:
            self.assertEqual([], messages)
        else:
            # Nova stops at the first error.
            self.assertTrue(
                any(expected in message for message in messages),
                f'{expected!r} is not in {messages}',
            )
