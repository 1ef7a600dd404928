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

"""Aliases: ``openstack gpu alias create``, ``list`` and ``show``."""

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
    from gpuclient.operations import alias_inventory
    from gpuclient.operations import configuration_edits
    from gpuclient.operations import device_names
    from gpuclient.operations import release_choice
    from gpuclient.osc import columns
    from gpuclient.osc import config_files
    from gpuclient.osc import options

if typing.TYPE_CHECKING:
    from openstack import connection

    from gpuclient.model import release as release_model


class CreateAlias(command.ShowOne):
    _description = """\
Validate a PCI alias, then print or write its option

Nova has no API for aliases: each is an option, [pci]alias, of nova-api and
nova-compute. The alias is validated as Nova does at startup, together with the
aliases of the given files, and added to those files that do not define it.
"restart" lists the services to restart. Placement is searched for devices that
the alias matches, and nova-api is asked whether it knows the name; without a
cloud both are shown as skipped.

--model sets the IDs and the device type from the GPU catalogue, which
"openstack gpu model list" shows; other options override it.

Example::

    openstack gpu alias create nvidia_a2 --model nvidia_a2 \\
        --config /etc/nova/nova.conf --dry-run"""

    use_of_cloud = command.CloudUse.OPTIONAL

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('name', metavar='<name>', help='New alias name')
        options.add_alias_options(parser)
        config_files.add_options(parser)
        options.add_require_cloud(parser)
        options.add_release(parser, cloud=True)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        catalogue = catalogue_documents.load(parsed_args.catalogue)
        warnings = options.apply_model(
            parsed_args, catalogue, device_type=True
        )
        paths = config_files.paths(parsed_args)
        chosen = release_choice.choose(parsed_args.release, paths)
        # Before the cloud, which may take long to answer.
        _validate(parsed_args, chosen.release)
        cloud, reason = self.optional_connection(parsed_args.require_cloud)
        if cloud is not None and parsed_args.release is None:
            chosen = release_choice.choose_with_cloud(None, paths, cloud)
        self.note_release(chosen)
        alias, of_alias = _validate(parsed_args, chosen.release)
        warnings += of_alias + device_names.check_alias(alias, catalogue)
        edits = config_files.read(
            parsed_args,
            functools.partial(alias_documents.read, release=chosen.release),
        )
        for edit in edits:
            for document in edit.documents:
                alias_documents.add(
                    document,
                    alias,
                    pci_in_placement=parsed_args.pci_in_placement,
                )
                edit.note_restart(document)
            warnings += configuration_edits.warnings(edit)
        check = (
            alias_creation.skipped(reason)
            if cloud is None
            else _check_cloud(cloud, alias, parsed_args)
        )
        warnings += check.warnings
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        line = f'alias = {alias.render()}'
        return columns.show(
            {
                'name': columns.TextColumn(alias.name),
                'api_line': line,
                'compute_line': line,
                'resource_class': alias.placement_class,
                'traits': columns.ListColumn(sorted(alias.placement_traits)),
                'placement': columns.TextColumn(check.placement),
                'total': check.total,
                'used': check.used,
                'free': check.free,
                'hosts': columns.ListColumn(check.hosts),
                'nova_api': check.nova_api,
                'nova_api_message': columns.TextColumn(check.nova_api_message),
                'files': config_files.present(edits, parsed_args.dry_run),
                'restart': columns.ListColumn(
                    configuration_edits.restart(edits)
                ),
                'warnings': columns.ListColumn(warnings),
                **self.release_fields,
            }
        )


def _check_cloud(
    cloud: connection.Connection,
    alias: alias_model.Alias,
    parsed_args: argparse.Namespace,
) -> alias_creation.CloudCheck:
    return alias_creation.check_cloud(
        cloud,
        alias,
        required=parsed_args.require_cloud,
        # A dry run creates nothing, not even a temporary flavor.
        make_flavors=not parsed_args.dry_run,
    )


def _validate(
    parsed_args: argparse.Namespace, release: release_model.Release
) -> tuple[alias_model.Alias, list[str]]:
    """Return the alias that the options define, and warnings about it."""
    alias = _alias(parsed_args, release)
    return alias, alias_creation.validate(
        alias, parsed_args.pci_in_placement, release
    )


