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

"""Leaks in Placement: ``openstack gpu placement check``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.model import inventory
    from gpuclient.operations import leak_check
    from gpuclient.osc import columns
    from gpuclient.osc import options


class CheckPlacement(command.Lister):
    _description = """\
Find devices in use in Placement that nobody uses

Compares allocations and reservations of PCI devices in Placement with the
servers, migrations and compute nodes of Nova. What looks like a leak is read
again before it is reported: a server that is created, moved or deleted
meanwhile is none.

Nova has no API that shows which devices a server uses. The check counts them,
and compares with the flavor that the server booted with. --expect and --bundle
name files that show which devices a host has.

The exit status is 3 if there is a leak at or above --fail-on.

Example::

    openstack gpu placement check"""

    reads_snapshots = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_host(
            parser, 'Report only leaks of this host (hypervisor hostname)'
        )
        parser.add_argument(
            '--code',
            metavar='<code>',
            dest='codes',
            action='append',
            default=[],
            help=(
                'Report only leaks with this code, such as GPU612 (repeat '
                'option for several)'
            ),
        )
        parser.add_argument(
            '--reserved-days',
            metavar='<days>',
            type=options.not_negative,
            default=7,
            help=(
                'Report free devices that are reserved for at least so many '
                'days (default: 7)'
            ),
        )
        parser.add_argument(
            '--expect',
            metavar='<path>',
            dest='expected',
            action='append',
            default=[],
            help=(
                'Report devices that hosts do not have according to this '
                'description, or file or folder of configuration (repeat '
                'option for several; --host names the host of a file that '
                'does not name it)'
            ),
        )
        parser.add_argument(
            '--bundle',
            metavar='<file>',
            dest='bundles',
            action='append',
            default=[],
            help=(
                'Report devices that the host of this bundle does not have '
                '("openstack gpu host bundle create"; repeat option for '
                'several)'
            ),
        )
        options.add_fail_on(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        leak_check.unknown_codes(parsed_args.codes)
        answer = leak_check.check(
            self.cloud,
            leak_check.LeakFilters(
                host=parsed_args.host,
                codes=frozenset(parsed_args.codes),
                reserved_days=parsed_args.reserved_days,
                expected=tuple(parsed_args.expected),
                bundles=tuple(parsed_args.bundles),
            ),
        )
        self.report(answer.failures)
        leaks = answer.value.leaks
        if options.fails(
            parsed_args, {leak.finding.severity for leak in leaks}
        ):
            self.found()
        return columns.table(_CELLS, leaks)


def _device(device: inventory.Device) -> columns.Record:
    return {
        'id': device.uuid,
        'host': device.host,
        'address': device.address,
        'resource_class': device.resource_class,
    }


_CELLS: typing.Final[dict[str, typing.Any]] = {
    'Code': lambda leak: leak.code,
    'Severity': lambda leak: str(leak.finding.severity),
    'Host': lambda leak: columns.TextColumn(leak.host),
    'Devices': lambda leak: columns.DevicesColumn(
        [_device(device) for device in leak.devices]
    ),
    'Consumer': lambda leak: leak.consumer,
    'Server': lambda leak: columns.TextColumn(leak.name),
    'Problem': lambda leak: columns.ProseColumn(leak.finding.message),
}
