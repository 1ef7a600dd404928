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

"""Options with which a rehearsal would connect to other machines."""

import importlib.metadata
import os
import re

import ddt
import fixtures
from oslo_config import cfg
from oslo_config import types
import testtools

from gpuclient.config_rehearsal import option_filter
from gpuclient.model import configuration
from gpuclient.rehearsal import service_files
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import spec_reader
from gpuclient.rehearsal import state

#: Libraries whose options a service of Nova registers.
_LIBRARIES = re.compile(
    r'nova\..*|oslo[._].*|keystonemiddleware\..*|os_vif|osprofiler'
)
_TYPES = (
    types.URI,
    types.Port,
    types.HostAddress,
    types.HostDomain,
    types.Hostname,
    types.IPAddress,
)
_NAMES = re.compile(
    r'(.*_)?(urls?|uris?|endpoints?|hosts?|ports?|servers?|drivers?|backends?'
    r'|sockets?|modules?|class(es)?|commands?|cmd|monitors?|sources?|targets'
    r'|ip|address(es)?|listen|prefix|filters|providers|proxy|append|interface)'
)
#: Options whose names suggest an address or code, but have neither.
_HARMLESS = {
    ('DEFAULT', 'allow_resize_to_same_host'),
    # Nova decides before it reads this.
    ('DEFAULT', 'concurrency_backend'),
    # Filters are classes of available_filters, which is checked.
    ('filter_scheduler', 'enabled_filters'),
    ('filter_scheduler', 'max_instances_per_host'),
    ('filter_scheduler', 'max_io_ops_per_host'),
    # Names of the deployment's own hosts.
    ('filter_scheduler', 'isolated_hosts'),
    # For logs.
    ('profiler_jaeger', 'service_name_prefix'),
    ('profiler_otlp', 'service_name_prefix'),
}


def judged(section, name, value='x'):
    option = configuration.Option(
        section,
        name,
        configuration.Setting(value, configuration.Place('nova.conf')),
    )
    return option_filter.exclude(option)


def registered():
    """Yield each option of Nova and its libraries, by each of its names."""
    for entry in importlib.metadata.entry_points(group='oslo.config.opts'):
        if not _LIBRARIES.fullmatch(entry.name) or 'sample' in entry.name:
            continue
        try:
            groups = entry.load()()
        except ImportError:
            # The package is not installed, so it does not run.
            continue
        for group, options in groups:
            section = str(getattr(group, 'name', group) or 'DEFAULT')
            if section.startswith('sample_'):
                continue
            for option in options:
                yield section, option.dest, option
                for other in option.deprecated_opts:
                    if other.name or other.group:
                        yield (
                            other.group or section,
                            other.name or option.dest,
                            option,
                        )


@ddt.ddt
class TestOutside(testtools.TestCase):
    def test_all_registered_options(self):
        missed = set()
        number = 0
        for section, name, option in registered():
            number += 1
            kind = option.type
            kind = getattr(kind, 'item_type', kind)
            if not isinstance(kind, _TYPES) and not _NAMES.fullmatch(name):
                continue
            if isinstance(kind, types.Boolean):
                continue
            if judged(section, name) is None:
                missed.add((section, name))
        self.assertGreater(number, 900)
        self.assertEqual(set(), missed - _HARMLESS)

    @ddt.data(
        ('DEFAULT', 'config_source', 'remote'),
        ('DEFAULT', 'backdoor_port', '4444'),
        ('DEFAULT', 'backdoor_socket', '/run/nova.sock'),
        ('DEFAULT', 'log-config', '/etc/nova/logging.conf'),
        ('DEFAULT', 'logdir', '/var/log/nova'),
        ('DEFAULT', 'compute_monitors', 'cpu.mine'),
        ('DEFAULT', 'servicegroup_driver', 'mc'),
        ('api', 'vendordata_dynamic_targets', 'a@b'),
        ('api', 'compute_link_prefix', 'https'),
        ('oslo_middleware_tracing', 'enabled', 'True'),
        ('oslo_messaging_notifications', 'driver', 'messagingv2'),
        ('audit_middleware_notifications', 'driver', 'messagingv2'),
        ('filter_scheduler', 'available_filters', 'mine.Filter'),
        ('filter_scheduler', 'weight_classes', 'nova.x,mine.Weigher'),
        ('whatever', 'unheard_of', 'http://192.0.2.1/'),
        ('remote', 'driver', 'remote_file://x'),
    )
    @ddt.unpack
    def test_switched_off(self, section, name, value):
        self.assertIsNotNone(judged(section, name, value))

    @ddt.data(
        ('filter_scheduler', 'enabled_filters', 'PciPassthroughFilter'),
        (
            'filter_scheduler',
            'available_filters',
            'nova.scheduler.filters.all_filters',
        ),
        (
            'filter_scheduler',
            'weight_classes',
            'nova.scheduler.weights.all_weighers, nova.scheduler.weights.x.Y',
        ),
        ('filter_scheduler', 'host_subset_size', '2'),
        ('pci', 'alias', '{"name": "a", "vendor_id": "10de"}'),
        ('pci', 'device_spec', '{"address": "0000:04:00.0"}'),
        ('compute', 'cpu_dedicated_set', '2-17'),
        ('DEFAULT', 'reserved_host_memory_mb', '4096'),
        ('DEFAULT', 'cpu_allocation_ratio', '2'),
    )
    @ddt.unpack
    def test_rehearsed(self, section, name, value):
        self.assertIsNone(judged(section, name, value))

    def test_long_lists_in_linear_time(self):
        self.assertIsNotNone(
            option_filter.leaves_the_machine(
                'filter_scheduler', 'available_filters', 'nova.' * 10**5 + ' !'
            )
        )


class TestOwnFile(testtools.TestCase):
    """Options that no text of a spec can change."""

    def test_sources_of_the_text_are_not_asked(self):
        top = self.useFixture(fixtures.TempDir()).path
        folder = state.StateFolder('lab', os.path.join(top, 'lab'))
        folder.create()
        service = service_files.ServiceFiles(
            folder,
            dict.fromkeys(
                ('keystone', 'placement', 'glance', 'neutron', 'nova-api-1'), 1
            ),
            {'nova': 'x'},
            'fake:///',
        )
        document = spec.default(hosts=1, gpus=1)
        document['control_plane']['config'] = (
            '[DEFAULT]\n'
            'config_source = elsewhere\n'
            'log_config_append = /etc/elsewhere.conf\n'
            '[elsewhere]\n'
            'driver = remote_file\n'
            f'uri = file://{top}/elsewhere.conf\n'
            '[api]\n'
            'vendordata_dynamic_targets = a@http://192.0.2.1/\n'
        )
        service.write(spec_reader.read(document))
        conf = cfg.ConfigOpts()
        conf.register_opts(
            [cfg.StrOpt('log_config_append'), cfg.StrOpt('transport_url')]
        )
        conf.register_opts(
            [cfg.ListOpt('vendordata_dynamic_targets')], group='api'
        )
        conf(service.nova_arguments('nova-scheduler'))
        self.assertEqual([], conf.config_source)
        self.assertEqual([], conf._sources[:-1])
        self.assertEqual('', conf.log_config_append)
        self.assertEqual([], conf.api.vendordata_dynamic_targets)
