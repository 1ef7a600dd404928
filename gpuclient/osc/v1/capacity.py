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

"""How many more servers fit: ``openstack gpu capacity ...``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports
from gpuclient.osc import multi_cloud

with lazy_imports.deferred():
    from gpuclient.cloud.nova import flavors as nova_flavors
    from gpuclient import exceptions
    from gpuclient.model import capacity
    from gpuclient.model import flavor as flavor_model
    from gpuclient.model import partial_result
    from gpuclient.operations import capacity_report
    from gpuclient.osc import columns
    from gpuclient.osc import options


class _CapacityCommand(command.Command):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_project(
            parser, 'Count what this project may use (name or ID)'
        )
        parser.add_argument(
            '--availability-zone',
            metavar='<zone>',
            help='Count hosts of this availability zone',
        )
        options.add_alias_files(parser)
        return parser

    def forecast(
        self,
        parsed_args: argparse.Namespace,
        flavors: tuple[flavor_model.Flavor, ...],
    ) -> capacity_report.CapacityReport:
        """Read the cloud, and say how many more of each flavor fit."""
        found = capacity_report.read(
            self.cloud,
            flavors,
            parsed_args.files,
            project_id=self.project_id(parsed_args),
            zone=parsed_args.availability_zone,
        )
        self.report(found.failures)
        return found.value


def _notes(
    forecast: capacity.Forecast, cloud: capacity_report.CapacityReport
) -> list[str]:
    """Return what has to be known to trust the figures."""
    if forecast.demand is None:
        return [forecast.unknown]
    if forecast.refusal:
        return [f'None fits: {forecast.refusal}']
    notes = [f'At most: {what}' for what in forecast.at_most]
    if forecast.count:
        notes += forecast.assumed
    notes += [
        f'{name} is taken for {cloud.aliases[name].resource_class}, which '
        'its servers hold'
        for name in forecast.flavor.aliases or {}
        if name in cloud.inferred
    ]
    return notes


class ListCapacity(_CapacityCommand, multi_cloud.MultiCloudLister):
    _description = """\
List how many more servers of each GPU flavor fit

Computed from the inventories and allocations of each host as Placement and
Nova schedule: with allocation ratios, reserved devices, traits, aggregates and
disabled computes. Each flavor is counted as if it were the only one. "Fits" is
null where the definition of an alias is not known: name the files that define
it with --config, or boot a server with it. "Exact" is false where Nova also
matches NUMA nodes or huge pages, which no API shows: fewer may fit.

With --stranded, lists the free devices that no flavor can use; flavors with
aliases of which the definition is not known are named on stderr.

Example::

    openstack gpu capacity list --project research"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--stranded',
            action='store_true',
            help='List free devices that no flavor can use, and why',
        )
        options.add_long(parser)
        return parser

    def list_cloud(self, parsed_args: argparse.Namespace) -> command.Rows:
        cloud = self.forecast(
            parsed_args,
            tuple(
                sorted(
                    filter(
                        flavor_model.is_for_devices,
                        nova_flavors.list_flavors(self.cloud.compute),
                    ),
                    key=lambda flavor: flavor.name,
                )
            ),
        )
        if not parsed_args.stranded:
            self.report(
                partial_result.Failure(
                    f'capacity of flavor {forecast.flavor.name}',
                    forecast.unknown,
                )
                for forecast in cloud.forecasts
                if forecast.demand is None
            )
            return _fits(cloud, parsed_args.long)
        for forecast in cloud.forecasts:
            if forecast.demand is None:
                self.log.warning(
                    'Flavor %(flavor)s is left out of account: %(reason)s',
                    {
                        'flavor': columns.escape(forecast.flavor.name),
                        'reason': columns.escape(forecast.unknown),
                    },
                )
        return _stranded(cloud)


def _fits(cloud: capacity_report.CapacityReport, long: bool) -> command.Rows:
    headers: tuple[str, ...] = (
        'Flavor',
        'Aliases',
        'Fits',
        'Hosts',
        'Exact',
        'Limited By',
    )
    if long:
        headers += ('Flavor ID', 'Largest', 'Notes')

    def row(forecast: capacity.Forecast) -> tuple[typing.Any, ...]:
        flavor, demand = forecast.flavor, forecast.demand
        values: tuple[typing.Any, ...] = (
            columns.TextColumn(flavor.name),
            columns.CountsColumn(flavor.aliases),
            columns.KnownColumn(forecast.count),
            columns.KnownColumn(
                None
                if demand is None
                else sum(host.count > 0 for host in forecast.hosts)
            ),
            columns.KnownColumn(forecast.exact),
            columns.LimitsColumn(
                None if demand is None else forecast.limited_by
            ),
        )
        if long:
            values += (
                columns.TextColumn(flavor.id),
                columns.CountsColumn(
                    {
                        name: capacity.largest(
                            cloud.hosts, cloud.aliases[name]
                        )
                        for name in flavor.aliases or {}
                        if name in cloud.aliases
                    }
                ),
                columns.ListColumn(_notes(forecast, cloud)),
            )
        return values

    return headers, [row(forecast) for forecast in cloud.forecasts]


def _stranded(cloud: capacity_report.CapacityReport) -> command.Rows:
    rows = [
        (
            columns.TextColumn(host.node.name),
            one.resource_class,
            one.free,
            one.stranded,
            columns.ListColumn(
                list(one.limited_by) or ['no flavor asks for it']
            ),
        )
        for host, found in capacity.stranded_by_host(
            cloud.hosts, cloud.forecasts
        )
        for one in found
    ]
    return (
        ('Host', 'Resource Class', 'Free', 'Stranded', 'Limited By'),
        rows,
    )


class ShowCapacity(_CapacityCommand, command.ShowOne):
    _description = """\
Show how many more servers of a flavor fit, host by host

For each host that has devices for the flavor: how many more servers fit, which
resource limits them, how many each resource would allow on its own, and, if
none fit, why Nova filters out the host.

Example::

    openstack gpu capacity show gpu.a100"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_flavor(parser, 'Flavor to count (name or ID)')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        flavor = nova_flavors.find_flavor(
            self.cloud.compute, parsed_args.flavor
        )
        cloud = self.forecast(parsed_args, (flavor,))
        (forecast,) = cloud.forecasts
        if forecast.demand is None:
            raise exceptions.NotFound(
                f'Flavor {flavor.name!r}: {forecast.unknown}'
            )
        return (
            (
                'id',
                'name',
                'aliases',
                'resources',
                'fits',
                'exact',
                'hosts',
                'notes',
            ),
            (
                columns.TextColumn(flavor.id),
                columns.TextColumn(flavor.name),
                columns.CountsColumn(flavor.aliases),
                columns.CountsColumn(forecast.demand.resources),
                forecast.count,
                forecast.exact,
                columns.ForecastColumn(
                    [
                        {
                            'host': each.host.node.name,
                            'fits': each.count,
                            'limited_by': list(each.fit.limited_by),
                            'limits': each.fit.limits,
                            'refused': each.refusal or None,
                            'condition': each.condition or None,
                        }
                        for each in forecast.hosts
                    ]
                ),
                columns.ListColumn(_notes(forecast, cloud)),
            ),
        )
