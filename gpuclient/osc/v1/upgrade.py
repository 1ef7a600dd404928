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

"""``openstack gpu upgrade``: what a later release of Nova changes."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient.documents import placement_conf
    from gpuclient.documents import tree as tree_documents
    from gpuclient import exceptions
    from gpuclient.model import deployment
    from gpuclient.model import partial_result
    from gpuclient.model import release as release_model
    from gpuclient.operations import cloud_observation
    from gpuclient.operations import config_check
    from gpuclient.operations import upgrade_check
    from gpuclient.operations import upgrade_rehearsal
    from gpuclient.operations import upgrade_start
    from gpuclient.osc import columns
    from gpuclient.osc import config_paths
    from gpuclient.osc import options
    from gpuclient.rules import finding
    from gpuclient import text

if typing.TYPE_CHECKING:
    from openstack import connection

    from gpuclient.model import cloud_state


class CheckUpgrade(command.Lister):
    _description = """\
Show what an upgrade of Nova changes

Compares the configuration under both releases, and under those between that an
upgrade has to go through. "breaks" is an error that the earlier release does
not have: a service that does not start any more, or servers that cannot be
created. "begins" is a setting, or a warning about it, that applies for the
first time; "ends" one that loses its effect; "possible" one that the earlier
release refuses. "check" is a change whose effect is not in the configuration.

--cloud also examines the cloud of --os-cloud: its flavors, compute services,
devices and traits in Placement, and limits in Keystone. Without --from, its
newest microversion tells the release before the upgrade.

--rehearse also runs the configuration with both releases in rehearsal clouds
(see "openstack gpu config rehearse"), and shows with the code "rehearsal" what
fails with one of them only, with the message of Nova.

The exit status is 3 if something breaks.

Example::

    openstack gpu upgrade check /etc/nova --cloud --to 2026.2"""

    fits_terminal = True

    use_of_cloud = command.CloudUse.OPTIONAL
    reads_snapshots = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        config_paths.add_paths(parser)
        parser.add_argument(
            '--from',
            dest='from_release',
            metavar='<release>',
            help=(
                'Release that the cloud runs, such as 2024.1 or 29.4.0 '
                '(default: with --cloud what its newest microversion tells, '
                'else what the files name)'
            ),
        )
        parser.add_argument(
            '--to',
            dest='to_release',
            metavar='<release>',
            required=True,
            help='Release to upgrade to',
        )
        parser.add_argument(
            '--cloud',
            action='store_true',
            help='Also examine the cloud; files are not needed then',
        )
        parser.add_argument(
            '--rehearse',
            action='store_true',
            help=(
                'Also run the configuration with both releases on this '
                'machine; releases that are missing are installed in the '
                'cache of the user'
            ),
        )
        options.add_catalogue(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        end = release_model.parse(parsed_args.to_release)
        # A snapshot is one of a cloud.
        parsed_args.cloud |= parsed_args.snapshot is not None
        tree = self._read_tree(parsed_args)
        self._report_files(tree)
        connected = self._connect(parsed_args)
        start = self._start(parsed_args, end, connected)
        models = catalogue_documents.load(parsed_args.catalogue)
        steps = upgrade_check.steps(start.release, end)
        effects = upgrade_check.check(
            tree,
            placement_conf.read(_paths(parsed_args)),
            models,
            steps,
            self._observe(connected, start.release, tree),
            start.of_cloud,
        )
        if parsed_args.rehearse and tree.files:
            result = upgrade_rehearsal.rehearse(
                tree, models, (start.release, end), self.say
            )
            self.report(result.failures)
            effects += result.value
        if any(effect.effect == 'breaks' for effect in effects):
            self.found()
        if not effects:
            self.say('No effect on what was examined')
        return columns.table(
            {
                'Effect': lambda row: str(row.effect),
                'Release': lambda row: row.release.series,
                'Code': lambda row: row.code,
                'File': lambda row: columns.TextColumn(
                    row.place.path if row.place else None
                ),
                'Line': lambda row: row.place.line if row.place else None,
                'Message': lambda row: columns.TextColumn(row.message),
            },
            effects,
        )

    @staticmethod
    def _read_tree(
        parsed_args: argparse.Namespace,
    ) -> tree_documents.ConfigurationTree:
        if _paths(parsed_args) or not parsed_args.cloud:
            return config_check.read(parsed_args.paths, parsed_args.declared)
        if parsed_args.rehearse:
            raise exceptions.InvalidValue(
                'Pass the files or folders that --rehearse runs'
            )
        return tree_documents.ConfigurationTree(deployment.Deployment(), 0, ())

    def _report_files(self, tree: tree_documents.ConfigurationTree) -> None:
        for located in upgrade_check.not_compared(tree):
            message = f'{located.place} is not compared'
            if located.finding.severity is finding.Severity.ERROR:
                self.report(
                    [partial_result.Failure(message, located.finding.message)]
                )
            else:
                self.log.warning('%s: %s', message, located.finding.message)

    def _connect(
        self, parsed_args: argparse.Namespace
    ) -> connection.Connection | None:
        if not parsed_args.cloud:
            return None
        if parsed_args.snapshot is None and not self.knows_cloud:
            raise exceptions.InvalidValue(
                'No cloud is configured for --cloud: set OS_CLOUD or pass '
                '--os-cloud with a cloud of clouds.yaml, or source an openrc '
                'file'
            )
        cloud, _reason = self.optional_connection(required=True)
        return cloud

    def _start(
        self,
        parsed_args: argparse.Namespace,
        end: release_model.Release,
        cloud: connection.Connection | None,
    ) -> upgrade_start.Start:
        """Return the release before the upgrade, and show where it is from."""
        start = upgrade_start.choose_with_cloud(
            parsed_args.from_release,
            end,
            _paths(parsed_args),
            cloud,
        )
        for warning in start.warnings:
            self.log.warning('%s', text.one_line(warning))
        if parsed_args.from_release is None:
            self.app.stderr.write(columns.escape_lines(f'{start}\n'))
        self.say(f'To: {end}')
        return start

    def _observe(
        self,
        cloud: connection.Connection | None,
        release: release_model.Release,
        tree: tree_documents.ConfigurationTree,
    ) -> cloud_state.CloudState | None:
        if cloud is None:
            return None
        answer = cloud_observation.read(cloud, release, tree.deployment)
        self.report(answer.failures)
        return answer.value


def _paths(parsed_args: argparse.Namespace) -> list[str]:
    return [
        *parsed_args.paths,
        *(declared.path for declared in parsed_args.declared),
    ]
