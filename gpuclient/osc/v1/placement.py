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

"""Devices in Placement: ``openstack gpu placement ...``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports
from gpuclient.osc import multi_cloud

with lazy_imports.deferred():
    from gpuclient import exceptions
    from gpuclient.model import inventory
    from gpuclient.operations import placement_view
    from gpuclient.osc import columns
    from gpuclient.osc import options

_Row: typing.TypeAlias = 'tuple[str, inventory.Device | None]'


class ListPlacement(multi_cloud.MultiCloudLister):
    _description = """\
List PCI devices in Placement

Names of servers and projects are null where policy hides them. If a service
does not respond, the remaining rows are listed, the failure is reported on
stderr and the exit status is 1.

With --all-hosts, compute hosts that report no device are listed, too. A host
that is specified with --host is always listed.

With --expect, lists the devices that compute hosts should report according to
a description ("openstack gpu config create") or their configuration, and
whether Placement has them. The exit status is 3 if one is missing or differs:
do not set [filter_scheduler]pci_in_placement until the exit status is 0.

Example::

    openstack gpu placement list --used"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_host(
            parser,
            (
                'List only devices of this host (hypervisor hostname, or '
                'name of the compute service)'
            ),
        )
        options.add_resource_class(
            parser, 'List only devices of this resource class'
        )
        options.add_traits(
            parser,
            'List only devices with this trait (repeat option for several)',
        )
        options.add_project(
            parser,
            'List only devices that this project uses (name or ID)',
        )
        parser.add_argument(
            '--free',
            action='store_true',
            help='List only devices with a free unit',
        )
        parser.add_argument(
            '--used',
            action='store_true',
            help='List only devices with a unit in use',
        )
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            '--all-hosts',
            action='store_true',
            help='List also compute hosts that report no device',
        )
        which.add_argument(
            '--expect',
            metavar='<path>',
            dest='expected',
            action='append',
            default=[],
            help=(
                'List the devices that compute hosts should report '
                'according to this description, or file or folder of '
                'configuration, and whether they do (repeat option for '
                'several; --host names the host of a file that does not '
                'name it)'
            ),
        )
        options.add_long(parser)
        return parser

    def list_cloud(self, parsed_args: argparse.Namespace) -> command.Rows:
        if parsed_args.all_hosts or parsed_args.expected:
            _refuse_filters(parsed_args)
        if parsed_args.expected:
            return self._list_expected(parsed_args)
        answer = placement_view.list_devices(
            self.cloud,
            placement_view.DeviceFilters(
                host=parsed_args.host,
                resource_class=parsed_args.resource_class,
                traits=tuple(parsed_args.traits),
                project_id=self.project_id(parsed_args),
                free=parsed_args.free,
                used=parsed_args.used,
            ),
            all_hosts=parsed_args.all_hosts,
        )
        self.report(answer.failures)
        return columns.table(
            _cells(answer.value.projects, long=parsed_args.long),
            answer.value.rows,
        )

    def _list_expected(self, parsed_args: argparse.Namespace) -> command.Rows:
        answer = placement_view.list_expected(
            self.cloud, parsed_args.expected, parsed_args.host
        )
        self.report(answer.failures)
        if not all(row.is_reported for row in answer.value):
            self.found()
        cells: columns.Cells[placement_view.ExpectedDevice] = {
            'Host': lambda row: columns.TextColumn(row.expected.host),
            'Address': lambda row: row.expected.address,
            'Resource Class': lambda row: columns.TextColumn(
                row.expected.resource_class
            ),
            'State': lambda row: columns.TextColumn(row.state),
            'Expected By': lambda row: columns.TextColumn(row.expected.source),
        }
        return columns.table(cells, answer.value)


def _refuse_filters(parsed_args: argparse.Namespace) -> None:
    if (
        parsed_args.resource_class
        or parsed_args.traits
        or parsed_args.project is not None
        or parsed_args.free
        or parsed_args.used
    ):
        raise exceptions.InvalidValue(
            '--all-hosts and --expect list all devices: omit '
            '--resource-class, --trait, --project, --free and --used'
        )


def _cells(projects: dict[str, str], *, long: bool) -> columns.Cells[_Row]:
    """Return the columns of a list of devices.

    :param projects: Names, by id.
    """
    cells: columns.Cells[inventory.Device] = {
        'Resource Class': lambda device: device.resource_class,
        'Total': lambda device: device.total,
        'Reserved': lambda device: device.reserved,
        'Used': lambda device: device.used,
        'Traits': lambda device: columns.TraitsColumn(list(device.traits)),
        'Servers': lambda device: columns.NamedColumn(columns.servers(device)),
        'Projects': lambda device: columns.NamedColumn(
            columns.projects(device, projects)
        ),
    }
    if long:
        cells['Free'] = lambda device: device.free
        cells['Provider ID'] = lambda device: device.uuid
        cells['Provider Name'] = lambda device: columns.TextColumn(device.name)
    return {
        'Host': lambda row: columns.TextColumn(row[0]),
        'Address': lambda row: (
            columns.NoDeviceColumn(None) if row[1] is None else row[1].address
        ),
        **{header: _of_device(cell) for header, cell in cells.items()},
    }


def _of_device(
    cell: typing.Callable[[inventory.Device], typing.Any],
) -> typing.Callable[[_Row], typing.Any]:
    """Return a cell that is null in the row of a host without devices."""
    return lambda row: None if row[1] is None else cell(row[1])


class ShowPlacement(command.ShowOne):
    _description = """\
Show inventory and usage of a host, device or alias

The name is looked up among devices (PCI address, ID or name of the resource
provider), then hosts, resource classes and aliases. Nova has no API that shows
the definition of an alias: it is read from the given configuration files, or
else inferred from servers that booted with it; "source" says which.

Example::

    openstack gpu placement show CUSTOM_PCI_10DE_20F1"""

    reads_snapshots = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name',
            metavar='<name>',
            help='Host, device, resource class or alias to show',
        )
        options.add_alias_files(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        answer = placement_view.find(
            self.cloud, parsed_args.name, parsed_args.files
        )
        self.report(answer.failures)
        named = answer.value
        return columns.show(
            {
                'name': columns.TextColumn(parsed_args.name),
                'kind': named.kind,
                'source': columns.TextColumn(named.source),
                'total': named.totals.total,
                'reserved': named.totals.reserved,
                'used': named.totals.used,
                'free': named.totals.free,
                'devices': columns.DevicesColumn(
                    [
                        columns.device(device, named.projects)
                        for device in named.devices
                    ]
                ),
            }
        )
