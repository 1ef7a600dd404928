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

"""Findings about filters and about values of options."""

import os
import pathlib
import re

import ddt
import fixtures
import testtools

from gpuclient.documents import tree
from gpuclient.model import release
from gpuclient.rules import configuration as configuration_rules
from gpuclient.rules import finding
from tests.unit.documents import test_check

ALIAS = test_check.ALIAS
SPEC = test_check.SPEC
GOOD = 'enabled_filters = ComputeFilter,PciPassthroughFilter\n'
PCI = f'[pci]\n{ALIAS}\n{SPEC}\n'
API = {'nova-api.conf': f'[pci]\n{ALIAS}\n'}
#: The shell of devstack needs the escapes.
OF_DEVSTACK = (
    '[[local|localrc]]\nNOVA_FILTERS=PciPassthroughFilter\n'
    '[[post-config|$NOVA_CONF]]\n{filters}'
    + f'[pci]\n{ALIAS}\n'.replace('"', '\\\\"')
    .replace('{', '{{')
    .replace('}', '}}')
)


def scheduler(text: str) -> dict[str, str]:
    """Return the files of a control plane with this text for filters."""
    return {
        **API,
        'nova-compute.conf': PCI,
        'nova-scheduler.conf': f'[filter_scheduler]\n{text}',
    }


def of_tripleo(filters: str) -> str:
    """Return an environment with an alias and these filters."""
    lines = [
        'parameter_defaults:',
        '  NovaPCIPassthrough:',
        '  - {vendor_id: "10de", product_id: "1db4"}',
        '  ExtraConfig:',
        '    nova::pci::aliases:',
        '    - {vendor_id: "10de", product_id: "1db4", name: v100}',
    ]
    if filters:
        lines.append(
            '  NovaSchedulerEnabledFilters: '
            f'[ComputeFilter,PciPassthroughFilter,{filters}]'
        )
    return '\n'.join(lines)


def of_rhoso(filters: str) -> str:
    """Return a control plane with these filters."""
    return (
        'apiVersion: core.openstack.org/v1beta1\n'
        'kind: OpenStackControlPlane\n'
        'spec:\n'
        '  nova:\n'
        '    template:\n'
        '      schedulerServiceTemplate:\n'
        '        customServiceConfig: |\n'
        '          [filter_scheduler]\n'
        '          enabled_filters = '
        f'ComputeFilter,PciPassthroughFilter,{filters}\n'
    )


OF_HELM = """
conf:
  nova:
    pci:
      alias: '{"vendor_id": "10de", "product_id": "1db4", "name": "v100"}'
      device_spec: '{"vendor_id": "10de", "product_id": "1db4"}'
"""
OF_MOSK = """
apiVersion: lcm.mirantis.com/v1alpha1
kind: OpenStackDeployment
spec:
  services:
    compute:
      nova:
        values:
          conf:
            nova:
              pci:
                alias: '{"vendor_id":"10de","product_id":"1db4","name":"g"}'
                device_spec: '{"vendor_id": "10de", "product_id": "1db4"}'
"""
OF_PACKSTACK = f'[general]\nCONFIG_NOVA_PCI_ALIAS=[{ALIAS[8:]}]\n'
OLD_FILTERS = (
    '[DEFAULT]\nscheduler_default_filters = '
    'RetryFilter,NUMATopologyFilter,PciPassthroughFilter\n'
)
OF_PUPPET = """
nova::pci::aliases:
- {vendor_id: "10de", product_id: "1db4", name: v100}
nova::compute::pci::passthrough:
- {vendor_id: "10de", product_id: "1db4"}
"""


class RulesTestCase(test_check.CheckTestCase):
    def messages(self, files: dict[str, str]) -> list[str]:
        return [str(located.finding) for located in self.check(files)]

    def only(self, files: dict[str, str], code: str, *phrases: str) -> None:
        """Expect one finding, with words in its message."""
        (message,) = self.messages(files)
        self.assertTrue(message.startswith(f'{code}: '), message)
        for phrase in phrases:
            self.assertIn(phrase, message)


