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

"""Configuration that is valid in one release of Nova and not in another."""

import collections.abc
import pathlib
import typing

import ddt
import fixtures
import testtools

from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import release
from gpuclient.rules import configuration
from gpuclient.rules import finding
from gpuclient.rules import nova_release

_IDS = '"vendor_id": "10de", "product_id": "20f1", "device_type": "type-PF"'
_ALIAS = f'alias = {{"name": "a", {_IDS}}}\n'
_SPEC = 'device_spec = {"vendor_id": "10de", "product_id": "20f1"}\n'
_PLACEMENT = '[filter_scheduler]\npci_in_placement = True\n'
_REPORT = 'report_in_placement = True\n'
_MIGRATABLE = f'alias = {{"name": "a", {_IDS}, "live_migratable": "yes"}}\n'
_SPEC_MIGRATABLE = (
    'device_spec = {"vendor_id": "10de", "product_id": "20f1", '
    '"live_migratable": "yes"}\n'
)
_ONE_TIME = (
    'device_spec = {"vendor_id": "10de", "product_id": "20f1", '
    '"one_time_use": "yes"}\n'
)
_FILTERS = 'enabled_filters = ComputeFilter,PciPassthroughFilter'
_CLASS = (
    'alias = {"name": "a", "resource_class": "GPU_A", "device_type": '
    '"type-PF"}\n'
)
_SPEC_CLASS = (
    'device_spec = {"vendor_id": "10de", "product_id": "20f1", '
    '"resource_class": "GPU_A"}\n'
)


