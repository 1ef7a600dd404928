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

"""Values, environments, bundles and answers of deployment tools."""

import os
import textwrap

import ddt
import testtools

from gpuclient.documents import aliases
from gpuclient.documents import device_specs
from gpuclient.documents import services
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.operations import config_check
from gpuclient.operations import host_intent
from tests.unit.documents import test_tools

ALIAS = test_tools.ALIAS
TEXT = ALIAS.render()
SPEC = test_tools.SPEC
FILTERS = 'ComputeFilter,PciPassthroughFilter'


class FormatTestCase(test_tools.ToolTestCase):
    def patch_of(self, name: str, *, spec: bool = False) -> str:
        """Return the lines to add by hand for an alias or a device spec."""
        path = os.fspath(self.folder / name)
        if spec:
            document = next(
                document
                for document in device_specs.read(path)
                if document.service in (None, 'nova-compute')
            )
            device_specs.add(document, {'vendor_id': '10de'})
        else:
            document = aliases.read(path)[0]
            self.assertTrue(aliases.add(document, ALIAS))
        error = self.assertRaises(
            exceptions.UnsafeEdit, document.file.check_writable
        )
        self.assertIn('are not edited: change', str(error))
        return error.patch


HELM = textwrap.dedent(f"""\
    images: {{}}
    conf:
      nova:
        filter_scheduler:
          enabled_filters: [ComputeFilter, PciPassthroughFilter]
          pci_in_placement: false
        pci:
          device_spec: >-
            [{{"address": "0000:3f:00.0", "vendor_id": "10de",
            "product_id": "20f1"}}]
          alias:
            type: multistring
            values:
              - '{TEXT}'
              - '{TEXT.replace('"a"', '"b"')}'
        DEFAULT:
          reserved_host_memory_mb: 4096
          debug: null
        lost: text
    """)