@ddt.ddt
class TestNames(RulesTestCase):
    @ddt.data(
        GOOD,
        'enabled_filters = "ComputeFilter, PciPassthroughFilter,"\n',
        'enabled_filters = ComputeFilter,\n  PciPassthroughFilter\n',
        'available_filters = nova.scheduler.filters.all_filters\n'
        'available_filters = example.filters.OwnFilter\n'
        'enabled_filters = ComputeFilter,PciPassthroughFilter,OwnFilter\n',
        # The filters that a custom function returns are unknown.
        'available_filters = example.filters.ours\n'
        'enabled_filters = ComputeFilter,PciPassthroughFilter,OwnFilter\n',
        'available_filters = nova.scheduler.filters.compute_filter'
        '.ComputeFilter\n'
        'available_filters = nova.scheduler.filters.pci_passthrough_filter'
        f'.PciPassthroughFilter\n{GOOD}',
    )
    def test_silent(self, text: str) -> None:
        self.assertEqual([], self.messages(scheduler(text)))

    @ddt.data(
        (
            'AvailabilityZoneFilter',
            'Nova 28 (2023.2) removed AvailabilityZoneFilter: nova-scheduler '
            'of this release or later does not start. Remove it:',
        ),
        ('RetryFilter', 'Nova 22 (Victoria) removed RetryFilter'),
        ('RamFilter', 'Nova 20 (Train) removed RamFilter'),
        ('CoreFilter', 'Nova 20 (Train) removed CoreFilter'),
        ('DiskFilter', 'Nova 20 (Train) removed DiskFilter'),
        ('...', 'Remove ...'),
        ('', 'empty item'),
        ('NumaTopologyFilter', 'Did you mean NUMATopologyFilter?'),
        ('"NUMATopologyFilter"', 'without brackets and quotes'),
        ('NUMATopologyFilter JsonFilter', 'Separate the filters with commas'),
        ('OwnFilter', '[filter_scheduler]available_filters'),
    )
    @ddt.unpack
    def test_unknown(self, name: str, phrase: str) -> None:
        text = f'enabled_filters = {name},ComputeFilter,PciPassthroughFilter'
        self.only(
            scheduler(text),
            'GPU326',
            f'Scheduler Host Filter {name} could not be found',
            'nova-scheduler does not start',
            phrase,
        )

    def test_last_nova_of_a_deployment_tool(self) -> None:
        """RHOSO 18 is built on Nova 27, and TripleO ended with 26."""
        for file in (of_tripleo, of_rhoso):
            with self.subTest(file):
                (located,) = self.check(
                    {'file.yaml': file('AvailabilityZoneFilter')}
                )
                self.assertEqual('GPU326', located.finding.code)
                self.assertEqual(
                    finding.Severity.WARNING, located.finding.severity
                )
                self.assertIn(
                    'Nova 28 (2023.2) removed AvailabilityZoneFilter: '
                    'nova-scheduler of this release or later does not start',
                    located.finding.message,
                )

    def test_older_than_the_last_nova_of_a_deployment_tool(self) -> None:
        for file in (of_tripleo, of_rhoso):
            with self.subTest(file):
                findings = self.check(
                    {'file.yaml': file('AvailabilityZoneFilter,RetryFilter')}
                )
                severities = {
                    (
                        located.finding.severity.name,
                        'RetryFilter' in located.finding.message,
                    )
                    for located in findings
                }
                self.assertEqual(
                    {('WARNING', False), ('ERROR', True)}, severities
                )

    @ddt.data('...', '<existing filters>')
    def test_placeholder_for_default_filters(self, name: str) -> None:
        """A placeholder means the default list, which has ComputeFilter."""
        messages = self.messages(
            scheduler(f'enabled_filters = {name},PciPassthroughFilter')
        )
        codes = {message[:6] for message in messages}
        self.assertIn('GPU326', codes)
        self.assertNotIn('GPU328', codes)

    def test_brackets(self) -> None:
        messages = self.messages(
            scheduler('enabled_filters = [ComputeFilter,PciPassthroughFilter]')
        )
        self.assertIn('[ComputeFilter, PciPassthroughFilter]', messages[1])
        self.assertEqual(
            ['GPU310', 'GPU326', 'GPU328'],
            [message[:6] for message in messages],
        )

    def test_available_filters_replace_those_of_nova(self) -> None:
        self.only(
            scheduler(f'available_filters = example.OwnFilter\n{GOOD}'),
            'GPU326',
            'ComputeFilter, PciPassthroughFilter could not be found',
            'available_filters = nova.scheduler.filters.all_filters',
        )

    @ddt.data(
        'nova.scheduler.filters.standard_filters',
        'nova.scheduler.filters.pci_passthrough_filter',
        'nova.scheduler.filters.availability_zone_filter'
        '.AvailabilityZoneFilter',
    )
    def test_path_of_a_missing_class(self, path: str) -> None:
        text = (
            'available_filters = nova.scheduler.filters.all_filters\n'
            f'available_filters = {path}\n{GOOD}'
        )
        self.only(
            scheduler(text),
            'GPU326',
            f'{path!r}, which does not exist in Nova',
        )

    def test_reference(self) -> None:
        text = f'[DEFAULT]\nhost = ComputeFilter\n[filter_scheduler]\n{GOOD}'
        files = scheduler('')
        files['nova-scheduler.conf'] = text.replace(
            '= ComputeFilter,Pci', '= $host,Pci'
        )
        self.assertEqual([], self.messages(files))


