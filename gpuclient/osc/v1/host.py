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

"""Compute hosts: ``openstack gpu host ...``."""

from __future__ import annotations

import argparse
import typing

from cliff import columns as cliff_columns

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

if typing.TYPE_CHECKING:
    import collections.abc

    from gpuclient.model import catalogue
    from gpuclient.model import host as host_model
    from gpuclient.model import pci as pci_model

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient.documents import pci_ids
    from gpuclient import exceptions
    from gpuclient.host import bundle
    from gpuclient.host import reader
    from gpuclient.model import cpu
    from gpuclient.model import partial_result
    from gpuclient.model import pci
    from gpuclient.operations import host_intent
    from gpuclient.osc import columns
    from gpuclient.osc import config_paths
    from gpuclient.osc import options
    from gpuclient.osc import streams
    from gpuclient.rules import check_result
    from gpuclient.rules import host as host_rules

_Row: typing.TypeAlias = tuple[typing.Any, ...]


class _SiblingsColumn(
    cliff_columns.FormattableColumn[list[dict[str, typing.Any]]]
):
    """The other devices of an IOMMU group."""

    def human_readable(self) -> str:
        return '\n'.join(
            f'{one["address"]} {one["ids"]} '
            f'({columns.escape(one["driver"] or "no driver")})'
            for one in self._value
        )


class _PagesColumn(
    cliff_columns.FormattableColumn[list[dict[str, int | None]]]
):
    """Huge pages of a NUMA node."""

    def human_readable(self) -> str:
        return '\n'.join(
            f'{pool["total"]} of '
            f'{cpu.render_size((pool["size_kib"] or 0) * cpu.KIB)}'
            for pool in self._value
        )


def _add_hosts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'bundles',
        metavar='<bundle>',
        nargs='*',
        help=(
            'Bundle of a host, or folder with its files (repeat for several; '
            'default: this machine)'
        ),
    )


def _addresses(
    parsed_args: argparse.Namespace,
) -> frozenset[pci_model.Address]:
    return frozenset(map(pci.parse_address, parsed_args.devices))


class _Hosts(command.Lister):
    """What the commands that read hosts have in common"""

    use_of_cloud = command.CloudUse.UNUSED

    def hosts(
        self, parsed_args: argparse.Namespace, *, initramfs: bool
    ) -> collections.abc.Iterator[host_model.Host]:
        """Yield the hosts; one that cannot be read lets the run fail."""
        if not parsed_args.bundles:
            yield reader.read(initramfs=initramfs)
        for path in parsed_args.bundles:
            try:
                yield bundle.read(path, initramfs=initramfs)
            except exceptions.HostError as exc:
                if len(parsed_args.bundles) == 1:
                    raise
                self.report([partial_result.Failure(path, str(exc))])


