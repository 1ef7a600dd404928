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

"""Flavors that request PCI devices: ``openstack gpu flavor ...``."""

from __future__ import annotations

import argparse
import typing

from osc_lib.cli import parseractions

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient import exceptions
    from gpuclient.model import alias as alias_model
    from gpuclient.model import flavor as flavor_model
    from gpuclient.operations import flavor_check
    from gpuclient.operations import flavor_editing
    from gpuclient.operations import flavor_family
    from gpuclient.operations import flavor_fit
    from gpuclient.operations import flavor_list
    from gpuclient.osc import columns
    from gpuclient.osc import options

if typing.TYPE_CHECKING:
    from gpuclient.model import release as release_model


class _FlavorCommand(command.ShowOne):
    """Base of the commands that show a flavor."""

    def present(
        self,
        flavor: flavor_model.Flavor,
        findings: typing.Iterable[str],
        **others: typing.Any,
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        """Return the columns and values that show a flavor."""
        return columns.show(
            {
                'id': columns.TextColumn(flavor.id),
                'name': columns.TextColumn(flavor.name),
                'vcpus': flavor.vcpus,
                'ram': flavor.ram,
                'disk': flavor.disk,
                'is_public': flavor.is_public,
                'aliases': columns.CountsColumn(flavor.aliases),
                'properties': columns.PropertiesColumn(flavor.extra_specs),
                'findings': columns.ListColumn(list(findings)),
                **others,
                **self.release_fields,
            }
        )

    def present_edited(
        self,
        edited: flavor_editing.EditedFlavor,
        release: release_model.Release,
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        flavor = edited.flavor
        if edited.done:
            self.done = (
                f'Flavor {flavor.name!r} ({flavor.id}) is already '
                f'{edited.done}'
            )
        return self.present(
            edited.flavor,
            flavor_check.check_without_aliases(
                self.cloud, edited.flavor, release
            ),
            notes=columns.ListColumn(list(edited.notes)),
        )


def _add_alias_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--alias',
        metavar='<name:count>',
        dest='aliases',
        action='append',
        default=[],
        help=(
            'Alias and number of devices to request (repeat option for '
            'several aliases)'
        ),
    )


def _add_write_options(parser: argparse.ArgumentParser) -> None:
    policies = ', '.join(alias_model.NUMA_POLICIES)
    parser.add_argument(
        '--numa-policy',
        metavar='<policy>',
        choices=alias_model.NUMA_POLICIES,
        help=(
            f'NUMA affinity policy of the devices ({policies}); overrides '
            'the policy of the alias'
        ),
    )
    parser.add_argument(
        '--property',
        metavar='<key=value>',
        action=parseractions.KeyValueAction,
        dest='properties',
        help='Property to set on the flavor (repeat option for several)',
    )
    parser.add_argument(
        '--force',
        action='store_true',
        help=(
            'Set the properties even if nova-api does not know an alias, a '
            'count is 0, or devices are requested twice'
        ),
    )
    options.add_release(parser, cloud=True)


def _change(parsed_args: argparse.Namespace) -> flavor_editing.FlavorChange:
    """Return what the options write to a flavor."""
    requests: dict[str, int] = {}
    for text in parsed_args.aliases:
        name, count = flavor_model.parse_request(text, force=parsed_args.force)
        if name in requests:
            raise exceptions.InvalidValue(
                f'--alias is specified twice for alias {name!r}'
            )
        requests[name] = count
    return flavor_editing.FlavorChange(
        requests,
        no_alias=getattr(parsed_args, 'no_alias', False),
        numa_policy=parsed_args.numa_policy,
        properties=dict(parsed_args.properties or {}),
        force=parsed_args.force,
    )


class SetFlavor(_FlavorCommand):
    _description = """\
Set the PCI devices that a flavor requests

Aliases are merged by name into those that the flavor already requests. The
request is sent with compute API microversion 2.86, with which Nova validates
extra specs, regardless of the default of this client. Existing servers keep
the flavor that they booted with until they are resized.

Example::

    openstack gpu flavor set device_passthrough --alias nvidia_a2:1"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_flavor(parser, 'Flavor to modify (name or ID)')
        _add_alias_option(parser)
        parser.add_argument(
            '--no-alias',
            action='store_true',
            help=(
                'Remove all aliases from the flavor (specify both --no-alias '
                'and --alias to replace them)'
            ),
        )
        _add_write_options(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        change = _change(parsed_args)
        if change.is_empty:
            raise exceptions.InvalidValue(
                'Nothing to set: specify --alias NAME:COUNT'
            )
        release = self.release_of_cloud(parsed_args)
        return self.present_edited(
            flavor_editing.change(
                self.cloud, parsed_args.flavor, change, release
            ),
            release,
        )


class UnsetFlavor(_FlavorCommand):
    _description = """\
Unset the PCI devices that a flavor requests

Existing servers keep the flavor that they booted with until they are resized.

Example::

    openstack gpu flavor unset device_passthrough --alias nvidia_a2"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_flavor(parser, 'Flavor to modify (name or ID)')
        parser.add_argument(
            '--alias',
            metavar='<name>',
            dest='aliases',
            action='append',
            default=[],
            help='Alias to remove (repeat option for several)',
        )
        parser.add_argument(
            '--numa-policy',
            action='store_true',
            help='Remove the NUMA affinity policy of the devices',
        )
        parser.add_argument(
            '--property',
            metavar='<key>',
            dest='properties',
            action='append',
            default=[],
            help='Property to remove (repeat option for several)',
        )
        options.add_release(parser, cloud=True)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        keys = list(parsed_args.properties)
        if parsed_args.numa_policy:
            keys.append(flavor_model.NUMA_POLICY)
        if not keys and not parsed_args.aliases:
            raise exceptions.InvalidValue(
                'Nothing to unset: specify --alias NAME or --numa-policy'
            )
        release = self.release_of_cloud(parsed_args)
        return self.present_edited(
            flavor_editing.unset(
                self.cloud,
                parsed_args.flavor,
                aliases=parsed_args.aliases,
                keys=keys,
            ),
            release,
        )


class ShowFlavor(_FlavorCommand):
    _description = """\
Show a flavor with the PCI devices that it requests

"findings" lists what is wrong with the flavor: its PCI requests, other
properties that make Nova refuse to create servers, and aliases that the
running nova-api does not know. nova-api is asked once for each alias; no
server is created. No API shows the definition of an alias: with --config, the
definitions in these files are checked against the GPU catalogue.

Example::

    openstack gpu flavor show device_passthrough \\
        --config /etc/nova/nova.conf"""

    reads_snapshots = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_flavor(parser, 'Flavor to show (name or ID)')
        options.add_alias_files(parser)
        options.add_release(parser, cloud=True)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        checked = flavor_list.read_flavor(
            self.cloud,
            parsed_args.flavor,
            parsed_args.files,
            self.release_of_cloud(parsed_args),
        )
        return self.present(checked.flavor, checked.findings)


class ListFlavor(command.Lister):
    _description = """\
List flavors that request PCI devices

With --long, "Findings" lists what is wrong with each flavor, as
"openstack gpu flavor show" does: nova-api is asked once for each alias, and no
server is created.

With --fits, "Fits Now" says whether a server of each flavor would get its
devices now: true, false, or null if that cannot be told. To members of a
project, Placement shows no devices, so that it is null; "Reason" says why.

Example::

    openstack gpu flavor list --alias nvidia_a2"""

    reads_snapshots = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--alias',
            metavar='<name>',
            help='List only flavors that request this alias',
        )
        parser.add_argument(
            '--all',
            action='store_true',
            help='List also flavors that request no PCI devices',
        )
        parser.add_argument(
            '--fits',
            action='store_true',
            help='List also whether a server of each flavor fits now',
        )
        options.add_alias_files(parser)
        options.add_long(parser)
        options.add_release(parser, cloud=True)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        release = self.release_of_cloud(parsed_args)
        checked = flavor_list.read(
            self.cloud,
            alias=parsed_args.alias,
            all_flavors=parsed_args.all,
            ask_nova=parsed_args.long,
            release=release,
        )
        cells: columns.Cells[flavor_list.CheckedFlavor] = {
            'ID': lambda row: columns.TextColumn(row.flavor.id),
            'Name': lambda row: columns.TextColumn(row.flavor.name),
            'VCPUs': lambda row: row.flavor.vcpus,
            'RAM': lambda row: row.flavor.ram,
            'Disk': lambda row: row.flavor.disk,
            'Is Public': lambda row: row.flavor.is_public,
            'Aliases': lambda row: columns.CountsColumn(row.flavor.aliases),
        }
        if parsed_args.fits:
            answer = flavor_fit.read(
                self.cloud,
                [row.flavor for row in checked],
                parsed_args.files,
                release=release,
            )
            self.report(answer.failures)
            cells['Fits Now'] = lambda row: columns.KnownColumn(
                answer.value[row.flavor.id].fits
            )
            cells['Reason'] = lambda row: columns.ProseColumn(
                answer.value[row.flavor.id].reason
            )
        if parsed_args.long:
            cells['Properties'] = lambda row: columns.PropertiesColumn(
                row.flavor.extra_specs
            )
            cells['Findings'] = lambda row: columns.ListColumn(
                list(row.findings)
            )
        return columns.table(cells, checked)


