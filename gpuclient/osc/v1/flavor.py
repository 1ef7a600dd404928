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

"""Flavors that ask for devices: ``openstack gpu flavor ...``."""

from __future__ import annotations

import argparse
import collections.abc
import dataclasses
import typing

from osc_lib.cli import parseractions

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.cloud import keystone
    from gpuclient.cloud.nova import alias_probe
    from gpuclient.cloud.nova import flavors as nova_flavors
    from gpuclient.documents import aliases as alias_documents
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient import exceptions
    from gpuclient.model import alias as alias_model
    from gpuclient.model import flavor as flavor_model
    from gpuclient.operations import device_names
    from gpuclient.operations import flavor_check
    from gpuclient.osc import columns
    from gpuclient.osc import options
    from gpuclient.rules import finding
    from gpuclient.rules import flavor as flavor_rules

if typing.TYPE_CHECKING:
    from openstack.compute.v2 import _proxy
    from openstack import connection


class _FlavorCommand(command.ShowOne):
    """What the commands that show a flavor have in common"""

    def present(
        self,
        flavor: flavor_model.Flavor,
        flavors: collections.abc.Sequence[flavor_model.Flavor] | None = None,
        of_definitions: collections.abc.Iterable[str] = (),
        **others: typing.Any,
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        """Return the columns and values that show a flavor.

        :param flavors: All that the user sees, to ask nova-api for its
            aliases with; None where it was asked before.
        :param of_definitions: Findings about the definitions of its aliases.
        """
        replies = (
            {}
            if flavors is None
            else flavor_check.ask_nova(
                self.cloud, flavors, flavor.aliases or ()
            )
        )
        findings = flavor_check.check(
            flavor,
            flavor_check.device_classes(self.cloud, [flavor]),
            replies,
        )
        return (
            (
                'id',
                'name',
                'vcpus',
                'ram',
                'disk',
                'is_public',
                'aliases',
                'properties',
                'findings',
                *others,
            ),
            (
                columns.TextColumn(flavor.id),
                columns.TextColumn(flavor.name),
                flavor.vcpus,
                flavor.ram,
                flavor.disk,
                flavor.is_public,
                columns.CountsColumn(flavor.aliases),
                columns.PropertiesColumn(flavor.extra_specs),
                columns.ListColumn(
                    [*map(str, findings), *dict.fromkeys(of_definitions)]
                ),
                *others.values(),
            ),
        )

    @property
    def compute(self) -> _proxy.Proxy:
        return self.cloud.compute


def _add_alias_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--alias',
        metavar='<name:count>',
        dest='aliases',
        action='append',
        default=[],
        help=(
            'Number of devices of an alias that each server gets (repeat for '
            'several aliases)'
        ),
    )


def _add_write_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--numa-policy',
        metavar='<policy>',
        choices=alias_model.NUMA_POLICIES,
        help=(
            'NUMA affinity of the devices ({}); it overrides that of the alias'
        ).format(', '.join(alias_model.NUMA_POLICIES)),
    )
    parser.add_argument(
        '--property',
        metavar='<key=value>',
        action=parseractions.KeyValueAction,
        dest='properties',
        help='Another property of the flavor (repeat for several)',
    )
    parser.add_argument(
        '--force',
        action='store_true',
        help=(
            'Write although nova-api does not know an alias, a count is 0, '
            'or devices are asked for twice'
        ),
    )


def _requests(parsed_args: argparse.Namespace) -> dict[str, int]:
    """Return the devices that the options ask for, by alias."""
    requests: dict[str, int] = {}
    for text in parsed_args.aliases:
        name, count = flavor_model.parse_request(text, force=parsed_args.force)
        if name in requests:
            raise exceptions.InvalidValue(
                f'--alias is given twice for alias {name!r}'
            )
        requests[name] = count
    return requests


