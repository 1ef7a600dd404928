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

"""Why a server gets no host: ``openstack gpu ... explain``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient import exceptions
    from gpuclient.model import move
    from gpuclient.operations import explanation
    from gpuclient.operations import move_forecast
    from gpuclient.operations import proof
    from gpuclient.osc import columns
    from gpuclient.osc import explanation_view
    from gpuclient.osc import move_view
    from gpuclient.osc import options
    from gpuclient.osc import proof_view
    from gpuclient.operations import server_explanation


if typing.TYPE_CHECKING:
    from gpuclient.model import release as release_model
    from gpuclient.model import unseen


class _ExplainCommand(command.ShowOne):
    """Base of the commands that explain."""

    reads_snapshots = True

    def prove(
        self,
        parsed_args: argparse.Namespace,
        explained: explanation.Explanation | None,
        recorded: tuple[unseen.UnseenCause, ...] = (),
    ) -> tuple[str, explanation_view.Record]:
        """Try an explanation if the user asks for it.

        :param recorded: What Nova recorded of the server.
        :returns: What to add to the text, and to the object.
        """
        if not parsed_args.prove:
            return '', {}
        if explained is None:
            return '', {'proof': None}
        proved = proof.prove(explained, self.say, recorded)
        return f'\n{proof_view.show(proved)}', {
            'proof': proof_view.record(proved)
        }

    def show(
        self,
        parsed_args: argparse.Namespace,
        text: str,
        record: explanation_view.Record,
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        """Show text in place of a table, unless columns are selected."""
        if parsed_args.formatter == 'table' and not parsed_args.columns:
            self.document = text.encode()
        return columns.show(record)


def _add_place_options(parser: argparse.ArgumentParser) -> None:
    options.add_host(
        parser,
        'Explain for a server on this host (hypervisor hostname or name of '
        'the compute service)',
    )
    parser.add_argument(
        '--availability-zone',
        metavar='<zone>',
        help='Explain for a server in this availability zone',
    )


def _add_evidence_options(parser: argparse.ArgumentParser) -> None:
    options.add_alias_files(parser)
    parser.add_argument(
        '--bundle',
        metavar='<file>',
        dest='bundles',
        action='append',
        default=[],
        help=(
            'Host bundle ("openstack gpu host bundle create") that shows the '
            'device types and IDs of a host (repeat option for several)'
        ),
    )
    parser.add_argument(
        '--prove',
        action='store_true',
        help=(
            'Let the nova-scheduler of a rehearsal cloud with the hosts of '
            'this cloud decide about the request, and about the first '
            'suggestions'
        ),
    )
    options.add_release(parser, cloud=True)


class ExplainFlavor(_ExplainCommand):
    _description = """\
Explain why servers of a flavor get no host

Lists what Nova requests for a new server of the flavor: devices, CPUs,
memory, traits, aggregates, availability zone and the compute services. For
each condition: how many compute nodes meet it alone ("Hosts"), how many are
left after it and those before it ("Left"), and what the nodes that it removes
lack. If no host is left, also the smallest sets of conditions that no host
meets together, what would free a host (reserved devices, disabled compute
services, aggregates, servers), and the largest amounts that would fit. The
request is then sent to Placement, and its answer is compared.

No API shows the options of nova-scheduler and the definitions of aliases:
pass the configuration of the control plane with --config.

With --prove, a rehearsal cloud on this machine gets the hosts of the cloud,
and its nova-scheduler decides about the request, and about the request after
each suggestion. A line says "proved" only if it decides as explained, and
"inconclusive" if it selects a host and does not show why the server failed.

The exit status is 3 if no host fits.

