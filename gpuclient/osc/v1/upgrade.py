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

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient.model import release as release_model
    from gpuclient.operations import config_check
    from gpuclient.operations import upgrade_check
    from gpuclient.operations import upgrade_rehearsal
    from gpuclient.osc import columns
    from gpuclient.osc import config_paths
    from gpuclient.osc import options


class CheckUpgrade(command.Lister):
    _description = """\
Show what an upgrade of Nova changes

Compares the configuration under both releases, and under those between that an
upgrade has to go through. "breaks" is an error that the earlier release does
not have: a service that does not start any more, or servers that cannot be
created. "begins" is a setting, or a warning about it, that applies for the
first time; "ends" one that loses its effect; "possible" one that the earlier
release refuses. "check" is a change whose effect is not in the configuration.
No cloud is needed.

--rehearse also runs the configuration with both releases in rehearsal clouds
(see "openstack gpu config rehearse"), and shows with the code "rehearsal" what
fails with one of them only, with the message of Nova.

The exit status is 3 if something breaks.

Example::

    openstack gpu upgrade check /etc/nova --from 2024.1 --to 2026.1"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        config_paths.add_paths(parser)
        for option, text in (
            (
                '--from',
                'Release that the cloud runs, such as 2024.1 or 29.4.0',
            ),
            ('--to', 'Release to upgrade to'),
        ):
            parser.add_argument(
                option,
                dest=f'{option[2:]}_release',
                metavar='<release>',
                required=True,
                help=text,
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
        start = release_model.parse(parsed_args.from_release)
        end = release_model.parse(parsed_args.to_release)
        tree = config_check.read(parsed_args.paths, parsed_args.declared)
        models = catalogue_documents.load(parsed_args.catalogue)
        effects = upgrade_check.check(tree, models, start, end)
        if parsed_args.rehearse:
            result = upgrade_rehearsal.rehearse(
                tree, models, (start, end), self.say
            )
            self.report(result.failures)
            effects += result.value
        if any(effect.effect == 'breaks' for effect in effects):
            self.found()
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
