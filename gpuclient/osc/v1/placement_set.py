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

"""Reservations of devices: ``openstack gpu placement set``."""

from __future__ import annotations

import argparse
import shlex
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient import exceptions
    from gpuclient.model import quoting
    from gpuclient.operations import device_ledger
    from gpuclient.operations import device_reservation
    from gpuclient.operations import leak_repair
    from gpuclient.operations import placement_journal
    from gpuclient.osc import columns
    from gpuclient.osc import options
    from gpuclient import text


class SetPlacement(command.Lister):
    _description = """\
Take devices out of use, or return them

--reserve keeps new servers from a device, as for a repair. A device in use is
refused unless the Placement of the cloud is known to be 14 (2025.2) or later:
up to 13, Nova cannot resize or migrate a server whose device is reserved.

--release returns a device, such as a one-time-use device, which Nova reserves
and never returns. With --run, a command clears the device first, and the
device stays reserved if it fails. The command is a list of arguments, without
a shell, and the last option; {host}, {address}, {device} and {provider} are
replaced in it, and GPU_HOST, GPU_ADDRESS, GPU_DEVICE, GPU_PROVIDER and
GPU_RESOURCE_CLASS are in its environment. Its output is kept in a ledger (see
"openstack gpu placement ledger list").

Example::

    openstack gpu placement set 0000:04:00.0 --release \\
        --run ssh {host} wipe-gpu {address}"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'devices',
            metavar='<device>',
            nargs='+',
            help='PCI address, or name or ID of the resource provider',
        )
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument(
            '--reserve',
            action='store_true',
            help='Keep new servers from the devices',
        )
        what.add_argument(
            '--release',
            action='store_true',
            help='Return the devices',
        )
        parser.add_argument(
            '--force',
            action='store_true',
            help='Change devices in use, too',
        )
        _add_ledger(parser)
        parser.add_argument(
            '--run-timeout',
            metavar='<seconds>',
            type=options.positive,
            default=3600,
            help='Seconds after which the command is ended (default: 3600)',
        )
        parser.add_argument(
            '--run',
            metavar='<command>',
            nargs=argparse.REMAINDER,
            help='Command that clears a device, and its arguments',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        if parsed_args.run is not None and (
            parsed_args.reserve or not parsed_args.run
        ):
            raise exceptions.InvalidValue(
                '--run takes a command, and clears devices that --release '
                'returns'
            )
        with self.for_administrators(), placement_journal.locked():
            leak_repair.finish(self.cloud, None, self._say)
            results = self._set(parsed_args)
        self.done = 'The devices are already changed'
        if any(result.is_failure for result in results):
            self.fail()
        return columns.table(_CELLS, results)

    def _set(
        self, parsed_args: argparse.Namespace
    ) -> list[device_reservation.ReservationResult]:
        devices = device_reservation.find(self.cloud, parsed_args.devices)
        journal = placement_journal.Journal(
            None, placement_journal.CloudName.of(self.cloud)
        )
        reserver = device_reservation.Reserver(
            self.cloud, journal, parsed_args.ledger, self._say
        )
        try:
            if parsed_args.reserve:
                return reserver.reserve(devices, force=parsed_args.force)
            clearing = None
            if parsed_args.run:
                clearing = device_reservation.Command(
                    tuple(parsed_args.run), parsed_args.run_timeout
                )
            return reserver.release(devices, clearing, force=parsed_args.force)
        except KeyboardInterrupt:
            self.done = reserver.left and (
                f'{reserver.left}. What was done is in the ledger: '
                f'openstack gpu placement ledger list'
            )
            raise
        finally:
            journal.close()

    def _say(self, line: str) -> None:
        self.say(text.one_line(line))


class ListPlacementLedger(command.Lister):
    _description = """\
List who used devices, and how they were cleared

Lists the ledger that "openstack gpu placement set" keeps: reservations,
commands with their exit status, and returns. --observe asks the cloud first,
and adds a line for each device that has other users than in its last line: run
it regularly, to have the servers between two returns.

Example::

    openstack gpu placement ledger list --device 0000:04:00.0"""

    use_of_cloud = command.CloudUse.OPTIONAL

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--device',
            metavar='<device>',
            help=(
                'List only lines of this device (PCI address, or name or ID '
                'of the resource provider)'
            ),
        )
        options.add_host(
            parser, 'List only lines of this host (hypervisor hostname)'
        )
        parser.add_argument(
            '--observe',
            action='store_true',
            help='Add which servers use devices now',
        )
        _add_ledger(parser)
        options.add_long(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        if parsed_args.observe:
            self.authenticate()
            device_reservation.observe(self.cloud, parsed_args.ledger)
        lines = [
            line
            for line in device_ledger.read(parsed_args.ledger)
            if parsed_args.device
            in (None, line.device, line.provider, line.address)
            and parsed_args.host in (None, line.host)
        ]
        cells = dict(_LINE_CELLS)
        if parsed_args.long:
            cells.update(_LONG_CELLS)
        return columns.table(cells, lines)


def _add_ledger(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--ledger',
        metavar='<file>',
        default=device_ledger.default_path(),
        help=(
            'File of the ledger (default: '
            '$XDG_STATE_HOME/gpuclient/device-ledger.jsonl)'
        ),
    )


_CELLS: typing.Final[dict[str, typing.Any]] = {
    'Host': lambda done: columns.TextColumn(done.device.host),
    'Address': lambda done: done.device.address,
    'Resource Class': lambda done: done.device.resource_class,
    'Reserved': lambda done: done.reserved,
    'Used': lambda done: done.device.used,
    'Status': lambda done: done.status,
    'Result': lambda done: columns.ProseColumn(done.result),
}
_LINE_CELLS: typing.Final[dict[str, typing.Any]] = {
    'Time': lambda line: line.time,
    'Host': lambda line: columns.TextColumn(line.host),
    'Address': lambda line: line.address,
    'State': lambda line: line.state,
    'Servers': lambda line: columns.NamedColumn(
        [
            {'id': consumer['id'], 'name': consumer['name']}
            for consumer in line.consumers
        ]
    ),
    'Command': lambda line: columns.TextColumn(
        quoting.masked(shlex.join(line.command)) if line.command else None
    ),
    'Status': lambda line: line.status,
}
_LONG_CELLS: typing.Final[dict[str, typing.Any]] = {
    'Output': lambda line: columns.TextColumn(
        None if line.output is None else quoting.masked(line.output)
    ),
    'SHA256': lambda line: line.digest,
    'Seconds': lambda line: line.seconds,
    'Provider Name': lambda line: columns.TextColumn(line.device),
    'Provider ID': lambda line: line.provider,
}
