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

"""``openstack gpu config rehearse``: run a configuration in a cloud."""

from __future__ import annotations

import argparse
import dataclasses
import re
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.config_rehearsal import device_simulation
    from gpuclient.config_rehearsal import plan as planning
    from gpuclient.config_rehearsal import report as reporting
    from gpuclient.config_rehearsal import run as running
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient import exceptions
    from gpuclient.host import bundle as host_bundle
    from gpuclient.model import partial_result
    from gpuclient.model import pci
    from gpuclient.model import release as releases
    from gpuclient.operations import config_check
    from gpuclient.operations import release_choice
    from gpuclient.osc import columns
    from gpuclient.osc import config_paths
    from gpuclient.osc import options
    from gpuclient.rehearsal import api as rehearsal


class RehearseConfig(command.Lister):
    _description = """\
Run a configuration in a rehearsal cloud

Starts Keystone, Placement, Glance and Nova on this machine, in a temporary
folder, with the configuration in the given files and folders. Simulates the
devices that its device specs match, boots servers with each alias until no
more fit, then deletes the cloud. A service that does not start is listed with
Nova's message and the codes of the "openstack gpu config check" findings that
predict it.

The exit status is 3 if a service does not start, a device is not reported to
Placement, or fewer servers boot than expected.

Example::

    openstack gpu config rehearse control-plane/ edpm/"""

    fits_terminal = True

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        config_paths.add_paths(parser)
        parser.add_argument(
            '--devices',
            metavar='<number>',
            type=options.integer,
            help=(
                'Number of devices of each ID to simulate on a host, where '
                'its device specs name no address (default: 2)'
            ),
        )
        parser.add_argument(
            '--device',
            metavar='<host>=<address>,<vendor>:<product>[,<type>[,<numa>]]',
            dest='described',
            action='append',
            default=[],
            help=(
                'Device to simulate on a host, with its type (type-PCI, '
                'type-PF or type-VF) and NUMA node (repeat option for '
                'several)'
            ),
        )
        parser.add_argument(
            '--bundle',
            metavar='<file>',
            dest='bundles',
            action='append',
            default=[],
            help=(
                'Host bundle ("openstack gpu host bundle create"): simulate '
                'exactly its devices, CPUs and memory (repeat option for '
                'several)'
            ),
        )
        _add_cloud(parser)
        parser.add_argument(
            '--long',
            action='store_true',
            help='Also list the options that the rehearsal excludes',
        )
        options.add_catalogue(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        if parsed_args.bound_to is not None and parsed_args.keep is None:
            raise exceptions.InvalidValue(
                '--bound-to applies to a cloud that is kept: add --keep '
                '<name>, or omit --bound-to'
            )
        release = None
        if parsed_args.release is not None:
            release = releases.parse(parsed_args.release)
        else:
            self._warn_of_release(parsed_args)
        models = catalogue_documents.load(parsed_args.catalogue)
        tree = config_check.read(parsed_args.paths, parsed_args.declared)
        if not tree.deployment.processes and not tree.unreadable:
            raise exceptions.NotFound(
                'No service of Nova reads a file in '
                f'{", ".join(parsed_args.paths)}'
            )
        plan = planning.make(
            tree.deployment,
            models=models,
            described=[parse_device(text) for text in parsed_args.described],
            inspected=[
                host_bundle.read(path, initramfs=False)
                for path in parsed_args.bundles
            ],
            count=_count(parsed_args.devices),
        )
        report = reporting.Report(
            plan, config_check.check(tree, models, release)
        )
        rows = report.unreadable(tree.unreadable)
        if tree.deployment.processes:
            result = self._run_in_cloud(parsed_args, plan, report, release)
            self.report(result.failures)
            rows += result.value
        if any(row.bad for row in rows):
            self.found()
        if parsed_args.long:
            rows += report.options()
        return tuple(_COLUMNS), [
            tuple(value(row) for value in _COLUMNS.values()) for row in rows
        ]

    def _warn_of_release(self, parsed_args: argparse.Namespace) -> None:
        paths = [
            *parsed_args.paths,
            *(declared.path for declared in parsed_args.declared),
        ]
        named = release_choice.choose(None, paths).named
        installed = releases.parse(rehearsal.installed_nova())
        if named is not None and named.number != installed.number:
            self.log.warning(
                'The files are for release %s, and the installed one runs, '
                '%s: pass --release %s to run the former',
                named,
                installed,
                named.product or named.series,
            )

    def _run_in_cloud(
        self,
        parsed_args: argparse.Namespace,
        plan: planning.Plan,
        report: reporting.Report,
        release: releases.Release | None,
    ) -> partial_result.PartialResult[list[reporting.Row]]:
        keep = parsed_args.keep
        start = running.start(
            plan, self.say, keep, parsed_args.bound_to, release
        )
        with start as cloud:
            if keep is not None:
                # Also named where the run fails.
                self.done = running.kept(keep)
            return running.run(cloud, plan, report, self.say)


_DEVICE = (
    r'(?P<host>[^=]+)=(?P<address>[^,]+),'
    r'(?P<vendor_id>[0-9A-Fa-f]{4}):(?P<product_id>[0-9A-Fa-f]{4})'
    r'(?:,(?P<type>type-PCI|type-PF|type-VF)(?:,(?P<numa_node>[0-9]{1,2}))?)?'
)
_COLUMNS: dict[str, typing.Callable[[reporting.Row], object]] = {
    'Kind': lambda row: row.kind,
    'Host': lambda row: columns.TextColumn(row.host),
    'Name': lambda row: columns.TextColumn(row.name),
    'State': lambda row: row.state,
    'Expected': lambda row: row.expected,
    'Actual': lambda row: row.actual,
    'Codes': lambda row: columns.ListColumn(list(row.codes)),
    'Detail': lambda row: columns.TextColumn(row.detail),
    'File': lambda row: columns.TextColumn(
        row.place.path if row.place else None
    ),
    'Line': lambda row: row.place.line if row.place else None,
}


def _add_cloud(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--release',
        metavar='<release>',
        help=(
            'Release of Nova to run, zed or later: 2025.1, epoxy, 31, '
            '31.3.1 or rhoso-18 (default: the installed one)'
        ),
    )
    parser.add_argument(
        '--keep',
        metavar='<name>',
        help=(
            'Keep the cloud running as a rehearsal cloud of this name '
            '(see "openstack gpu rehearsal show" and "openstack gpu '
            'rehearsal stop")'
        ),
    )
    parser.add_argument(
        '--bound-to',
        metavar='<pid>',
        type=options.integer,
        help=(
            'With --keep: stop the cloud when this process ends, even if '
            'it is killed (in a script: --bound-to $$)'
        ),
    )


def _count(number: int | None) -> int:
    if number is None:
        return device_simulation.DEVICES
    if not 1 <= number <= device_simulation.MOST_DEVICES:
        raise exceptions.InvalidValue(
            f'--devices takes 1 to {device_simulation.MOST_DEVICES}, '
            f'not {number}'
        )
    return number


def parse_device(text: str) -> tuple[str, rehearsal.SimulatedDevice]:
    """Return the host and the device of ``--device``.

    ``HOST=ADDRESS,VENDOR:PRODUCT[,TYPE[,NUMA NODE]]``; the parent of a
    type-VF is function 0 of its bus.

    :raises gpuclient.exceptions.InvalidValue: The text is not a device.
    """
    match = re.fullmatch(_DEVICE, text)
    if match is None:
        raise exceptions.InvalidValue(
            f'Invalid device {text!r}: use '
            'HOST=ADDRESS,VENDOR:PRODUCT[,TYPE[,NUMA NODE]], for example '
            'edpm-compute-0=0000:04:00.0,10de:20f1,type-PF,0'
        )
    address = str(pci.parse_address(match['address']))
    device = device_simulation.simulated_device(
        address,
        match['vendor_id'].lower(),
        match['product_id'].lower(),
        match['type'] or 'type-PCI',
    )
    if match['numa_node'] is not None:
        device = dataclasses.replace(device, numa_node=int(match['numa_node']))
    return match['host'], device