class CreateFlavor(_FlavorCommand):
    _description = """\
Create a flavor that requests PCI devices

The flavor is private unless --public is specified, because any project with
access to it can exhaust the devices. Without --project, only administrators
see a private flavor. If Nova refuses its properties, the flavor is deleted
again.

With --by-share, VCPUs, memory and disk are the share of a host that the
devices have, on the host that has the least for each device, so that all
devices of each host can be used. It also sets dedicated CPUs if the hosts have
them, the NUMA affinity of the devices, huge pages if --bundle shows them, and
the physical address bits that the BARs need. --for-all-counts creates such
flavors with 1, 2, 4, 8 and 16 devices, as far as a host has as many, and
appends the number to the name.

If a flavor of this name exists with the same content, nothing is changed and
the exit status is 0; if it has other content, the command fails.

Example::

    openstack gpu flavor create gpu.a100 --vcpus 8 --ram 65536 --disk 80 \\
        --alias nvidia_a100:1 --project research"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name',
            metavar='<flavor-name>',
            help='New flavor name, or its beginning with --for-all-counts',
        )
        parser.add_argument('--id', metavar='<id>', help='Unique flavor ID')
        for option, metavar, default, text in (
            ('--ram', '<size-mb>', _RAM, 'Memory size in MB'),
            ('--disk', '<size-gb>', 0, 'Disk size in GB'),
            ('--ephemeral', '<size-gb>', 0, 'Ephemeral disk size in GB'),
            ('--swap', '<size-mb>', 0, 'Additional swap size in MB'),
            ('--vcpus', '<vcpus>', _VCPUS, 'Number of vcpus'),
        ):
            shared = option in ('--ram', '--disk', '--vcpus')
            parser.add_argument(
                option,
                type=options.not_negative,
                metavar=metavar,
                help=f'{text} (default: {default}'
                + (
                    ', or the share of the devices with --by-share)'
                    if shared
                    else ')'
                ),
            )
        access = parser.add_mutually_exclusive_group()
        access.add_argument(
            '--public',
            action='store_true',
            help='Flavor is available to all projects',
        )
        access.add_argument(
            '--private',
            dest='public',
            action='store_false',
            default=False,
            help='Flavor is not available to other projects (default)',
        )
        options.add_projects(
            parser,
            (
                'Allow <project> to access the private flavor (name or ID) '
                '(repeat option for several)'
            ),
        )
        _add_alias_option(parser)
        _add_share_options(parser)
        _add_write_options(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        if parsed_args.projects and parsed_args.public:
            raise exceptions.InvalidValue(
                '--project is only allowed with --private'
            )
        if parsed_args.for_all_counts:
            return self._create_family(parsed_args)
        change = _change(parsed_args)
        if not change.requests:
            raise exceptions.InvalidValue(
                'Specify --alias NAME:COUNT. For a flavor without PCI '
                'devices, use "openstack flavor create"'
            )
        release = self.release_of_cloud(parsed_args)
        if parsed_args.by_share:
            answer = flavor_family.create_flavor(
                self.cloud,
                _sizing(parsed_args, next(iter(change.requests))),
                _template(parsed_args, change),
                change.requests,
                catalogue_documents.load(parsed_args.catalogue),
                release,
            )
            self.report(answer.failures)
            return self.present_edited(answer.value, release)
        _refuse_share_options(parsed_args)
        return self.present_edited(
            flavor_editing.create(
                self.cloud,
                flavor_model.Flavor(
                    id=parsed_args.id or '',
                    name=parsed_args.name,
                    vcpus=_or_default(parsed_args.vcpus, _VCPUS),
                    ram=_or_default(parsed_args.ram, _RAM),
                    disk=parsed_args.disk or 0,
                    is_public=parsed_args.public,
                    extra_specs=change.extra_specs(change.requests),
                    ephemeral=parsed_args.ephemeral or 0,
                    swap=parsed_args.swap or 0,
                ),
                parsed_args.projects,
                parsed_args.project_domain,
                force=parsed_args.force,
                release=release,
            ),
            release,
        )

    def _create_family(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        """Create a flavor for each count."""
        for value, option in (
            (parsed_args.id, '--id'),
            (parsed_args.vcpus, '--vcpus'),
            (parsed_args.ram, '--ram'),
        ):
            if value is not None:
                raise exceptions.InvalidValue(
                    f'{option} is not allowed with --for-all-counts, whose '
                    'flavors differ in it'
                )
        if len(parsed_args.aliases) != 1 or ':' in parsed_args.aliases[0]:
            raise exceptions.InvalidValue(
                'Specify one alias without a count with --for-all-counts: '
                '--alias NAME'
            )
        (alias,) = parsed_args.aliases
        options.check_alias_name(alias)
        change = flavor_editing.FlavorChange(
            numa_policy=parsed_args.numa_policy,
            properties=dict(parsed_args.properties or {}),
            force=parsed_args.force,
        )
        answer = flavor_family.create_all(
            self.cloud,
            _sizing(parsed_args, alias),
            _template(parsed_args, change),
            catalogue_documents.load(parsed_args.catalogue),
            self.release_of_cloud(parsed_args),
        )
        self.report(answer.failures)
        return columns.show(
            {
                'alias': columns.TextColumn(alias),
                'largest_count': answer.value.largest,
                'flavors': columns.FamilyColumn(
                    [_member(member) for member in answer.value.members]
                ),
            }
        )


#: The defaults of "openstack flavor create".
_VCPUS = 1
_RAM = 256


def _or_default(value: int | None, default: int) -> int:
    return default if value is None else value


def _add_share_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the size of a flavor."""
    parser.add_argument(
        '--by-share',
        action='store_true',
        help='Size the flavor by the share of a host that its devices have',
    )
    parser.add_argument(
        '--for-all-counts',
        action='store_true',
        help=(
            'Create a flavor of this kind for each count of devices that a '
            'host has (with --alias NAME, without a count)'
        ),
    )
    parser.add_argument(
        '--model',
        metavar='<model>',
        help=(
            'GPU model, whose BARs decide on the address bits (default: the '
            'model of the alias)'
        ),
    )
    options.add_catalogue(parser)
    parser.add_argument(
        '--bundle',
        metavar='<bundle>',
        dest='bundles',
        action='append',
        default=[],
        help=(
            'Bundle of a host, for its huge pages and NUMA nodes (repeat '
            'option for several)'
        ),
    )
    parser.add_argument(
        '--host-numa-nodes',
        metavar='<number>',
        type=options.positive,
        help='NUMA nodes of each host (default: what Nova knows)',
    )
    options.add_alias_files(parser)


