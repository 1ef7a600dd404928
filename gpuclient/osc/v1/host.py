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

    from gpuclient.model import host as host_model
    from gpuclient.model import pci as pci_model
    from gpuclient.model import release as release_model
    from gpuclient.rules import check_result

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient import exceptions
    from gpuclient.model import cpu
    from gpuclient.model import pci
    from gpuclient.operations import host_bundle
    from gpuclient.operations import host_check
    from gpuclient.operations import host_devices
    from gpuclient.operations import host_intent
    from gpuclient.operations import release_choice
    from gpuclient.osc import columns
    from gpuclient.osc import config_paths
    from gpuclient.osc import options
    from gpuclient.osc import remedies
    from gpuclient.osc import streams


class _SiblingsColumn(
    cliff_columns.FormattableColumn[list[dict[str, typing.Any]]]
):
    """The other devices of an IOMMU group."""

    def human_readable(self) -> str:
        return '\n'.join(
            f'{sibling["address"]} {sibling["ids"]} '
            f'({columns.escape(sibling["driver"] or "no driver")})'
            for sibling in self._value
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


class _HostDevice(typing.NamedTuple):
    """A row of ``show``."""

    host: host_model.Host
    device: host_model.PciDevice
    model: str | None

    @property
    def node(self) -> host_model.NumaNode | None:
        return next(
            (
                node
                for node in self.host.nodes
                if node.number == self.device.numa_node
            ),
            None,
        )

    @property
    def cpus(self) -> frozenset[int]:
        return frozenset() if self.node is None else self.node.cpus

    def modules(self, among: collections.abc.Container[str]) -> list[str]:
        """Return the drivers of a set that can claim the device."""
        names = (*self.host.rivals(self.device), 'vfio_pci')
        return [name for name in names if name in among]


def _add_hosts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'bundles',
        metavar='<bundle>',
        nargs='*',
        help=(
            'Bundle of a host, or folder with its files (default: this '
            'machine)'
        ),
    )


def _addresses(
    parsed_args: argparse.Namespace,
) -> frozenset[pci_model.Address]:
    return frozenset(map(pci.parse_address, parsed_args.devices))