def _new_specs(
    parsed_args: argparse.Namespace, requests: dict[str, int]
) -> dict[str, str]:
    """Return the extra specs to write."""
    specs = dict(parsed_args.properties or {})
    if flavor_model.ALIASES in specs:
        raise exceptions.InvalidValue(
            f'Use --alias instead of --property {flavor_model.ALIASES}'
        )
    if parsed_args.numa_policy is not None:
        specs[flavor_model.NUMA_POLICY] = parsed_args.numa_policy
    if requests:
        specs[flavor_model.ALIASES] = flavor_model.write_aliases(requests)
    return specs


def _check_aliases(
    compute: _proxy.Proxy,
    names: collections.abc.Iterable[str],
    flavors: collections.abc.Sequence[flavor_model.Flavor],
) -> list[str]:
    """Refuse aliases that nova-api denies; return what it left open."""
    open_questions = []
    with alias_probe.Prober(compute, flavors) as prober:
        for name in names:
            for reply in prober.ask(name):
                if reply.state is alias_probe.AliasState.UNKNOWN:
                    open_questions.append(
                        f'Alias {name!r} could not be checked: '
                        f'{reply.explanation}'
                    )
                elif reply.state is not alias_probe.AliasState.DEFINED:
                    raise exceptions.InvalidAlias(
                        f'nova-api refuses alias {name!r}: '
                        f'{reply.explanation}; define it with "gpu alias '
                        'create" and restart nova-api, or write it anyway '
                        'with --force'
                    )
    return [*open_questions, *map(str, prober.failures)]


def _check_flavor(
    cloud: connection.Connection, flavor: flavor_model.Flavor, force: bool
) -> None:
    errors = finding.errors(
        flavor_rules.check(
            flavor, flavor_check.device_classes(cloud, [flavor])
        )
    )
    if errors and not force:
        raise exceptions.InvalidValue(
            'Flavor {flavor!r} was not changed: {findings} (--force)'.format(
                flavor=flavor.name,
                findings='; '.join(str(found) for found in errors),
            )
        )


def _read_back(
    compute: _proxy.Proxy,
    flavor: flavor_model.Flavor,
    written: collections.abc.Mapping[str, str | None],
) -> flavor_model.Flavor:
    """Return the flavor as it is now.

    :param written: What was set, or unset where it is None.
    :raises gpuclient.exceptions.Conflict: It is not what was written.
    """
    specs = nova_flavors.read_extra_specs(compute, flavor)
    lost = [key for key, value in written.items() if specs.get(key) != value]
    if lost:
        raise exceptions.Conflict(
            f'Flavor {flavor.name!r} was changed by somebody else at the same '
            f'time: {lost[0]} is {specs.get(lost[0])!r} now; run the command '
            'again'
        )
    return dataclasses.replace(flavor, extra_specs=specs)


class SetFlavor(_FlavorCommand):
    _description = """\
Set the PCI devices that a flavor requests

The request is sent with compute API microversion 2.86, with which Nova
checks the value, whatever the default of this client is. Aliases are merged
by name into those that the flavor requests. Servers keep the flavor that they
booted with until they are resized.

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
        requests = _requests(parsed_args)
        if not (
            requests
            or parsed_args.no_alias
            or parsed_args.properties
            or parsed_args.numa_policy
        ):
            raise exceptions.InvalidValue(
                'Nothing to set: give --alias NAME:COUNT'
            )
        compute = self.compute
        nova_flavors.require_validation(compute)
        flavors = nova_flavors.list_flavors(compute)
        flavor = nova_flavors.find_flavor(compute, parsed_args.flavor, flavors)
        # The list may be old already; this is what is merged into.
        present = nova_flavors.read_extra_specs(compute, flavor)
        aliases = present.get(flavor_model.ALIASES, '')
        merged = dict(requests)
        if not parsed_args.no_alias:
            had, broken = (
                flavor_model.read_aliases(aliases) if aliases else ({}, ())
            )
            if broken and requests:
                raise exceptions.InvalidValue(
                    f'{flavor_model.ALIASES} of flavor {flavor.name!r} is '
                    f'{aliases!r}, which '
                    'Nova cannot read; replace it with --no-alias '
                    '--alias NAME:COUNT'
                )
            merged = {**had, **requests}
        specs = _new_specs(parsed_args, merged if requests else {})
        after = {**present, **specs}
        if parsed_args.no_alias and not requests:
            after.pop(flavor_model.ALIASES, None)
        _check_flavor(
            self.cloud,
            dataclasses.replace(flavor, extra_specs=after),
            parsed_args.force,
        )
        open_questions = []
        if requests and not parsed_args.force:
            open_questions = _check_aliases(compute, requests, flavors)
        nova_flavors.write_extra_specs(compute, flavor, specs)
        written: dict[str, str | None] = dict(specs)
        if (
            parsed_args.no_alias
            and not requests
            and flavor_model.ALIASES in present
        ):
            nova_flavors.delete_extra_spec(
                compute, flavor, flavor_model.ALIASES
            )
            written[flavor_model.ALIASES] = None
        return self.present(
            _read_back(compute, flavor, written),
            notes=columns.ListColumn([*open_questions, _existing()]),
        )


def _existing() -> str:
    return 'Existing servers keep the flavor that they booted with'


class UnsetFlavor(_FlavorCommand):
    _description = """\
