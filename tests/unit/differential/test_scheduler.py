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

"""Filters and values of options, compared with Nova and oslo.config."""

import collections.abc
import functools
import logging
import os
import pathlib
import tempfile
import typing
from unittest import mock

import ddt
import hypothesis
from hypothesis import strategies
import nova.conf
import nova.conf.opts
from nova import exception
from nova.scheduler import filters
from nova.scheduler import host_manager
from oslo_config import cfg
from oslo_config import types
import testtools

from gpuclient.documents import tree
from gpuclient.model import nova_removed
from gpuclient.model import nova_schema
from gpuclient.model import oslo_values
from gpuclient.model import scheduler_filters
from gpuclient.rules import configuration as configuration_rules

NAMES = strategies.sampled_from(
    (
        *scheduler_filters.DEFAULT,
        'PciPassthroughFilter',
        'NUMATopologyFilter',
        'AvailabilityZoneFilter',
        'pcipassthroughfilter',
        'ComputeFilter JsonFilter',
        '[ComputeFilter',
        'ComputeFilter]',
        '"ComputeFilter"',
        "'",
        '...',
        '',
        ' ',
        '$tempdir',
        '$$',
        '$nosuch',
    )
)
AVAILABLE = strategies.lists(
    strategies.sampled_from(
        (
            'nova.scheduler.filters.all_filters',
            'nova.scheduler.filters.compute_filter.ComputeFilter',
            'nova.scheduler.filters.pci_passthrough_filter'
            '.PciPassthroughFilter',
            'nova.scheduler.filters.standard_filters',
            'nova.scheduler.filters.compute_filter',
            'nova.scheduler.filters.retry_filter.RetryFilter',
        )
    ),
    max_size=2,
)


def lists() -> strategies.SearchStrategy[str]:
    separator = strategies.sampled_from((',', ', ', ' , ', ',,', ',\n  '))
    return strategies.builds(
        lambda names, between, after: f'{between.join(names)}{after}',
        strategies.lists(NAMES, max_size=4),
        separator,
        strategies.sampled_from(('', ',', ', ', ' ,,')),
    )


class NovaTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, 'nova-scheduler.conf')

    def codes(self, text: str) -> set[str]:
        """Return the codes of all findings of a file."""
        pathlib.Path(self.path).write_text(text, encoding='utf-8')
        contents = tree.read([self.path])
        return {
            located.finding.code
            for located in configuration_rules.check(contents.deployment)
        } | {'GPU300' for _path in contents.unreadable}

    def conf(self) -> cfg.ConfigOpts:
        """Return Nova's options with the values of the file."""
        conf = options()
        conf(['--config-file', self.path], project='nova')
        return conf


@functools.cache
def options() -> cfg.ConfigOpts:
    """Return the options that Nova registers, apart from Nova's own."""
    conf = cfg.ConfigOpts()
    conf.register_opts(entry['opt'] for entry in nova.conf.CONF._opts.values())
    for name, group in nova.conf.CONF._groups.items():
        conf.register_opts(
            (entry['opt'] for entry in group._opts.values()), group=name
        )
    return conf


class TestFilters(NovaTestCase):
    def judge(self, conf: cfg.ConfigOpts) -> str:
        """Return the error of nova-scheduler; empty if it starts."""
        manager = host_manager.HostManager
        with (
            mock.patch.object(host_manager, 'CONF', conf),
            mock.patch.object(manager, 'refresh_cells_caches'),
            mock.patch.object(manager, '_init_aggregates'),
            mock.patch.object(manager, '_init_instance_info'),
        ):
            try:
                host_manager.HostManager()
            except exception.SchedulerHostFilterNotFound as exc:
                return str(exc)
            except (ImportError, exception.ClassNotFound):
                return 'no such path'
            except cfg.NoSuchOptError:
                return 'no such option'
        return ''

    @hypothesis.given(lists(), AVAILABLE)
    def test_names(self, text: str, available: list[str]) -> None:
        """The rules and Nova refuse the same filters."""
        lines = ''.join(f'available_filters = {path}\n' for path in available)
        codes = self.codes(
            '[DEFAULT]\ntempdir = JsonFilter\n'
            f'[filter_scheduler]\n{lines}enabled_filters = {text}\n'
        )
        refusal = self.judge(self.conf())
        if refusal == 'no such option':
            self.assertIn('GPU331', codes)
        else:
            self.assertEqual(
                bool(refusal), 'GPU326' in codes, (text, refusal, codes)
            )

    def test_tables(self) -> None:
        self.assertEqual(
            {
                filter_class.__name__: filter_class.__module__.rpartition('.')[
                    2
                ]
                for filter_class in filters.all_filters()
            },
            scheduler_filters.MODULES,
        )
        self.assertEqual(
            list(scheduler_filters.DEFAULT),
            nova.conf.CONF.filter_scheduler.enabled_filters,
        )
        self.assertEqual(
            [scheduler_filters.ALL_OF_NOVA],
            nova.conf.CONF.filter_scheduler.available_filters,
        )
        self.assertEqual(
            set(),
            scheduler_filters.REMOVED.keys() & scheduler_filters.MODULES,
        )


