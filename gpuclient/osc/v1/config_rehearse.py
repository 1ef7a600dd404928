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

"""Trees of configuration in a real Nova: ``openstack gpu config rehearse``."""

from __future__ import annotations

import argparse

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.config_rehearsal import host_simulation
    from gpuclient.config_rehearsal import plan as planning
    from gpuclient.config_rehearsal import report as reporting
    from gpuclient.config_rehearsal import run as running
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient import exceptions
    from gpuclient.host import bundle as host_bundle
    from gpuclient.operations import config_check
    from gpuclient.osc import columns
    from gpuclient.osc import config_paths
    from gpuclient.osc import options
    from gpuclient.rehearsal import api as rehearsal


class RehearseConfig(command.Lister):
    _description = """\
Run configuration of Nova in a real cloud on this machine

Starts Keystone, Placement, Glance and Nova in a temporary folder, on exactly
the configuration in the files and folders given; simulates the devices that
its device specs are about; boots servers with each alias until no more fit;
and takes everything away again. A service that Nova refuses to start is shown
with Nova's own message, beside the codes of the findings with which "gpu
config check" tells of the same.

The exit status is 3 if a service is refused, a device does not reach
Placement, or fewer servers boot than the documents promise.

Example::

    openstack gpu config rehearse control-plane/ edpm/"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        config_paths.add_paths(parser)
        parser.add_argument(
            '--devices',
            metavar='<number>',
            type=int,
            help=(
                'Cards of each id that a host has, where its device specs '
                'name no address (default: 2)'
            ),
        )
        parser.add_argument(
            '--device',
            metavar='<host>=<address>,<vendor>:<product>[,<type>[,<numa>]]',
            dest='given',
            action='append',
            default=[],
            help=(
                'A device that a host has, with its device type (type-PCI, '
                'type-PF, type-VF) and NUMA node (repeat for several)'
            ),
        )
        parser.add_argument(
            '--bundle',
            metavar='<file>',
            dest='bundles',
            action='append',
            default=[],
            help=(
                'Bundle of a host ("gpu host bundle create"): what it has is '
                'simulated, and nothing else (repeat for several)'
            ),
        )
        parser.add_argument(
            '--keep',
            metavar='<name>',
            help=(
                'Let the cloud run on as the rehearsal cloud of this name, '
                'for "gpu rehearsal show" and "gpu rehearsal stop"'
            ),
        )
        parser.add_argument(
            '--long',
            action='store_true',
            help='Also list the options that a rehearsal leaves out',
        )
        options.add_catalogue(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        models = catalogue_documents.load(parsed_args.catalogue)
        found = config_check.read(parsed_args.paths, parsed_args.declared)
        if not found.deployment.processes and not found.unreadable:
            raise exceptions.NotFound(
                'No service of Nova reads anything in {paths}'.format(
                    paths=', '.join(parsed_args.paths)
                )
            )
        plan = planning.make(
            found.deployment,
            models=models,
            given=[
                host_simulation.parse_device(one) for one in parsed_args.given
            ],
            known=[
                host_bundle.read(path, initramfs=False)
                for path in parsed_args.bundles
            ],
            count=_count(parsed_args.devices),
        )
        report = reporting.Report(plan, config_check.check(found, models))
        rows = report.unreadable(found.unreadable)
        if found.deployment.processes:
            rows += self._run(plan, report, parsed_args.keep)
        if any(row.bad for row in rows):
            self.found()
        if parsed_args.long:
            rows += report.options()
        return (
            (
                'Kind',
                'Host',
                'Name',
                'State',
                'Expected',
                'Actual',
                'Codes',
                'Detail',
                'File',
                'Line',
            ),
            [_values(row) for row in rows],
        )

    def _run(
        self,
        plan: planning.Plan,
        report: reporting.Report,
        keep: str | None,
    ) -> list[reporting.Row]:
        if keep is None:
            start = rehearsal.temporary(plan.document, self.say)
        else:
            start = rehearsal.kept(
                rehearsal.folder(keep, None), plan.document, self.say
            )
        with start as cloud:
            answered = running.run(cloud, plan, report, self.say)
        self.report(answered.failures)
        return answered.value


def _values(row: reporting.Row) -> tuple[object, ...]:
    return (
        row.kind,
        columns.TextColumn(row.host),
        columns.TextColumn(row.name),
        row.state,
        row.expected,
        row.actual,
        columns.ListColumn(list(row.codes)),
        columns.TextColumn(row.detail),
        columns.TextColumn(row.place.path if row.place else None),
        row.place.line if row.place else None,
    )


def _count(number: int | None) -> int:
    if number is None:
        return host_simulation.DEVICES
    if not 1 <= number <= host_simulation.MOST_DEVICES:
        raise exceptions.InvalidValue(
            f'--devices takes 1 to {host_simulation.MOST_DEVICES}, '
            f'not {number}'
        )
    return number
