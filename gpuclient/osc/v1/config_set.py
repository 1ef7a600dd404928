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

"""Switches in existing configuration: ``openstack gpu config set``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import switches
    from gpuclient import exceptions
    from gpuclient.model import configuration
    from gpuclient.operations import configuration_edits
    from gpuclient.osc import columns
    from gpuclient.osc import config_files
    from gpuclient.osc import options


class SetConfig(command.ShowOne):
    _description = """\
Set PCI tracking in Placement and scheduler filters

Edits the files and folders given in place; all other bytes stay as they are.
--report-in-placement is for the computes that have device specs,
--pci-in-placement for nova-scheduler, nova-conductor and nova-api, and
--enable-filter for nova-scheduler, where the default filters are written with
it if the option is unset. Deploy the computes first: "next_steps" has the
order. What is set already is left alone.

Example::

    openstack gpu config set /etc/nova --report-in-placement \\
        --pci-in-placement --enable-filter PciPassthroughFilter --dry-run"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'paths',
            metavar='<path>',
            nargs='+',
            help=(
                'A nova.conf, a folder of drop-ins, YAML of RHOSO, the custom '
                'configuration of Kolla, a folder of such files, or - for '
                'standard input (repeat for several)'
            ),
        )
        parser.add_argument(
            '--report-in-placement',
            action='store_true',
            help=(
                'Set [pci]report_in_placement of the computes; Nova does not '
                'support to set it back'
            ),
        )
        parser.add_argument(
            '--pci-in-placement',
            action=argparse.BooleanOptionalAction,
            help='Set [filter_scheduler]pci_in_placement',
        )
        parser.add_argument(
            '--enable-filter',
            metavar='<filter>',
            dest='filters',
            action='append',
            default=[],
            help=(
                'Add a filter to [filter_scheduler]enabled_filters (repeat '
                'for several)'
            ),
        )
        options.add_dry_run(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        if not (
            parsed_args.report_in_placement
            or parsed_args.pci_in_placement is not None
            or parsed_args.filters
        ):
            raise exceptions.InvalidValue(
                'Nothing to set: give --report-in-placement, '
                '--pci-in-placement, --no-pci-in-placement or '
                '--enable-filter'
            )
        found = switches.read(parsed_args.paths)
        documents = list(found.documents)
        edits = [
            configuration_edits.Edit(file, found.of(file), sorted(kinds), [])
            for file, kinds in found.files
        ]
        restart = _apply(parsed_args, documents)
        in_placement = bool(parsed_args.pci_in_placement)
        warnings = switches.warnings(documents, in_placement=in_placement)
        steps = switches.next_steps(
            documents, restart, in_placement=in_placement
        )
        for edit in edits:
            warnings += configuration_edits.warnings(edit)
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        return (
            ('files', 'restart', 'next_steps', 'warnings'),
            (
                config_files.present(edits, parsed_args.dry_run),
                columns.ListColumn(restart),
                columns.ListColumn(steps),
                columns.ListColumn(warnings),
            ),
        )


def _apply(
    parsed_args: argparse.Namespace,
    documents: list[switches.Document],
) -> list[str]:
    """Make the edits in memory; return what to restart, in this order."""
    changes = switches.Changes(documents)
    if parsed_args.report_in_placement:
        switches.report(documents)
        changes.note(configuration.COMPUTE)
    if parsed_args.pci_in_placement is not None:
        switches.use_placement(documents, parsed_args.pci_in_placement)
        changes.note(*switches.CONTROL_PLANE)
    if parsed_args.filters:
        switches.enable_filters(documents, parsed_args.filters)
        changes.note(configuration.SCHEDULER)
    return changes.restart