OPTIONS = (
    ('filter_scheduler', 'pci_in_placement'),
    ('pci', 'report_in_placement'),
    ('DEFAULT', 'reserved_host_memory_mb'),
    ('DEFAULT', 'reserved_host_cpus'),
    ('DEFAULT', 'cpu_allocation_ratio'),
    ('filter_scheduler', 'host_subset_size'),
    ('filter_scheduler', 'pci_weight_multiplier'),
    ('compute', 'cpu_dedicated_set'),
    ('pci', 'alias'),
    ('filter_scheduler', 'enabled_filters'),
    ('libvirt', 'cpu_mode'),
    ('libvirt', 'rx_queue_size'),
    ('libvirt', 'num_pcie_ports'),
    ('vnc', 'server_listen'),
    ('vnc', 'auth_schemes'),
    ('vnc', 'novncproxy_base_url'),
    ('glance', 'retriable_status_codes'),
    ('ironic', 'shard'),
    ('serial_console', 'port_range'),
    ('DEFAULT', 'reserved_huge_pages'),
)
TEXTS = strategies.one_of(
    strategies.sampled_from(
        (
            *('true', 'False', 'ON', 'yes', 'y', 't', 'enabled', '', '0', '1'),
            *('none', 'custom', '256', '0.0.0.0', '::  # x', 'none,vencrypt'),
            *('http://a/', '500,x', '503', 'a-b', '1:2', 'node:0,size:4'),
            *('00', '+0', '-1', '1_0', '1.5', 'x', 'nan', 'inf', '٣', '1e3'),
            *('$nosuch', '${nosuch}', '$pci', '$pci.nosuch', '$nosuch.alias'),
            *(
                '$tempdir',
                '$DEFAULT.tempdir',
                '$$tempdir',
                r'\$tempdir',
                '$',
            ),
            *(
                '${tempdir}x',
                '$ tempdir',
                '$reserved_host_cpus',
                '$TEMPDIR',
                '${',
            ),
            *('$pci.report_in_placement', '$filter_scheduler.alias'),
            *('$scheduler_default_filters', '$pci_alias', '$alias'),
        )
    ),
    strategies.text('$\\{}._aht1 ,"[]-', max_size=6),
)


@ddt.ddt
class TestValues(NovaTestCase):
    @hypothesis.given(strategies.sampled_from(OPTIONS), TEXTS)
    def test_refusals(self, option: tuple[str, str], text: str) -> None:
        """A value is refused if reading it raises an exception."""
        section, name = option
        codes = self.codes(
            f'[DEFAULT]\ntempdir = 1\n[{section}]\n{name} = {text}\n'
        )
        if 'GPU300' in codes:
            return
        refused = False
        try:
            conf = self.conf()
            conf[name] if section == 'DEFAULT' else conf[section][name]
        except (cfg.Error, ValueError, AttributeError, RecursionError):
            refused = True
        if 'GPU331' not in codes:
            lookup = {('DEFAULT', 'tempdir'): '1', option: text.strip()}.get
            value = oslo_values.substitute(
                text, section, lambda *other: lookup(other)
            )
            if value is None:
                # The value depends on the default of another option.
                return
        self.assertEqual(refused, 'GPU331' in codes, (option, text))

    @hypothesis.given(strategies.text('$\\{}._ahtosx1 ,"[]-', max_size=12))
    def test_substitution(self, text: str) -> None:
        text = text.strip()
        self.codes(f'[DEFAULT]\ntempdir = x\n[pci]\nalias = a{text}b\n')
        lookup = {('DEFAULT', 'tempdir'): 'x'}.get
        try:
            expected: str | None = self.conf().pci.alias[0]
        except (cfg.Error, RecursionError):
            expected = None
        try:
            substituted = oslo_values.substitute(
                f'a{text}b',
                'pci',
                lambda section, name: lookup((section, name)),
            )
        except oslo_values.BadReferenceError:
            self.assertIsNone(expected)
        else:
            if substituted is not None:
                self.assertEqual(expected, substituted)

    @hypothesis.given(
        strategies.text(', \t\n"\'[]ab', max_size=8),
    )
    def test_items(self, text: str) -> None:
        self.assertEqual(types.List()(text), oslo_values.items(text))

    @ddt.data('y', '', 'enabled', '$nosuch')
    def test_every_service_reads_every_option(self, text: str) -> None:
        """Each logs all options when it starts, which reads them."""
        for section, name in OPTIONS[:2]:
            self.assertIn(
                'GPU331', self.codes(f'[{section}]\n{name} = {text}\n')
            )
            self.assertRaises(
                cfg.Error,
                self.conf().log_opt_values,
                logging.getLogger(__name__),
                logging.DEBUG,
            )

    def test_byte_order_mark(self) -> None:
        self.assertIn('GPU300', self.codes('\ufeff[pci]\nalias = {}\n'))
        with testtools.ExpectedException(cfg.ConfigFileParseError):
            self.conf()


