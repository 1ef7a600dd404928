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

"""Configuration from a description: ``openstack gpu config create``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient.operations import config_creation
    from gpuclient.operations import configuration_edits
    from gpuclient.osc import columns
    from gpuclient.osc import config_files
    from gpuclient.osc import options


class CreateConfig(command.ShowOne):
    _description = """\
Create the configuration of a deployment

Reads a short YAML or JSON file that names the hosts, their cards and the
aliases, and writes the configuration of the control plane, the compute hosts
and their kernels for RHOSO, Kolla-Ansible or hosts without a deployment tool.
In existing files, only the options of the description are changed.
"next_steps" lists the commands to run afterwards. No cloud is needed.

Example::

    openstack gpu config create gpu.yaml --output examples/dt/nova/gpu \\
        --dry-run"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'description',
            metavar='<file>',
            help=(
                'Description of the deployment, YAML or JSON (- for standard '
                'input)'
            ),
        )
        parser.add_argument(
            '--output',
            metavar='<folder>',
            required=True,
            help='Folder to write to; existing files in it are edited',
        )
        options.add_dry_run(parser)
        options.add_release(parser, cloud=False)
        options.add_catalogue(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        created = config_creation.create(
            parsed_args.description,
            parsed_args.output,
            catalogue_documents.load(parsed_args.catalogue),
            parsed_args.release,
        )
        self.note_release(created.release)
        edits = created.edits
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        return columns.show(
            {
                'name': created.name,
                'target': created.target,
                'files': config_files.present(edits, parsed_args.dry_run),
                'providers': columns.ListColumn(created.providers),
                'restart': columns.ListColumn(
                    configuration_edits.restart(edits)
                ),
                'next_steps': columns.ListColumn(created.next_steps),
                'warnings': columns.ListColumn(created.warnings),
                **self.release_fields,
            }
        )
