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

"""Device specs in files: ``openstack gpu device spec ...``."""

from __future__ import annotations

import argparse
import collections.abc
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient.documents import device_specs
    from gpuclient import exceptions
    from gpuclient.model import device_spec
    from gpuclient.operations import configuration_edits
    from gpuclient.osc import columns
    from gpuclient.osc import config_files
    from gpuclient.osc import models
    from gpuclient.osc import options
    from gpuclient.rules import device_spec as device_spec_rules
    from gpuclient.rules import finding


def _add_ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--address',
        metavar='<address>',
        help=(
            'PCI address, [[domain:]bus:]slot[.function], each hexadecimal '
            'or *'
        ),
    )
    options.add_ids(parser)


class CreateDeviceSpec(command.ShowOne):
    _description = """\
Add an entry to the device specs of a nova-compute

A device that [pci]device_spec of a nova-compute matches can be assigned to
servers. The entry is validated as nova-compute does when it starts, and added
to the files given; without a file its line is printed.

Example::

    openstack gpu device spec create --address 0000:04:00.0 \\
        --model nvidia_a100_pcie_40gb --compute-config /etc/nova/nova.conf"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_model(parser)
        _add_ids(parser)
        options.add_resource_class(
            parser, 'Resource class of the devices in Placement'
        )
        options.add_traits(parser, 'Trait of the devices (repeat for several)')
        for option, text in (
            ('managed', 'Whether libvirt binds the driver of the device'),
            ('live-migratable', 'Whether servers can be live migrated'),
            ('one-time-use', 'Whether a device is reserved after its use'),
        ):
            parser.add_argument(
                f'--{option}',
                metavar='<yes|no>',
                choices=('yes', 'no'),
                help=text,
            )
        config_files.add_options(parser, of_api=False)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        if parsed_args.model is not None:
            models.fill(
                parsed_args, catalogue_documents.load(parsed_args.catalogue)
            )
        entry = _entry(parsed_args)
        _refuse(device_spec_rules.check_new(entry))
        (spec,) = device_spec.parse(device_specs.render(entry))
        findings = tuple(device_spec_rules.check(spec))
        _refuse(findings)
        warnings = [str(found) for found in finding.warnings(findings)]
        edits = config_files.read(parsed_args, device_specs.read)
        for edit in edits:
            for document in edit.documents:
                before = document.specs
                if not device_specs.add(document, entry):
                    continue
                edit.note_restart(document)
                warnings += map(str, _never_reached(spec, before))
                if document.report_in_placement:
                    _refuse(device_spec_rules.check_reporting(spec))
                else:
                    warnings.append(str(device_spec_rules.not_reported()))
            warnings += configuration_edits.warnings(edit)
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        return (
            ('line', 'files', 'restart', 'warnings'),
            (
                f'device_spec = {device_specs.render(entry)}',
                config_files.present(edits, parsed_args.dry_run),
                columns.ListColumn(configuration_edits.restart(edits)),
                columns.ListColumn(list(dict.fromkeys(warnings))),
            ),
        )


def _entry(parsed_args: argparse.Namespace) -> dict[str, str]:
    entry = {
        'address': parsed_args.address,
        'vendor_id': parsed_args.vendor_id,
        'product_id': parsed_args.product_id,
        'resource_class': parsed_args.resource_class,
        'traits': ','.join(parsed_args.traits) or None,
        'managed': parsed_args.managed,
        'live_migratable': parsed_args.live_migratable,
        'one_time_use': parsed_args.one_time_use,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _never_reached(
    spec: device_spec.DeviceSpec,
    before: collections.abc.Sequence[device_specs.DefinedSpec],
) -> list[finding.Finding]:
    """Return the finding that entries before one match all it matches."""
    earlier = [defined.spec for defined in before]
    others = device_spec_rules.shadowed(spec, earlier)
    places = dict.fromkeys(
        before[earlier.index(other)].where for other in others
    )
    return [device_spec_rules.never_reached(*places)] if places else []


def _refuse(findings: collections.abc.Iterable[finding.Finding]) -> None:
    errors = finding.errors(tuple(findings))
    if errors:
        raise exceptions.InvalidDeviceSpec('; '.join(map(str, errors)))


class DeleteDeviceSpec(command.ShowOne):
    _description = """\
Remove entries from the device specs of a nova-compute

Removes the entries of [pci]device_spec that have the address, vendor and
product given; of a line with several entries the others stay. nova-compute
keeps a device that is allocated to a server, and logs a warning, until the
server is deleted or moved.

Example::

    openstack gpu device spec delete --address 0000:04:00.0 \\
        --compute-config /etc/nova/nova.conf"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_ids(parser)
        config_files.add_options(parser, of_api=False)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        wanted = {
            key: getattr(parsed_args, key)
            for key in ('address', 'vendor_id', 'product_id')
            if getattr(parsed_args, key) is not None
        }
        if not wanted:
            raise exceptions.InvalidValue(
                'Say which: give --address, --vendor-id or --product-id'
            )
        (like,) = device_spec.parse(device_specs.render(wanted))

        def chosen(spec: device_spec.DeviceSpec) -> bool:
            return all(
                getattr(spec, key) == getattr(like, key) for key in wanted
            )

        edits = config_files.read_some(parsed_args, device_specs.read)
        count = 0
        for edit in edits:
            for document in edit.documents:
                count += device_specs.remove(document, chosen)
                edit.note_restart(document)
        if not count:
            raise exceptions.NotFound(
                'No file given has a device spec with {wanted}'.format(
                    wanted=', '.join(
                        f'{key} {value!r}' for key, value in wanted.items()
                    ),
                )
            )
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        return (
            ('deleted', 'files', 'restart'),
            (
                count,
                config_files.present(edits, parsed_args.dry_run),
                columns.ListColumn(configuration_edits.restart(edits)),
            ),
        )


class ListDeviceSpec(command.Lister):
    _description = """\
List the entries of [pci]device_spec of configuration files

In the order in which nova-compute tries them: the first that matches a device
applies.

Example::

    openstack gpu device spec list --compute-config /etc/nova/nova.conf"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        config_files.add_files(parser, of_api=False)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        rows = []
        shown: list[device_specs.DefinedSpec] = []
        for edit in config_files.read_some(parsed_args, device_specs.read):
            for document in edit.documents:
                specs = document.specs
                for number, defined in enumerate(specs):
                    # Several computes may read the same file.
                    if defined in shown:
                        continue
                    shown.append(defined)
                    spec = defined.spec
                    before = specs[:number]
                    findings = list(device_spec_rules.check(spec))
                    findings += _never_reached(spec, before)
                    if document.report_in_placement:
                        findings += device_spec_rules.check_reporting(spec)
                    rows.append(
                        (
                            columns.TextColumn(defined.where),
                            columns.TextColumn(
                                spec.devname
                                if spec.address is None
                                else str(spec.address)
                            ),
                            spec.vendor_id,
                            spec.product_id,
                            columns.TextColumn(
                                _text(spec.tags.get('resource_class'))
                            ),
                            columns.TextColumn(_text(spec.tags.get('traits'))),
                            columns.ListColumn(list(map(str, findings))),
                        )
                    )
        return (
            'Defined In',
            'Address',
            'Vendor ID',
            'Product ID',
            'Resource Class',
            'Traits',
            'Findings',
        ), rows


def _text(value: typing.Any) -> str | None:
    return None if value is None else str(value)
