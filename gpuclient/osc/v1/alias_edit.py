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
import dataclasses
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.cloud.nova import flavors as nova_flavors
    from gpuclient.cloud.nova import servers as nova_servers
    from gpuclient.documents import aliases as alias_documents
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient import exceptions
    from gpuclient.model import alias as alias_model
    from gpuclient.model import inventory
    from gpuclient.operations import alias_inventory
    from gpuclient.operations import configuration_edits
    from gpuclient.operations import device_names
    from gpuclient.osc import columns
    from gpuclient.osc import config_files
    from gpuclient.osc import models
    from gpuclient.osc import options
    from gpuclient.rules import alias as alias_rules
    from gpuclient.rules import finding


class SetAlias(command.ShowOne):
    _description = """\
Change a PCI alias in configuration files

The alias is changed in place in every file given, each of which has to define
it, and validated as Nova does when it starts. "restart" names the services to
restart; Nova has no API for aliases, so nothing changes until then.

Example::

    openstack gpu alias set nvidia_a2 --numa-policy preferred \\
        --config /etc/nova/nova.conf --dry-run"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_alias(parser, 'Alias to modify')
        options.add_alias_options(parser)
        for option, text in (
            ('device-type', 'Match devices of any type but type-PF'),
            ('numa-policy', 'Leave the NUMA policy to Nova'),
            ('resource-class', 'Leave the resource class to the ids'),
            ('trait', 'Require no trait'),
        ):
            parser.add_argument(
                f'--no-{option}', action='store_true', help=text
            )
        config_files.add_options(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        name = parsed_args.name
        known = catalogue_documents.load(parsed_args.catalogue)
        warnings = models.fill(
            parsed_args, known, device_type=not parsed_args.no_device_type
        )
        changes = _changes(parsed_args)
        if not changes:
            raise exceptions.InvalidValue(
                'Nothing to set: give an option such as --device-type or '
                '--numa-policy'
            )
        edits = config_files.read_some(parsed_args, alias_documents.read)
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
                findings = alias_rules.check(alias)
                errors = finding.errors(findings)
                if errors:
                    raise exceptions.InvalidAlias('; '.join(map(str, errors)))
                warnings += map(str, finding.warnings(findings))
                warnings += device_names.check_alias(alias, known)
                edit.note_restart(document)
            warnings += configuration_edits.warnings(edit)
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        return (
            ('name', 'lines', 'files', 'restart', 'warnings'),
            (
                columns.TextColumn(name),
                columns.ListColumn(
                    list(
                        dict.fromkeys(
                            f'alias = {alias.render()}' for alias in aliases
                        )
                    )
                ),
                config_files.present(edits, parsed_args.dry_run),
                columns.ListColumn(configuration_edits.restart(edits)),
                columns.ListColumn(list(dict.fromkeys(warnings))),
            ),
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
                    '--{option} contradicts another option'.format(
                        option=option.replace('_', '-')
                    )
                )
            changes[key] = None
    return changes


class DeleteAlias(command.ShowOne):
    _description = """\
Delete a PCI alias from configuration files

Refused while a flavor requests it, or a server that booted with it exists:
these can no longer be booted, resized or moved. Refused as well where the
cloud does not say so: because it does not answer, or because you may not see
the servers of all projects. --force deletes the alias nevertheless. Without
any credentials for a cloud, the check is shown as skipped.

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
            help='Delete it although it is, or may be, in use',
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
            raise exceptions.NotFound(f'No file given defines alias {name!r}')
        users = self._users(parsed_args)
        if not parsed_args.force:
            _refuse_use(name, users)
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        return (
            ('name', 'use', 'flavors', 'servers', 'files', 'restart'),
            (
                columns.TextColumn(name),
                columns.TextColumn(users.check),
                columns.ListColumn(users.flavors),
                columns.ListColumn(users.servers),
                config_files.present(edits, parsed_args.dry_run),
                columns.ListColumn(configuration_edits.restart(edits)),
            ),
        )

    def _users(self, parsed_args: argparse.Namespace) -> _Users:
        """Return what uses the alias, as far as the cloud tells."""
        name = parsed_args.name
        configured = self.knows_cloud
        cloud, reason = self.optional_connection(parsed_args.require_cloud)
        if cloud is None:
            return _Users(
                f'{alias_inventory.SKIPPED}: {reason}',
                unknown=reason if configured else '',
            )
        users = _Users('ok')
        failures = []
        try:
            users.flavors = [
                flavor.name
                for flavor in nova_flavors.list_flavors(cloud.compute)
                if name in (flavor.aliases or {})
            ]
        except exceptions.CloudError as exc:
            failures.append(exc)
        try:
            servers = nova_servers.list_servers(
                cloud.compute, all_projects=True
            )
            if any(server.extra_specs is None for server in servers):
                raise exceptions.Forbidden(
                    'the extra specs of servers are hidden (policy '
                    'os_compute_api:os-flavor-extra-specs:index)'
                )
            users.servers = [
                server.name
                for server in servers
                if name in inventory.requested_aliases(server.extra_specs)
            ]
        except exceptions.CloudError as exc:
            failures.append(exc)
        if failures:
            if parsed_args.require_cloud:
                raise failures[0]
            users.unknown = '; '.join(map(str, failures))
            users.check = f'{alias_inventory.SKIPPED}: {users.unknown}'
        return users


@dataclasses.dataclass
class _Users:
    """The flavors and servers that use an alias."""

    #: How the check went.
    check: str
    flavors: list[str] = dataclasses.field(default_factory=list)
    servers: list[str] = dataclasses.field(default_factory=list)
    #: Why there may be more of them; empty where there are none.
    unknown: str = ''


def _refuse_use(name: str, users: _Users) -> None:
    """Make sure that nothing uses an alias.

    :raises gpuclient.exceptions.Conflict: Something does, or may do so.
    """
    names = [
        *(f'flavor {flavor!r}' for flavor in users.flavors[:5]),
        *(f'server {server!r}' for server in users.servers[:5]),
    ]
    if names:
        raise exceptions.Conflict(
            (
                'Alias {name!r} is in use by {users}; nothing was changed '
                '(--force)'
            ).format(name=name, users=', '.join(names))
        )
    if users.unknown:
        raise exceptions.Conflict(
            f'Cannot tell whether alias {name!r} is in use ({users.unknown}); '
            'nothing was changed. Run this as an administrator, or delete '
            'the alias nevertheless with --force'
        )
