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

"""``openstack gpu check``"""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

if typing.TYPE_CHECKING:
    from openstack import connection

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient.operations import config_check
    from gpuclient.operations import gpu_check
    from gpuclient.operations import release_choice
    from gpuclient.osc import columns
    from gpuclient.osc import config_paths
    from gpuclient.osc import options


class Check(command.Lister):
    _description = """\
Check cloud, configuration and hosts at once

Run this first. Checks the cloud (services of Nova, aliases in nova-api,
flavors, Placement, limits), the configuration that --config passes, and the
hosts whose bundles --host passes, each also against the others. A check that
could not run is SKIPPED, with the reason. Findings come first, causes before
what follows from them; the documentation explains each code.

Nothing is changed. Whether nova-api knows an alias is asked with a request
that it always refuses (see "openstack gpu alias verify"); --attempts asks more
often, to reach each nova-api behind a load balancer, and 0 does not ask.

The exit status is 3 if there is a finding at or above --fail-on: FAIL is an
error, WARN a warning.

Example::

    openstack gpu check --config /etc/nova --host gpu-1.tar --mute GPU761"""

    use_of_cloud = command.CloudUse.OPTIONAL
    reads_snapshots = True
    sentences = 'Message'
    labels = (('Code', 'Result'), ('Object', 'Check'))

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--config',
            metavar='<path>',
            dest='files',
            action='append',
            default=[],
            help=(
                'File or folder of Nova configuration, as for "openstack gpu '
                'config check" (repeat option for several)'
            ),
        )
        config_paths.add_as(parser)
        parser.add_argument(
            '--host',
            metavar='<bundle>',
            dest='bundles',
            action='append',
            default=[],
            help=(
                'Bundle of a host, or folder with its files (repeat option '
                'for several)'
            ),
        )
        parser.add_argument(
            '--attempts',
            metavar='<number>',
            type=options.not_negative,
            default=4,
            help=(
                'How often to ask nova-api for each alias that a flavor '
                'requests (default: 4)'
            ),
        )
        options.add_require_cloud(parser)
        options.add_fail_on(parser)
        options.add_mute(parser, 'an object as the column "Object" names it')
        options.add_release(parser, cloud=True)
        options.add_catalogue(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        mutes = options.read_mutes(parsed_args)
        sources = self._sources(parsed_args)
        cloud, reason = self._connect(parsed_args, sources)
        chosen = release_choice.choose_with_optional_cloud(
            parsed_args.release, sources.all_paths, cloud
        )
        self.note_release(chosen)
        answer = gpu_check.check(
            cloud,
            reason,
            sources,
            chosen.release,
            chosen.named,
            catalogue_documents.load(parsed_args.catalogue),
            attempts=parsed_args.attempts,
        )
        self.report(answer.failures)
        rows = mutes.reported(answer.value, lambda row: (row.code, row.names))
        self.note_muted(mutes.count)
        if options.fails(parsed_args, {row.severity for row in rows}):
            self.found()
        return columns.table(
            {
                'Check': lambda row: columns.TextColumn(row.check),
                'Result': lambda row: str(row.result),
                'Code': lambda row: columns.ProseColumn(row.code),
                'Object': lambda row: columns.ProseColumn(row.object or None),
                'Message': lambda row: columns.ProseColumn(row.message),
            },
            rows,
        )

    @staticmethod
    def _sources(parsed_args: argparse.Namespace) -> gpu_check.Sources:
        tree = None
        if parsed_args.files or parsed_args.declared:
            tree = config_check.read(parsed_args.files, parsed_args.declared)
        return gpu_check.Sources(
            tree,
            tuple(parsed_args.files),
            tuple(parsed_args.declared),
            tuple(parsed_args.bundles),
        )

    def _connect(
        self, parsed_args: argparse.Namespace, sources: gpu_check.Sources
    ) -> tuple[connection.Connection | None, str]:
        """Return a connection, which is required if nothing else is given."""
        cloud, reason = self.optional_connection(
            parsed_args.require_cloud or sources.are_empty
        )
        if cloud is not None:
            # All of it is needed, however long it takes.
            self.bound(cloud)
        return cloud, reason
