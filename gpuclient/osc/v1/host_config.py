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

"""Preparation of a host: ``openstack gpu host config create``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.operations import configuration_edits
    from gpuclient.operations import host_preparation
    from gpuclient.osc import columns
    from gpuclient.osc import config_files
    from gpuclient.osc import options


class CreateHostConfig(command.ShowOne):
    _description = """\
Create the files that prepare a host

Shows the kernel arguments, the files for modprobe.d, modules-load.d and the
initramfs, the TuneD settings, the commands to run, the device specs for
nova-compute, and how to undo all of it. vfio-pci claims the cards by their
IDs, or by their addresses if the host keeps other cards with the same IDs. The
other functions of a card, such as its audio function, are bound with it.

No command is run. Files are written below --output; use --output / to prepare
this host. The same input always gives the same files.

Example::

    openstack gpu host config create --device 0000:04:00.0 \\
        --isolated-cores 2-11 --output /tmp/compute-0"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'bundle',
            metavar='<bundle>',
            nargs='?',
            help=(
                'Bundle of the host, or folder with its files (default: this '
                'machine)'
            ),
        )
        options.add_devices(
            parser, 'Device for guests (repeat option for several)'
        )
        parser.add_argument(
            '--id',
            metavar='<vendor:product>',
            dest='ids',
            action='append',
            default=[],
            help=(
                'IDs of devices, all of which are for guests (repeat option '
                'for several; with both --system and --cpu-vendor the host is '
                'not read, so add the IDs of audio functions, too)'
            ),
        )
        _add_host_options(parser)
        parser.add_argument(
            '--output',
            metavar='<folder>',
            help='Folder to write the files to (default: only show them)',
        )
        options.add_dry_run(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        preparation = host_preparation.prepare(
            host_preparation.Request(
                bundle=parsed_args.bundle,
                devices=tuple(parsed_args.devices),
                ids=tuple(parsed_args.ids),
                system=parsed_args.system,
                cpu_vendor=parsed_args.cpu_vendor,
                arguments=tuple(parsed_args.arguments),
                isolated_cores=parsed_args.isolated_cores,
                tuned_profile=parsed_args.tuned_profile,
            )
        )
        dry_run = parsed_args.dry_run or parsed_args.output is None
        edits: list[configuration_edits.Edit[typing.Any]] = [
            configuration_edits.Edit(file)
            for file in host_preparation.files(preparation, parsed_args.output)
        ]
        config_files.write(self, edits, dry_run=dry_run)
        return columns.show(
            {
                'system': preparation.system,
                'kernel_arguments': ' '.join(preparation.kernel_arguments),
                'files': config_files.present(edits, dry_run),
                'commands': columns.ListColumn(list(preparation.commands)),
                'undo': columns.ListColumn(list(preparation.undo)),
                'device_specs': columns.ListColumn(
                    list(preparation.device_specs)
                ),
            }
        )


def _add_host_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe the host, and change its kernel."""
    parser.add_argument(
        '--system',
        metavar='<system>',
        choices=host_preparation.SYSTEMS,
        help=(
            'Operating system of the host: debian (Debian, Ubuntu), rhel '
            '(RHEL and compatible), or rhoso (node of Red Hat OpenStack '
            'Services on OpenShift) (default: debian or rhel, as detected)'
        ),
    )
    parser.add_argument(
        '--cpu-vendor',
        metavar='<vendor>',
        choices=host_preparation.CPU_VENDORS,
        help='Vendor of the CPUs: intel, amd or arm (default: as detected)',
    )
    parser.add_argument(
        '--kernel-argument',
        metavar='<argument>',
        dest='arguments',
        action='append',
        default=[],
        help=(
            'Additional kernel argument, such as hugepages=64 (repeat option '
            'for several)'
        ),
    )
    parser.add_argument(
        '--isolated-cores',
        metavar='<cpus>',
        help='CPUs that TuneD isolates from the host, such as 2-11,14',
    )
    parser.add_argument(
        '--tuned-profile',
        metavar='<profile>',
        help='TuneD profile (default: cpu-partitioning-powersave)',
    )
