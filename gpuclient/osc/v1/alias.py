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
import collections
import collections.abc
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.cloud.nova import alias_probe
    from gpuclient.cloud.nova import flavors as nova_flavors
    from gpuclient.cloud.nova import hypervisors
    from gpuclient.cloud.placement import devices as placement_devices
    from gpuclient.cloud import usage
    from gpuclient.documents import aliases as alias_documents
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient import exceptions
    from gpuclient.model import alias as alias_model
    from gpuclient.model import flavor as flavor_model
    from gpuclient.model import inventory
    from gpuclient.model import partial_result
    from gpuclient.operations import alias_inventory
    from gpuclient.operations import configuration_edits
    from gpuclient.operations import device_names
    from gpuclient.osc import columns
    from gpuclient.osc import config_files
    from gpuclient.osc import models
    from gpuclient.osc import options
    from gpuclient.rules import alias as alias_rules
    from gpuclient.rules import finding
    from gpuclient.rules import flavor as flavor_rules

if typing.TYPE_CHECKING:
    from openstack import connection


class CreateAlias(command.ShowOne):
    _description = """\
Validate a new PCI alias, and print it or write it to files

The alias is validated as Nova does when it starts, together with the aliases
of each file given. It is added to the files that do not define it, and
"restart" names the services to restart: Nova has no API for aliases, so
nothing changes before that. Placement is queried for devices that the alias
matches, and nova-api for the name; without a cloud both are shown as skipped.

--model takes the ids and the device type from the catalogue of GPU models
("gpu model list"); other options override it.

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
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        known = catalogue_documents.load(parsed_args.catalogue)
        warnings = models.fill(parsed_args, known, device_type=True)
        alias = _alias(parsed_args)
        warnings += _judge(alias, parsed_args.pci_in_placement)
        warnings += device_names.check_alias(alias, known)
        edits = config_files.read(parsed_args, alias_documents.read)
        for edit in edits:
            for document in edit.documents:
                alias_documents.add(
                    document,
                    alias,
                    pci_in_placement=parsed_args.pci_in_placement,
                )
                edit.note_restart(document)
            warnings += configuration_edits.warnings(edit)
        live = self._ask(alias, parsed_args)
        warnings += live.warnings
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        line = f'alias = {alias.render()}'
        restart = configuration_edits.restart(edits)
        return (
            (
                'name',
                'api_line',
                'compute_line',
                'resource_class',
                'traits',
                'placement',
                'total',
                'used',
                'free',
                'hosts',
                'nova_api',
                'nova_api_message',
                'files',
                'restart',
                'warnings',
            ),
            (
                columns.TextColumn(alias.name),
                line,
                line,
                alias.placement_class,
                columns.ListColumn(sorted(alias.placement_traits)),
                columns.TextColumn(live.placement),
                live.total,
                live.used,
                live.free,
                columns.ListColumn(live.hosts),
                live.nova_api,
                columns.TextColumn(live.words),
                config_files.present(edits, parsed_args.dry_run),
                columns.ListColumn(restart),
                columns.ListColumn(warnings),
            ),
        )

    def _ask(
        self, alias: alias_model.Alias, parsed_args: argparse.Namespace
    ) -> alias_inventory.Live:
        required = parsed_args.require_cloud
        cloud, reason = self.optional_connection(required)
        if cloud is None:
            return alias_inventory.Live(
                placement=f'skipped: {reason}',
                nova_api=alias_inventory.SKIPPED,
                words=reason,
            )
        # Not even for a moment is anything written on a dry run.
        return _ask_cloud(
            cloud, alias, required, make_flavors=not parsed_args.dry_run
        )


def _alias(parsed_args: argparse.Namespace) -> alias_model.Alias:
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
    return alias_model.parse(alias.render())


def _judge(alias: alias_model.Alias, pci_in_placement: bool) -> list[str]:
    """Refuse what Nova refuses, or nobody can want; return warnings."""
    findings = alias_rules.check(alias)
    errors = finding.errors(findings)
    if errors:
        raise exceptions.InvalidAlias('; '.join(map(str, errors)))
    warnings = [str(found) for found in finding.warnings(findings)]
    try:
        alias_model.merge([alias.render()], pci_in_placement)
    except exceptions.InvalidAlias as exc:
        if pci_in_placement:
            raise _without_ids(exc) from exc
        # Right for a service with pci_in_placement alone, or for none.
        try:
            alias_model.merge([alias.render()], True)
        except exceptions.InvalidAlias as exc:
            raise _without_ids(exc) from exc
        warnings.append(str(alias_rules.needs_pci_in_placement(alias)))
    return warnings


def _without_ids(exc: exceptions.InvalidAlias) -> exceptions.InvalidAlias:
    return exceptions.InvalidAlias(
        f'{exc} Give --model, or --vendor-id and --product-id, or '
        '--resource-class'
    )


def _ask_cloud(
    cloud: connection.Connection,
    alias: alias_model.Alias,
    required: bool,
    *,
    make_flavors: bool,
) -> alias_inventory.Live:
    live = alias_inventory.Live(
        placement='ok', nova_api=alias_inventory.SKIPPED
    )
    try:
        found = placement_devices.read_devices(
            cloud.placement,
            resource_class=alias.placement_class,
            count_hosts=lambda: hypervisors.count(cloud.compute),
        )
    except exceptions.CloudError as exc:
        if required:
            raise
        live.placement = f'skipped: {exc}'
    else:
        if required and found.failures:
            raise exceptions.CloudError(str(found.failures[0]))
        devices = inventory.of_alias(found.value, alias)
        totals = inventory.totals(devices)
        live.total, live.used = totals.total, totals.used
        live.free = totals.free
        live.hosts = sorted({device.host for device in devices})
        if found.failures:
            live.placement = f'incomplete: {found.failures[0]}'
        elif not devices:
            live.warnings.append(str(alias_rules.matches_nothing(alias)))
    try:
        flavors = nova_flavors.list_flavors(cloud.compute)
        with alias_probe.Prober(
            cloud.compute, flavors, make_flavors=make_flavors
        ) as prober:
            (reply,) = prober.ask(alias.name)
    except exceptions.CloudError as exc:
        if required:
            raise
        live.words = str(exc)
        return live
    live.warnings += map(str, prober.failures)
    live.nova_api, live.words = str(reply.state), reply.message
    if reply.state is alias_probe.AliasState.DEFINED:
        live.warnings += _meaning_differs(cloud, alias)
    return live


def _meaning_differs(
    cloud: connection.Connection, alias: alias_model.Alias
) -> list[str]:
    """Return a warning where servers show another meaning of the name."""
    try:
        use = usage.read_usage(cloud).value
    except exceptions.CloudError:
        return []
    classes, servers = inventory.alias_classes(
        alias.name, use.servers, use.devices
    )
    if not classes or alias.placement_class in classes:
        return []
    names = [server.name for server in servers]
    return [str(alias_rules.other_class(alias, classes, names))]


class _Joined(command.Command):
    """What the commands that join documents and cloud have in common"""

    use_of_cloud = command.CloudUse.OPTIONAL
    #: All aliases that documents define or flavors request.
    names: collections.abc.Set[str] = frozenset()

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_alias_files(parser)
        return parser

    def join(
        self, files: collections.abc.Iterable[str], only: str | None = None
    ) -> list[alias_inventory.Known]:
        """Return what is known of each alias, or of one."""
        definitions: dict[str, list[alias_documents.DefinedAlias]] = (
            collections.defaultdict(list)
        )
        for document in alias_documents.read_all(files):
            for defined in document.aliases:
                known_of_name = definitions[defined.alias.name]
                # Several services may read the same file.
                if defined not in known_of_name:
                    known_of_name.append(defined)
        cloud, reason = self.optional_connection()
        flavors: tuple[flavor_model.Flavor, ...] = ()
        if cloud is None:
            if not definitions and not files:
                raise exceptions.Unreachable(
                    'There is nothing to read aliases from: give a '
                    f'nova.conf with --config, or a cloud ({reason})'
                )
        else:
            flavors = self._flavors(cloud)
        self.names = set(definitions).union(
            *(flavor.aliases or () for flavor in flavors)
        )
        names = {only} if only is not None else set(definitions)
        if only is None:
            for flavor in flavors:
                names.update(flavor.aliases or ())
        known = [
            alias_inventory.Known(
                name,
                definitions.get(name, []),
                [
                    flavor
                    for flavor in flavors
                    if name in (flavor.aliases or {})
                ],
            )
            for name in sorted(names)
        ]
        if cloud is not None and known:
            self._ask_nova(cloud, flavors, known)
            self._ask_placement(cloud, known)
        for one in known:
            if not one.resource_classes and one.definitions:
                one.resource_classes = _classes(one)
                one.source = one.definitions[0].where
        return known

    def _flavors(
        self, cloud: connection.Connection
    ) -> tuple[flavor_model.Flavor, ...]:
        try:
            return nova_flavors.list_flavors(cloud.compute)
        except exceptions.CloudError as exc:
            self.report([partial_result.Failure('flavors', str(exc))])
            return ()

    def _ask_nova(
        self,
        cloud: connection.Connection,
        flavors: tuple[flavor_model.Flavor, ...],
        known: list[alias_inventory.Known],
    ) -> None:
        # To look is not to change anything: no flavor is made for it.
        with alias_probe.Prober(
            cloud.compute, flavors, make_flavors=False
        ) as prober:
            for one in known:
                (one.reply,) = prober.ask(one.name)

    def _ask_placement(
        self, cloud: connection.Connection, known: list[alias_inventory.Known]
    ) -> None:
        try:
            found = usage.read_usage(cloud)
        except exceptions.Forbidden:
            # A member does not see devices.
            return
        except exceptions.CloudError as exc:
            self.report([partial_result.Failure('devices', str(exc))])
            return
        self.report(found.failures)
        use = found.value
        for one in known:
            if one.definitions:
                one.resource_classes = _classes(one)
                one.source = one.definitions[0].where
                one.devices = tuple(
                    device
                    for device in use.devices
                    if any(
                        inventory.of_alias([device], defined.alias)
                        for defined in one.definitions
                    )
                )
                continue
            shown = alias_inventory.shown(one.name, use)
            if shown is not None:
                one.resource_classes = shown.resource_classes
                one.source = shown.source
                one.devices = shown.devices


def _classes(known: alias_inventory.Known) -> tuple[str, ...]:
    return tuple(
        sorted(
            {
                defined.alias.placement_class
                for defined in known.definitions
                if defined.alias.placement_class is not None
            }
        )
    )


class ListAlias(_Joined, command.Lister):
    _description = """\
