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

"""Options in existing configuration: ``openstack gpu config set``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient import exceptions
    from gpuclient.operations import config_setting
    from gpuclient.osc import columns
    from gpuclient.osc import config_files
    from gpuclient.osc import options


class SetConfig(command.ShowOne):
    _description = """\
Set PCI tracking in Placement and scheduler filters

Edits the given files and folders in place and preserves all other bytes.
--report-in-placement is for each nova-compute with device specs,
--pci-in-placement for nova-scheduler, nova-conductor and nova-api, and
--enable-filter for nova-scheduler; if enabled_filters is unset, Nova's default
filters are written along with it. Deploy the compute hosts first: "next_steps"
lists the order. Options that are already set are not changed.

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
                'A nova.conf, a folder of drop-ins, RHOSO YAML, the custom '
                'configuration of Kolla-Ansible, a folder of such files, or - '
                'for standard input'
            ),
        )
        parser.add_argument(
            '--report-in-placement',
            action='store_true',
            help=(
                'Set [pci]report_in_placement of nova-compute; Nova does not '
                'support disabling it again'
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
                'option for several)'
            ),
        )
        options.add_dry_run(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        settings = config_setting.Settings(
            parsed_args.report_in_placement,
            parsed_args.pci_in_placement,
            tuple(parsed_args.filters),
        )
        if settings.is_empty:
            raise exceptions.InvalidValue(
                'Nothing to set: specify --report-in-placement, '
                '--pci-in-placement, --no-pci-in-placement or '
                '--enable-filter'
            )
        changed = config_setting.change(parsed_args.paths, settings)
        edits = changed.edits
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        return columns.show(
            {
                'files': config_files.present(edits, parsed_args.dry_run),
                'restart': columns.ListColumn(changed.restart),
                'next_steps': columns.ListColumn(changed.next_steps),
                'warnings': columns.ListColumn(changed.warnings),
            }
        )
