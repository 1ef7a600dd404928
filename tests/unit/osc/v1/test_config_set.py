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

"""Edits of ``openstack gpu config set``."""

import json
import pathlib
import typing

import ddt

from gpuclient import exceptions
from gpuclient.model import scheduler_filters
from gpuclient.osc.v1 import config
from gpuclient.osc.v1 import config_set
from tests.unit.documents import test_check
from tests.unit.osc.v1 import test_files

ALIAS = test_check.ALIAS
SPEC = test_check.SPEC
ALL = (
    '--report-in-placement',
    '--pci-in-placement',
    *('--enable-filter', 'PciPassthroughFilter'),
)
GOLDEN = pathlib.Path(__file__).parent / 'golden' / 'config_set.json'
DEFAULT = ','.join(scheduler_filters.DEFAULT)
RHOSO = {
    'service-values.yaml': f"""\
data:
  nova:
    # of the API
    apiServiceTemplate:
      customServiceConfig: |
        [pci]
        {ALIAS}
    schedulerServiceTemplate:
      customServiceConfig: |
        [DEFAULT]
        debug = True
    cellTemplates:
      cell1:
        conductorServiceTemplate:
          customServiceConfig: |
            [DEFAULT]
            debug = True
""",
    'values.yaml': f"""\
data:
  nova:
    pci:
      conf: |
        [pci]
        {SPEC}
        {ALIAS}
""",
}