@ddt.ddt
class TestReleases(testtools.TestCase):
    def located(
        self, text: str, name: str
    ) -> collections.abc.Iterable[finding.Located]:
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (folder / 'nova.conf').write_text(text)
        return configuration.check(
            tree.read([str(folder)]).deployment,
            release=release.parse(name),
        )

    def findings(self, text: str, name: str) -> list[str]:
        return [str(located.finding) for located in self.located(text, name)]

    def check(
        self, text: str, name: str, code: str, part: str, severity: str
    ) -> None:
        """Check that the release has a finding, or none of the code."""
        found = [
            message
            for message in self.findings(text, name)
            if message.startswith(code)
        ]
        if not severity:
            self.assertEqual([], found)
            return
        self.assertEqual(1, len(found), found)
        self.assertIn(part, found[0])

    def test_release_that_accepts_an_alias(self) -> None:
        text = '{"name": "a", "live_migratable": "yes"}'
        for name, part in (
            ('29', '; 2025.1 (Nova 31.3.1) is the first that accepts it'),
            ('rhoso-18', 'pass a later --release, such as 2026.2'),
        ):
            exc = self.assertRaises(
                exceptions.InvalidAlias,
                nova_release.parse_alias,
                text,
                release.parse(name),
            )
            self.assertTrue(str(exc).endswith(part), str(exc))
        exc = self.assertRaises(
            exceptions.InvalidAlias,
            nova_release.parse_alias,
            '{"name": "a", "x": "yes"}',
            release.parse('29'),
        )
        self.assertNotIn('first', str(exc))

    def test_line_of_aliases_refused_together(self) -> None:
        ids = '"vendor_id": "10de", "product_id": "20f1"'
        text = (
            '[pci]\n'
            f'alias = {{"name": "a", {ids}}}\n'
            'alias = {"name": "b", "vendor_id": "10de"}\n'
            f'alias = {{"name": "c", {ids}}}\n'
        )
        (line,) = {
            located.place.line
            for located in self.located(text, '34')
            if located.place and located.finding.code == 'GPU301'
        }
        self.assertEqual(3, line)

    def test_alias_without_ids_and_placement(self) -> None:
        text = (
            '[pci]\nreport_in_placement = True\n'
            'alias = {"name": "a", "vendor_id": "10de"}\n'
            + _SPEC
            + f'[filter_scheduler]\npci_in_placement = True\n{_FILTERS}\n'
        )
        (message,) = [
            message
            for message in self.findings(text, '30')
            if message.startswith(('GPU123', 'GPU307'))
        ]
        self.assertIn('requests resource class CUSTOM_PCI_10DE_NONE', message)
        # Only Nova's own message: the alias is refused.
        self.assertEqual(
            {'GPU301'},
            {message[:6] for message in self.findings(text, '34')}
            & {'GPU301', 'GPU123', 'GPU307'},
        )

    def test_alias_is_refused_before_it_fails(self) -> None:
        ids = '"vendor_id": "10de", "product_id": "20f1"'
        text = (
            '[pci]\nreport_in_placement = True\n'
            f'alias = {{"name": "a", {ids}, "numa_policy": "required"}}\n'
            f'alias = {{"name": "a", {ids}}}\n' + _SPEC + _PLACEMENT
        )
        codes = {message[:6] for message in self.findings(text, '30')}
        self.assertIn('GPU301', codes)
        self.assertNotIn('GPU124', codes)

    @ddt.data(
        ('30', 'endpoint_service_type = compute', False),
        ('31', 'endpoint_service_type = compute', True),
        ('33', 'endpoint_service_name = nova', True),
        ('34', 'endpoint_service_type = compute', False),
        ('31', 'endpoint_service_type = compute\nendpoint_id = 1', False),
        ('31', 'auth_url = http://a', False),
    )
    @ddt.unpack
    def test_endpoint_of_limits(
        self, name: str, text: str, expected: bool
    ) -> None:
        codes = {
            message[:6]
            for message in self.findings(
                '[quota]\ndriver = nova.quota.UnifiedLimitsDriver\n'
                f'[oslo_limit]\n{text}\n[pci]\n{_ALIAS}{_SPEC}',
                name,
            )
        }
        self.assertEqual(expected, 'GPU811' in codes)

    @ddt.data(
        ('33', '', '', True),
        ('34', '', '', False),
        ('33', 'endpoint_id = 1\n', '', False),
        ('33', '', 'recheck_quota = False\n', False),
        ('33', '', 'recheck_quota = True\n', True),
    )
    @ddt.unpack
    def test_endpoint_of_limits_in_nova_conductor(
        self, name: str, more: str, quota: str, expected: bool
    ) -> None:
        """nova-api has the endpoint, and nova-conductor not."""
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        unified = '[quota]\ndriver = nova.quota.UnifiedLimitsDriver\n'
        service = '[oslo_limit]\nendpoint_service_type = compute\n'
        for file, text in (
            ('nova-api', f'{unified}{service}endpoint_id = 1\n'),
            ('nova-conductor', f'{unified}{quota}{service}{more}'),
        ):
            (folder / f'{file}.conf').write_text(text)
        found = [
            str(located.finding)
            for located in configuration.check(
                tree.read([str(folder)]).deployment,
                release=release.parse(name),
            )
            if located.finding.code == 'GPU811'
        ]
        self.assertEqual(expected, bool(found), found)
        if found:
            self.assertIn('nova-conductor of release 33', found[0])
            self.assertIn('stays in BUILD', found[0])

    @ddt.data(
        ('', True),
        (', "dev_type": "type-PCI"', False),
    )
    @ddt.unpack
    def test_alias_without_a_device_type(
        self, tag: str, expected: bool
    ) -> None:
        ids = '"vendor_id": "10de", "product_id": "20f1"'
        messages = self.findings(
            f'[pci]\nalias = {{"name": "a", {ids}}}\n'
            f'device_spec = {{{ids}{tag}}}\n',
            '34',
        )
        self.assertEqual(
            expected,
            any(
                message.startswith("GPU113: Alias 'a' has no device_type")
                for message in messages
            ),
            messages,
        )

    def test_key_that_a_product_may_have(self) -> None:
        for name, expected in (('27', False), ('rhoso-18', True)):
            (message,) = [
                message
                for message in self.findings(
                    '[pci]\n' + _REPORT + _ALIAS + _ONE_TIME, name
                )
                if message.startswith('GPU211')
            ]
            self.assertEqual(
                expected,
                message.endswith('unless rhoso-18 has added it to its Nova'),
            )

    # The differences: text, code, part of the message, releases with
    # the finding, releases without.
    @ddt.data(
        (
            '[pci]\n' + _MIGRATABLE + _SPEC_MIGRATABLE,
            'GPU301',
            "'live_migratable' was unexpected",
            ('30', '29', '27'),
            ('31.0', '31', '34'),
        ),
        (
            '[pci]\n' + _REPORT + _ALIAS + _ONE_TIME,
            'GPU211',
            'one_time_use',
            ('31', '30', '27'),
            ('32', '34'),
        ),
        (
            '[pci]\nalias = {"name": "a", "device_type": "type-PF"}\n' + _SPEC,
            'GPU301',
            'nova-api and nova-compute would not start: The PCI alias(es) a '
            'does not have vendor_id and product_id',
            ('31.3.1', '32', '34'),
            ('30', '31.3.0', '27'),
        ),
        (
            '[pci]\nalias = {"name": "a", "device_type": "type-PF"}\n' + _SPEC,
            'GPU123',
            'matches every type-PF device that device_spec matches',
            ('30', '31.3.0', '27'),
            ('31.3.1', '32', '34'),
        ),
        (
            '[pci]\n' + _REPORT + _ALIAS + _ALIAS + _SPEC + _PLACEMENT,
            'GPU301',
            'have multiple specs but [filter_scheduler]pci_in_placement is '
            'True',
            ('31.3.1', '34'),
            ('30', '31.3.0'),
        ),
        (
            '[pci]\n' + _REPORT + _ALIAS + _ALIAS + _SPEC + _PLACEMENT,
            'GPU124',
            'HTTP 500',
            ('30', '31.3.0'),
            ('31.3.1', '34'),
        ),
        (
            # Nova 26 ignores pci_in_placement, so the missing report is fine.
            '[pci]\n' + _ALIAS + _SPEC + _PLACEMENT,
            'GPU309',
            'does not report its devices to Placement',
            ('27', '34'),
            ('26',),
        ),
        (
            '[pci]\n' + _REPORT + _CLASS + _SPEC_CLASS + _PLACEMENT,
            'GPU301',
            "'resource_class' was unexpected",
            ('26',),
            ('27', '30', '34'),
        ),
        (
            '[pci]\n'
            + _ALIAS
            + _SPEC
            + f'[filter_scheduler]\n{_FILTERS},AvailabilityZoneFilter\n',
            'GPU326',
            'AvailabilityZoneFilter could not be found. nova-scheduler does '
            'not start',
            ('28', '34'),
            (),
        ),
        (
            '[pci]\n'
            + _REPORT
            + _ALIAS
            + _SPEC
            + _PLACEMENT
            + '[quota]\ndriver = nova.quota.UnifiedLimitsDriver\n',
            'GPU801',
            'do not count',
            ('31', '33'),
            ('34',),
        ),
        (
            '[pci]\n' + _ALIAS + _SPEC + _PLACEMENT,
            'GPU312',
            'it is new in Nova 27',
            ('26',),
            ('27', '34'),
        ),
    )
    @ddt.unpack
    def test_both_sides(
        self,
        text: str,
        code: str,
        part: str,
        with_it: tuple[str, ...],
        without: tuple[str, ...],
    ) -> None:
        for name in with_it:
            self.check(text, name, code, part, 'any')
        for name in without:
            self.check(text, name, code, part, '')

    def test_filter_that_the_release_has(self) -> None:
        """It does not stop nova-scheduler before 28, so it is not an error."""
        text = (
            f'[pci]\n{_ALIAS}{_SPEC}[filter_scheduler]\n{_FILTERS},'
            f'AvailabilityZoneFilter\n'
        )
        (message,) = (
            message
            for message in self.findings(text, '27')
            if message.startswith('GPU326')
        )
        self.assertNotIn('could not be found', message)

    def test_invalid_alias(self) -> None:
        """Before 31.3.1 services start, and requests get HTTP 400."""
        text = '[pci]\nalias = {"name": "a", "vendor_id": "0x10de"}\n'
        for name, part in (
            ('30', 'nova-api of release 30 starts, but returns HTTP 400'),
            ('31.3.0', 'nova-api of release 31 starts, but returns HTTP 400'),
            ('31.3.1', 'nova-api and nova-compute would not start'),
            ('33', 'nova-api and nova-compute would not start'),
        ):
            self.check(text, name, 'GPU301', part, 'any')

    def test_product(self) -> None:
        """Keys that a product may have added are warnings, not errors."""
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (folder / 'nova.conf').write_text('[pci]\n' + _MIGRATABLE)
        severities: dict[str, typing.Any] = {}
        for name in ('27', 'rhoso-18'):
            for located in configuration.check(
                tree.read([str(folder)]).deployment,
                release=release.parse(name),
            ):
                if located.finding.code == 'GPU301':
                    severities[name] = str(located.finding.severity)
        self.assertEqual({'27': 'error', 'rhoso-18': 'warning'}, severities)

    def test_vendor_alone(self) -> None:
        text = '[pci]\nalias = {"name": "a", "vendor_id": "10de"}\n' + _SPEC
        self.check(
            text, '29', 'GPU123', 'matches every device of vendor 10de', 'any'
        )

    def test_removed_option(self) -> None:
        """It is not reported if the release still has it."""
        text = '[scheduler]\nquery_placement_for_availability_zone = True\n'
        self.check('[pci]\n' + _ALIAS + _SPEC + text, '28', 'GPU329', '', 'x')
        self.check('[pci]\n' + _ALIAS + _SPEC + text, '27', 'GPU329', '', '')
