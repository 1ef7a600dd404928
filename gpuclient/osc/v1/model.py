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

"""GPU models: ``openstack gpu model list`` and ``show``."""

from __future__ import annotations

import argparse
import dataclasses
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.documents import catalogue as catalogue_documents
    from gpuclient.documents import pci_ids
    from gpuclient import exceptions
    from gpuclient.model import catalogue
    from gpuclient.osc import columns
    from gpuclient.osc import options


class ListModel(command.Lister):
    _description = """\
List the GPU models of the catalogue

Shows the PCI IDs of each model and the device type that Nova reports for it.
Values that no source confirms are null. Your own catalogue file can add and
change models. No cloud is needed.

Example::

    openstack gpu model list --vendor nvidia --long"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--vendor',
            metavar='<vendor>',
            help='List only models of this vendor (name or PCI ID)',
        )
        options.add_long(parser)
        options.add_catalogue(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        models = catalogue_documents.load(parsed_args.catalogue)
        shown = models.models
        if parsed_args.vendor is not None:
            shown = models.of_vendor(parsed_args.vendor)
            if not shown:
                vendors = dict.fromkeys(
                    model.vendor.lower() for model in models.models
                )
                raise exceptions.NotFound(
                    f'No vendor {parsed_args.vendor!r} in the catalogue; its '
                    f'vendors: {", ".join(vendors)}'
                )
        return columns.table(_cells(long=parsed_args.long), shown)


def _cells(*, long: bool) -> columns.Cells[catalogue.Model]:
    cells: columns.Cells[catalogue.Model] = {
        'Slug': lambda model: model.slug,
        'Name': lambda model: columns.TextColumn(model.name),
        'Vendor ID': lambda model: model.vendor_id,
        'Product ID': lambda model: model.product_id,
        'Device Type': lambda model: model.device_type,
        'Memory MiB': lambda model: model.memory_mb,
    }
    if long:
        cells |= {
            'Architecture': lambda model: columns.TextColumn(
                model.architecture
            ),
            'Form Factor': lambda model: columns.TextColumn(model.form_factor),
            'Device Types': lambda model: columns.ListColumn(
                list(model.device_types) or None
            ),
            'Largest BAR': lambda model: columns.SizeColumn(
                None if model.largest_bar is None else model.largest_bar.size
            ),
            'NVSwitch': lambda model: model.nvswitch,
            'Driver': lambda model: columns.TextColumn(model.driver),
            'Driver Floor': lambda model: columns.TextColumn(
                model.driver_floor
            ),
            'Open Kernel Modules': lambda model: model.open_kernel_modules,
            'Audio Product ID': lambda model: model.audio_product_id,
        }
    return cells


class ShowModel(command.ShowOne):
    _description = """\
Show a GPU model of the catalogue

The model is specified by its slug, its PCI IDs, its name, or as many words of
the name as identify it. IDs that are not in the catalogue are looked up in the
PCI ID database (pci.ids), which only has names. No cloud is needed.

Example::

    openstack gpu model show 10de:20f1"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'model',
            metavar='<model>',
            help='Model to show (slug, name or PCI IDs, such as 10de:20f1)',
        )
        options.add_catalogue(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        models = catalogue_documents.load(parsed_args.catalogue)
        ids = catalogue.parse_ids(parsed_args.model)
        if ids is not None and not models.by_ids(*ids):
            vendor_id, product_id = ids
            return columns.show(
                {
                    **dict.fromkeys(_MODEL_CELLS),
                    'pci_name': columns.TextColumn(
                        self._unlisted_name(vendor_id, product_id)
                    ),
                    'vendor': columns.TextColumn(
                        catalogue.VENDORS.get(vendor_id)
                    ),
                    'vendor_id': vendor_id,
                    'product_id': product_id,
                }
            )
        model = models.by_name(parsed_args.model)
        names = self._names()
        pci_name = None
        if names is not None:
            pci_name = names.device(model.vendor_id, model.product_id)
        return columns.show(
            {
                **{name: cell(model) for name, cell in _MODEL_CELLS.items()},
                'pci_name': columns.TextColumn(pci_name),
            }
        )

    def _names(self) -> pci_ids.Names | None:
        names = pci_ids.load()
        if names is None:
            self.log.warning(
                '%s',
                'pci_name is null because there is no PCI ID database: '
                'install pciutils, hwdata or python-gpuclient[pciids]',
            )
        return names

    def _unlisted_name(self, vendor_id: str, product_id: str) -> str:
        """Return the name of a device that the catalogue lacks."""
        names = self._names()
        name = names and names.device(vendor_id, product_id)
        if not name:
            raise exceptions.NotFound(
                'Neither the catalogue nor the PCI ID database has '
                f'{vendor_id}:{product_id}'
            )
        return name


def _texts(values: typing.Iterable[str]) -> columns.ListColumn:
    return columns.ListColumn(list(values) or None)


#: The columns of ``show``; most are null if the catalogue lacks the device.
_MODEL_CELLS: columns.Cells[catalogue.Model] = {
    'slug': lambda model: model.slug,
    'name': lambda model: columns.TextColumn(model.name),
    # From the database of PCI IDs.
    'pci_name': lambda _model: None,
    'vendor': lambda model: columns.TextColumn(model.vendor),
    'vendor_id': lambda model: model.vendor_id,
    'product_id': lambda model: model.product_id,
    'subsystem_ids': lambda model: _texts(model.subsystem_ids),
    'architecture': lambda model: columns.TextColumn(model.architecture),
    'form_factor': lambda model: columns.TextColumn(model.form_factor),
    'device_type': lambda model: model.device_type,
    'device_types': lambda model: _texts(model.device_types),
    'memory_mb': lambda model: model.memory_mb,
    'bars': lambda model: columns.BarsColumn(
        [dataclasses.asdict(bar) for bar in model.bars] or None
    ),
    'nvswitch': lambda model: model.nvswitch,
    'audio_product_id': lambda model: model.audio_product_id,
    'driver': lambda model: columns.TextColumn(model.driver),
    'driver_floor': lambda model: columns.TextColumn(model.driver_floor),
    'open_kernel_modules': lambda model: model.open_kernel_modules,
    'resource_class': lambda model: model.resource_class,
    'notes': lambda model: columns.TextColumn(model.notes),
    'sources': lambda model: _texts(model.sources),
}