@ddt.ddt
class TestSet(test_files.FilesTestCase):
    def put(self, files: dict[str, str]) -> None:
        self.write(test_files.Kind(files, ()))

    def set(self, *arguments: str) -> typing.Any:
        return self.json(config_set.SetConfig, *arguments)

    def refused(self, *arguments: str) -> str:
        before = self.content()
        error = self.assertRaises(
            exceptions.GPUError,
            self.run_command,
            config_set.SetConfig,
            *arguments,
        )
        self.assertEqual(before, self.content())
        return str(error)

    def test_one_file_of_all(self) -> None:
        text = f'# ours\n[pci]\n{ALIAS}\n{SPEC}\n# end\n'
        self.put({'nova.conf': text})
        dry = self.set('nova.conf', *ALL, '--dry-run')
        self.assertEqual({'nova.conf': text}, self.content())
        done = self.set('nova.conf', *ALL)
        self.assertEqual(dry['files'][0]['diff'], done['files'][0]['diff'])
        self.assertEqual(json.loads(GOLDEN.read_text()), done)
        after = self.content()
        self.assertEqual(
            f'# ours\n[pci]\n{ALIAS}\n{SPEC}\nreport_in_placement = True\n'
            '# end\n\n[filter_scheduler]\npci_in_placement = True\n'
            f'enabled_filters = {DEFAULT},PciPassthroughFilter\n',
            after['nova.conf'],
        )
        self.assertEqual([], self.json(config.CheckConfig, '.'))
        again = self.set('nova.conf', *ALL)
        self.assertEqual('unchanged', again['files'][0]['state'])
        self.assertEqual([], again['restart'])
        self.assertEqual([], again['next_steps'])
        self.assertEqual(after, self.content())

    def test_values_of_rhoso(self) -> None:
        self.put(RHOSO)
        done = self.set('.', *ALL)
        self.assertEqual([], done['warnings'])
        self.assertEqual(
            ['nova-compute', 'nova-scheduler', 'nova-conductor', 'nova-api'],
            done['restart'],
        )
        self.assertEqual(
            [
                'Create an OpenStackDataPlaneDeployment for the node sets of '
                'these compute hosts',
                'openstack gpu placement list: continue when it shows every '
                'device of every compute host',
                'Apply the control plane with oc apply',
            ],
            done['next_steps'],
        )
        after = self.content()
        control = after['service-values.yaml']
        self.assertEqual(3, control.count('pci_in_placement = True'))
        # The operator already sets the filter.
        self.assertNotIn('enabled_filters', control)
        self.assertEqual(1, after['values.yaml'].count('report_in_placement'))
        for name, text in RHOSO.items():
            kept = [
                line
                for line in after[name].splitlines()
                if 'in_placement' not in line and '[filter' not in line
            ]
            self.assertEqual(
                text.splitlines(), [line for line in kept if line.strip()]
            )
        self.assertEqual([], self.json(config.CheckConfig, '.'))

    def test_filter_that_the_operator_lacks(self) -> None:
        self.put(RHOSO)
        self.set('.', '--enable-filter', 'IoOpsFilter')
        (line,) = (
            line
            for line in self.content()['service-values.yaml'].splitlines()
            if 'enabled_filters' in line
        )
        self.assertIn('PciPassthroughFilter,NUMATopologyFilter,IoOps', line)

    def test_layers_of_kolla(self) -> None:
        self.put(
            {
                'kolla/config/nova.conf': f'[pci]\n{ALIAS}\n',
                'kolla/config/nova/nova-compute.conf': f'[pci]\n{SPEC}\n',
            }
        )
        done = self.set('kolla/config', *ALL)
        self.assertEqual(
            ['kolla-ansible reconfigure --tags nova'], done['next_steps']
        )
        after = self.content()
        shared = after['kolla/config/nova.conf']
        self.assertEqual(1, shared.count('pci_in_placement = True'))
        self.assertEqual(1, shared.count('enabled_filters'))
        self.assertIn(
            'report_in_placement', after['kolla/config/nova/nova-compute.conf']
        )
        self.assertEqual([], self.json(config.CheckConfig, '.'))

    def test_a_file_for_each(self) -> None:
        self.put(
            {
                'nova-api.conf': f'[pci]\n{ALIAS}\n',
                'nova-conductor.conf': '[DEFAULT]\n',
                'nova-scheduler.conf': (
                    '[filter_scheduler]\n'
                    'enabled_filters = ComputeFilter, JsonFilter,\n'
                ),
                'c1/nova.conf': f'[libvirt]\nvirt_type = kvm\n[pci]\n{SPEC}\n',
            }
        )
        self.set('.', *ALL)
        after = self.content()
        self.assertNotIn('pci_in_placement', after['c1/nova.conf'])
        self.assertIn('report_in_placement = True', after['c1/nova.conf'])
        self.assertIn(
            'enabled_filters = ComputeFilter, JsonFilter, '
            'PciPassthroughFilter\n',
            after['nova-scheduler.conf'],
        )
        for name in ('nova-api', 'nova-conductor', 'nova-scheduler'):
            self.assertIn('pci_in_placement = True', after[f'{name}.conf'])
        self.assertNotIn('enabled_filters', after['nova-api.conf'])

    def test_unset_pci_in_placement(self) -> None:
        self.put(
            {
                'nova.conf': '[filter_scheduler]\npci_in_placement = on\n',
                'nova-api.conf': '[pci]\n',
            }
        )
        self.set('.', '--no-pci-in-placement')
        self.assertEqual(
            {
                'nova.conf': '[filter_scheduler]\npci_in_placement = False\n',
                'nova-api.conf': '[pci]\n',
            },
            self.content(),
        )

    def test_alias_without_ids(self) -> None:
        """nova-compute validates it depending on pci_in_placement."""
        alias = 'alias = {"name": "a", "resource_class": "A100"}'
        self.put(
            {
                'nova-api.conf': f'[pci]\n{alias}\n',
                'nova-compute.conf': f'[pci]\n{alias}\n{SPEC}\n',
            }
        )
        done = self.set('.', '--pci-in-placement')
        self.assertIn(
            'pci_in_placement = True', self.content()['nova-compute.conf']
        )
        self.assertIn('does not report its devices', done['warnings'][0])
        self.assertIn('nova-scheduler and nova-conductor', done['warnings'][1])

    def test_no_compute(self) -> None:
        self.put({'nova-api.conf': f'[pci]\n{ALIAS}\n'})
        done = self.set('.', '--pci-in-placement')
        self.assertIn(
            'These files configure no compute host with devices',
            done['warnings'][0],
        )

    @ddt.data(
        (('--pci-in-placement',), f'{ALIAS}\n{ALIAS}\n', 'multiple specs'),
        (
            ('--report-in-placement',),
            'device_spec = {"devname": "eth0"}\n',
            "does not support 'devname'",
        ),
        (('--report-in-placement',), '', 'no devices to report'),
        (
            ('--enable-filter', 'RamFilter'),
            '',
            'Nova 20 (Train) removed RamFilter',
        ),
        ((), '', 'Nothing to set'),
    )
    @ddt.unpack
    def test_refused(
        self, arguments: tuple[str, ...], text: str, message: str
    ) -> None:
        self.put({'nova.conf': f'[pci]\n{text}'})
        self.assertIn(message, self.refused('nova.conf', *arguments))

    @ddt.data(
        ('nova-compute.conf', '--pci-in-placement', 'nova-scheduler or'),
        ('nova-api.conf', '--enable-filter=JsonFilter', 'nova-scheduler'),
    )
    @ddt.unpack
    def test_not_of_that_service(
        self, name: str, argument: str, message: str
    ) -> None:
        self.put({name: f'[pci]\n{SPEC}\n'})
        self.assertIn(message, self.refused(name, argument))

    def test_value_set_by_a_template(self) -> None:
        self.put(
            {
                'kolla/config/nova.conf': (
                    '[filter_scheduler]\npci_in_placement = {{ x }}\n'
                )
            }
        )
        self.assertIn(
            'depends on a template or another option',
            self.refused('kolla/config', '--pci-in-placement'),
        )

    def test_file_of_a_tool(self) -> None:
        self.put({'user_variables.yml': "nova_pci_alias: ['{}']\n"})
        self.assertIn(
            'OpenStack-Ansible generates nova.conf',
            self.refused('user_variables.yml', '--pci-in-placement'),
        )

    def test_filter_of_a_site(self) -> None:
        self.put(
            {
                'nova.conf': (
                    '[filter_scheduler]\n'
                    'available_filters = nova.scheduler.filters.all_filters\n'
                    'available_filters = example.OwnFilter\n'
                )
            }
        )
        self.set('nova.conf', '--enable-filter', 'OwnFilter')
        self.assertIn(
            f'enabled_filters = {DEFAULT},OwnFilter',
            self.content()['nova.conf'],
        )
