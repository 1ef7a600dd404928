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

"""Servers and their devices: ``openstack gpu server ...``."""

from __future__ import annotations

import argparse
import typing

from openstackclient.identity import common as identity_common

from gpuclient.osc import command
from gpuclient.osc import lazy_imports
from gpuclient.osc import multi_cloud

with lazy_imports.deferred():
    from gpuclient.cloud import keystone
    from gpuclient.cloud.nova import hypervisors
    from gpuclient.cloud.nova import servers as nova_servers
    from gpuclient.cloud.placement import devices as placement_devices
    from gpuclient.cloud.placement import owners
    from gpuclient import exceptions
    from gpuclient.model import inventory
    from gpuclient.model import partial_result
    from gpuclient.osc import columns
    from gpuclient.osc import options


class ListServer(multi_cloud.MultiCloudLister):
    _description = """\
List servers that hold PCI devices, or whose flavor requests them

Hosts and devices are null for users whom policy hides them from, as it does
from ordinary members of a project.

Example::

    openstack gpu server list --all-projects"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--all-projects',
            action='store_true',
            help='Include all projects (admin only)',
        )
        options.add_project(
            parser, 'Search by project (admin only) (name or ID)'
        )
        parser.add_argument(
            '--user',
            metavar='<user>',
            help='Search by user (name or ID)',
        )
        identity_common.add_user_domain_option_to_parser(parser)
        options.add_host(
            parser, 'Search by hostname of the compute service (admin only)'
        )
        options.add_long(parser)
        return parser

    def list_cloud(self, parsed_args: argparse.Namespace) -> command.Rows:
        servers = self._servers(parsed_args)
        devices, hidden = self._devices(servers)
        held = inventory.held(devices)
        projects: dict[str, str] = {}
        if servers:
            try:
                projects = keystone.project_names(
                    self.cloud,
                    {
                        server.project_id
                        for server in servers
                        if server.project_id is not None
                    },
                )
            except exceptions.CloudError as exc:
                self.report(
                    [partial_result.Failure('names of projects', str(exc))]
                )
        headers: tuple[str, ...] = (
            'ID',
            'Name',
            'Status',
            'Project',
            'Host',
            'Flavor',
            'Devices',
        )
        if parsed_args.long:
            headers += ('Aliases', 'Project ID', 'User ID', 'Service Host')

        def row(server: inventory.Server) -> tuple[typing.Any, ...]:
            values: tuple[typing.Any, ...] = (
                server.uuid,
                columns.TextColumn(server.name),
                server.status,
                columns.TextColumn(projects.get(server.project_id or '')),
                columns.TextColumn(server.host),
                columns.TextColumn(server.flavor_name),
                columns.DevicesColumn(
                    None
                    if hidden
                    else [
                        _held(device, server)
                        for device in held.get(server.uuid, ())
                    ]
                ),
            )
            if parsed_args.long:
                values += (
                    columns.CountsColumn(
                        inventory.requested_aliases(server.extra_specs)
                        if server.extra_specs is not None
                        else None
                    ),
                    server.project_id,
                    server.user_id,
                    columns.TextColumn(server.service_host),
                )
            return values

        return headers, [
            row(server)
            for server in servers
            if server.uuid in held
            or inventory.asks_for_devices(server) is not False
        ]

    def _servers(
        self, parsed_args: argparse.Namespace
    ) -> tuple[inventory.Server, ...]:
        project_id = self.project_id(parsed_args)
        user_id = None
        if parsed_args.user is not None:
            user_id = keystone.find_user(
                self.cloud,
                parsed_args.user,
                parsed_args.user_domain,
            )
        servers = nova_servers.list_servers(
            self.cloud.compute,
            all_projects=parsed_args.all_projects or project_id is not None,
            project_id=project_id,
            user_id=user_id,
            service_host=parsed_args.host,
        )
        if parsed_args.host is not None and any(
            server.service_host is None for server in servers
        ):
            # Nova drops a filter that the user may not use, and answers as
            # if it had not been there.
            raise exceptions.Forbidden(
                '--host needs a user who may see the hosts of servers '
                '(policy os_compute_api:os-extended-server-attributes)'
            )
        if parsed_args.host is not None and not servers:
            self._check_host(parsed_args.host)
        return servers

    def _check_host(self, host: str) -> None:
        """Make sure that there is a compute service of a name.

        :raises gpuclient.exceptions.NotFound: There is none.
        """
        try:
            known = {
                node.service_host
                for node in hypervisors.list_hypervisors(self.cloud.compute)
            }
        except exceptions.Forbidden as exc:
            raise exceptions.Forbidden(
                f'--host needs a user who may see hosts: {exc}'
            ) from exc
        if host not in known:
            raise exceptions.NotFound(
                f'Nova has no compute service on a host {host!r}'
            )

    def _devices(
        self, servers: tuple[inventory.Server, ...]
    ) -> tuple[tuple[inventory.Device, ...], bool]:
        """Return the devices in use, and whether policy hides them."""
        if not any(
            inventory.asks_for_devices(server) is not False
            for server in servers
        ):
            return (), False
        try:
            found = placement_devices.read_devices(
                self.cloud.placement,
                count_hosts=lambda: hypervisors.count(self.cloud.compute),
            )
            owned = owners.read_owners(
                self.cloud.placement, found.value, servers
            )
        except exceptions.Forbidden as exc:
            if all(
                inventory.asks_for_devices(server) is None
                for server in servers
            ):
                raise exceptions.Forbidden(
                    'Nothing shows this user which servers have devices: '
                    'the extra specs of flavors are hidden (policy '
                    'os_compute_api:os-flavor-extra-specs:index) and '
                    f'{exc}'
                ) from exc
            return (), True
        except exceptions.CloudError as exc:
            self.report(
                [partial_result.Failure('devices of servers', str(exc))]
            )
            return (), True
        self.report((*found.failures, *owned.failures))
        return owned.value, False


def _held(
    device: inventory.Device, server: inventory.Server
) -> columns.Record:
    return {
        'id': device.uuid,
        'host': device.host,
        'address': device.address,
        'resource_class': device.resource_class,
        'amount': sum(
            consumer.amount
            for consumer in device.consumers or ()
            if consumer.uuid == server.uuid
        ),
    }