@ddt.ddt
class TestList(RulesTestCase):
    def test_without_the_pci_filter(self) -> None:
        files = scheduler('enabled_filters = ComputeFilter\n')
        (located,) = self.check(files)
        self.assertEqual('GPU310', located.finding.code)
        self.assertEqual(finding.Severity.ERROR, located.finding.severity)
        self.assertIn(
            'Add it: openstack gpu config set <path> --enable-filter '
            'PciPassthroughFilter',
            located.finding.message,
        )

    def test_without_the_pci_filter_with_placement(self) -> None:
        """Placement selects hosts that have the devices."""
        on = '[filter_scheduler]\npci_in_placement = True\n'
        files = {
            'nova-api.conf': f'{on}{API["nova-api.conf"]}',
            'nova-conductor.conf': on,
            'nova-scheduler.conf': f'{on}enabled_filters = ComputeFilter\n',
            'nova-compute.conf': f'{PCI}report_in_placement = True\n',
        }
        (located,) = self.check(files)
        self.assertEqual('GPU310', located.finding.code)
        self.assertEqual(finding.Severity.WARNING, located.finding.severity)

    def test_only_the_pci_filter(self) -> None:
        self.only(
            scheduler('enabled_filters = PciPassthroughFilter\n'),
            'GPU328',
            'lacks ComputeFilter, ComputeCapabilitiesFilter, '
            'ImagePropertiesFilter',
        )

    @ddt.data(
        # The configuration of a machine with all services.
        {'nova.conf': PCI},
        {'nova.conf': f'[libvirt]\n[scheduler]\nmax_attempts = 3\n{PCI}'},
        {**API, 'nova-compute.conf': PCI, 'nova-scheduler.conf': '[pci]\n'},
        # A file that nova-scheduler does not read.
        {'nova.conf': f'[pci]\n{ALIAS}\n', 'nova-compute.conf': PCI},
        {
            'nova.conf': f'[pci]\n{ALIAS}\n',
            'nova-compute.conf': f'{PCI}[filter_scheduler]\n{GOOD}',
        },
        {'config/nova.conf': PCI, 'config/nova/nova-scheduler.conf': ''},
    )
    def test_unset(self, files: dict[str, str]) -> None:
        messages = [
            message for message in self.messages(files) if 'GPU327' in message
        ]
        self.assertEqual(1, len(messages), self.messages(files))
        self.assertIn('Set enabled_filters = ComputeFilter,', messages[0])

    @ddt.data(
        # Deployment tools that leave Nova's default.
        (
            {'values.yaml': OF_HELM},
            'Set conf.nova.filter_scheduler.enabled_filters = ComputeFilter,',
        ),
        (
            {'environment.yaml': of_tripleo('')},
            'Set NovaSchedulerEnabledFilters = ComputeFilter,',
        ),
        (
            {'data/common.yaml': OF_PUPPET},
            'Set nova::scheduler::filter::enabled_filters = ComputeFilter,',
        ),
        (
            {'answers.txt': OF_PACKSTACK},
            'The answer file of packstack has no parameter for it: ',
        ),
        # A tool whose own list does not include the filter.
        (
            {'group_vars/all.yml': f"nova_pci_alias: ['{ALIAS[8:]}']\n"},
            'Add PciPassthroughFilter to nova_scheduler_extra_filters',
        ),
        # devstack overwrites a list in localrc, and expands the variable.
        (
            {'local.conf': OF_DEVSTACK.format(filters='')},
            'In [[post-config|$NOVA_CONF]], set [filter_scheduler]'
            'enabled_filters = $NOVA_FILTERS,PciPassthroughFilter (devstack',
        ),
        # The name that Nova 24 removed: its filters are kept.
        (
            {'nova.conf': f'{OLD_FILTERS}{PCI}'},
            'nova.conf:2), which Nova 24 and later ignore, with '
            '[filter_scheduler]enabled_filters = '
            'ComputeFilter,NUMATopologyFilter,PciPassthroughFilter',
        ),
    )
    @ddt.unpack
    def test_unset_under_another_name(
        self, files: dict[str, str], remedy: str
    ) -> None:
        (message,) = (
            message for message in self.messages(files) if 'GPU327' in message
        )
        self.assertIn(remedy, message)

    @ddt.data(
        # No document belongs to nova-scheduler.
        {'nova-compute.conf': PCI},
        {**API, 'nova-compute.conf': PCI},
        {'nova.conf': f'[libvirt]\nvirt_type = kvm\n{PCI}'},
        {'edpm-compute-0/nova.conf': PCI},
        {'nova.conf': f'[pci]\n{SPEC}\n'},
        # No alias.
        {'nova.conf': '[scheduler]\nmax_attempts = 3\n'},
        # Placement selects the devices.
        {
            'nova.conf': f'{PCI}report_in_placement = True\n'
            '[filter_scheduler]\npci_in_placement = True\n'
        },
        # A deployment tool that sets the filter.
        {'osdpl.yaml': OF_MOSK},
        # The remedy of devstack.
        {
            'local.conf': OF_DEVSTACK.format(
                filters='[filter_scheduler]\n'
                'enabled_filters = $NOVA_FILTERS,PciPassthroughFilter\n'
            )
        },
    )
    def test_not_unset(self, files: dict[str, str]) -> None:
        messages = [
            message for message in self.messages(files) if 'GPU327' in message
        ]
        self.assertEqual([], messages)

    def test_filters_of_the_operator(self) -> None:
        """The template of nova-operator includes the filter."""
        text = test_check.CLEAN[test_check.CONTROL]
        lines = [
            line for line in text.splitlines() if 'enabled_filters' not in line
        ]
        files = {
            **test_check.CLEAN,
            test_check.CONTROL: '\n'.join(lines).replace('True', 'False'),
        }
        self.assertEqual(
            [],
            [
                message
                for message in self.messages(files)
                if 'GPU327' in message
            ],
        )