class TestHelm(FormatTestCase):
    def test_values(self) -> None:
        self.assertEqual(
            [
                [
                    '[DEFAULT]reserved_host_memory_mb=4096',
                    f'[filter_scheduler]enabled_filters={FILTERS}',
                    '[filter_scheduler]pci_in_placement=false',
                    f'[pci]alias={TEXT}',
                    '[pci]alias=' + TEXT.replace('"a"', '"b"'),
                    '[pci]device_spec=[{"address": "0000:3f:00.0", '
                    '"vendor_id": "10de", "product_id": "20f1"}]',
                ]
            ],
            self.options({'values.yaml': HELM}, 'nova-compute'),
        )

    def test_check(self) -> None:
        self.assertEqual([], self.codes({'values.yaml': HELM}))
        self.assertIn(
            ('GPU310', 'values.yaml', 5),
            self.codes(
                {'values.yaml': HELM.replace(', PciPassthroughFilter', '')}
            ),
        )
        self.assertEqual(
            [('GPU301', 'values.yaml', 15)],
            self.codes({'values.yaml': HELM.replace('"b"', '"b",')}),
        )

    def test_a_mapping_and_a_list(self) -> None:
        """The template writes them, and nova-api does not start."""
        for written, read in (
            ('{name: a, vendor_id: "10de"}', 'map[name:a vendor_id:10de]'),
            ("['{}', '{}']", '{},{}'),
        ):
            text = f'conf:\n  nova:\n    pci:\n      alias: {written}\n'
            self.assertEqual(
                [[f'[pci]alias={read}']],
                self.options({'values.yaml': text}, 'nova-api'),
            )
            self.assertIn(
                ('GPU301', 'values.yaml', 4), self.codes({'values.yaml': text})
            )

    def test_lines(self) -> None:
        """A line that is not indented is an option of its own."""
        text = (
            'conf:\n  nova:\n    pci:\n      device_spec: |\n'
            '        [{"vendor_id": "10de"},\n         {}]\n'
        )
        self.assertEqual(
            [['[pci]device_spec=[{"vendor_id": "10de"},\n{}]']],
            self.options({'values.yaml': text}, 'nova-compute'),
        )
        self.write({'values.yaml': text.replace('         {}', '        {}')})
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual(1, len(contents.unreadable))

    def test_overrides(self) -> None:
        text = HELM + textwrap.indent(
            textwrap.dedent("""\
            overrides:
              nova_compute:
                hosts:
                  - name: gpu1
                    conf:
                      nova:
                        pci:
                          device_spec: '{"vendor_id": "10de"}'
                          alias:
                            values: ['{"name": "c"}']
                labels:
                  - label: {key: gpu, values: [a100]}
                    conf: {}
            """),
            '  ',
        )
        default, host, label = self.options(
            {'values.yaml': text}, 'nova-compute'
        )
        self.assertEqual(default, label)
        self.assertEqual(
            [
                '[pci]alias={"name": "c"}',
                '[pci]device_spec={"vendor_id": "10de"}',
            ],
            [option for option in host if option.startswith('[pci]')],
        )
        (api,) = self.options({'values.yaml': text}, 'nova-api')
        self.assertEqual(default, api)

    def test_wrappers(self) -> None:
        for keys in (
            'nova_helm_values',
            'spec:\n  values',
            'spec:\n  source:\n    helm:\n      valuesObject',
        ):
            depth = keys.count('\n') + 1
            text = f'{keys}:\n{textwrap.indent(HELM, "  " * depth)}'
            (options,) = self.options({'values.yaml': text}, 'nova-api')
            self.assertIn(f'[pci]alias={TEXT}', options)
            self.assertEqual([], self.codes({'values.yaml': text}))

    def test_filters_of_atmosphere_are_its_own(self) -> None:
        text = (
            'nova_helm_values:\n  conf:\n    nova:\n      pci:\n'
            f"        alias: '{TEXT}'\n"
        )
        (process,) = self.services({'a.yml': text}).deployment.processes
        self.assertTrue(process.is_open('filter_scheduler', 'enabled_filters'))

    def test_mosk(self) -> None:
        conf = (
            'services: {{compute: {{nova: {0}{{values: {{conf: {{nova: '
            '{{pci: {{{1}}}}}}}}}}}{2}}}}}'
        )
        text = (
            'apiVersion: lcm.mirantis.com/v1alpha1\n'
            'kind: OpenStackDeployment\nspec:\n  '
            + conf.format('', f"alias: '{TEXT}'", '')
            + '\n  nodes:\n    gpu::yes:\n      '
            + conf.format(
                '{nova_compute: ', f"passthrough_whitelist: '{SPEC}'", '}'
            )
            + '\n'
        )
        self.assertEqual(
            [[f'[pci]alias={TEXT}']],
            self.options({'osdpl.yaml': text}, 'nova-scheduler'),
        )
        self.assertEqual(
            [
                [f'[pci]alias={TEXT}'],
                [f'[pci]alias={TEXT}', f'[pci]passthrough_whitelist={SPEC}'],
            ],
            self.options({'osdpl.yaml': text}, 'nova-compute'),
        )

    def test_edit_is_refused(self) -> None:
        self.write({'values.yaml': 'conf:\n  nova:\n    pci: {}\n'})
        self.assertEqual(
            ' conf:\n   nova:\n     pci:\n       alias:\n'
            '         type: multistring\n         values:\n'
            f"+          - '{TEXT}'\n",
            self.patch_of('values.yaml'),
        )

    def test_values_of_other_charts(self) -> None:
        self.write({'values.yaml': 'conf:\n  neutron: {pci: {alias: x}}\n'})
        self.assertEqual(0, tree.read([os.fspath(self.folder)]).files)


TRIPLEO = textwrap.dedent("""\
    resource_registry: {}
    parameter_defaults:
      NovaSchedulerEnabledFilters: ['ComputeFilter', 'PciPassthroughFilter']
      NovaReservedHostMemory: 4096
      ControllerExtraConfig:
        nova::pci::aliases:
          - name: a
            vendor_id: '10de'
            product_id: '20f1'
            device_type: type-PF
        nova::config::nova_config:
          filter_scheduler/pci_in_placement: {value: true}
      ComputeGpuParameters:
        NovaPCIPassthrough:
          - vendor_id: '10de'
            product_id: '20f1'
      ComputeGpuExtraConfig:
        nova::compute::pci::report_in_placement: true
        nova::pci::aliases:
          - {name: a, vendor_id: '10de', product_id: '20f1',
             device_type: type-PF}
    """)
JSON = (
    '{"name":"a","vendor_id":"10de","product_id":"20f1",'
    '"device_type":"type-PF"}'
)


