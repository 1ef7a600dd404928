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

from openstackclient.identity import common as identity_common

from gpuclient.osc import command
from gpuclient.osc import lazy_imports
from gpuclient.osc import multi_cloud

with lazy_imports.deferred():
    from gpuclient.model import inventory
    from gpuclient.operations import server_list
    from gpuclient.osc import columns
    from gpuclient.osc import options


class ListServer(multi_cloud.MultiCloudLister):
    _description = """\
List servers that hold or request PCI devices

Hosts and devices are null where policy hides them, as it does by default from
members of a project.

Example::

    openstack gpu server list --all-projects"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--all-projects',
            action='store_true',
            help='List servers of all projects (admin only)',
        )
        options.add_project(
            parser,
            'List only servers of this project (name or ID; admin only)',
        )
        parser.add_argument(
            '--user',
            metavar='<user>',
            help='List only servers of this user (name or ID; admin only)',
        )
        identity_common.add_user_domain_option_to_parser(parser)
        options.add_host(
            parser,
            'List only servers on this host (name of the compute service; '
            'admin only)',
        )
        options.add_long(parser)
        return parser

    def list_cloud(self, parsed_args: argparse.Namespace) -> command.Rows:
        answer = server_list.read(
            self.cloud,
            server_list.ServerFilters(
                all_projects=parsed_args.all_projects,
                project_id=self.project_id(parsed_args),
                user=parsed_args.user,
                user_domain=parsed_args.user_domain,
                host=parsed_args.host,
            ),
        )
        self.report(answer.failures)
        return columns.table(_cells(long=parsed_args.long), answer.value)


def _cells(*, long: bool) -> columns.Cells[server_list.ServerRecord]:
    cells: columns.Cells[server_list.ServerRecord] = {
        'ID': lambda row: row.server.uuid,
        'Name': lambda row: columns.TextColumn(row.server.name),
        'Status': lambda row: row.server.status,
        'Project': lambda row: columns.TextColumn(row.project_name),
        'Host': lambda row: columns.TextColumn(row.server.host),
        'Flavor': lambda row: columns.TextColumn(row.server.flavor_name),
        'Devices': lambda row: columns.DevicesColumn(
            None
            if row.devices is None
            else [
                {
                    'id': device.uuid,
                    'host': device.host,
                    'address': device.address,
                    'resource_class': device.resource_class,
                    'amount': row.amount(device),
                }
                for device in row.devices
            ]
        ),
    }
    if long:
        cells['Aliases'] = lambda row: columns.CountsColumn(
            None
            if row.server.extra_specs is None
            else inventory.requested_aliases(row.server.extra_specs)
        )
        cells['Project ID'] = lambda row: row.server.project_id
        cells['User ID'] = lambda row: row.server.user_id
        cells['Service Host'] = lambda row: columns.TextColumn(
            row.server.service_host
        )
    return cells
