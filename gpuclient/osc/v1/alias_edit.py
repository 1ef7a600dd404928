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

"""Change and delete aliases: ``openstack gpu alias set`` and ``delete``."""

from __future__ import annotations

import argparse
import functools
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import aliases as alias_documents
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient import exceptions
    from gpuclient.model import alias as alias_model
    from gpuclient.operations import alias_creation
    from gpuclient.operations import alias_users
    from gpuclient.operations import configuration_edits
    from gpuclient.operations import device_names
    from gpuclient.operations import release_choice
    from gpuclient.osc import columns
    from gpuclient.osc import config_files
    from gpuclient.osc import options


class SetAlias(command.ShowOne):
    _description = """\
Change a PCI alias in configuration files

Changes the alias in place in each given file, all of which must define it, and
validates it as Nova does at startup. "restart" lists the services to restart:
they use the old alias until then.

Example::

    openstack gpu alias set nvidia_a2 --numa-policy preferred \\
        --config /etc/nova/nova.conf --dry-run"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_alias(parser, 'Alias to modify')
        options.add_alias_options(parser)
        for option, text in (
            (
                'device-type',
                'Remove the device type; the alias then matches all '
                'types except type-PF',
            ),
            (
                'numa-policy',
                'Remove the NUMA policy; Nova then uses its default',
            ),
            (
                'resource-class',
                'Remove the resource class; Nova then derives it from the IDs',
            ),
            ('trait', 'Remove all required traits'),
        ):
            parser.add_argument(
                f'--no-{option}', action='store_true', help=text
            )
        config_files.add_options(parser)
        options.add_release(parser, cloud=False)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        name = parsed_args.name
        catalogue = catalogue_documents.load(parsed_args.catalogue)
        warnings = options.apply_model(
            parsed_args, catalogue, device_type=not parsed_args.no_device_type
        )
        changes = _changes(parsed_args)
        if not changes:
            raise exceptions.InvalidValue(
                'Nothing to set: specify an option such as --device-type or '
                '--numa-policy'
            )
        chosen = release_choice.choose(
            parsed_args.release, config_files.paths(parsed_args)
        )
        self.note_release(chosen)
        edits = config_files.read_some(
            parsed_args,
            functools.partial(alias_documents.read, release=chosen.release),
        )
        aliases: list[alias_model.Alias] = []
        for edit in edits:
            for document in edit.documents:
                alias = alias_documents.change(
                    document,
                    name,
                    changes,
                    pci_in_placement=parsed_args.pci_in_placement,
                )
                if alias is None:
                    raise exceptions.NotFound(
                        f'{document.where} does not define alias {name!r}'
                    )
                aliases.append(alias)
                warnings += alias_creation.validate_change(alias)
                warnings += device_names.check_alias(alias, catalogue)
                edit.note_restart(document)
            warnings += configuration_edits.warnings(edit)
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        lines = dict.fromkeys(f'alias = {alias.render()}' for alias in aliases)
        return columns.show(
            {
                'name': columns.TextColumn(name),
                'lines': columns.ListColumn(list(lines)),
                'files': config_files.present(edits, parsed_args.dry_run),
                'restart': columns.ListColumn(
                    configuration_edits.restart(edits)
                ),
                'warnings': columns.ListColumn(list(dict.fromkeys(warnings))),
                **self.release_fields,
            }
        )


def _changes(parsed_args: argparse.Namespace) -> dict[str, typing.Any]:
    """Return the fields of an alias that the options change."""
    changes: dict[str, typing.Any] = {
        key: getattr(parsed_args, key)
        for key in (
            'vendor_id',
            'product_id',
            'device_type',
            'numa_policy',
            'resource_class',
        )
        if getattr(parsed_args, key) is not None
    }
    if parsed_args.traits:
        changes['traits'] = ','.join(parsed_args.traits)
    if parsed_args.live_migratable is not None:
        changes['live_migratable'] = parsed_args.live_migratable == 'yes'
    for option, key in (
        ('no_device_type', 'device_type'),
        ('no_numa_policy', 'numa_policy'),
        ('no_resource_class', 'resource_class'),
        ('no_trait', 'traits'),
    ):
        if getattr(parsed_args, option):
            if key in changes:
                raise exceptions.InvalidValue(
                    f'--{option.replace("_", "-")} contradicts another option'
                )
            changes[key] = None
    return changes


class DeleteAlias(command.ShowOne):
    _description = """\
Delete a PCI alias from configuration files

Refused while a flavor requests the alias or a server that booted with it
exists: Nova could no longer resize or move such servers, or boot new ones with
the flavor. Also refused if that cannot be checked, because the cloud does not
respond or you may not list the servers of all projects. --force deletes the
alias anyway. Without credentials for a cloud, the check is shown as skipped.

Example::

    openstack gpu alias delete nvidia_a2 --config /etc/nova/nova.conf"""

    use_of_cloud = command.CloudUse.OPTIONAL

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_alias(parser, 'Alias to delete')
        config_files.add_options(parser)
        parser.add_argument(
            '--force',
            action='store_true',
            help='Delete the alias even if it is, or may be, in use',
        )
        options.add_require_cloud(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        name = parsed_args.name
        edits = config_files.read_some(parsed_args, alias_documents.read)
        for edit in edits:
            for document in edit.documents:
                alias_documents.remove(document, name)
                edit.note_restart(document)
        if not any(edit.changed for edit in edits):
            raise exceptions.NotFound(f'No file defines alias {name!r}')
        users = self._users(parsed_args)
        if not parsed_args.force:
            alias_users.refuse_use(name, users)
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        return columns.show(
            {
                'name': columns.TextColumn(name),
                'use': columns.TextColumn(users.check),
                'flavors': columns.ListColumn(users.flavors),
                'servers': columns.ListColumn(users.servers),
                'files': config_files.present(edits, parsed_args.dry_run),
                'restart': columns.ListColumn(
                    configuration_edits.restart(edits)
                ),
            }
        )

    def _users(
        self, parsed_args: argparse.Namespace
    ) -> alias_users.AliasUsers:
        required = parsed_args.require_cloud
        has_cloud = self.knows_cloud
        cloud, reason = self.optional_connection(required)
        if cloud is None:
            return alias_users.skipped(reason, has_cloud=has_cloud)
        return alias_users.read(cloud, parsed_args.name, required=required)