class TestTripleO(FormatTestCase):
    def test_values(self) -> None:
        for service in ('nova-api', 'nova-scheduler', 'nova-conductor'):
            self.assertEqual(
                [
                    [
                        f'[filter_scheduler]enabled_filters={FILTERS}',
                        f'[pci]alias={JSON}',
                        '[filter_scheduler]pci_in_placement=true',
                    ]
                ],
                self.options({'gpu.yaml': TRIPLEO}, service),
            )
        self.assertEqual(
            [
                [
                    '[DEFAULT]reserved_host_memory_mb=4096',
                    '[pci]device_spec={"vendor_id":"10de","product_id":"20f1"}',
                    '[pci]report_in_placement=true',
                    f'[pci]alias={JSON}',
                ]
            ],
            self.options({'gpu.yaml': TRIPLEO}, 'nova-compute'),
        )

    def test_check(self) -> None:
        self.assertEqual([], self.codes({'gpu.yaml': TRIPLEO}))
        self.assertEqual(
            ['GPU306'],
            [
                code
                for code, _file, _line in self.codes(
                    {
                        'gpu.yaml': TRIPLEO[
                            : TRIPLEO.rindex('    nova::pci::aliases')
                        ]
                    }
                )
            ],
        )

    def test_numbers(self) -> None:
        """A number without quotes stays one, and nova-compute fails."""
        text = (
            'parameter_defaults:\n  NovaPCIPassthrough:\n'
            '  - vendor_id: 1137\n    product_id: 0071\n'
        )
        self.assertEqual(
            [['[pci]device_spec={"vendor_id":1137,"product_id":57}']],
            self.options({'gpu.yaml': text}, 'nova-compute'),
        )
        self.assertEqual(
            [('GPU302', 'gpu.yaml', 3)], self.codes({'gpu.yaml': text})
        )

    def test_several_environments(self) -> None:
        """One of two values applies, but it is unknown which one."""
        two = (
            'parameter_defaults:\n  NovaPCIPassthrough: [{vendor_id: "%s"}]\n'
        )
        files = {'a.yaml': two % '10de', 'b.yaml': two % '1002'}
        (process,) = self.services(files).deployment.processes
        self.assertTrue(process.is_open('pci', 'device_spec'))
        files = {
            'control.yaml': TRIPLEO[: TRIPLEO.index('  ComputeGpuP')],
            'compute.yaml': 'parameter_defaults:\n'
            + TRIPLEO[TRIPLEO.index('  ComputeGpuP') :],
        }
        self.assertEqual([], self.codes(files))

    def test_extra_config_of_all_roles(self) -> None:
        text = (
            'parameter_defaults:\n  ExtraConfig:\n    nova::pci::aliases:\n'
            f'      - {TEXT}\n'
        )
        for service in ('nova-api', 'nova-compute'):
            ((option,),) = self.options({'a.yaml': text}, service)
            self.assertIn('[pci]alias={"name":"a","vendor_id":', option)

    def test_edit_is_refused(self) -> None:
        self.write({'gpu.yaml': TRIPLEO})
        path = os.fspath(self.folder / 'gpu.yaml')
        document = next(
            document
            for document in aliases.read(path)
            if document.service == 'nova-api'
        )
        aliases.remove(document, 'a')
        self.assertEqual(
            ' parameter_defaults:\n   ControllerExtraConfig:\n'
            f'     nova::pci::aliases:\n-      - {JSON}\n',
            document.file.diff(),
        )
        self.assertIn(
            ' parameter_defaults:\n   NovaPCIPassthrough:\n'
            '+    - {"vendor_id": "10de"}\n',
            self.patch_of('gpu.yaml', spec=True),
        )