class ShowHost(_Hosts):
    _description = """\
Show the GPUs of a host, with driver, IOMMU group and NUMA node

Reads this machine, or what was copied of others; no cloud is needed. What
cannot be read is named on stderr, and the exit status is 1 then.

Example::

    openstack gpu host show --long"""

    _names: pci_ids.Names | None = None

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_hosts(parser)
        options.add_devices(
            parser,
            'Show this device, whatever it is (repeat for several)',
        )
        parser.add_argument(
            '--all',
            action='store_true',
            help='Show all PCI devices',
        )
        parser.add_argument(
            '--long',
            action='store_true',
            help='Show all that is known of them',
        )
        options.add_catalogue(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        wanted = _addresses(parsed_args)
        rows: list[_Row] = []
        missing = set(wanted)
        models = catalogue_documents.load(parsed_args.catalogue)
        for host in self.hosts(parsed_args, initramfs=False):
            found = [
                device
                for device in host.devices
                if parsed_args.all
                or (device.address in wanted if wanted else device.is_gpu)
            ]
            missing -= {device.address for device in found}
            for device in found:
                row = _summary(host, device, self._name(models, device))
                if parsed_args.long:
                    row += _details(host, device)
                rows.append(row)
            # What later boots are started with is not shown, and on some
            # systems root's alone.
            self.report(
                failure
                for failure in host.unreadable
                if not failure.source.startswith('/boot/')
            )
            if not found and not wanted:
                self.say(
                    f'{columns.escape(host.name)} has no display controller '
                    'and no '
                    'processing accelerator'
                )
        for address in sorted(missing):
            raise exceptions.NotFound(f'There is no PCI device {address}')
        return (
            *_COLUMNS,
            *(_LONG_COLUMNS if parsed_args.long else ()),
        ), rows

    def _name(
        self, models: catalogue.Catalogue, device: host_model.Device
    ) -> str | None:
        """Return the name of the catalogue, or of the PCI database."""
        found = models.by_ids(
            device.vendor_id, device.product_id, device.subsystem
        )
        if found:
            return ' / '.join(model.name for model in found)
        if device.vendor_id is None or device.product_id is None:
            return None
        if self._names is None:
            # Some megabytes, read where a device needs it.
            self._names = pci_ids.load() or pci_ids.Names('', {}, {})
        name = self._names.device(device.vendor_id, device.product_id)
        vendor = self._names.vendor(device.vendor_id)
        return f'{vendor} {name}' if name is not None else vendor


_COLUMNS = (
    'Host',
    'Address',
    'Model',
    'Vendor ID',
    'Product ID',
    'Driver',
    'Device Type',
    'IOMMU Group',
    'NUMA Node',
)
_LONG_COLUMNS = (
    'Class',
    'Driver Override',
    'Siblings',
    'Total VFs',
    'VFs',
    'Physical Function',
    'BARs',
    'BAR Bytes',
    'Boot VGA',
    'Reset Methods',
    'Power State',
    'D3cold Allowed',
    'Loaded Modules',
    'Blacklisted Modules',
    'Node CPUs',
    'Node Isolated CPUs',
    'Node Huge Pages',
    'IOMMU',
    'Kernel',
    'Kernel Arguments',
)


def _summary(
    host: host_model.Host, device: host_model.Device, name: str | None
) -> _Row:
    return (
        columns.TextColumn(host.name),
        str(device.address),
        columns.TextColumn(name),
        device.vendor_id,
        device.product_id,
        columns.TextColumn(device.driver),
        device.device_type,
        device.group,
        device.numa_node,
    )


def _details(host: host_model.Host, device: host_model.Device) -> _Row:
    node = next(
        (one for one in host.nodes if one.number == device.numa_node), None
    )
    cpus = frozenset() if node is None else node.cpus
    # Those that may claim the card.
    modules = (*host.rivals(device), 'vfio_pci')
    return (
        None if device.class_code is None else f'{device.class_code:06x}',
        columns.TextColumn(device.driver_override),
        _SiblingsColumn(
            [
                {
                    'address': str(one.address),
                    'ids': one.ids,
                    'driver': one.driver,
                }
                for one in host.siblings(device)
            ]
        ),
        device.sriov_total_vfs,
        device.sriov_num_vfs,
        None
        if device.physical_function is None
        else str(device.physical_function),
        columns.BarsColumn(
            [
                {
                    'number': bar.number,
                    'size': bar.size,
                    'io': bar.is_io,
                    '64_bit': bar.is_64_bit,
                    'prefetchable': bar.prefetchable,
                }
                for bar in device.bars
            ]
        ),
        columns.SizeColumn(device.bar_bytes),
        device.boot_vga,
        columns.ListColumn(
            None
            if device.reset_methods is None
            else list(device.reset_methods)
        ),
        columns.TextColumn(device.power_state),
        device.d3cold_allowed,
        columns.ListColumn([one for one in modules if one in host.modules]),
        columns.ListColumn(
            [one for one in modules if one in host.blacklisted_modules]
        ),
        cpu.render(cpus) or None,
        cpu.render(cpus & host.isolated_cpus) or None,
        _PagesColumn(
            [
                {
                    'size_kib': pool.size_kib,
                    'total': pool.total,
                    'free': pool.free,
                }
                for pool in (() if node is None else node.huge_pages)
            ]
        ),
        host.iommu_on,
        columns.TextColumn(host.kernel),
        columns.TextColumn(host.kernel_arguments),
    )


def _add_purpose(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which devices are for guests."""
    parser.add_argument(
        '--alias',
        metavar='<name>',
        dest='aliases',
        action='append',
        default=[],
        help=(
            'Alias of the configuration whose devices are for guests '
            '(repeat for several)'
        ),
    )
    parser.add_argument(
        '--config',
        metavar='<path>',
        dest='files',
        action='append',
        default=[],
        help=(
            'File or folder of configuration of Nova, for device specs, '
            'aliases, CPU sets and reserved memory; of several hosts, each '
            'is checked with its own (repeat for several)'
        ),
    )
    config_paths.add_as(parser)


class CheckHost(_Hosts):
    _description = """\
Check whether hosts are ready for GPU passthrough

Reads this machine, or bundles of others, and says PASS, WARN or FAIL of each
thing that passthrough depends on, with what was seen and what to do. No cloud
is needed. Each code is explained in the documentation.

Which cards are for guests is taken from --device, --alias or --config, in
this order; without them, from the host: a card that vfio-pci has or claims,
or a GPU that is not the console.

The exit status is 3 if there is a finding at or above --fail-on: FAIL is an
error, WARN a warning.

Example::

    openstack gpu host check --config /etc/nova/nova.conf HOST.tar"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_hosts(parser)
        options.add_devices(
            parser,
            'Device that is for guests (repeat for several)',
        )
        _add_purpose(parser)
        parser.add_argument(
            '--long',
            action='store_true',
            help='Show each PASS, with what was seen',
        )
        options.add_catalogue(parser)
        options.add_fail_on(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        intents = host_intent.Intents(
            _addresses(parsed_args),
            parsed_args.aliases,
            parsed_args.files,
            parsed_args.declared,
        )
        rows: list[_Row] = []
        severities = set()
        models = catalogue_documents.load(parsed_args.catalogue)
        for host in self.hosts(parsed_args, initramfs=True):
            found = host_rules.check(host, intents.of(host.name), models)
            severities |= {one.severity for one in found}
            rows += [
                (
                    columns.TextColumn(host.name),
                    None if one.device is None else str(one.device),
                    columns.ProseColumn(one.check),
                    str(one.result),
                    one.code,
                    columns.ProseColumn(one.evidence),
                    columns.ProseColumn(one.remedy),
                )
                for one in (
                    found if parsed_args.long else check_result.summary(found)
                )
            ]
        if options.fails(parsed_args, severities):
            self.found()
        return (
            'Host',
            'Device',
            'Check',
            'Result',
            'Code',
            'Evidence',
            'Remedy',
        ), rows


class CreateHostBundle(command.ShowOne):
    _description = """\
Pack the state of a host, to check it on another machine

A bundle has exactly what "gpu host check" reads, without secrets, serial
numbers and hardware addresses. Where there is no such command, --script
prints a program that makes the same bundle and needs only Python 3.6 or
later::

    openstack gpu host bundle create --script > bundle.py
    ssh HOST sudo python3 - < bundle.py > HOST.tar

Example::

    openstack gpu host bundle create HOST.tar"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'file',
            metavar='<file>',
            nargs='?',
            help='File to write (default: the name of the host, and .tar)',
        )
        parser.add_argument(
            '--root',
            metavar='<folder>',
            default='/',
            help='Folder with the files of the host (default: /)',
        )
        parser.add_argument(
            '--script',
            action='store_true',
            help='Print the program that makes a bundle, and make none',
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        if parsed_args.script:
            # The program itself, and no table of it.
            with streams.guarded(self.app.stdout, ()):
                self.app.stdout.write(bundle.script())
            return 0
        return super().run(parsed_args)

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], _Row]:
        tree = bundle.collect_from(parsed_args.root)
        host = reader.parse(tree, 'host')
        path = parsed_args.file or bundle.default_name(host)
        size = bundle.write(path, tree)
        return (
            ('file', 'host', 'bytes', 'files', 'unreadable'),
            (
                columns.TextColumn(path),
                columns.TextColumn(host.name),
                size,
                len(tree.files) + len(tree.links),
                columns.ListColumn(list(map(str, host.unreadable))),
            ),
        )
