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

"""Entries of [pci]device_spec: ``openstack gpu device spec ...``."""

from __future__ import annotations

import argparse
import functools
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient.documents import device_specs
    from gpuclient import exceptions
    from gpuclient.operations import configuration_edits
    from gpuclient.operations import device_spec_editing
    from gpuclient.operations import release_choice
    from gpuclient.osc import columns
    from gpuclient.osc import config_files
    from gpuclient.osc import options

if typing.TYPE_CHECKING:
    from gpuclient.model import release as release_model


def _add_ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--address',
        metavar='<address>',
        help=(
            'PCI address of the devices, [[domain:]bus:]slot[.function], each '
            'part hexadecimal or *'
        ),
    )
    options.add_ids(parser)


class CreateDeviceSpec(command.ShowOne):
    _description = """\
Add a [pci]device_spec entry to compute configuration

nova-compute can assign a device to servers if [pci]device_spec matches it. The
entry is validated as nova-compute does at startup, and added to the given
files; without a file, only the option is printed.

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
        options.add_traits(
            parser, 'Trait of the devices (repeat option for several)'
        )
        for option, text in (
            ('managed', 'Whether libvirt binds the devices to vfio-pci'),
            (
                'live-migratable',
                'Whether servers with the devices can be live migrated',
            ),
            (
                'one-time-use',
                'Whether Nova reserves a device once a server has used it',
            ),
        ):
            parser.add_argument(
                f'--{option}',
                metavar='<yes|no>',
                choices=('yes', 'no'),
                help=text,
            )
        config_files.add_options(parser, of_api=False)
        options.add_release(parser, cloud=False)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        if parsed_args.model is not None:
            options.apply_model(
                parsed_args, catalogue_documents.load(parsed_args.catalogue)
            )
        release = _release(self, parsed_args)
        entry = _entry(parsed_args)
        spec, warnings = device_spec_editing.validate(entry, release)
        edits = config_files.read(
            parsed_args, functools.partial(device_specs.read, release=release)
        )
        warnings += device_spec_editing.add(edits, entry, spec)
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        return columns.show(
            {
                'line': f'device_spec = {device_specs.render(entry)}',
                'files': config_files.present(edits, parsed_args.dry_run),
                'restart': columns.ListColumn(
                    configuration_edits.restart(edits)
                ),
                'warnings': columns.ListColumn(list(dict.fromkeys(warnings))),
                **self.release_fields,
            }
        )


def _release(
    shown: command.Command, parsed_args: argparse.Namespace
) -> release_model.Release:
    """Return the release of Nova that reads the files."""
    chosen = release_choice.choose(
        parsed_args.release, config_files.paths(parsed_args)
    )
    shown.note_release(chosen)
    return chosen.release


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


class DeleteDeviceSpec(command.ShowOne):
    _description = """\
Delete [pci]device_spec entries

Deletes the entries with the given address, vendor and product; other entries
of the same option stay. nova-compute keeps a device that is allocated to a
server, and logs a warning, until the server is deleted or moved.

Example::

    openstack gpu device spec delete --address 0000:04:00.0 \\
        --compute-config /etc/nova/nova.conf"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_ids(parser)
        config_files.add_options(parser, of_api=False)
        options.add_release(parser, cloud=False)
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
                'Specify the entries with --address, --vendor-id or '
                '--product-id'
            )
        release = _release(self, parsed_args)
        edits = config_files.read_some(
            parsed_args, functools.partial(device_specs.read, release=release)
        )
        count = device_spec_editing.remove(edits, wanted)
        config_files.write(self, edits, dry_run=parsed_args.dry_run)
        return columns.show(
            {
                'deleted': count,
                'files': config_files.present(edits, parsed_args.dry_run),
                'restart': columns.ListColumn(
                    configuration_edits.restart(edits)
                ),
                **self.release_fields,
            }
        )


class ListDeviceSpec(command.Lister):
    _description = """\
List [pci]device_spec entries of configuration files

Entries are listed in the order in which nova-compute tries them: the first
that matches a device applies.

Example::

    openstack gpu device spec list --compute-config /etc/nova/nova.conf"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        config_files.add_files(parser, of_api=False)
        options.add_release(parser, cloud=False)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        cells: columns.Cells[device_spec_editing.CheckedSpec] = {
            'Defined In': lambda row: columns.TextColumn(row.where),
            'Address': lambda row: columns.TextColumn(
                row.spec.devname
                if row.spec.address is None
                else str(row.spec.address)
            ),
            'Vendor ID': lambda row: row.spec.vendor_id,
            'Product ID': lambda row: row.spec.product_id,
            'Resource Class': lambda row: columns.TextColumn(
                row.tag('resource_class')
            ),
            'Traits': lambda row: columns.TextColumn(row.tag('traits')),
            'Findings': lambda row: columns.ListColumn(list(row.findings)),
        }
        release = _release(self, parsed_args)
        edits = config_files.read_some(
            parsed_args, functools.partial(device_specs.read, release=release)
        )
        return columns.table(cells, device_spec_editing.list_specs(edits))
