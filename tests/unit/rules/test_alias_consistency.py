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

"""Aliases that are not defined on some compute hosts."""

import ddt
from nova.compute import resource_tracker
from nova import exception
from nova import objects
import testtools

from gpuclient.rules import finding
from tests.unit.rules import test_scheduler

ALIAS = (
    'alias = {"name": "a100", "vendor_id": "10de", "product_id": "20f1", '
    '"device_type": "type-PF"}\n'
)
SPEC = 'device_spec = {"vendor_id": "10de", "product_id": "20f1"}\n'
FILTERS = (
    '[filter_scheduler]\n'
    'enabled_filters = ComputeFilter,PciPassthroughFilter\n'
)


def hosts(*computes: str, api: str = ALIAS) -> dict[str, str]:
    """Return the files of a cloud, with the [pci] section of each compute."""
    return {
        'controller/nova.conf': f'{FILTERS}[pci]\n{api}',
        **{
            f'compute{number}/nova.conf': f'[libvirt]\n[pci]\n{section}'
            for number, section in enumerate(computes)
        },
    }


@ddt.ddt
class TestHosts(test_scheduler.RulesTestCase):
    def test_host_without_the_alias(self) -> None:
        (located,) = self.check(hosts(SPEC + ALIAS, SPEC))
        self.assertEqual('GPU306', located.finding.code)
        self.assertEqual(finding.Severity.WARNING, located.finding.severity)
        self.assertIn(
            "alias 'a100', but does not define", located.finding.message
        )
        self.assertTrue(
            located.place.path.endswith('compute1/nova.conf'), located.place
        )

    @ddt.data(
        # All compute hosts define the alias.
        (hosts(SPEC + ALIAS, SPEC + ALIAS)),
        # The other host has no device that the alias matches.
        (hosts(SPEC + ALIAS, '')),
        (hosts(SPEC + ALIAS, SPEC.replace('20f1', '2330'))),
        # An address alone does not identify the devices.
        (hosts(SPEC + ALIAS, 'device_spec = {"address": "0000:04:00.0"}\n')),
        # A value that cannot be parsed may be the alias.
        (hosts(SPEC + ALIAS, SPEC + 'alias = {{ gpus }}\n')),
    )
    def test_silent(self, files: dict[str, str]) -> None:
        messages = self.messages(files)
        self.assertEqual(
            [], [message for message in messages if 'GPU306' in message]
        )

    def test_no_compute_host_has_the_alias(self) -> None:
        """It is reported once, for the alias."""
        (located,) = self.check(hosts(SPEC, SPEC))
        self.assertEqual('GPU306', located.finding.code)
        self.assertEqual(finding.Severity.ERROR, located.finding.severity)


class TestNova(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        objects.register_all()

    def test_move_to_a_host_without_the_alias(self) -> None:
        """The alias is looked up on the host that a server moves to."""
        tracker = resource_tracker.ResourceTracker(
            'compute1', driver=None, reportclient=object()
        )
        tracker.compute_nodes['compute1'] = objects.ComputeNode()
        tracker.disabled = lambda _node: False
        tracker._claim_existing_migration = lambda _migration, _node: None
        flavor = objects.Flavor(
            extra_specs={'pci_passthrough:alias': 'a100:1'}
        )
        self.assertRaises(
            exception.PciRequestAliasNotDefined,
            tracker._move_claim,
            *(None, objects.Instance(), flavor, 'compute1'),
            *(objects.Migration(), {}),
        )