class TestHiera(FormatTestCase):
    def test_values(self) -> None:
        files = {
            'data/role/controller.yaml': (
                'nova::pci::aliases:\n'
                f'  - {TEXT}\n'
                'nova::scheduler::filter::enabled_filters:\n'
                '  - ComputeFilter\n  - PciPassthroughFilter\n'
            ),
            'data/role/compute.yaml': (
                f"nova::pci::aliases: '[{TEXT}]'\n"
                'nova::compute::pci::device_specs:\n'
                f'  - {SPEC}\n'
                'nova::compute::pci::report_in_placement: true\n'
                'nova::compute::cpu_dedicated_set: [4-7, 9]\n'
                'nova::compute::reserved_huge_pages:\n'
                "  - 'node:0,size:4,count:1'\n"
            ),
        }
        alias = TEXT.replace(', ', ',').replace(': ', ':')
        self.assertEqual(
            [
                [
                    f'[pci]alias={alias}',
                    f'[filter_scheduler]enabled_filters={FILTERS}',
                ]
            ],
            self.options(files, 'nova-scheduler'),
        )
        self.assertEqual(
            [
                [
                    f'[pci]alias={alias}',
                    '[pci]device_spec={"vendor_id":"10de","product_id":"20f1"}',
                    '[pci]report_in_placement=true',
                    '[compute]cpu_dedicated_set=4-7,9',
                    '[DEFAULT]reserved_huge_pages=node:0,size:4,count:1',
                ]
            ],
            self.options(files, 'nova-compute'),
        )
        self.assertEqual(
            ['GPU311'], [code for code, _file, _line in self.codes(files)]
        )

    def test_levels(self) -> None:
        """Values of hosts override those of all hosts."""
        files = {
            'hieradata/common.yaml': (
                f'nova::pci::aliases:\n  - {TEXT}\n'
                'nova::compute::pci::report_in_placement: false\n'
            ),
            'hieradata/role/compute.yaml': (
                'nova::compute::pci::report_in_placement: true\n'
                f'nova::compute::pci::passthrough:\n  - {SPEC}\n'
            ),
        }
        (options,) = self.options(files, 'nova-compute')
        self.assertEqual(3, len(options))
        self.assertIn('[pci]report_in_placement=true', options)
        self.assertEqual(1, len(self.options(files, 'nova-api')))

    def test_lookups_are_unknown(self) -> None:
        text = 'nova::scheduler::filter::pci_in_placement: "%{hiera(\'x\')}"\n'
        process = self.services({'common.yaml': text}).deployment.processes[0]
        self.assertTrue(
            process.is_open('filter_scheduler', 'pci_in_placement')
        )

    def test_edit_is_refused(self) -> None:
        other = TEXT.replace('"a"', '"b"')
        self.write({'compute.yaml': f'nova::pci::aliases:\n  - {other}\n'})
        self.assertEqual(
            f' nova::pci::aliases:\n+  - {TEXT}\n',
            self.patch_of('compute.yaml'),
        )


JUJU = textwrap.dedent(f"""\
    applications:
      nova-compute-gpu:
        charm: ch:nova-compute
        options:
          pci-alias: '{TEXT}'
          pci-passthrough-whitelist: '{SPEC}'
          reserved-huge-pages: node:0,size:4,count:1;node:1,size:4,count:1
          reserved-host-memory: 512
      nova-cloud-controller:
        charm: ch:nova-cloud-controller
        options:
          pci-alias: '[{TEXT}]'
          scheduler-default-filters: "ComputeFilter,PciPassthroughFilter,\\
            NUMATopologyFilter"
      neutron-api:
        charm: ch:neutron-api
    """)