def _alias(
    parsed_args: argparse.Namespace, release: release_model.Release
) -> alias_model.Alias:
    """Return the alias that the options define, as Nova would read it."""
    live_migratable = parsed_args.live_migratable
    alias = alias_model.Alias(
        name=parsed_args.name,
        vendor_id=parsed_args.vendor_id,
        product_id=parsed_args.product_id,
        device_type=parsed_args.device_type,
        numa_policy=parsed_args.numa_policy,
        resource_class=parsed_args.resource_class,
        traits=','.join(parsed_args.traits) or None,
        live_migratable=(
            None if live_migratable is None else live_migratable == 'yes'
        ),
    )
    return alias_creation.parse(alias.render(), release)


class _InventoryCommand(command.Command):
    """Base of the commands that join files and cloud."""

    use_of_cloud = command.CloudUse.OPTIONAL
    reads_snapshots = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_alias_files(parser)
        return parser

    def read(
        self, parsed_args: argparse.Namespace, only: str | None = None
    ) -> alias_inventory.AliasInventory:
        """Return all aliases, or one."""
        answer = alias_inventory.read(
            parsed_args.files, self.optional_connection, only
        )
        self.report(answer.failures)
        return answer.value


class ListAlias(_InventoryCommand, command.Lister):
    _description = """\
List aliases of configuration files and flavors

Nova has no API that lists aliases: they are read from the given files and from
the flavors that you can see. "Nova API" shows whether the running nova-api has
the alias; it is asked for each alias that a flavor requests. Unknown values
are null.

Example::

    openstack gpu alias list --config /etc/nova/nova.conf"""

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        inventory = self.read(parsed_args)
        return columns.table(
            {
                'Name': lambda alias: columns.TextColumn(alias.name),
                'Defined In': lambda alias: columns.ListColumn(
                    [defined.where for defined in alias.definitions]
                ),
                'Flavors': lambda alias: columns.ListColumn(
                    [flavor.name for flavor in alias.flavors]
                ),
                'Resource Classes': lambda alias: columns.ListColumn(
                    list(alias.resource_classes) or None
                ),
                'Total': lambda alias: alias.units('total'),
                'Used': lambda alias: alias.units('used'),
                'Free': lambda alias: alias.units('free'),
                'Nova API': lambda alias: alias.nova_api,
            },
            inventory.records,
        )


class ShowAlias(_InventoryCommand, command.ShowOne):
    _description = """\
Show an alias with its flavors and devices

Shows the alias in the given configuration files, the flavors that request it,
the devices in Placement that it matches, and whether the running nova-api has
it. Unknown values are null.

Example::

    openstack gpu alias show nvidia_a2 --config /etc/nova/nova.conf"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_alias(parser, 'Alias to show')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        name = parsed_args.name
        options.check_alias_name(name)
        inventory = self.read(parsed_args, name)
        (alias,) = inventory.records
        if not alias.is_known:
            raise exceptions.NotFound(
                f'No file defines alias {name!r}, and no flavor that you can '
                'see requests it. To ask nova-api for it, run "openstack gpu '
                f'alias verify {name}"'
            )
        return columns.show(
            {
                'name': columns.TextColumn(name),
                'definitions': columns.DefinitionsColumn(
                    [
                        {
                            'path': defined.path,
                            'line': defined.line,
                            'value': defined.text,
                        }
                        for defined in alias.definitions
                    ]
                ),
                'resource_classes': columns.ListColumn(
                    list(alias.resource_classes) or None
                ),
                'traits': columns.ListColumn(alias.traits),
                'source': columns.TextColumn(alias.source),
                'flavors': columns.ListColumn(
                    [flavor.name for flavor in alias.flavors]
                ),
                'total': alias.units('total'),
                'reserved': alias.units('reserved'),
                'used': alias.units('used'),
                'free': alias.units('free'),
                'hosts': columns.ListColumn(alias.hosts),
                'nova_api': alias.nova_api,
                'nova_api_message': columns.TextColumn(
                    alias.reply.message if alias.reply else None
                ),
                'findings': columns.ListColumn(
                    alias_inventory.findings(alias, inventory.names)
                ),
            }
        )