def _refuse_share_options(parsed_args: argparse.Namespace) -> None:
    for value, option in (
        (parsed_args.bundles, '--bundle'),
        (parsed_args.host_numa_nodes, '--host-numa-nodes'),
        (parsed_args.model, '--model'),
    ):
        if value:
            raise exceptions.InvalidValue(
                f'{option} is only used with --by-share or --for-all-counts'
            )


def _sizing(
    parsed_args: argparse.Namespace, alias: str
) -> flavor_family.Sizing:
    return flavor_family.Sizing(
        alias,
        tuple(parsed_args.files),
        tuple(parsed_args.bundles),
        parsed_args.host_numa_nodes,
        parsed_args.model,
    )


def _template(
    parsed_args: argparse.Namespace, change: flavor_editing.FlavorChange
) -> flavor_family.Template:
    return flavor_family.Template(
        parsed_args.name,
        parsed_args.id or '',
        parsed_args.public,
        parsed_args.vcpus,
        parsed_args.ram,
        parsed_args.disk,
        parsed_args.ephemeral or 0,
        parsed_args.swap or 0,
        change.extra_specs({}),
        tuple(parsed_args.projects),
        parsed_args.project_domain,
        parsed_args.force,
    )


def _member(member: flavor_family.Member) -> dict[str, typing.Any]:
    flavor = None if member.edited is None else member.edited.flavor
    return {
        'count': member.count,
        'hosts': member.hosts,
        'id': flavor and flavor.id,
        'name': flavor and flavor.name,
        'vcpus': flavor and flavor.vcpus,
        'ram': flavor and flavor.ram,
        'disk': flavor and flavor.disk,
        'properties': flavor and flavor.extra_specs,
        'state': 'none'
        if member.edited is None
        else member.edited.done or 'exists',
        'notes': list(member.notes),
    }