class TestJuju(FormatTestCase):
    #: With its keys sorted.
    ALIAS = (
        '[pci]alias={"device_type": "type-PF", "name": "a", '
        '"product_id": "20f1", "vendor_id": "10de"}'
    )

    def test_values(self) -> None:
        self.assertEqual(
            [
                [
                    f'[pci]passthrough_whitelist={SPEC}',
                    self.ALIAS,
                    '[DEFAULT]reserved_host_memory_mb=512',
                    '[DEFAULT]reserved_huge_pages=node:0,size:4,count:1',
                    '[DEFAULT]reserved_huge_pages=node:1,size:4,count:1',
                ]
            ],
            self.options({'bundle.yaml': JUJU}, 'nova-compute'),
        )
        for service in ('nova-api', 'nova-scheduler', 'nova-conductor'):
            self.assertEqual(
                [
                    [
                        self.ALIAS,
                        '[filter_scheduler]enabled_filters='
                        f'{FILTERS},NUMATopologyFilter',
                    ]
                ],
                self.options({'bundle.yaml': JUJU}, service),
            )
        self.assertEqual([], self.codes({'bundle.yaml': JUJU}))

    def test_devices_in_placement(self) -> None:
        spec = '{"vendor_id": "10de", "product_id": "20f1"}'
        text = (
            'applications:\n'
            '  nova-cloud-controller:\n'
            '    charm: ch:nova-cloud-controller\n'
            '    options:\n'
            '      pci-in-placement: true\n'
            f"      pci-alias: '{TEXT}'\n"
            '  nova-compute:\n'
            '    charm: ch:nova-compute\n'
            '    options:\n'
            '      pci-report-in-placement: true\n'
            f"      pci-device-spec: '{spec}'\n"
            f"      pci-alias: '{TEXT}'\n"
        )
        self.assertEqual(
            [
                [
                    f'[pci]device_spec={spec}',
                    self.ALIAS,
                    '[pci]report_in_placement=true',
                ]
            ],
            self.options({'bundle.yaml': text}, 'nova-compute'),
        )
        ((_alias, tracked, _filters),) = self.options(
            {'bundle.yaml': text}, 'nova-scheduler'
        )
        self.assertEqual('[filter_scheduler]pci_in_placement=true', tracked)
        # The filters of an overlay are unknown: neutron-api is not in it.
        self.assertNotIn(
            'GPU309', [code for code, *_place in self.codes({'b.yaml': text})]
        )
        self.assertIn(
            'GPU309',
            [
                code
                for code, *_place in self.codes(
                    {'b.yaml': text.replace('report-in-placement: t', 'x: t')}
                )
            ],
        )

    def test_printed_options(self) -> None:
        """The output of "juju config nova-compute"."""
        text = (
            'application: gpu\ncharm: nova-compute\nsettings:\n'
            f"  pci-alias:\n    source: user\n    value: '{TEXT}'\n"
            '  cpu-dedicated-set:\n    description: CPUs\n    type: string\n'
        )
        self.assertEqual(
            [[self.ALIAS]],
            self.options({'options.yaml': text}, 'nova-compute'),
        )

    def test_filters_of_the_charm(self) -> None:
        start = JUJU.index('      scheduler-default')
        end = JUJU.index('  neutron-api')
        text = JUJU[:start] + JUJU[end:]
        self.assertIn(
            ('GPU310', 'bundle.yaml', 10),
            self.codes({'bundle.yaml': text}),
        )
        ((_alias, filters),) = self.options(
            {'bundle.yaml': f'{text}    options: {{enable-sriov: true}}\n'},
            'nova-scheduler',
        )
        self.assertEqual('PciPassthroughFilter', filters.rpartition(',')[2])
        # The filters of an overlay are unknown.
        overlay = text[: text.index('  neutron-api')].replace(
            '    charm: ch:nova-cloud-controller\n', ''
        )
        self.assertEqual([], self.codes({'bundle.yaml': overlay}))

    def test_options_alone(self) -> None:
        text = (
            f"nova-compute:\n  pci-alias: '{TEXT}'\n"
            '  pci-passthrough-whitelist: {"vendor_id":"10de"}\n'
        )
        self.assertEqual(
            [['[pci]passthrough_whitelist=map[]', self.ALIAS]],
            self.options({'options.yaml': text}, 'nova-compute'),
        )
        self.assertEqual(
            [('GPU302', 'options.yaml', 3)],
            self.codes({'options.yaml': text}),
        )

    def test_edit_is_refused(self) -> None:
        self.write({'bundle.yaml': JUJU.replace('"a"', '"b"')})
        self.assertEqual(
            ' applications:\n   nova-compute-gpu:\n     options:\n'
            "       pci-alias:\n+        '[" + TEXT + ", ...]'\n",
            self.patch_of('bundle.yaml'),
        )

    def test_deletion_is_refused(self) -> None:
        self.write({'bundle.yaml': JUJU})
        document = aliases.read(os.fspath(self.folder / 'bundle.yaml'))[0]
        self.assertTrue(aliases.remove(document, 'a'))
        error = self.assertRaises(
            exceptions.UnsafeEdit, document.file.check_writable
        )
        self.assertIn("       pci-alias:\n-        '[{", error.patch)