Example::

    openstack gpu flavor explain gpu.h100 --project research \\
        --config /etc/nova/nova.conf"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_flavor(parser, 'Flavor to explain (name or ID)')
        options.add_project(
            parser, 'Explain for a server of this project (name or ID)'
        )
        parser.add_argument(
            '--image',
            metavar='<image>',
            help='Explain for a server of this image (name or ID)',
        )
        parser.add_argument(
            '--boot-from-volume',
            action='store_true',
            help='Explain for a server whose root disk is a volume',
        )
        _add_place_options(parser)
        _add_evidence_options(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        answer = explanation.explain_flavor(
            self.cloud,
            parsed_args.flavor,
            explanation.Request(
                files=tuple(parsed_args.files),
                bundles=tuple(parsed_args.bundles),
                project_id=self.project_id(parsed_args),
                image=parsed_args.image,
                zone=parsed_args.availability_zone,
                host=parsed_args.host,
                volume_backed=parsed_args.boot_from_volume,
            ),
            self.release_of_cloud(parsed_args),
        )
        self.report(answer.failures)
        explained = answer.value
        if not explained.fits:
            self.found()
        text, record = self.prove(parsed_args, explained)
        return self.show(
            parsed_args,
            explanation_view.show(explained) + text,
            {
                'flavor': explained.flavor.name,
                **explanation_view.record(explained),
                **record,
            },
        )


class ExplainServer(_ExplainCommand):
    _description = """\
Explain why a server has no host

For a server in ERROR without a host, or one that is shelved: explains its
flavor, as it booted with it, its image, project and availability zone, as
"openstack gpu flavor explain" does, together with what its fault and its
actions prove. A host or scheduler hint of the request that Nova does not show
can be given as an option.

For a server that has a host, shows where its devices are. With --move: whether
the move would succeed, on which hosts, and what blocks it. With --all-on HOST
--move migrate, in place of a server: the same for all servers with devices of
a host that must be emptied, and whether they fit elsewhere together.

The exit status is 3 if a failure was explained, or if a move would not
succeed, and 0 otherwise.

Example::

    openstack gpu server explain train-1 --config /etc/nova/nova.conf"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'server',
            metavar='<server>',
            nargs='?',
            help='Server to explain (name or ID)',
        )
        kinds = [str(kind) for kind in move.MoveKind]
        parser.add_argument(
            '--move',
            metavar='<move>',
            choices=kinds,
            help=f'Explain whether it can move so: {", ".join(kinds)}',
        )
        parser.add_argument(
            '--flavor',
            metavar='<flavor>',
            help='Flavor of --move resize (name or ID)',
        )
        parser.add_argument(
            '--all-on',
            metavar='<host>',
            help=(
                'Explain, in place of a server, whether all servers with '
                'devices of this host can move (hypervisor hostname or name '
                'of the compute service)'
            ),
        )
        _add_place_options(parser)
        _add_evidence_options(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        _check_move(parsed_args)
        request = explanation.Request(
            files=tuple(parsed_args.files),
            bundles=tuple(parsed_args.bundles),
            zone=parsed_args.availability_zone,
            host=parsed_args.host,
        )
        release = self.release_of_cloud(parsed_args)
        if parsed_args.all_on is not None:
            return self._explain_host(parsed_args, request, release)
        if parsed_args.move is not None:
            return self._explain_move(parsed_args, request, release)
        answer = server_explanation.explain_server(
            self.cloud, parsed_args.server, request, release
        )
        self.report(answer.failures)
        explained = answer.value
        if explained.is_explained:
            self.found()
        text, record = self.prove(
            parsed_args, explained.explanation, explained.causes
        )
        return self.show(
            parsed_args,
            explanation_view.show_server(explained) + text,
            {**explanation_view.server_record(explained), **record},
        )

    def _explain_move(
        self,
        parsed_args: argparse.Namespace,
        request: explanation.Request,
        release: release_model.Release,
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        answer = move_forecast.explain_move(
            self.cloud,
            parsed_args.server,
            move.MoveKind(parsed_args.move),
            parsed_args.flavor,
            request,
            release,
        )
        self.report(answer.failures)
        if not answer.value.succeeds:
            self.found()
        return self.show(
            parsed_args,
            move_view.show(answer.value),
            move_view.record(answer.value),
        )

    def _explain_host(
        self,
        parsed_args: argparse.Namespace,
        request: explanation.Request,
        release: release_model.Release,
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        answer = move_forecast.empty_host(
            self.cloud,
            parsed_args.all_on,
            move.MoveKind(parsed_args.move),
            request,
            release,
        )
        self.report(answer.failures)
        if answer.value.servers and not answer.value.succeeds:
            self.found()
        return self.show(
            parsed_args,
            move_view.show_host(answer.value),
            move_view.host_record(answer.value),
        )


def _check_move(parsed_args: argparse.Namespace) -> None:
    """Make sure that the options fit each other.

    :raises gpuclient.exceptions.InvalidValue: They do not.
    """
    if (parsed_args.server is None) == (parsed_args.all_on is None):
        raise exceptions.InvalidValue(
            'Specify either a server or --all-on with a host'
        )
    if parsed_args.prove and parsed_args.move is not None:
        raise exceptions.InvalidValue(
            '--prove tries requests for new servers: omit --move'
        )
    resize = parsed_args.move == str(move.MoveKind.RESIZE)
    if resize != (parsed_args.flavor is not None):
        raise exceptions.InvalidValue(
            '--move resize requires --flavor'
            if resize
            else '--flavor is only allowed with --move resize'
        )
    if parsed_args.all_on is not None and (parsed_args.move is None or resize):
        raise exceptions.InvalidValue(
            '--all-on requires --move migrate, evacuate or live-migrate'
        )
