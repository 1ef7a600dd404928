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

"""Checks of configuration: ``openstack gpu config check``."""

from __future__ import annotations

import argparse

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient.operations import config_check
    from gpuclient.operations import release_choice
    from gpuclient.osc import columns
    from gpuclient.osc import config_paths
    from gpuclient.osc import options
    from gpuclient.osc import sarif


class CheckConfig(command.Lister):
    _description = """\
Check Nova configuration before the services read it

Reads nova.conf files, folders of drop-ins (.conf.d), RHOSO YAML (including
node sets, data plane services and bare metal hosts), the custom configuration
of Kolla-Ansible, and the files of OpenStack-Ansible, OpenStack-Helm, MOSK,
TripleO, Puppet, packstack, Juju, Sunbeam and devstack. Reports options that
keep a service from starting or leave cards or cores unused, and differences
between nova-api and nova-compute. The documentation explains the code of each
finding. No cloud is needed.

Rules follow the release of Nova that --release names, or else that the files
do (openstack_release of Kolla-Ansible, Kayobe and OpenStack-Ansible,
OpenStackVersion of RHOSO, tags of images, channels of charms); standard error
says which one it is.

The exit status is 3 if there is a finding at or above --fail-on.

Example::

    openstack gpu config check --release 2025.1 /etc/nova"""

    fits_terminal = True

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        config_paths.add_paths(parser)
        options.add_release(parser, cloud=False)
        options.add_fail_on(parser)
        options.add_mute(parser, 'a file or FILE:LINE')
        parser.add_argument(
            '--sarif',
            metavar='<file>',
            help=(
                'Also write the findings to this file as SARIF, for code '
                'review systems'
            ),
        )
        options.add_catalogue(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        mutes = options.read_mutes(parsed_args)
        tree = config_check.read(parsed_args.paths, parsed_args.declared)
        chosen = release_choice.choose(
            parsed_args.release,
            (
                *parsed_args.paths,
                *(declared.path for declared in parsed_args.declared),
            ),
        )
        self.note_release(chosen)
        located = mutes.reported(
            config_check.check(
                tree,
                catalogue_documents.load(parsed_args.catalogue),
                chosen.named,
            ),
            lambda row: (row.finding.code, (row.place.path, str(row.place))),
        )
        self.note_muted(mutes.count)
        if parsed_args.sarif is not None:
            sarif.write(parsed_args.sarif, located, chosen.fields)
            self.done = f'{parsed_args.sarif} is already written'
        if options.fails(
            parsed_args, {row.finding.severity for row in located}
        ):
            self.found()
        if not located:
            self.say(f'No findings in {tree.files} files')
        return columns.table(
            {
                'Severity': lambda row: str(row.finding.severity),
                'Code': lambda row: row.finding.code,
                'File': lambda row: columns.TextColumn(row.place.path),
                'Line': lambda row: row.place.line,
                'Message': lambda row: columns.TextColumn(row.finding.message),
            },
            located,
        )