def kind_of(option: typing.Any) -> str:
    """Return the expected kind of an option in the table."""
    if isinstance(option, cfg.MultiOpt):
        return nova_schema.MULTI
    for type_, kind in (
        (types.Boolean, nova_schema.BOOLEAN),
        (types.Integer, nova_schema.INTEGER),
        (types.Float, nova_schema.FLOAT),
        (types.List, nova_schema.LIST),
    ):
        if isinstance(option.type, type_):
            return kind
    return nova_schema.STRING


#: Values for options of all types.
OF_ALL_TYPES = (
    *('', ' ', 'x', 'None', 'none', 'True', '0', '1', '2', '-1', '28', '29'),
    *('64', '256', '65535', '65536', '1.5', '1.2', '1e3', 'nan', 'qcow2'),
    *('qcow2  # x', 'KVM', 'kvm', 'kvm,qemu', 'none,vencrypt', 'none,,x'),
    *('500,503', '500, x', '500,', 'StaticJSON, DynamicJSON', 'direct;x'),
    *('a:1', 'a:1,b:2', 'a:1,a:2', 'a:1,b', 'a,b:1', ':1', 'a:', ','),
    *('0.0.0.0', '0.0.0.0  # any', '::', '[::1]', '1.2.3', '1.2.3.4.5'),
    *('host', 'my_host', '-host', 'host-', 'a.b.c.', 'a..b', 'a b', 'ä'),
    *('http://a', 'http://a/x', 'https://[::1]:1/', 'ftp://a', 'telnet://a:1'),
    *('http:/a', 'http://', 'http://a b', '://a', 'hour', 'day@3', 'day@x'),
    *('10000:20000', '1:', 'block-storage::', 'volumev3:c:publicURL', 'a_b'),
    *('a' * 63, 'a' * 64, 'a' * 255, 'a' * 256, 'x\n', 'kvm\n', 'lxc '),
)


def refuses(
    convert: collections.abc.Callable[[str], object], text: str
) -> bool:
    try:
        convert(text)
    except (ValueError, TypeError):
        return True
    return False


class TestSchema(testtools.TestCase):
    def test_refusals(self) -> None:
        """Each text is refused by our table where the type refuses it."""
        groups = {'DEFAULT': nova.conf.CONF._opts} | {
            name: group._opts for name, group in nova.conf.CONF._groups.items()
        }
        count = 0
        for section, entries in groups.items():
            for entry in entries.values():
                option = entry['opt']
                name = option.name.replace('-', '_')
                known = nova_schema.find(section, name)
                if entry.get('cli') or known is None:
                    continue
                if known.kind == nova_schema.OTHER or (section, name) in (
                    # Its items are checked with os-resource-classes.
                    ('quota', 'unified_limits_resource_list'),
                ):
                    continue
                count += 1
                texts = {
                    *OF_ALL_TYPES,
                    *map(str, getattr(option.type, 'choices', None) or ()),
                }
                for text in texts:
                    self.assertEqual(
                        refuses(option.type, text),
                        refuses(
                            lambda text, kind=known: oslo_values.check(
                                text, kind
                            ),
                            text,
                        ),
                        (section, name, text),
                    )
        self.assertTrue(count > 700, count)

    def test_releases(self) -> None:
        for section, name, number, expected in (
            ('libvirt', 'cpu_mode', 27, True),
            ('libvirt', 'cpu_mode', 26, True),
            ('libvirt', 'cpu_mode', 25, False),
            ('filter_scheduler', 'pci_in_placement', 26, False),
            ('filter_scheduler', 'pci_in_placement', 27, True),
            ('libvirt', 'num_pcie_ports', 26, True),
            ('cinder', 'catalog_info', 27, False),
            ('cinder', 'catalog_info', 28, True),
            ('cache', 'backend', 33, False),
        ):
            known = nova_schema.find(section, name)
            assert known is not None
            self.assertEqual(expected, known.holds_in(number), (name, number))

    def test_every_option_of_nova(self) -> None:
        for group, members in nova.conf.opts.list_opts():
            section = getattr(group, 'name', group)
            for option in members:
                self.check(section, option)

    def check(self, section: str, option: typing.Any) -> None:
        name = option.name.replace('-', '_')
        known = nova_schema.find(section, name)
        assert known is not None, (section, name)
        if known.kind == nova_schema.OTHER:
            return
        self.assertEqual(kind_of(option), known.kind, (section, name))
        for limit, value in (('min', known.minimum), ('max', known.maximum)):
            expected = getattr(option.type, limit, None)
            if kind_of(option) in (nova_schema.INTEGER, nova_schema.FLOAT):
                self.assertEqual(expected, value, (section, name))

    def test_removed_options(self) -> None:
        self.assertNotEqual((), nova_removed.names())
        for section, name in nova_removed.names():
            removed = nova_removed.find(section, name)
            assert removed is not None
            self.assertIsNone(nova_schema.find(section, name), name)
            if removed.replacement is not None:
                self.assertIsNotNone(
                    nova_schema.find(*removed.replacement), name
                )