class TestSunbeam(FormatTestCase):
    TEXT = textwrap.dedent(f"""\
        core:
          config:
            pci:
              device_specs:
                - {SPEC}
              aliases:
                - {TEXT}
              excluded_devices:
                node1: ['0000:04:00.0']
        """)

    def test_values(self) -> None:
        files = {'manifest.yaml': self.TEXT}
        self.assertEqual(
            [
                [
                    '[pci]report_in_placement=True',
                    f'[pci]device_spec={SPEC}',
                    f'[pci]alias={TEXT}',
                ]
            ],
            self.options(files, 'nova-compute'),
        )
        ((alias, filters, tracking),) = self.options(files, 'nova-scheduler')
        self.assertEqual(f'[pci]alias={TEXT}', alias)
        self.assertIn('PciPassthroughFilter,NUMATopologyFilter', filters)
        self.assertEqual('[filter_scheduler]pci_in_placement=True', tracking)
        self.assertEqual([], self.codes(files))

    def test_same_name_twice(self) -> None:
        """Placement is always asked for devices."""
        text = self.TEXT.replace(
            '      excluded', f'        - {TEXT}\n      excluded'
        )
        self.assertIn(
            ('GPU301', 'manifest.yaml', 8), self.codes({'manifest.yaml': text})
        )

    def test_edit_is_refused(self) -> None:
        self.write({'manifest.yaml': self.TEXT.replace('"a"', '"b"')})
        self.assertEqual(
            ' core:\n   config:\n     pci:\n       aliases:\n'
            f'+        - {TEXT}\n',
            self.patch_of('manifest.yaml'),
        )

    def test_lines_of_all_services_are_shown_once(self) -> None:
        self.write({'manifest.yaml': self.TEXT.replace('"a"', '"b"')})
        documents = aliases.read(os.fspath(self.folder / 'manifest.yaml'))
        for document in documents:
            self.assertTrue(aliases.add(document, ALIAS))
        self.assertGreater(len(documents), 1)
        self.assertEqual(1, documents[0].file.diff().count(TEXT))


class TestPackstack(FormatTestCase):
    TEXT = (
        '[general]\nCONFIG_CONTROLLER_HOST=192.0.2.1\n'
        'CONFIG_COMPUTE_HOSTS=%s\n# comment\n'
        f'CONFIG_NOVA_PCI_ALIAS=[{TEXT}]\n'
        f'CONFIG_NOVA_PCI_PASSTHROUGH_WHITELIST=[{SPEC}]\n'
    )

    def test_values(self) -> None:
        alias = '[pci]alias=' + TEXT.replace(', ', ',').replace(': ', ':')
        spec = '[pci]device_spec={"vendor_id":"10de","product_id":"20f1"}'
        for hosts, api, computes in (
            ('192.0.2.1', [[alias, spec]], [[alias, spec]]),
            ('192.0.2.2', [[alias]], [[spec]]),
            ('192.0.2.1,192.0.2.2', [[alias]], [[alias, spec], [spec]]),
        ):
            files = {'packstack-answers.conf': self.TEXT % hosts}
            self.assertEqual(api, self.options(files, 'nova-api'))
            self.assertEqual(computes, self.options(files, 'nova-compute'))

    def test_answers_in_a_folder(self) -> None:
        """Of the files with that name, only answer files are read."""
        answers = self.TEXT % '192.0.2.1'
        for files in ({'answers.txt': answers}, {'answers-2.txt': answers}):
            self.assertEqual(2, len(self.options(files, 'nova-api')[0]))
            for name in files:
                (self.folder / name).unlink()
        self.write({'answers.txt': answers, 'answers-3.txt': 'no [answers\n'})
        self.assertEqual(
            ['GPU327'],
            [code for code, _file, _line in self.codes({})],
        )

    def test_alias_is_not_set_for_compute_hosts(self) -> None:
        self.assertIn(
            ('GPU306', 'answers.conf', 5),
            self.codes({'answers.conf': self.TEXT % '192.0.2.2'}),
        )

    def test_quotes(self) -> None:
        text = (self.TEXT % '192.0.2.1').replace('"', "'")
        self.assertEqual(
            {('GPU301', 'answers.conf', 5), ('GPU302', 'answers.conf', 6)},
            set(self.codes({'answers.conf': text})),
        )

    def test_a_text_file(self) -> None:
        self.write({'packstack-answers-20260101.txt': self.TEXT % '192.0.2.2'})
        contents = tree.read([os.fspath(self.folder)])
        self.assertEqual(1, contents.files)

    def test_edit_is_refused(self) -> None:
        self.write({'answers.conf': '[general]\nCONFIG_NOVA_PCI_ALIAS=\n'})
        self.assertEqual(
            f'+CONFIG_NOVA_PCI_ALIAS=[..., {TEXT}]\n',
            self.patch_of('answers.conf'),
        )


