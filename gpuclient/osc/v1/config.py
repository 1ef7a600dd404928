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

"""Trees of configuration: ``openstack gpu config ...``."""

from __future__ import annotations

import argparse

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient.operations import config_check
    from gpuclient.osc import columns
    from gpuclient.osc import config_paths
    from gpuclient.osc import options
    from gpuclient.osc import sarif


class CheckConfig(command.Lister):
    _description = """\
Check configuration of Nova before a service reads it

Reads nova.conf files, folders of drop-ins (.conf.d), the YAML of RHOSO (node
sets, data plane services and bare metal hosts, too), the layers of Kolla, and
the files of OpenStack-Ansible, OpenStack-Helm, MOSK, TripleO, Puppet,
packstack, Juju, Sunbeam and devstack in the files and folders given, and
reports what would keep a service from starting, leave cards or cores unused,
or differ between nova-api and the computes. Each finding has a code that the
documentation explains. No cloud is needed.

The exit status is 3 if there is a finding at or above --fail-on.

Example::

    openstack gpu config check /etc/nova"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        config_paths.add_paths(parser)
        options.add_fail_on(parser)
        parser.add_argument(
            '--sarif',
            metavar='<file>',
            help=(
                'Also write the findings to a file in SARIF, for code review '
                'systems'
            ),
        )
        options.add_catalogue(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        located = config_check.check(
            config_check.read(parsed_args.paths, parsed_args.declared),
            catalogue_documents.load(parsed_args.catalogue),
        )
        if parsed_args.sarif is not None:
            sarif.write(parsed_args.sarif, located)
            self.done = f'{parsed_args.sarif} is written all the same'
        if options.fails(
            parsed_args, {one.finding.severity for one in located}
        ):
            self.found()
        return ('Severity', 'Code', 'File', 'Line', 'Message'), [
            (
                str(one.finding.severity),
                one.finding.code,
                columns.TextColumn(one.place.path),
                one.place.line,
                columns.TextColumn(one.finding.message),
            )
            for one in located
        ]
