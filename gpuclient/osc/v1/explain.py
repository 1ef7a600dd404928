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

"""Why a server gets no host: ``openstack gpu flavor explain``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.operations import explanation
    from gpuclient.osc import columns
    from gpuclient.osc import explanation_view
    from gpuclient.osc import options


class _ExplainCommand(command.ShowOne):
    """Base of the commands that explain."""

    def present(
        self,
        parsed_args: argparse.Namespace,
        record: explanation_view.Record,
        explained: explanation.Explanation,
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        if not explained.fits:
            self.found()
        if parsed_args.formatter == 'table' and not parsed_args.columns:
            self.document = explanation_view.show(explained).encode()
        record.update(explanation_view.record(explained))
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


class ExplainFlavor(_ExplainCommand):
    _description = """\
Explain why a server of a flavor gets a host or not

Lists what Nova requests for a new server of the flavor: devices, CPUs,
memory, traits, aggregates, availability zone and the compute services. For
each condition: how many compute nodes meet it alone ("Hosts"), how many are
left after it and those before it ("Left"), and what the nodes that it removes
lack. If no host is left, also the smallest sets of conditions that no host
meets together, and what would free a host: reserved devices, disabled compute
services and servers. The request is then sent to Placement, and its answer is
compared.

No API shows the options of nova-scheduler and the definitions of aliases:
pass the configuration of the control plane with --config.

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
        options.add_alias_files(parser)
        options.add_release(parser, cloud=True)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        answer = explanation.explain_flavor(
            self.cloud,
            parsed_args.flavor,
            explanation.Request(
                files=tuple(parsed_args.files),
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
        return self.present(
            parsed_args, {'flavor': explained.flavor.name}, explained
        )