Remove requests for PCI devices from a flavor

Servers keep the flavor that they booted with.

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
            help='Alias to take away (repeat for several)',
        )
        parser.add_argument(
            '--numa-policy',
            action='store_true',
            help='Take the NUMA affinity of the devices away',
        )
        parser.add_argument(
            '--property',
            metavar='<key>',
            dest='properties',
            action='append',
            default=[],
            help='Property to take away (repeat for several)',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        keys = list(parsed_args.properties)
        if parsed_args.numa_policy:
            keys.append(flavor_model.NUMA_POLICY)
        if not keys and not parsed_args.aliases:
            raise exceptions.InvalidValue(
                'Nothing to unset: give --alias NAME or --numa-policy'
            )
        compute = self.compute
        nova_flavors.require_validation(compute)
        flavor = nova_flavors.find_flavor(compute, parsed_args.flavor)
        present = nova_flavors.read_extra_specs(compute, flavor)
        aliases = present.get(flavor_model.ALIASES)
        requests, broken = (
            flavor_model.read_aliases(aliases) if aliases else ({}, ())
        )
        missing = [
            name for name in parsed_args.aliases if name not in requests
        ]
        missing += [key for key in keys if key not in present]
        if missing:
            names = ', '.join(map(repr, missing))
            raise exceptions.NotFound(
                f'Flavor {flavor.name!r} has no {names}; nothing was changed'
            )
        written: dict[str, str | None] = dict.fromkeys(keys)
        if parsed_args.aliases:
            left = {
                name: count
                for name, count in requests.items()
                if name not in parsed_args.aliases
            }
            if broken:
                raise exceptions.InvalidValue(
                    f'{flavor_model.ALIASES} of flavor {flavor.name!r} is '
                    f'{present[flavor_model.ALIASES]!r}, which '
                    'Nova cannot read; clear it with "gpu flavor set '
                    '--no-alias"'
                )
            value = flavor_model.write_aliases(left)
            written[flavor_model.ALIASES] = value or None
        for key, text in written.items():
            if text is None:
                nova_flavors.delete_extra_spec(compute, flavor, key)
            else:
                nova_flavors.write_extra_specs(compute, flavor, {key: text})
        return self.present(
            _read_back(compute, flavor, written),
            notes=columns.ListColumn([_existing()]),
        )


class ShowFlavor(_FlavorCommand):
    _description = """\
Show a flavor and the devices that it requests

"findings" says what is wrong with it: with its requests, with other
properties for which Nova creates no server, and with aliases that the running
nova-api does not know. nova-api is asked once for each alias; no server is
created. No API shows what an alias is defined as: with --config, the
definitions are compared with the catalogue of GPU models, the device type
among them.

Example::

    openstack gpu flavor show device_passthrough \\
        --config /etc/nova/nova.conf"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_flavor(parser, 'Flavor to show (name or ID)')
        options.add_alias_files(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        documents = alias_documents.read_all(parsed_args.files)
        flavors = nova_flavors.list_flavors(self.compute)
        flavor = nova_flavors.find_flavor(
            self.compute, parsed_args.flavor, flavors
        )
        catalogue = catalogue_documents.load(None)
        return self.present(
            flavor,
            flavors,
            [
                warning
                for document in documents
                for defined in document.aliases
                if defined.alias.name in (flavor.aliases or {})
                for warning in device_names.check_alias(
                    defined.alias, catalogue
                )
            ],
        )


class ListFlavor(command.Lister):
    _description = """\
List flavors that request PCI devices

With --long, "Findings" says what is wrong with each, aliases that the running
nova-api does not know included: it is asked once for each alias, and no
server is created.

Example::

    openstack gpu flavor list --alias nvidia_a2"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--alias',
            metavar='<name>',
            help='Only flavors that ask for this alias',
        )
        parser.add_argument(
            '--all',
            action='store_true',
            help='Flavors without devices, too',
        )
        options.add_long(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        flavors = nova_flavors.list_flavors(self.cloud.compute)
        if flavors and all(flavor.extra_specs is None for flavor in flavors):
            raise exceptions.Forbidden(
                'Nova shows this user no extra specs, so no flavor tells '
                'what it asks for (policy '
                'os_compute_api:os-flavor-extra-specs:index)'
            )
        headers: tuple[str, ...] = (
            'ID',
            'Name',
            'VCPUs',
            'RAM',
            'Disk',
            'Is Public',
            'Aliases',
        )
        if parsed_args.long:
            headers += ('Properties', 'Findings')

        def row(flavor: flavor_model.Flavor) -> tuple[typing.Any, ...]:
            values: tuple[typing.Any, ...] = (
                columns.TextColumn(flavor.id),
                columns.TextColumn(flavor.name),
                flavor.vcpus,
                flavor.ram,
                flavor.disk,
                flavor.is_public,
                columns.CountsColumn(flavor.aliases),
            )
            if parsed_args.long:
                values += (
                    columns.PropertiesColumn(flavor.extra_specs),
                    columns.ListColumn(
                        [
                            str(found)
                            for found in flavor_check.check(
                                flavor, classes, replies
                            )
                        ]
                    ),
                )
            return values

        classes = flavor_check.device_classes(self.cloud, flavors)
        shown = [
            flavor
            for flavor in sorted(flavors, key=lambda flavor: flavor.name)
            if (
                parsed_args.all or flavor_model.is_for_devices(flavor, classes)
            )
            and (
                parsed_args.alias is None
                or parsed_args.alias in (flavor.aliases or {})
            )
        ]
        replies: dict[str, alias_probe.Reply] = {}
        if parsed_args.long:
            replies = flavor_check.ask_nova(
                self.cloud,
                flavors,
                (name for flavor in shown for name in flavor.aliases or ()),
            )
        return headers, [row(flavor) for flavor in shown]


class CreateFlavor(_FlavorCommand):
    _description = """\
Create a flavor that requests PCI devices

The flavor is private unless --public is given, because every project that sees
it can use up the devices. Without --project, only admins see a private flavor.
If Nova refuses its properties, the flavor is deleted again.

If a flavor of this name has the same content already, nothing is changed and
the exit status is 0; if it has other content, that is an error.

Example::

    openstack gpu flavor create gpu.a100 --vcpus 8 --ram 65536 --disk 80 \\
        --alias nvidia_a2:1 --project research"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'name', metavar='<flavor-name>', help='New flavor name'
        )
        parser.add_argument('--id', metavar='<id>', help='Unique flavor ID')
        for option, metavar, default, text in (
            ('--ram', '<size-mb>', 256, 'Memory size in MB'),
            ('--disk', '<size-gb>', 0, 'Disk size in GB'),
            ('--ephemeral', '<size-gb>', 0, 'Ephemeral disk size in GB'),
            ('--swap', '<size-mb>', 0, 'Additional swap size in MB'),
            ('--vcpus', '<vcpus>', 1, 'Number of vcpus'),
        ):
            parser.add_argument(
                option,
                type=options.not_negative,
                metavar=metavar,
                default=default,
                help=f'{text} (default: {default})',
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
                '(repeat for several)'
            ),
        )
        _add_alias_option(parser)
        _add_write_options(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        if parsed_args.projects and parsed_args.public:
            raise exceptions.InvalidValue(
                '--project is only allowed with --private'
            )
        requests = _requests(parsed_args)
        if not requests:
            raise exceptions.InvalidValue(
                'Give --alias NAME:COUNT: a flavor without it gives '
                'servers no device, and "openstack flavor create" makes '
                'those'
            )
        wanted = flavor_model.Flavor(
            id=parsed_args.id or '',
            name=parsed_args.name,
            vcpus=parsed_args.vcpus,
            ram=parsed_args.ram,
            disk=parsed_args.disk,
            is_public=parsed_args.public,
            extra_specs=_new_specs(parsed_args, requests),
            ephemeral=parsed_args.ephemeral,
            swap=parsed_args.swap,
        )
        _check_flavor(self.cloud, wanted, parsed_args.force)
        compute = self.compute
        nova_flavors.require_validation(compute)
        projects = [
            keystone.find_project(
                self.cloud, project, parsed_args.project_domain
            )
            for project in parsed_args.projects
        ]
        flavors = nova_flavors.list_flavors(compute)
        present = next(
            (flavor for flavor in flavors if flavor.name == wanted.name), None
        )
        if present is not None:
            _check_same(compute, present, wanted, projects)
            return self.present(
                present, notes=columns.ListColumn(['It was there already'])
            )
        notes = []
        if not parsed_args.public and not projects:
            notes.append(
                'No project has access, so that only admins see it; give '
                'access with "openstack flavor set --project PROJECT '
                f'{wanted.name}"'
            )
        if requests and not parsed_args.force:
            notes += _check_aliases(compute, requests, flavors)
        specs = wanted.extra_specs or {}
        flavor = nova_flavors.create_flavor(
            compute,
            parsed_args.name,
            vcpus=parsed_args.vcpus,
            ram=parsed_args.ram,
            disk=parsed_args.disk,
            is_public=parsed_args.public,
            flavor_id=parsed_args.id,
            swap=parsed_args.swap,
            **{'OS-FLV-EXT-DATA:ephemeral': parsed_args.ephemeral},
        )
        try:
            nova_flavors.write_extra_specs(compute, flavor, specs)
            for project_id in projects:
                nova_flavors.add_access(compute, flavor, project_id)
            flavor = _read_back(compute, flavor, specs)
        except BaseException as exc:
            try:
                nova_flavors.delete_flavor(compute, flavor.id, missing_ok=True)
            except exceptions.CloudError as another:
                raise exceptions.CloudError(
                    f'{str(exc) or type(exc).__name__}; flavor '
                    f'{flavor.name!r} is still there: {another}'
                ) from exc
            raise
        return self.present(flavor, notes=columns.ListColumn(notes))


def _check_same(
    compute: _proxy.Proxy,
    present: flavor_model.Flavor,
    wanted: flavor_model.Flavor,
    projects: collections.abc.Iterable[str],
) -> None:
    """Make sure that a flavor is as one that is to be made.

    :raises gpuclient.exceptions.Conflict: It is not; nothing was changed.
    """
    differences = [
        f'{field.name} {getattr(present, field.name)!r}'
        for field in dataclasses.fields(wanted)
        if field.name not in ('id', 'extra_specs')
        and getattr(present, field.name) != getattr(wanted, field.name)
    ]
    if wanted.id and wanted.id != present.id:
        differences.append(f'id {present.id!r}')
    had = present.extra_specs or {}
    new = wanted.extra_specs or {}
    differences += [
        f'{key} {had.get(key)!r}'
        for key in sorted({*had, *new})
        if had.get(key) != new.get(key)
    ]
    if projects and not present.is_public:
        access = nova_flavors.list_access(compute, present)
        differences += [
            f'no access for project {project}'
            for project in projects
            if project not in access
        ]
    if differences:
        raise exceptions.Conflict(
            (
                'Flavor {name!r} is there already, and differs: it has '
                '{differences}. Change it with "gpu flavor set" or '
                '"openstack flavor set", or give another name'
            ).format(
                name=present.name,
                differences=', '.join(differences),
            )
        )
