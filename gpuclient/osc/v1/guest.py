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

"""Guests with a GPU: ``openstack gpu guest ...``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient import exceptions
    from gpuclient.operations import guest_check
    from gpuclient.operations import guest_config
    from gpuclient.osc import columns
    from gpuclient.osc import options

if typing.TYPE_CHECKING:
    from gpuclient.rules import guest_result


class CheckGuest(command.Lister):
    _description = """\
Find out why a GPU does not work in a guest

Reads kernel messages ("dmesg") and the output of "lspci -nnk" or "lspci -vv"
of one guest, from files or standard input, or the console log of a server, and
names cause and remedy of each known failure, and the first action of NVIDIA's
catalogue for each Xid. Without --server, no cloud is needed.

"Result" is FAIL if the log shows the cause, UNKNOWN if the GPU does not work
but the log does not show why, WARN and PASS otherwise. Of several boots in one
log, the last is checked. If the log says nothing about a GPU, the command
fails.

The exit status is 3 if there is a finding at or above --fail-on: FAIL and
UNKNOWN are errors, WARN is a warning.

Example::

    openstack gpu guest check dmesg.txt lspci.txt"""

    fits_terminal = True

    use_of_cloud = command.CloudUse.OPTIONAL

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'files',
            metavar='<file>',
            nargs='*',
            help=(
                'File with messages of the guest, plain or compressed by '
                'gzip, or - for standard input (default: -); several files '
                'are of one guest'
            ),
        )
        parser.add_argument(
            '--server',
            metavar='<server>',
            help=(
                'Server whose console log to read (name or ID); it ends with '
                'the last 100 KiB'
            ),
        )
        parser.add_argument(
            '--long',
            action='store_true',
            help='List also the line of each result, and how often it occurs',
        )
        options.add_catalogue(parser)
        options.add_fail_on(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        models = catalogue_documents.load(parsed_args.catalogue)
        if parsed_args.server is None:
            checked = guest_check.check_files(
                parsed_args.files or [guest_check.STANDARD_INPUT], models
            )
        else:
            if parsed_args.files:
                raise exceptions.InvalidValue(
                    'Specify files or --server, not both'
                )
            cloud, _reason = self.optional_connection(required=True)
            # It is required: optional_connection() has raised otherwise.
            checked = guest_check.check_server(
                typing.cast(typing.Any, cloud), parsed_args.server, models
            )
        for note in checked.notes:
            self.log.warning('%s', columns.escape(note))
        if options.fails(parsed_args, checked.severities):
            self.found()
        return columns.table(_cells(long=parsed_args.long), checked.results)


def _cells(*, long: bool) -> columns.Cells[guest_result.GuestResult]:
    cells: columns.Cells[guest_result.GuestResult] = {
        'Device': lambda row: row.device,
        'Result': lambda row: str(row.result),
        'Code': lambda row: row.code,
        'Cause': lambda row: columns.ProseColumn(row.cause),
        'Evidence': lambda row: columns.ProseColumn(row.evidence),
        'Remedy': lambda row: columns.ProseColumn(row.remedy),
    }
    if long:
        cells |= {
            'Line': lambda row: row.line,
            'Count': lambda row: row.count,
        }
    return cells


class CreateGuestConfig(command.ShowOne):
    _description = """\
Create user data that installs the driver of a GPU

Prints cloud-init user data for "openstack server create --user-data". It
blacklists nouveau, installs the driver with the newest kernel of the
distribution, and reboots if that succeeded. Branch, repository and kind of the
kernel modules depend on model and distribution. On boards with NVSwitches,
Fabric Manager is installed, too.

The driver is always the standard one, never the vGPU guest driver. Comments at
the beginning name the image properties that the guest needs, and say whether
it can boot with Secure Boot. With --script, only the shell script is printed,
which also installs the driver in a guest that exists already. No cloud is
needed.

Example::

    openstack gpu guest config create --model a100_pcie_40gb \\
        --distribution ubuntu-24.04 > user-data"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--model',
            metavar='<model>',
            required=True,
            help=(
                'GPU model (slug, name or PCI IDs; see "openstack gpu model '
                'list")'
            ),
        )
        options.add_catalogue(parser)
        parser.add_argument(
            '--distribution',
            metavar='<distribution>',
            required=True,
            choices=guest_config.DISTRIBUTIONS,
            help=(
                'Distribution of the guest: '
                f'{", ".join(guest_config.DISTRIBUTIONS)}'
            ),
        )
        _add_driver_options(parser)
        parser.add_argument(
            '--script',
            action='store_true',
            help='Print only the shell script that installs the driver',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        config = guest_config.create(
            catalogue_documents.load(parsed_args.catalogue).by_name(
                parsed_args.model
            ),
            parsed_args.distribution,
            branch=parsed_args.branch,
            modules=parsed_args.modules,
            repository=parsed_args.repository,
            fabric_manager=parsed_args.fabric_manager,
            secure_boot=parsed_args.secure_boot,
        )
        shown = config.script if parsed_args.script else config.user_data
        if parsed_args.formatter == 'table':
            self.document = shown.encode()
        return columns.show(
            {
                'model': config.model,
                'distribution': config.distribution,
                'repository': config.repository,
                'driver_branch': config.branch,
                'modules': config.modules,
                'fabric_manager': config.fabric_manager,
                'secure_boot': config.is_signed,
                'notes': columns.ListColumn(list(config.notes)),
                'user_data': config.user_data,
                'script': config.script,
            }
        )


def _add_driver_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--driver-branch',
        metavar='<branch>',
        dest='branch',
        help=(
            'Branch of the NVIDIA driver, such as 580 (default: the one with '
            'long-term support, if the model works with it)'
        ),
    )
    parser.add_argument(
        '--modules',
        metavar='<kind>',
        choices=guest_config.MODULES,
        help=(
            'Kind of the NVIDIA kernel modules: open or proprietary (default: '
            'open, unless the model does not work with them)'
        ),
    )
    parser.add_argument(
        '--repository',
        metavar='<repository>',
        choices=guest_config.REPOSITORIES,
        help=(
            'Packages to use: distribution or nvidia (default: those of the '
            'distribution, if they support the model)'
        ),
    )
    fabric = parser.add_mutually_exclusive_group()
    fabric.add_argument(
        '--fabric-manager',
        action='store_true',
        default=None,
        help='Install Fabric Manager (default for boards with NVSwitches)',
    )
    fabric.add_argument(
        '--no-fabric-manager',
        dest='fabric_manager',
        action='store_false',
        help='Do not install Fabric Manager',
    )
    parser.add_argument(
        '--secure-boot',
        action='store_true',
        help=(
            'The guest boots with Secure Boot: use only modules with a '
            'signature that it trusts'
        ),
    )
