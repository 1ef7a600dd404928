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

"""Devices as Placement knows them: ``openstack gpu placement ...``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports
from gpuclient.osc import multi_cloud

with lazy_imports.deferred():
    from gpuclient.cloud.nova import hypervisors
    from gpuclient.cloud.placement import devices as placement_devices
    from gpuclient.cloud import usage
    from gpuclient.documents import aliases as alias_documents
    from gpuclient import exceptions
    from gpuclient.model import expectation
    from gpuclient.model import inventory
    from gpuclient.operations import alias_inventory
    from gpuclient.operations import expected_devices
    from gpuclient.osc import columns
    from gpuclient.osc import options


class ListPlacement(multi_cloud.MultiCloudLister):
    _description = """\
List the PCI devices that compute hosts report to Placement

Names of servers and projects are null where policy hides them. If a source
does not answer, the rows there are are shown, the source is named on stderr
and the exit status is 1.

With --all-hosts, computes that report no device have a row, too; so has one
that --host names.

With --expect, lists the devices that a description ("gpu config create") or
configuration of computes makes them report, and whether Placement has them.
The exit status is 3 if one is missing or differs: then
[filter_scheduler]pci_in_placement is not to be switched on yet.

Example::

    openstack gpu placement list --used"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_host(
            parser,
            (
                'Only devices of this host (hypervisor hostname, or name of '
                'its compute service)'
            ),
        )
        options.add_resource_class(
            parser, 'Only devices of this resource class'
        )
        options.add_traits(
            parser, 'Only devices with this trait (repeat for several)'
        )
        options.add_project(
            parser, 'Only devices that this project holds (name or ID)'
        )
        parser.add_argument(
            '--free',
            action='store_true',
            help='Only devices with a free unit',
        )
        parser.add_argument(
            '--used',
            action='store_true',
            help='Only devices with a unit in use',
        )
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            '--all-hosts',
            action='store_true',
            help='List computes that report no device, too',
        )
        which.add_argument(
            '--expect',
            metavar='<path>',
            dest='expected',
            action='append',
            default=[],
            help=(
                'List the devices that computes are to report by this '
                'description, file or folder of configuration, and whether '
                'they do (repeat for several; --host names the host of a file '
                'that does not say whose it is)'
            ),
        )
        options.add_long(parser)
        return parser

    def list_cloud(self, parsed_args: argparse.Namespace) -> command.Rows:
        filtered = bool(
            parsed_args.resource_class
            or parsed_args.traits
            or parsed_args.project
            or parsed_args.free
            or parsed_args.used
        )
        if filtered and (parsed_args.all_hosts or parsed_args.expected):
            raise exceptions.InvalidValue(
                '--all-hosts and --expect are for all devices: leave '
                '--resource-class, --trait, --project, --free and --used '
                'out'
            )
        if parsed_args.expected:
            return self._list_expected(parsed_args)
        project_id = self.project_id(parsed_args)
        found = usage.read_usage(
            self.cloud,
            host=parsed_args.host,
            resource_class=parsed_args.resource_class,
            traits=parsed_args.traits,
        )
        self.report(found.failures)
        without: tuple[str, ...] = ()
        if parsed_args.all_hosts or (
            parsed_args.host and not filtered and not found.value.devices
        ):
            without = usage.hosts_without_devices(
                self.cloud, found.value.devices, parsed_args.host
            )
        names = found.value.projects
        devices = inventory.select(
            found.value.devices,
            project_id=project_id,
            free=parsed_args.free,
            used=parsed_args.used,
        )
        headers: tuple[str, ...] = (
            'Host',
            'Address',
            'Resource Class',
            'Total',
            'Reserved',
            'Used',
            'Traits',
            'Servers',
            'Projects',
        )
        if parsed_args.long:
            headers += ('Free', 'Provider ID', 'Provider Name')

        def row(device: inventory.Device) -> tuple[typing.Any, ...]:
            values: tuple[typing.Any, ...] = (
                columns.TextColumn(device.host),
                device.address,
                device.resource_class,
                device.total,
                device.reserved,
                device.used,
                columns.TraitsColumn(list(device.traits)),
                columns.NamedColumn(columns.servers(device)),
                columns.NamedColumn(columns.projects(device, names)),
            )
            if parsed_args.long:
                values += (
                    device.free,
                    device.uuid,
                    columns.TextColumn(device.name),
                )
            return values

        rows = [(device.host, row(device)) for device in devices]
        rows += [
            (
                host,
                (
                    columns.TextColumn(host),
                    columns.NoDeviceColumn(None),
                    *[None] * (len(headers) - 2),
                ),
            )
            for host in without
        ]
        # Rows of a host stay in their order.
        return headers, [
            values for _host, values in sorted(rows, key=lambda each: each[0])
        ]

    def _list_expected(self, parsed_args: argparse.Namespace) -> command.Rows:
        wanted = expected_devices.read(parsed_args.expected, parsed_args.host)
        found = placement_devices.read_devices(
            self.cloud.placement,
            count_hosts=lambda: hypervisors.count(self.cloud.compute),
        )
        self.report(found.failures)
        rows = []
        for each in wanted:
            if parsed_args.host and not expectation.is_host(
                parsed_args.host, each.host
            ):
                continue
            state = each.state(found.value)
            if state != expectation.REPORTED:
                self.found()
            rows.append(
                (
                    columns.TextColumn(each.host),
                    each.address,
                    columns.TextColumn(each.resource_class),
                    columns.TextColumn(state),
                    columns.TextColumn(each.source),
                )
            )
        return (
            'Host',
            'Address',
            'Resource Class',
            'State',
            'Expected By',
        ), rows