List aliases that configuration files define or flavors request

Nova has no list of its aliases: they come from the files given and from the
flavors that you see. "Nova API" is the answer of the running nova-api, which
is asked where a flavor asks for the alias. What cannot be known is null.

Example::

    openstack gpu alias list --config /etc/nova/nova.conf"""

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        rows = []
        for known in self.join(parsed_args.files):
            totals = known.totals
            rows.append(
                (
                    columns.TextColumn(known.name),
                    columns.ListColumn(
                        [defined.where for defined in known.definitions]
                    ),
                    columns.ListColumn(
                        [flavor.name for flavor in known.flavors]
                    ),
                    columns.ListColumn(list(known.resource_classes) or None),
                    totals.total if totals else None,
                    totals.used if totals else None,
                    totals.free if totals else None,
                    str(known.reply.state)
                    if known.reply
                    else alias_inventory.SKIPPED,
                )
            )
        return (
            'Name',
            'Defined In',
            'Flavors',
            'Resource Classes',
            'Total',
            'Used',
            'Free',
            'Nova API',
        ), rows


class ShowAlias(_Joined, command.ShowOne):
    _description = """\
Show what is known of an alias

Joins the configuration files given, the flavors that ask for it, the devices
in Placement, and what the running nova-api answers. What cannot be known is
null.

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
        (known,) = self.join(parsed_args.files, name)
        reply = known.reply
        if (
            not known.definitions
            and not known.flavors
            and (
                reply is None
                or reply.state is not alias_probe.AliasState.DEFINED
            )
        ):
            raise exceptions.NotFound(
                'No file given and no flavor that you see has an alias '
                f'{name!r}; "gpu alias verify" asks nova-api for it'
            )
        totals = known.totals
        return (
            (
                'name',
                'definitions',
                'resource_classes',
                'traits',
                'source',
                'flavors',
                'total',
                'reserved',
                'used',
                'free',
                'hosts',
                'nova_api',
                'nova_api_message',
                'findings',
            ),
            (
                columns.TextColumn(name),
                columns.DefinitionsColumn(
                    [
                        {
                            'path': defined.path,
                            'line': defined.line,
                            'value': defined.text,
                        }
                        for defined in known.definitions
                    ]
                ),
                columns.ListColumn(list(known.resource_classes) or None),
                columns.ListColumn(
                    sorted(
                        {
                            trait
                            for defined in known.definitions
                            for trait in defined.alias.placement_traits
                        }
                    )
                    if known.definitions
                    else None
                ),
                columns.TextColumn(known.source),
                columns.ListColumn([flavor.name for flavor in known.flavors]),
                totals.total if totals else None,
                totals.reserved if totals else None,
                totals.used if totals else None,
                totals.free if totals else None,
                columns.ListColumn(
                    None
                    if known.devices is None
                    else sorted({device.host for device in known.devices})
                ),
                str(reply.state) if reply else alias_inventory.SKIPPED,
                columns.TextColumn(reply.message if reply else None),
                columns.ListColumn(
                    [*_disagreements(known), *self._undefined(known)]
                ),
            ),
        )

    def _undefined(
        self, known: alias_inventory.Known
    ) -> collections.abc.Iterator[str]:
        if (
            known.reply is not None
            and known.reply.state is alias_probe.AliasState.NOT_DEFINED
        ):
            yield str(
                flavor_rules.undefined_alias(
                    known.name,
                    known.reply.explanation,
                    self.names - {known.name},
                )
            )


def _disagreements(known: alias_inventory.Known) -> list[str]:
    """Return what is wrong with the definitions, or between them."""
    findings: list[str] = []
    catalogue = catalogue_documents.load(None)
    for defined in known.definitions:
        findings += map(str, alias_rules.check(defined.alias, catalogue))
    for defined in known.definitions[1:]:
        first = known.definitions[0]
        if defined.alias.meaning != first.alias.meaning:
            findings.append(
                str(
                    alias_rules.clash(
                        first.alias, defined.alias, defined.where
                    )
                )
            )
    for defined in known.definitions:
        findings += device_names.check_alias(defined.alias, catalogue)
    return list(dict.fromkeys(findings))
