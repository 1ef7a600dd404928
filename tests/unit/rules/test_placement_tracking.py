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

"""Compute hosts have to report to Placement with pci_in_placement."""

import json

import ddt
import testtools

from gpuclient.model import alias as alias_model
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import device_spec
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import placement_tracking

PLACE = configuration.Place('nova.conf', 3)
IDS = {'vendor_id': '10de', 'product_id': '20f1'}


def process(kind, *options):
    return deployment.Process(
        (kind,),
        PLACE,
        (
            deployment.Source(
                PLACE,
                tuple(
                    configuration.Option(
                        section, name, configuration.Setting(value, PLACE)
                    )
                    for section, name, value in options
                ),
            ),
        ),
    )


@ddt.ddt
class TestReporting(testtools.TestCase):
    @ddt.data(
        (IDS, True),
        ({'devname': 'eth0', 'physical_network': 'net'}, False),
        ({**IDS, 'remote_managed': 'yes'}, False),
        # A device of an overlay network, unless an alias matches it.
        ({'product_id': '1017', 'physical_network': None}, False),
        ({**IDS, 'physical_network': None}, True),
    )
    @ddt.unpack
    def test_devices_of_flavors(self, entry, expected):
        api = process(
            configuration.API,
            ('filter_scheduler', 'pci_in_placement', 'True'),
        )
        alias = alias_rules.AliasEntry(
            alias_model.Alias('a', **IDS),
            configuration.Setting('', PLACE),
            api,
        )
        for report in ('False', 'True'):
            compute = process(
                configuration.COMPUTE,
                ('pci', 'report_in_placement', report),
                ('pci', 'device_spec', json.dumps(entry)),
            )
            specs = [
                device_spec_rules.SpecEntry(
                    spec, configuration.Setting('', PLACE), compute
                )
                for spec in device_spec.parse(json.dumps(entry))
            ]
            findings = placement_tracking.check([api, compute], specs, [alias])
            self.assertEqual(
                ['GPU309'] if expected and report == 'False' else [],
                [located.finding.code for located in findings],
            )
