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

"""``openstack gpu upgrade check``: known differences in both directions."""

import argparse
import io
import json
import os
import pathlib
import types
import typing

import ddt
import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.model import release as release_model
from gpuclient.osc.v1 import upgrade
from gpuclient.rules import upgrade as upgrade_rules

IDS = '"vendor_id": "10de", "product_id": "20f1"'
ALIAS = f'alias = {{"name": "a1", "device_type": "type-PF", {IDS}}}'
SPEC = f'device_spec = {{{IDS}}}'
API = f'[pci]\n{ALIAS}\n[filter_scheduler]\npci_in_placement = True\n'
COMPUTE = f'[pci]\n{ALIAS}\n{SPEC}\nreport_in_placement = True\n'
SCHEDULER = '[filter_scheduler]\npci_in_placement = True\n'
_ALL_FILTERS = (
    'ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter,'
    'ServerGroupAntiAffinityFilter,ServerGroupAffinityFilter,'
    'PciPassthroughFilter'
)


@ddt.ddt
class TestUpgrade(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        for name, content in (
            ('nova-api', API),
            ('nova-compute', COMPUTE),
            ('nova-scheduler', SCHEDULER),
            ('nova-conductor', SCHEDULER),
        ):
            (self.folder / f'{name}.conf').write_text(content)

    def change(self, name: str, old: str, new: str) -> None:
        path = self.folder / f'{name}.conf'
        text = path.read_text()
        self.assertIn(old, text)
        path.write_text(text.replace(old, new))

    def check(
        self, start: str, end: str
    ) -> tuple[int, list[dict[str, typing.Any]]]:
        return self.run_check('.', '--from', start, '--to', end)

    def run_check(
        self, *arguments: str
    ) -> tuple[int, list[dict[str, typing.Any]]]:
        app = types.SimpleNamespace(
            stdout=io.StringIO(),
            stderr=io.StringIO(),
            options=argparse.Namespace(),
        )
        command = upgrade.CheckUpgrade(app, argparse.Namespace())
        parsed = command.get_parser('check').parse_args(
            [*arguments, '-f', 'json']
        )
        status = command.run(parsed)
        self.stderr = app.stderr.getvalue()
        return status, json.loads(app.stdout.getvalue())

    def effects(self, start: str, end: str) -> set[tuple[str, str, str]]:
        """Return the effects, except for those on every cloud."""
        status, rows = self.check(start, end)
        self.assertEqual(
            3 if any(row['Effect'] == 'breaks' for row in rows) else 0, status
        )
        return {
            (row['Effect'], row['Release'], row['Code'])
            for row in rows
            if row['Code'] != 'owner-nova'
        }

    @ddt.data(('2024.1', '2026.1'), ('2025.1', '2026.2'), ('2023.1', '2026.2'))
    @ddt.unpack
    def test_clean(self, start: str, end: str) -> None:
        self.assertEqual(set(), self.effects(start, end))

    def test_owner(self) -> None:
        status, rows = self.check('2026.1', '2026.2')
        self.assertEqual(0, status)
        self.assertEqual(
            [('check', '2026.2', 'owner-nova', 'nova-compute.conf', 4)],
            [
                (
                    row['Effect'],
                    row['Release'],
                    row['Code'],
                    os.path.basename(row['File']),
                    row['Line'],
                )
                for row in rows
            ],
        )

    def test_live_migratable_alias(self) -> None:
        for name in ('nova-api', 'nova-compute'):
            self.change(
                name,
                '"device_type"',
                '"live_migratable": "true", "device_type"',
            )
        self.change(
            'nova-compute',
            '= {"vendor',
            '= {"live_migratable": "yes", "vendor',
        )
        effects = self.effects('2024.2', '2026.1')
        self.assertIn(('possible', '2025.1', 'GPU301'), effects)
        self.assertIn(('begins', '2025.1', 'device-spec-managed'), effects)
        self.assertNotIn('breaks', {effect for effect, *_others in effects})

    def test_one_time_use(self) -> None:
        self.change(
            'nova-compute', '= {"vendor', '= {"one_time_use": "yes", "vendor'
        )
        self.assertIn(
            ('begins', '2025.2', 'one-time-use'),
            self.effects('2024.2', '2025.2'),
        )
        self.assertEqual(set(), self.effects('2025.2', '2026.2'))

    def test_alias_without_ids(self) -> None:
        for name in ('nova-api', 'nova-compute'):
            self.change(name, f', {IDS}}}', '}')
        self.assertIn(
            ('breaks', '2025.1', 'GPU301'), self.effects('2024.1', '2026.1')
        )
        self.assertNotIn(
            'breaks',
            {effect for effect, *_others in self.effects('2023.1', '2024.1')},
        )

    def test_alias_twice(self) -> None:
        for name in ('nova-api', 'nova-compute'):
            self.change(
                name, ALIAS, f'{ALIAS}\n{ALIAS.replace("20f1", "20b0")}'
            )
        self.assertIn(
            ('breaks', '2025.1', 'GPU301'), self.effects('2024.1', '2026.1')
        )

    def test_resource_class(self) -> None:
        for name in ('nova-api', 'nova-compute'):
            self.change(
                name, '"device_type"', '"resource_class": "GPU", "device_type"'
            )
        self.change(
            'nova-compute',
            'device_spec = {',
            'device_spec = {"resource_class": "GPU", ',
        )
        self.assertEqual(
            {
                ('possible', '2023.1', 'GPU301'),
                ('begins', '2023.1', 'pci-in-placement'),
            },
            self.effects('zed', '2024.1'),
        )

    def test_filter(self) -> None:
        (self.folder / 'nova-scheduler.conf').write_text(
            f'{SCHEDULER}enabled_filters = {_ALL_FILTERS},'
            f'AvailabilityZoneFilter\n'
        )
        self.assertEqual(
            {('breaks', '2024.1', 'GPU326')}, self.effects('2023.1', '2026.2')
        )

    def test_limits(self) -> None:
        self.change(
            'nova-api',
            '[pci]',
            '[quota]\ndriver = nova.quota.UnifiedLimitsDriver\n[pci]',
        )
        self.assertEqual(
            {('begins', '2026.2', 'limits-count-aliases')},
            self.effects('2025.1', '2026.2'),
        )
        self.assertEqual(set(), self.effects('2025.1', '2026.1'))

    def test_option_that_takes_effect(self) -> None:
        self.change(
            'nova-scheduler',
            SCHEDULER,
            f'{SCHEDULER}image_props_weight_multiplier = 2.0\n',
        )
        self.assertEqual(
            {('begins', '2025.1', 'GPU312')}, self.effects('2024.1', '2026.2')
        )
        self.assertEqual(set(), self.effects('2025.1', '2026.2'))

    def test_pci_in_placement_is_no_new_option(self) -> None:
        self.assertEqual(
            {'pci-in-placement'},
            {code for _effect, _release, code in self.effects('zed', '2023.1')}
            - {'GPU313'},
        )

    def test_removed_option(self) -> None:
        self.change('nova-api', '[pci]', '[api]\nauth_strategy = x\n[pci]')
        self.assertEqual(
            {('begins', '2026.1', 'GPU329')}, self.effects('2024.1', '2026.1')
        )

    def test_placement(self) -> None:
        (self.folder / 'placement.conf').write_text(
            '[placement]\nmax_allocation_candidates = 1000\n'
            '[workarounds]\noptimize_for_wide_provider_trees = True\n'
        )
        self.assertEqual(
            {
                ('begins', '2024.1', 'candidates-bounded'),
                ('begins', '2025.1', 'wide-trees'),
            },
            self.effects('2023.1', '2025.1'),
        )
        self.assertEqual(
            {('ends', '2025.2', 'wide-trees')},
            self.effects('2025.1', '2025.2'),
        )
        self.assertEqual(set(), self.effects('2025.1', '2026.2'))

    def test_release_of_files(self) -> None:
        (self.folder / 'globals.yml').write_text(
            'openstack_release: "2026.1"\n'
        )
        status, rows = self.run_check('.', '--to', '2026.2')
        self.assertEqual((0, 1), (status, len(rows)))
        self.assertIn('From: 2026.1 (Nova 33.0.2), from ', self.stderr)

    def test_invalid_alias(self) -> None:
        """It is refused at the first request; later releases do not start."""
        self.change('nova-api', '"product_id"', '"product"')
        status, rows = self.check('2024.2', '2025.2')
        self.assertEqual(3, status)
        self.assertIn(
            ('breaks', '2025.1'),
            {
                (row['Effect'], row['Release'])
                for row in rows
                if 'nova-api would not start' in row['Message']
            },
        )

    def test_errors(self) -> None:
        for start, end, message in (
            ('2026.1', '2025.1', 'is not later than'),
            ('34', '2026.2', 'there is nothing to upgrade'),
            ('2019.7', '2026.1', "Unknown Nova release '2019.7'"),
            ('2025.1', 'tomorrow', "Unknown Nova release 'tomorrow'"),
        ):
            error = self.assertRaises(
                exceptions.GPUError, self.check, start, end
            )
            self.assertIn(message, str(error))

    def test_hidden_by_a_service_that_does_not_start(self) -> None:
        """What is not examined any more is not accepted."""
        self.change(
            'nova-compute', '"product_id"', '"managed": "banana", "product_id"'
        )
        self.change('nova-api', '"vendor_id"', '"traits": "A", "vendor_id"')
        _status, rows = self.check('2024.2', '2025.1')
        self.assertNotIn('possible', {row['Effect'] for row in rows})

    def test_files_that_are_not_compared(self) -> None:
        (self.folder / 'broken.yaml').write_text('a: [nova, pci, alias\n')
        (self.folder / 'nova-api.conf').write_text('[pci]\n{% if x %}\n')
        log = self.useFixture(fixtures.FakeLogger())
        for path, status, message in (
            ('absent', 1, 'absent is not compared: Cannot read absent: No'),
            ('broken.yaml', 1, 'broken.yaml:'),
            ('nova-api.conf', 0, 'nova-api.conf:2 is not compared: '),
        ):
            self.assertEqual(
                (status, []),
                self.run_check(path, '--from', '29', '--to', '31'),
                path,
            )
            self.assertIn(message, log.output)
        # What breaks is shown, and the exit status tells the failure.
        status, _rows = self.run_check(
            *('absent', 'nova-scheduler.conf', '--from', '33', '--to', '34')
        )
        self.assertEqual(1, status)

    def test_without_a_release(self) -> None:
        for arguments, message in (
            (('.', '--to', '2026.1'), 'pass --from, or --cloud'),
            (('--to', '2026.1', '--from', '2025.1'), 'Pass files or folders'),
            (
                ('--to', '2026.1', '--cloud', '--rehearse'),
                'that --rehearse runs',
            ),
        ):
            error = self.assertRaises(
                exceptions.GPUError, self.run_check, *arguments
            )
            self.assertIn(message, str(error))


@ddt.ddt
class TestPath(testtools.TestCase):
    @ddt.data(
        ('2024.1', '2026.1', ['2024.1', '2025.1', '2026.1']),
        ('2025.1', '2026.2', ['2025.1', '2026.1', '2026.2']),
        ('2024.2', '2025.2', ['2024.2', '2025.1', '2025.2']),
        ('zed', '2024.1', ['zed', '2023.1', '2024.1']),
        ('31.3.0', '31.3.1', ['2025.1', '2025.1']),
        ('rhoso-18', '2025.1', ['2023.1', '2024.1', '2025.1']),
    )
    @ddt.unpack
    def test_path(self, start: str, end: str, expected: list[str]) -> None:
        self.assertEqual(
            expected,
            [
                release.series
                for release in upgrade_rules.path(
                    release_model.parse(start), release_model.parse(end)
                )
            ],
        )