class ShowPlacement(command.ShowOne):
    _description = """\
Show what a host, device, resource class or alias has and uses

A name is looked up among devices (PCI address, ID or name of the resource
provider), then hosts, resource classes and aliases. Nova tells nobody what
its aliases mean: an alias is taken from the configuration files given, or
else inferred from servers that booted with it; "source" says which.

Example::

    openstack gpu placement show CUSTOM_PCI_10DE_20F1"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name',
            metavar='<name>',
            help='Host, device, resource class or alias',
        )
        options.add_alias_files(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        name = parsed_args.name
        documents = alias_documents.read_all(parsed_args.files)
        found = usage.read_usage(self.cloud)
        devices = found.value.devices
        source = None
        match = inventory.find(devices, name)
        if match is None:
            hosts = usage.compute_nodes(self.cloud, name)
            of_host = tuple(
                device for device in devices if device.host in hosts
            )
            if hosts:
                match = inventory.Found('host', of_host)
            if hosts and not of_host:
                source = 'the compute reports no PCI device to Placement'
        if match is None:
            match, source = self._find_alias(name, documents, found.value)
        self.report(found.failures)
        totals = inventory.totals(match.devices)
        return (
            (
                'name',
                'kind',
                'source',
                'total',
                'reserved',
                'used',
                'free',
                'devices',
            ),
            (
                columns.TextColumn(name),
                match.kind,
                columns.TextColumn(source),
                totals.total,
                totals.reserved,
                totals.used,
                totals.free,
                columns.DevicesColumn(
                    [
                        columns.device(device, found.value.projects)
                        for device in match.devices
                    ]
                ),
            ),
        )

    @staticmethod
    def _find_alias(
        name: str,
        documents: tuple[alias_documents.AliasDocument, ...],
        use: usage.Usage,
    ) -> tuple[inventory.Found, str]:
        for document in documents:
            for defined in document.aliases:
                if defined.alias.name == name:
                    return (
                        inventory.Found(
                            'alias',
                            inventory.of_alias(use.devices, defined.alias),
                        ),
                        defined.where,
                    )
        shown = alias_inventory.infer(name, use)
        if shown is not None:
            return inventory.Found('alias', shown.devices), shown.source
        raise exceptions.NotFound(
            f'No host, device or resource class is called {name!r}, and '
            'no server shows what an alias of that name means; to look '
            'an alias up, name the file that defines it with --config'
        )