class TestKollaGlobals(FormatTestCase):
    TEXT = f'nova_pci_passthrough_whitelist:\n  - {SPEC}\n  - {SPEC}\n'

    def test_values(self) -> None:
        """One line of JSON; another tool has a list under the same name."""
        self.assertEqual(
            [[f'[pci]passthrough_whitelist=[{SPEC}, {SPEC}]']],
            self.options({'globals.yml': self.TEXT}, 'nova-compute'),
        )
        self.assertEqual(
            [], self.options({'globals.d/gpu.yml': self.TEXT}, 'nova-api')
        )
        self.assertIn(
            'Files of OpenStack-Ansible',
            self.message('user_gpu.yml'),
        )
        self.assertIn(
            'Files of Kolla-Ansible',
            self.message('globals.yml'),
        )

    def message(self, name: str) -> str:
        self.write({name: self.TEXT})
        path = os.fspath(self.folder / name)
        document = device_specs.read(path)[0]
        device_specs.add(document, {'vendor_id': '1002'})
        return document.file.files[0].obstacle()

    def test_nothing_set(self) -> None:
        for value in ('', ' []', ' null'):
            self.write(
                {'globals.yml': f'nova_pci_passthrough_whitelist:{value}\n'}
            )
            contents = tree.read([os.fspath(self.folder)])
            self.assertEqual((), contents.deployment.processes)


@ddt.ddt
class TestUnread(FormatTestCase):
    OTHER = 'nova_pci_alias:\n  - name: a\n    vendor_id: "10de"\n'

    @ddt.data(
        (OTHER, 'not those of OpenStack-Ansible'),
        (
            'nova:\n  controller:\n    version: yoga\n    pci:\n'
            '      alias:\n        a: {vendor_id: "10de"}\n',
            'a pillar of Salt',
        ),
        (
            'stackhpc_gpu_data:\n  a100: {vendor_id: "10de"}\n',
            'the StackHPC Kayobe configuration',
        ),
        (
            'kind: Secret\ndata:\n  nova.conf: W3BjaV0=\n  device_spec: x\n',
            'a Secret of Kubernetes',
        ),
        ('x:\n  pci_passthrough_whitelist: []\n', 'YAML of an unknown tool'),
    )
    @ddt.unpack
    def test_named(self, text: str, name: str) -> None:
        self.write({'gpu.yml': text})
        path = os.fspath(self.folder / 'gpu.yml')
        for read in (
            lambda: config_check.read([path]),
            lambda: services.read(path),
            lambda: host_intent.Intents(frozenset(), files=[path]),
        ):
            error = self.assertRaises(exceptions.DocumentError, read)
            self.assertIn(name, str(error))
            self.assertIn('pass the nova.conf files that are', str(error))

    def test_beside_others(self) -> None:
        self.write(
            {
                'nova.conf': '[pci]\n',
                'gpu.yml': self.OTHER,
                'unknown.yml': 'x: {pci_alias: []}\n',
                'flavors.yml': 'pci_passthrough:alias: a:1\n',
            }
        )
        contents = config_check.read([os.fspath(self.folder)])
        self.assertEqual(
            [os.fspath(self.folder / 'gpu.yml')],
            [path for path, _name in contents.unread],
        )

    def test_of_openstack_ansible(self) -> None:
        """In the folder of the role, it is its variable; Nova refuses it."""
        codes = self.codes({'openstack_deploy/user_gpu.yml': self.OTHER})
        self.assertIn('GPU301', {code for code, _file, _line in codes})


class TestSize(testtools.TestCase):
    def test_references(self) -> None:
        """References to themselves do not loop."""
        text = (
            'conf:\n  nova:\n    pci:\n      alias: &a\n'
            '        type: multistring\n        values: [*a]\n'
        )
        self.assertRaises(
            exceptions.DocumentError,
            services.parse,
            'a.yaml',
            text.encode(),
            is_yaml=True,
        )

    def test_merges(self) -> None:
        """Values that are merged many times do not use much memory."""
        text = 'a0: &a0 {x: 1}\n'
        for number in range(1, 12):
            merged = ', '.join([f'*a{number - 1}'] * 9)
            text += f'a{number}: &a{number} {{<<: [{merged}]}}\n'
        text += 'conf: {nova: {pci: {<<: *a11, alias: x}}}\n'
        file = services.parse('a.yaml', text.encode(), is_yaml=True)
        (reading,) = file.readings()
        self.assertEqual('x', next(iter(reading.confs[0].options()))[2].text)
