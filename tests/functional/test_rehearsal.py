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

"""The shared cloud is as cloud.yaml describes it."""

from tests.functional import base


class TestSharedCloud(base.CloudTestCase):
    def test_provider_names_are_not_service_hosts(self):
        services = self.openstack(
            'compute',
            'service',
            'list',
            '-f',
            'json',
            '-c',
            'Host',
            '-c',
            'Binary',
        )
        hosts = {
            service['Host']
            for service in services
            if service['Binary'] == 'nova-compute'
        }
        self.assertIn('edpm-compute-0', hosts)
        hypervisors = self.openstack('hypervisor', 'list', '-f', 'json')
        names = {item['Hypervisor Hostname'] for item in hypervisors}
        self.assertIn('edpm-compute-0.ctlplane.example.com', names)
        self.assertFalse(hosts & names)

    def test_every_kind_of_device_boots(self):
        for alias, host in (
            ('nvidia_pci:1', 'edpm-compute-1'),
            ('nvidia_vf:1', 'edpm-compute-2'),
            ('nvidia_h100:1', 'edpm-compute-3'),
        ):
            server = self.boot(self.make_flavor(alias))
            self.assertEqual(host, server.compute_host)

    def test_member_boots_a_server(self):
        server = self.boot(
            self.make_flavor('nvidia_vf:1'), os_cloud=base.MEMBER
        )
        self.assertEqual('ACTIVE', server.status)
        names = self.as_member('server', 'list', '-f', 'json', '-c', 'Name')
        self.assertIn({'Name': server.name}, names)

    def test_member_is_not_admin(self):
        message = self.refused('hypervisor', 'list', os_cloud=base.MEMBER)
        self.assertIn('Policy', message)

    def test_pinned_server_in_huge_pages(self):
        flavor = self.make_flavor(
            'nvidia_pci:1',
            vcpus=4,
            ram=2048,
            **{'hw:cpu_policy': 'dedicated', 'hw:mem_page_size': '1GB'},
        )
        server = self.boot(flavor)
        self.assertEqual('edpm-compute-1', server.compute_host)
        allocations = (
            self.connect()
            .placement.get(f'/allocations/{server.id}', microversion='1.39')
            .json()['allocations']
        )
        resources = {}
        for allocation in allocations.values():
            resources.update(allocation['resources'])
        self.assertEqual(4, resources['PCPU'])
        self.assertEqual(1, resources['CUSTOM_PCI_10DE_25B6'])

    def test_stop_and_start(self):
        server = self.boot(self.make_flavor())
        compute = self.connect().compute
        compute.stop_server(server)
        self.wait_for_server(server.id, 'SHUTOFF')
        compute.start_server(server)
        self.wait_for_server(server.id, 'ACTIVE')
