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

"""Lists of several clouds and regions."""

from __future__ import annotations

import abc
import argparse
import collections.abc
import contextlib
import typing

from openstack import connection
from openstack import exceptions as sdk_exceptions

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.cloud import regions
    from gpuclient import exceptions
    from gpuclient.model import partial_result
    from gpuclient.osc import columns
    from gpuclient import text


class Target(typing.NamedTuple):
    """A region of a cloud, and a connection to it."""

    cloud_name: str | None
    region_name: str | None
    connection: connection.Connection


class MultiCloudLister(command.Lister):
    """A list of one cloud, or of several with their names as columns.

    A cloud that does not answer is reported on stderr, the others are listed,
    and the exit status is 1.
    """

    # Clouds given with --cloud have credentials of their own.
    use_of_cloud = command.CloudUse.OPTIONAL
    reads_snapshots = True

    _connection: connection.Connection | None = None

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--cloud',
            metavar='<cloud>',
            dest='clouds',
            action='append',
            default=[],
            help=(
                'List this cloud of clouds.yaml; adds the columns Cloud and '
                'Region (repeat option for several)'
            ),
        )
        parser.add_argument(
            '--all-regions',
            action='store_true',
            help=(
                'List all regions with a Placement endpoint in the catalog; '
                'adds the columns Cloud and Region'
            ),
        )
        return parser

    @property
    def cloud(self) -> connection.Connection:
        """The connection to the cloud that is being listed."""
        if self._connection is not None:
            return self._connection
        return super().cloud

    @abc.abstractmethod
    def list_cloud(self, parsed_args: argparse.Namespace) -> command.Rows:
        """Return the rows of :attr:`cloud`."""

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        if not parsed_args.clouds and not parsed_args.all_regions:
            self.authenticate()
            return self.list_cloud(parsed_args)
        if parsed_args.snapshot is not None:
            raise exceptions.InvalidValue(
                'A snapshot is of one region of one cloud: omit --cloud and '
                '--all-regions, or --snapshot'
            )
        with regions.without_warnings():
            return self._list_all(parsed_args)

    def _list_all(self, parsed_args: argparse.Namespace) -> command.Rows:
        headers: tuple[str, ...] = ()
        rows: list[tuple[typing.Any, ...]] = []
        with contextlib.closing(self._targets(parsed_args)) as targets:
            for target in targets:
                self._connection = target.connection
                try:
                    headers, listed = self.list_cloud(parsed_args)
                except (
                    exceptions.CloudError,
                    sdk_exceptions.SDKException,
                ) as exc:
                    self._report(
                        target.cloud_name,
                        target.region_name,
                        command.reason(exc),
                    )
                    continue
                rows += [
                    (
                        columns.TextColumn(target.cloud_name),
                        columns.TextColumn(target.region_name),
                        *row,
                    )
                    for row in listed
                ]
        if not headers:
            raise exceptions.Unreachable('No cloud could be listed')
        return ('Cloud', 'Region', *headers), rows

    def _report(
        self, cloud_name: str | None, region_name: str | None, reason: str
    ) -> None:
        source = f'cloud {cloud_name}' if cloud_name else 'this cloud'
        if region_name:
            source += f', region {region_name}'
        self.report([partial_result.Failure(source, reason)])

    def _targets(
        self, parsed_args: argparse.Namespace
    ) -> collections.abc.Generator[Target]:
        """Yield the clouds and regions that authenticate; report the others.

        A connection is closed when the next target is requested.
        """
        for cloud_name in parsed_args.clouds or [None]:
            try:
                connected = self._connect(cloud_name)
            except Exception as exc:
                # As for optional_connection: three libraries, many types.
                self._report(cloud_name, None, text.one_line(str(exc)))
                continue
            name = cloud_name or connected.config.name
            with connected:
                if not parsed_args.all_regions:
                    yield Target(name, connected.config.region_name, connected)
                    continue
                region_names = regions.with_placement(connected)
                if not region_names:
                    self._report(
                        cloud_name,
                        None,
                        'its catalog has no region with a Placement endpoint',
                    )
                for region_name in region_names:
                    with regions.connect(connected, region_name) as regional:
                        yield Target(name, region_name, regional)

    def _connect(self, cloud_name: str | None) -> connection.Connection:
        if cloud_name is None:
            options = self.app.options
            config = self.app.cloud_config.get_one(
                cloud=options.cloud, argparse=options
            )
        else:
            config = self.app.cloud_config.get_one(cloud=cloud_name)
        with contextlib.ExitStack() as stack:
            connected = stack.enter_context(
                connection.Connection(config=config)
            )
            self.bound(connected)
            connected.authorize()
            stack.pop_all()
        return connected
