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
    from gpuclient import exceptions
    from gpuclient.model import capacity
    from gpuclient.model import flavor as flavor_model
    from gpuclient.model import partial_result
    from gpuclient.operations import capacity_report
    from gpuclient.operations import flavor_fit
    from gpuclient.osc import columns
    from gpuclient.osc import options


class _CapacityCommand(command.Command):
    reads_snapshots = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_project(
            parser, 'Count only hosts that this project can use (name or ID)'
        )
        parser.add_argument(
            '--availability-zone',
            metavar='<zone>',
            help='Count only hosts of this availability zone',
        )
        options.add_alias_files(parser)
        options.add_release(parser, cloud=True)
        return parser

    def read(
        self,
        parsed_args: argparse.Namespace,
        flavors: tuple[flavor_model.Flavor, ...],
    ) -> capacity_report.CapacityReport:
        """Read the cloud, and forecast how many servers of each flavor fit."""
        answer = capacity_report.read(
            self.cloud,
            flavors,
            parsed_args.files,
            project_id=self.project_id(parsed_args),
            zone=parsed_args.availability_zone,
            release=self.release_of_cloud(parsed_args),
        )
        self.report(answer.failures)
        return answer.value


class ListCapacity(_CapacityCommand, multi_cloud.MultiCloudLister):
    _description = """\
List how many more servers of each GPU flavor fit

Computed from the inventories and allocations of each host as Placement and
Nova schedule, with allocation ratios, reserved devices, traits, aggregates and
disabled compute services. Each flavor is counted as if it were the only one.
"Fits" is null if the definition of an alias is unknown: pass the files that
define it with --config, or boot a server with it. "Exact" is false if Nova
also matches NUMA nodes or huge pages, which no API shows: fewer may fit.

To members of a project, Placement shows no devices: their flavors are listed,
and all figures are null.

With --stranded, lists the free devices that no flavor can use. Flavors whose
alias definitions are unknown are ignored and reported on stderr.

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
        flavors = capacity_report.device_flavors(self.cloud)
        try:
            report = self.read(parsed_args, flavors)
        except exceptions.Forbidden:
            if (
                parsed_args.stranded
                or parsed_args.project is not None
                or not flavors
            ):
                raise
            self.log.warning('It is unknown what fits: %s', flavor_fit.HIDDEN)
            hidden = flavor_fit.hidden(flavors)
            return columns.table(
                _cells(hidden, long=parsed_args.long), hidden.forecasts
            )
        unknown = [
            forecast
            for forecast in report.forecasts
            if forecast.demand is None
        ]
        if parsed_args.stranded:
            self._warn_of(unknown)
            return _stranded(report)
        self.report(
            partial_result.Failure(
                f'capacity of flavor {forecast.flavor.name}', forecast.unknown
            )
            for forecast in unknown
        )
        return columns.table(
            _cells(report, long=parsed_args.long), report.forecasts
        )

    def _warn_of(self, forecasts: list[capacity.Forecast]) -> None:
        for forecast in forecasts:
            self.log.warning(
                'Flavor %(flavor)s is ignored: %(reason)s',
                {
                    'flavor': columns.escape(forecast.flavor.name),
                    'reason': columns.escape(forecast.unknown),
                },
            )


def _cells(
    report: capacity_report.CapacityReport, *, long: bool
) -> columns.Cells[capacity.Forecast]:
    cells: columns.Cells[capacity.Forecast] = {
        'Flavor': lambda row: columns.TextColumn(row.flavor.name),
        'Aliases': lambda row: columns.CountsColumn(row.flavor.aliases),
        'Fits': lambda row: columns.KnownColumn(row.count),
        'Hosts': lambda row: columns.KnownColumn(
            None
            if row.demand is None
            else sum(host.count > 0 for host in row.hosts)
        ),
        'Exact': lambda row: columns.KnownColumn(row.exact),
        'Limited By': lambda row: columns.LimitsColumn(
            None if row.demand is None else row.limited_by
        ),
    }
    if long:
        cells['Flavor ID'] = lambda row: columns.TextColumn(row.flavor.id)
        cells['Largest'] = lambda row: columns.CountsColumn(
            {
                name: capacity.largest(report.hosts, report.aliases[name])
                for name in row.flavor.aliases or {}
                if name in report.aliases
            }
        )
        cells['Notes'] = lambda row: columns.ListColumn(report.notes(row))
    return cells


def _stranded(report: capacity_report.CapacityReport) -> command.Rows:
    cells: columns.Cells[tuple[capacity.HostCapacity, capacity.Stranded]] = {
        'Host': lambda row: columns.TextColumn(row[0].node.name),
        'Resource Class': lambda row: row[1].resource_class,
        'Free': lambda row: row[1].free,
        'Stranded': lambda row: row[1].stranded,
        'Limited By': lambda row: columns.ListColumn(
            list(row[1].limited_by) or ['no flavor requests it']
        ),
    }
    return columns.table(
        cells,
        [
            (host, stranded)
            for host, classes in capacity.stranded_by_host(
                report.hosts, report.forecasts
            )
            for stranded in classes
        ],
    )


class ShowCapacity(_CapacityCommand, command.ShowOne):
    _description = """\
Show how many more servers of a flavor fit per host

For each host that has devices for the flavor: how many more servers fit, which
resources limit that, how many servers each resource would allow by itself, and
if none fits, why the scheduler filters out the host.

Example::

    openstack gpu capacity show gpu.a100"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_flavor(parser, 'Flavor to show capacity for (name or ID)')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        flavor = capacity_report.find_flavor(self.cloud, parsed_args.flavor)
        report = self.read(parsed_args, (flavor,))
        (forecast,) = report.forecasts
        if forecast.demand is None:
            raise exceptions.NotFound(
                f'Flavor {flavor.name!r}: {forecast.unknown}'
            )
        return columns.show(
            {
                'id': columns.TextColumn(flavor.id),
                'name': columns.TextColumn(flavor.name),
                'aliases': columns.CountsColumn(flavor.aliases),
                'resources': columns.CountsColumn(forecast.demand.resources),
                'fits': forecast.count,
                'exact': forecast.exact,
                'hosts': columns.ForecastColumn(
                    [
                        {
                            'host': host.host.node.name,
                            'fits': host.count,
                            'limited_by': list(host.fit.limited_by),
                            'limits': host.fit.limits,
                            'refused': host.refusal or None,
                            'condition': host.condition or None,
                        }
                        for host in forecast.hosts
                    ]
                ),
                'notes': columns.ListColumn(report.notes(forecast)),
                **self.release_fields,
            }
        )