@ddt.ddt
class TestRemoved(RulesTestCase):
    @ddt.data(
        (
            'DEFAULT',
            'scheduler_default_filters = ComputeFilter',
            '[DEFAULT]scheduler_default_filters was removed in Nova 24 and '
            'is ignored. Set [filter_scheduler]enabled_filters instead',
        ),
        (
            'DEFAULT',
            'scheduler_available_filters = a.b',
            'Set [filter_scheduler]available_filters instead',
        ),
        (
            'filter_scheduler',
            'use_baremetal_filters = False',
            '[filter_scheduler]use_baremetal_filters was removed in Nova 18',
        ),
        ('scheduler', 'driver = filter_scheduler', 'was removed in Nova 23'),
        ('vnc', 'vncserver_listen = ::', 'Set [vnc]server_listen instead'),
    )
    @ddt.unpack
    def test_ignored(self, section: str, line: str, phrase: str) -> None:
        self.only(
            {'nova-scheduler.conf': f'[{section}]\n{line}\n'}, 'GPU329', phrase
        )

    def test_both_names(self) -> None:
        """Configuration for several releases has both names."""
        files = scheduler(
            f'{GOOD}[DEFAULT]\nscheduler_default_filters = ComputeFilter\n'
        )
        self.assertEqual([], self.messages(files))