class ShowHost(command.Lister):
    _description = """\
Show GPUs with driver, IOMMU group and NUMA node

Reads this machine, or bundles of other hosts; no cloud is needed. Files that
cannot be read are reported on stderr, and the exit status is 1.

Example::

    openstack gpu host show --long"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_hosts(parser)
        options.add_devices(
            parser,
            'PCI device to show, of any class (repeat option for several)',
        )
        parser.add_argument(
            '--all',
            action='store_true',
            help='Show all PCI devices',
        )
        options.add_long(parser)
        options.add_catalogue(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        addresses = _addresses(parsed_args)
        rows: list[_HostDevice] = []
        names = host_devices.ModelNames(
            catalogue_documents.load(parsed_args.catalogue)
        )
        for host in host_devices.read_hosts(
            parsed_args.bundles, self.report, initramfs=False
        ):
            devices = host_devices.select(
                host, addresses, all_devices=parsed_args.all
            )
            rows += [
                _HostDevice(host, device, names.of(device))
                for device in devices
            ]
            # The files of later boots are not shown, and on some systems only
            # root can read them.
            self.report(
                failure
                for failure in host.unreadable
                if not failure.source.startswith('/boot/')
            )
            if not devices and not addresses:
                self.say(
                    f'{columns.escape(host.name)} has no display controller '
                    'and no processing accelerator'
                )
        missing = addresses - {row.device.address for row in rows}
        if missing:
            raise exceptions.NotFound(f'No PCI device {min(missing)}')
        return columns.table(_cells(long=parsed_args.long), rows)


def _cells(*, long: bool) -> columns.Cells[_HostDevice]:
    cells: columns.Cells[_HostDevice] = {
        'Host': lambda row: columns.TextColumn(row.host.name),
        'Address': lambda row: str(row.device.address),
        'Model': lambda row: columns.TextColumn(row.model),
        'Vendor ID': lambda row: row.device.vendor_id,
        'Product ID': lambda row: row.device.product_id,
        'Driver': lambda row: columns.TextColumn(row.device.driver),
        'Device Type': lambda row: row.device.device_type,
        'IOMMU Group': lambda row: row.device.group,
        'NUMA Node': lambda row: row.device.numa_node,
    }
    if long:
        cells |= _device_cells()
        cells |= _host_cells()
    return cells


def _device_cells() -> columns.Cells[_HostDevice]:
    """Return more columns of a device."""
    return {
        'Class': lambda row: (
            None
            if row.device.class_code is None
            else f'{row.device.class_code:06x}'
        ),
        'Driver Override': lambda row: columns.TextColumn(
            row.device.driver_override
        ),
        'Siblings': _siblings,
        'Total VFs': lambda row: row.device.sriov_total_vfs,
        'VFs': lambda row: row.device.sriov_num_vfs,
        'Physical Function': lambda row: (
            None
            if row.device.physical_function is None
            else str(row.device.physical_function)
        ),
        'BARs': _bars,
        'BAR Bytes': lambda row: columns.SizeColumn(row.device.bar_bytes),
        'Boot VGA': lambda row: row.device.boot_vga,
        'Reset Methods': lambda row: columns.ListColumn(
            None
            if row.device.reset_methods is None
            else list(row.device.reset_methods)
        ),
        'Power State': lambda row: columns.TextColumn(row.device.power_state),
        'D3cold Allowed': lambda row: row.device.d3cold_allowed,
    }


def _siblings(row: _HostDevice) -> _SiblingsColumn:
    return _SiblingsColumn(
        [
            {
                'address': str(sibling.address),
                'ids': sibling.ids,
                'driver': sibling.driver,
            }
            for sibling in row.host.siblings(row.device)
        ]
    )


def _bars(row: _HostDevice) -> columns.BarsColumn:
    return columns.BarsColumn(
        [
            {
                'number': bar.number,
                'size': bar.size,
                'io': bar.is_io,
                '64_bit': bar.is_64_bit,
                'prefetchable': bar.prefetchable,
            }
            for bar in row.device.bars
        ]
    )


def _host_cells() -> columns.Cells[_HostDevice]:
    """Return columns of the host of a device."""
    return {
        'Loaded Modules': lambda row: columns.ListColumn(
            row.modules(row.host.modules)
        ),
        'Blacklisted Modules': lambda row: columns.ListColumn(
            row.modules(row.host.blacklisted_modules)
        ),
        'Node CPUs': lambda row: cpu.render(row.cpus) or None,
        'Node Isolated CPUs': lambda row: (
            cpu.render(row.cpus & row.host.isolated_cpus) or None
        ),
        'Node Huge Pages': lambda row: _PagesColumn(
            [
                {
                    'size_kib': pool.size_kib,
                    'total': pool.total,
                    'free': pool.free,
                }
                for pool in (() if row.node is None else row.node.huge_pages)
            ]
        ),
        'IOMMU': lambda row: row.host.iommu_on,
        'Kernel': lambda row: columns.TextColumn(row.host.kernel),
        'Kernel Arguments': lambda row: columns.TextColumn(
            row.host.kernel_arguments
        ),
    }


def _add_purpose(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell which devices are for guests."""
    parser.add_argument(
        '--alias',
        metavar='<name>',
        dest='aliases',
        action='append',
        default=[],
        help=(
            'Alias whose devices are for guests; requires --config, which '
            'defines it (repeat option for several)'
        ),
    )
    parser.add_argument(
        '--config',
        metavar='<path>',
        dest='files',
        action='append',
        default=[],
        help=(
            'File or folder of Nova configuration, for device specs, '
            'aliases, CPU sets and reserved memory; each of several hosts is '
            'checked with its own (repeat option for several)'
        ),
    )
    config_paths.add_as(parser)


