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

"""Lists of several clouds and regions, side by side."""

from __future__ import annotations

import abc
import argparse
import collections.abc
import contextlib
import logging
import typing

from openstack import connection
from openstack import exceptions as sdk_exceptions

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient import exceptions
    from gpuclient.model import partial_result
    from gpuclient.osc import columns

#: They warn that they will guess; the error that follows says it all.
_GUESSING = tuple(
    logging.getLogger(f'keystoneauth.{name}')
    for name in ('discover', 'identity.base', 'identity.generic.base')
)


def _is_no_warning(record: logging.LogRecord) -> bool:
    return record.levelno != logging.WARNING


@contextlib.contextmanager
def _without_guesses() -> collections.abc.Iterator[None]:
    for log in _GUESSING:
        log.addFilter(_is_no_warning)
    try:
        yield
    finally:
        for log in _GUESSING:
            log.removeFilter(_is_no_warning)


class MultiCloudLister(command.Lister):
    """A list of one cloud, or of several with the names of each as columns.

    A cloud that does not answer is named on stderr, the others are shown, and
    the exit status is 1.
    """

    # Clouds that are named have credentials of their own.
    use_of_cloud = command.CloudUse.OPTIONAL

    _place: connection.Connection | None = None

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
                'Region (repeat for several)'
            ),
        )
        parser.add_argument(
            '--all-regions',
            action='store_true',
            help=(
                'List all regions that the catalog has a Placement in; adds '
                'the columns Cloud and Region'
            ),
        )
        return parser

    @property
    def cloud(self) -> connection.Connection:
        """The connection that is listed now."""
        if self._place is not None:
            return self._place
        return super().cloud

    @abc.abstractmethod
    def list_cloud(self, parsed_args: argparse.Namespace) -> command.Rows:
        """Return the rows of :attr:`cloud`."""

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        if not parsed_args.clouds and not parsed_args.all_regions:
            self.authenticate()
            return self.list_cloud(parsed_args)
        with _without_guesses():
            return self._list_all(parsed_args)

    def _list_all(self, parsed_args: argparse.Namespace) -> command.Rows:
        headers: tuple[str, ...] = ()
        rows: list[tuple[typing.Any, ...]] = []
        with contextlib.closing(self._places(parsed_args)) as places:
            for cloud, region, place in places:
                self._place = place
                try:
                    headers, found = self.list_cloud(parsed_args)
                except (
                    exceptions.CloudError,
                    sdk_exceptions.SDKException,
                ) as exc:
                    self.report(
                        [
                            partial_result.Failure(
                                _title(cloud, region), str(exc)
                            )
                        ]
                    )
                    continue
                rows += [
                    (
                        columns.TextColumn(cloud),
                        columns.TextColumn(region),
                        *row,
                    )
                    for row in found
                ]
        if not headers:
            raise exceptions.Unreachable('No cloud could be listed')
        return ('Cloud', 'Region', *headers), rows

    def _places(
        self, parsed_args: argparse.Namespace
    ) -> collections.abc.Generator[
        tuple[str | None, str | None, connection.Connection]
    ]:
        """Yield the clouds and regions that let us in; report the others.

        A connection is open until the next one is asked for.
        """
        for cloud in parsed_args.clouds or [None]:
            try:
                place = self._connect(cloud)
            except Exception as exc:
                # As for optional_connection: three libraries, many kinds.
                words = ' '.join(str(exc).split())
                self.report(
                    [partial_result.Failure(_title(cloud, None), words)]
                )
                continue
            name = cloud or place.config.name
            with place:
                if not parsed_args.all_regions:
                    yield name, place.config.region_name, place
                    continue
                regions = _regions(place)
                if not regions:
                    words = 'its catalog has no region with a Placement'
                    self.report(
                        [partial_result.Failure(_title(cloud, None), words)]
                    )
                for region in regions:
                    with _in_region(place, region) as there:
                        yield name, region, there

    def _connect(self, cloud: str | None) -> connection.Connection:
        if cloud is None:
            options = self.app.options
            config = self.app.cloud_config.get_one(
                cloud=options.cloud, argparse=options
            )
        else:
            config = self.app.cloud_config.get_one(cloud=cloud)
        with contextlib.ExitStack() as opened:
            place = opened.enter_context(connection.Connection(config=config))
            self.bound(place)
            place.authorize()
            opened.pop_all()
        return place


def _in_region(
    place: connection.Connection, region: str
) -> connection.Connection:
    """Return a connection to another region, with the same token.

    clouds.yaml need not name the region, as the SDK would ask for.
    """
    settings = {
        key: value
        for key, value in place.config.config.items()
        if key not in ('auth', 'region_name', 'regions')
    }
    return connection.Connection(
        session=place.session, region_name=region, **settings
    )


def _regions(place: connection.Connection) -> list[str]:
    """Return the regions that have a Placement, as the catalog says."""
    auth: typing.Any = place.session.auth
    if not hasattr(auth, 'get_access'):
        # A fixed endpoint has no catalog.
        return []
    access = auth.get_access(place.session)
    return sorted(
        {
            endpoint.region_name
            for found in access.service_catalog.get_endpoints_data(
                service_type='placement'
            ).values()
            for endpoint in found
            if endpoint.region_name
        }
    )


def _title(cloud: str | None, region: str | None) -> str:
    title = f'cloud {cloud}' if cloud else 'this cloud'
    return f'{title}, region {region}' if region else title
