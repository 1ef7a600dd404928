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

"""``openstack gpu rehearsal``: a real OpenStack with simulated GPUs."""

from __future__ import annotations

import argparse
import typing

from cliff import columns

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import yaml_file
    from gpuclient import exceptions
    from gpuclient.model import partial_result
    from gpuclient.model import release as releases
    from gpuclient.operations import rehearsal_registration
    from gpuclient.osc import options
    from gpuclient.rehearsal import api


class _ServicesColumn(columns.FormattableColumn[list[dict[str, typing.Any]]]):
    """Services: one line each in a table, a list of objects in JSON."""

    def human_readable(self) -> str:
        lines = []
        for service in self._value:
            title = service['name']
            if service['host']:
                title += f' on {service["host"]}'
            line = f'{title}: {service["state"]}'
            if service['port']:
                line += f', port {service["port"]}'
            if service['message']:
                line += f': {service["message"]}'
            lines.append(line)
        return '\n'.join(lines)


class _Rehearsal(command.ShowOne):
    """Show a rehearsal cloud."""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_where(parser)
        return parser

    def present(
        self, cloud: api.RehearsalCloud
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        """Return the columns and values of a cloud."""
        services = [
            {
                'name': service.name,
                'host': service.host,
                'pid': service.pid if cloud.running else None,
                'port': service.port,
                'state': service.state if cloud.running else api.STOPPED,
                'message': service.message,
            }
            for service in cloud.record.services
        ]
        return (
            (
                'name',
                'state',
                'message',
                'directory',
                'use',
                'registered',
                'pid',
                'memory_mb',
                'release',
                'nova_version',
                'placement_version',
                'services',
            ),
            (
                cloud.folder.name,
                cloud.state,
                cloud.record.message,
                str(cloud.folder),
                cloud.folder.use,
                cloud.record.registered,
                cloud.record.supervisor.pid if cloud.running else None,
                cloud.memory_mb,
                None if cloud.release is None else cloud.release.series,
                cloud.record.nova or None,
                cloud.record.placement or None,
                _ServicesColumn(services),
            ),
        )


def _add_where(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'name',
        metavar='<name>',
        nargs='?',
        help='Name of the rehearsal cloud (default: rehearsal)',
    )
    parser.add_argument(
        '--directory',
        metavar='<directory>',
        help=(
            'Folder with its state (default: '
            '$XDG_STATE_HOME/gpuclient/rehearsal/<name>, where XDG_STATE_HOME '
            'is ~/.local/state if unset)'
        ),
    )


class StartRehearsal(_Rehearsal):
    _description = """\
Start a real OpenStack with simulated GPUs

Runs Keystone, Placement, Glance and Nova as processes of this user on
127.0.0.1. A cloud that was stopped starts again with its servers. Run the
command in the "use" column to let the openstack command use the cloud. If a
service does not start, its message is on stderr and the exit status is 1; the
other services keep running.

--release selects the release of Nova. The first start with a release that is
not installed downloads it with pip. --placement does the same for Placement,
whose releases differ, too: up to 13 (2025.1) it refuses to change the
allocations of a server whose device was reserved while it is in use.

Example::

    openstack gpu rehearsal start lab --hosts 4 --gpus 8 --release 2025.1 \\
        --placement 2025.1"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--hosts',
            metavar='<number>',
            type=options.integer,
            help='Number of compute hosts (default: 1)',
        )
        parser.add_argument(
            '--gpus',
            metavar='<number>',
            type=options.integer,
            help='Number of NVIDIA A100 GPUs on each host (default: 2)',
        )
        parser.add_argument(
            '--spec',
            metavar='<file>',
            help=(
                'YAML or JSON file with the hosts, their devices and the '
                'configuration of each service'
            ),
        )
        parser.add_argument(
            '--release',
            metavar='<release>',
            help=(
                'Nova release, zed or later, by number, name or version, '
                'such as 2025.1, epoxy, 31 or 31.3.1 (default: that of the '
                'last start; at the first start, the installed one)'
            ),
        )
        parser.add_argument(
            '--placement',
            metavar='<release>',
            help=(
                'Placement release, by name or version, such as 2025.1, 13 or '
                '13.0.1 (default: that of the last start; at the first start, '
                'the installed one)'
            ),
        )
        parser.add_argument(
            '--register',
            action='store_true',
            help=(
                'Also add the cloud to your clouds.yaml; other clouds in it '
                'are not changed'
            ),
        )
        parser.add_argument(
            '--bound-to',
            metavar='<pid>',
            type=options.integer,
            help=(
                'Stop the cloud when the process with this ID ends, for '
                'example the script that started it: --bound-to $$'
            ),
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        release = None
        if parsed_args.release is not None:
            release = releases.parse(parsed_args.release)
        placement = None
        if parsed_args.placement is not None:
            placement = releases.parse_placement(parsed_args.placement)
        document = None
        if parsed_args.spec is not None:
            if parsed_args.hosts is not None or parsed_args.gpus is not None:
                raise exceptions.InvalidValue(
                    '--spec sets the hosts and devices: omit --hosts and '
                    '--gpus'
                )
            document = yaml_file.load(parsed_args.spec)
        elif parsed_args.hosts is not None or parsed_args.gpus is not None:
            document = api.default(
                hosts=1 if parsed_args.hosts is None else parsed_args.hosts,
                gpus=2 if parsed_args.gpus is None else parsed_args.gpus,
            )
        cloud = rehearsal_registration.start(
            api.folder(parsed_args.name, parsed_args.directory),
            document,
            self.say,
            parsed_args.register,
            parsed_args.bound_to,
            release,
            placement,
        )
        self.done = f'Rehearsal cloud {cloud.record.name!r} is already running'
        self.report(
            partial_result.Failure(service.title, service.message)
            for service in cloud.record.refused
        )
        return self.present(cloud)


class ShowRehearsal(_Rehearsal):
    _description = """\
Show a rehearsal cloud and its services

Example::

    openstack gpu rehearsal show lab -f json"""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        return self.present(
            api.look(api.folder(parsed_args.name, parsed_args.directory))
        )


class ListRehearsal(command.Lister):
    _description = """\
List the rehearsal clouds of this user

Lists the clouds in $XDG_STATE_HOME/gpuclient/rehearsal (XDG_STATE_HOME is
~/.local/state if unset). For a cloud in another folder, use "openstack gpu
rehearsal show --directory".

Example::

    openstack gpu rehearsal list"""

    use_of_cloud = command.CloudUse.UNUSED

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        rows = []
        failures = []
        for where in api.list_all():
            try:
                cloud = api.look(where)
            except exceptions.RehearsalError as exc:
                failures.append(partial_result.Failure(where.name, str(exc)))
                continue
            hosts = {
                service.host
                for service in cloud.record.services
                if service.name == 'nova-compute'
            }
            rows.append(
                (
                    where.name,
                    cloud.state,
                    len(hosts),
                    len(cloud.record.refused) if cloud.running else 0,
                    cloud.memory_mb,
                    None if cloud.release is None else cloud.release.series,
                    str(where),
                )
            )
        self.report(failures)
        return (
            (
                'Name',
                'State',
                'Hosts',
                'Refused Services',
                'Memory (MiB)',
                'Release',
                'Directory',
            ),
            rows,
        )


class RestartRehearsal(_Rehearsal):
    _description = """\
Restart one service of a rehearsal cloud

The service reads its configuration files again: edit
etc/nova/SERVICE.conf.d/10-user.conf in the folder of the cloud, then
restart the service. If it does not start, its message is on stderr and the
exit status is 1.

Example::

    openstack gpu rehearsal restart lab --service nova-compute \\
        --host edpm-compute-0"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--service',
            metavar='<service>',
            required=True,
            help=(
                'Service to restart, for example nova-api-1, nova-conductor, '
                'nova-scheduler or nova-compute (see "openstack gpu rehearsal '
                'show")'
            ),
        )
        parser.add_argument(
            '--host',
            metavar='<host>',
            help='Host of the service, if several hosts run it',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        cloud = api.restart(
            api.folder(parsed_args.name, parsed_args.directory),
            parsed_args.service,
            parsed_args.host,
        )
        self.done = f'{parsed_args.service} is already restarted'
        self.report(
            partial_result.Failure(service.title, service.message)
            for service in cloud.record.refused
            if service.name == parsed_args.service
        )
        return self.present(cloud)


class StopRehearsal(command.Command):
    _description = """\
Stop a rehearsal cloud

Keeps its state for the next start, unless --delete is specified.

Example::

    openstack gpu rehearsal stop lab --delete"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_where(parser)
        parser.add_argument(
            '--delete',
            action='store_true',
            help='Also delete its state and its entries in your clouds.yaml',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        rehearsal_registration.stop(
            api.folder(parsed_args.name, parsed_args.directory),
            delete=parsed_args.delete,
            say=self.say,
        )