@ddt.ddt
class TestValues(RulesTestCase):
    @ddt.data(
        ('filter_scheduler', 'pci_in_placement = y', "value 'y'"),
        ('filter_scheduler', 'pci_in_placement = t', "value 't'"),
        ('filter_scheduler', 'pci_in_placement = enabled', 'enabled'),
        ('filter_scheduler', 'pci_in_placement =', "value ''"),
        ('pci', 'report_in_placement = Y', "value 'Y'"),
        ('DEFAULT', 'reserved_host_memory_mb = x', 'invalid literal'),
        ('DEFAULT', 'reserved_host_cpus = x', 'invalid literal'),
        ('DEFAULT', 'reserved_host_cpus = -1', 'greater than or equal to 0'),
        ('DEFAULT', 'my_ip = $nosuch', "refers to 'nosuch'"),
        ('pci', 'alias = {"name": "$nosuch.x"}', "refers to 'nosuch.x'"),
        ('compute', 'cpu_dedicated_set = ${nosuch}', "refers to 'nosuch'"),
        ('libvirt', 'cpu_mode = host-passtrough', 'host-passthrough, custom'),
        ('libvirt', 'virt_type =', 'kvm, lxc'),
        ('libvirt', 'num_pcie_ports = 64', 'less than or equal to 28'),
        ('libvirt', 'rx_queue_size = 128', '[256, 512, 1024]'),
        ('vnc', 'server_listen = 0.0.0.0  # any', 'not a valid host address'),
        ('vnc', 'novncproxy_base_url = x', 'not a valid URI'),
        ('vnc', 'auth_schemes = none, x', '[none, vencrypt]'),
        ('mks', 'mksproxy_base_url = ftp://x/', 'scheme http or https'),
        ('glance', 'retriable_status_codes = 500,x', 'an item'),
        ('ironic', 'shard = a b', "doesn't match regex"),
        ('ironic', f'shard = {"a" * 256}', 'maximum length 255'),
        ('DEFAULT', 'reserved_huge_pages = 64', 'NAME:VALUE pairs'),
        ('DEFAULT', 'reserved_huge_pages = node:0,:1', 'empty'),
        ('DEFAULT', 'reserved_huge_pages = node:0,node:1', 'Duplicate'),
        (
            'filter_scheduler',
            'image_properties_default_architecture = amd64',
            'alpha, armv6, .*, \\.\\.\\.\\]',
        ),
    )
    @ddt.unpack
    def test_refused(self, section: str, line: str, phrase: str) -> None:
        files = {'nova-compute.conf': f'[{section}]\n{line}\n[pci]\n{SPEC}\n'}
        messages = [
            message
            for message in self.messages(files)
            if message.startswith('GPU331')
        ]
        self.assertEqual(1, len(messages), messages)
        self.assertTrue(
            phrase in messages[0] or re.search(phrase, messages[0]),
            messages[0],
        )
        self.assertIn('nova-compute does not start', messages[0])

    @ddt.data(
        ('filter_scheduler', 'pci_in_placement = ON'),
        ('filter_scheduler', 'pci_in_placement = oops\npci_in_placement = 1'),
        ('DEFAULT', 'reserved_host_cpus = 00'),
        ('DEFAULT', 'reserved_host_cpus = +0'),
        ('DEFAULT', 'reserved_host_memory_mb ='),
        ('DEFAULT', 'state_path = $pybasedir/$$x'),
        ('pci', f'{ALIAS[:-1]}, "numa_policy": "legacy"}}'),
        ('vendor', 'x = $nosuch'),
        ('libvirt', 'cpu_mode = x\ncpu_mode = custom'),
        ('libvirt', 'live_migration_inbound_addr = my_host'),
        ('vnc', 'server_listen = ::'),
        ('vnc', 'auth_schemes = vencrypt, none,'),
        ('glance', 'retriable_status_codes = 500, 503'),
        ('DEFAULT', 'osapi_compute_unique_server_name_scope ='),
        ('DEFAULT', 'reserved_huge_pages = node:0,size:2048,count:64'),
        ('DEFAULT', 'instance_usage_audit_period = day@3'),
    )
    @ddt.unpack
    def test_accepted(self, section: str, line: str) -> None:
        files = {'nova-compute.conf': f'[{section}]\n{line}\n[pci]\n{SPEC}\n'}
        self.assertEqual(
            [],
            [
                message
                for message in self.messages(files)
                if 'GPU331' in message
            ],
        )

    def test_a_value_of_another_section_is_not_quoted(self) -> None:
        self.only(
            {'nova-api.conf': '[api]\nmax_limit = secret\n'},
            'GPU331',
            'it is not an integer',
        )

    def test_comment_after_a_value(self) -> None:
        self.only(
            {
                'nova-compute.conf': (
                    '[libvirt]\nimages_type = qcow2  # or rbd\n'
                )
            },
            'GPU331',
            'Valid values are [raw, flat, qcow2, lvm, rbd, ploop, default]',
            'put the comment on a line of its own',
        )

    def test_other_releases(self) -> None:
        """A type is checked in the releases that are known to have it."""
        files = {
            'nova-api.conf': (
                '[api]\nresponse_validation = x\n[cinder]\n'
                'catalog_info = block-storage::\ntls_min_version = 1\n'
                '[libvirt]\ncpu_mode = x\n[DEFAULT]\n'
                'default_green_pool_size = 5\nreserved_host_cpus = x\n'
            )
        }
        for number, options in (
            (
                '34',
                ['response_validation', 'tls_min_version', 'cpu_mode',
                 'default_green_pool_size', 'reserved_host_cpus'],
            ),
            (
                '30',
                ['response_validation', 'cpu_mode',
                 'default_green_pool_size', 'reserved_host_cpus'],
            ),
            ('27', ['cpu_mode', 'reserved_host_cpus']),
            ('26', ['cpu_mode', 'reserved_host_cpus']),
        ):  # fmt: skip
            (self.folder / 'nova-api.conf').write_text(files['nova-api.conf'])
            self.assertEqual(
                options,
                [
                    str(located.finding).split(']')[1].split()[0]
                    for located in configuration_rules.check(
                        tree.read([os.fspath(self.folder)]).deployment,
                        release=release.parse(number),
                    )
                    if located.finding.code == 'GPU331'
                ],
                number,
            )

    def test_alias_with_a_reference(self) -> None:
        alias = ALIAS.replace('10de', '$host')
        files = {'nova-api.conf': f'[DEFAULT]\nhost = 10de\n[pci]\n{alias}\n'}
        self.assertEqual([], self.messages(files))
        files = {'nova-api.conf': f'[DEFAULT]\nhost = x\n[pci]\n{alias}\n'}
        self.only(files, 'GPU301', "'x' does not match")

    def test_byte_order_mark(self) -> None:
        self.only(
            {'nova-api.conf': f'\ufeff[pci]\n{ALIAS}\n'},
            'GPU300',
            'begins with a byte order mark',
            'Services that read the file do not start',
        )


class TestRemedies(testtools.TestCase):
    def remedy(self, filters: str) -> str:
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        path = folder / 'nova-scheduler.conf'
        path.write_text(f'[filter_scheduler]\nenabled_filters = {filters}\n')
        contents = tree.read([os.fspath(path)])
        (message,) = (
            located.finding.message
            for located in configuration_rules.check(contents.deployment)
            if located.finding.code == 'GPU326'
        )
        return message.partition('does not start. ')[2]

    def test_removed(self) -> None:
        """All are explained, not the first one alone."""
        message = self.remedy('ComputeFilter,RetryFilter,RamFilter,Foo')
        for part in ('removed RetryFilter (', 'removed RamFilter ('):
            self.assertIn(part, message)
        self.assertIn('. Remove them. Remove Foo, or add', message)

    def test_one(self) -> None:
        message = self.remedy('ComputeFilter,RetryFilter')
        self.assertIn('Remove it: ', message)
        self.assertNotIn('Remove them', message)