class CheckHost(command.Lister):
    _description = """\
Check whether hosts are ready for GPU passthrough

Reads this machine, or bundles of other hosts, and reports PASS, WARN or FAIL
for each requirement of passthrough, with evidence and remedy. No cloud is
needed. The documentation explains each code.

The cards for guests are those that --device names, or else those that an alias
of --alias matches, or else those that the device specs of --config match, or
its aliases if it has none. Without these options they are inferred from the
host: cards that are bound to vfio-pci or configured to be, and GPUs that are
not the console.

The exit status is 3 if there is a finding at or above --fail-on: FAIL is an
error, WARN a warning.

Example::

    openstack gpu host check --config /etc/nova/nova.conf HOST.tar"""

    fits_terminal = True

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_hosts(parser)
        options.add_devices(
            parser, 'Device for guests (repeat option for several)'
        )
        _add_purpose(parser)
        parser.add_argument(
            '--long',
            action='store_true',
            help='List also each PASS, with its evidence',
        )
        options.add_catalogue(parser)
        options.add_release(parser, cloud=False)
        options.add_fail_on(parser)
        options.add_mute(parser, 'a host or a device')
        return parser

    def _release(
        self, parsed_args: argparse.Namespace
    ) -> release_model.Release:
        """Return the release of Nova that reads the configuration."""
        chosen = release_choice.choose(
            parsed_args.release,
            (
                *parsed_args.files,
                *(declared.path for declared in parsed_args.declared),
            ),
        )
        self.note_release(chosen)
        return chosen.release

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        mutes = options.read_mutes(parsed_args)
        intents = host_intent.Intents(
            _addresses(parsed_args),
            parsed_args.aliases,
            parsed_args.files,
            parsed_args.declared,
            self._release(parsed_args),
        )
        models = catalogue_documents.load(parsed_args.catalogue)
        checked = [
            host_check.check(host, intents, models).without(mutes)
            for host in host_devices.read_hosts(
                parsed_args.bundles, self.report, initramfs=True
            )
        ]
        self.note_muted(mutes.count)
        if options.fails(
            parsed_args,
            {severity for host in checked for severity in host.severities},
        ):
            self.found()
        return columns.table(
            _result_cells(),
            [
                (host.name, result)
                for host in checked
                for result in (
                    host.results if parsed_args.long else host.summary
                )
            ],
        )


def _result_cells() -> columns.Cells[tuple[str, check_result.CheckResult]]:
    return {
        'Host': lambda row: columns.TextColumn(row[0]),
        'Device': lambda row: (
            None if row[1].device is None else str(row[1].device)
        ),
        'Check': lambda row: columns.ProseColumn(row[1].check),
        'Result': lambda row: str(row[1].result),
        'Code': lambda row: row[1].code,
        'Evidence': lambda row: columns.ProseColumn(row[1].evidence),
        'Remedy': lambda row: columns.ProseColumn(
            remedies.render(row[1].remedy)
        ),
    }


class CreateHostBundle(command.ShowOne):
    _description = """\
Collect host state for checks on another machine

A bundle contains the files that "openstack gpu host check" reads, without
secrets, serial numbers and hardware addresses. For hosts without this command,
--script prints a program that creates the same bundle and needs only Python
3.6 or later::

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
            help='File to write (default: host name and .tar)',
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
            help=(
                'Print a program that creates a bundle, instead of creating '
                'one'
            ),
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        if parsed_args.script:
            with streams.guarded(self.app.stdout):
                self.app.stdout.write(host_bundle.script())
            return 0
        return super().run(parsed_args)

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        written = host_bundle.create(parsed_args.root, parsed_args.file)
        self.done = f'The bundle {written.path} is already written'
        return columns.show(
            {
                'file': columns.TextColumn(written.path),
                'host': columns.TextColumn(written.host),
                'bytes': written.size,
                'files': written.files,
                'unreadable': columns.ListColumn(written.unreadable),
            }
        )
