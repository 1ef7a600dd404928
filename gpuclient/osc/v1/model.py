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

With their PCI ids and the device type that Nova knows them by; what no source
confirms is null. A file of yours can change models and add some. No cloud is
needed.

Example::

    openstack gpu model list --vendor nvidia --long"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--vendor',
            metavar='<vendor>',
            help='Only models of a vendor: nvidia, amd, intel, or its id',
        )
        parser.add_argument(
            '--long',
            action='store_true',
            help='Also list what guests and hosts need to know',
        )
        options.add_catalogue(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        found = catalogue_documents.load(parsed_args.catalogue)
        models = found.models
        if parsed_args.vendor is not None:
            models = found.of_vendor(parsed_args.vendor)
            if not models:
                vendors = dict.fromkeys(
                    model.vendor.lower() for model in found.models
                )
                raise exceptions.NotFound(
                    (
                        'The catalogue has no vendor {vendor!r}; it has '
                        '{vendors}'
                    ).format(
                        vendor=parsed_args.vendor,
                        vendors=', '.join(vendors),
                    )
                )
        titles: tuple[str, ...] = (
            'Slug',
            'Name',
            'Vendor ID',
            'Product ID',
            'Device Type',
            'Memory MiB',
        )
        if parsed_args.long:
            titles += (
                'Architecture',
                'Form Factor',
                'Device Types',
                'Largest BAR',
                'NVSwitch',
                'Driver',
                'Driver Floor',
                'Open Kernel Modules',
                'Audio Product ID',
            )
        return titles, [_row(model)[: len(titles)] for model in models]


def _row(model: catalogue.Model) -> tuple[typing.Any, ...]:
    largest = model.largest_bar
    return (
        model.slug,
        columns.TextColumn(model.name),
        model.vendor_id,
        model.product_id,
        model.device_type,
        model.memory_mb,
        columns.TextColumn(model.architecture),
        columns.TextColumn(model.form_factor),
        columns.ListColumn(list(model.device_types) or None),
        columns.SizeColumn(None if largest is None else largest.size),
        model.nvswitch,
        columns.TextColumn(model.driver),
        columns.TextColumn(model.driver_floor),
        model.open_kernel_modules,
        model.audio_product_id,
    )


class ShowModel(command.ShowOne):
    _description = """\
Show a GPU model

By its slug, its PCI ids, its name, or as many words of that as tell it from
others. Ids that the catalogue lacks are looked up in the database of PCI ids,
which has their name alone. No cloud is needed.

Example::

    openstack gpu model show 10de:20f1"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'model',
            metavar='<model>',
            help='Slug, name or PCI ids (10de:20f1) of the model',
        )
        options.add_catalogue(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        found = catalogue_documents.load(parsed_args.catalogue)
        ids = catalogue.parse_ids(parsed_args.model)
        if ids is not None and not found.by_ids(*ids):
            return _present(*ids, None, self._unlisted(*ids))
        model = found.by_name(parsed_args.model)
        names = self._names()
        return _present(
            model.vendor_id,
            model.product_id,
            model,
            None
            if names is None
            else names.device(model.vendor_id, model.product_id),
        )

    def _names(self) -> pci_ids.Names | None:
        names = pci_ids.load()
        if names is None:
            self.log.warning(
                '%s',
                (
                    'There is no database of PCI ids, so pci_name is null: '
                    'install pciutils, hwdata or python-gpuclient[pciids]'
                ),
            )
        return names

    def _unlisted(self, vendor_id: str, product_id: str) -> str:
        """Return the name of a device that the catalogue lacks."""
        names = self._names()
        name = names and names.device(vendor_id, product_id)
        if not name:
            raise exceptions.NotFound(
                'Neither the catalogue nor the database of PCI ids has '
                f'{vendor_id}:{product_id}'
            )
        return name


def _present(
    vendor_id: str,
    product_id: str,
    model: catalogue.Model | None,
    pci_name: str | None,
) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
    """Return the columns and values; null for what only a model has."""

    def of(name: str) -> typing.Any:
        return None if model is None else getattr(model, name)

    def texts(name: str) -> columns.ListColumn:
        return columns.ListColumn(list(of(name) or ()) or None)

    return (
        (
            'slug',
            'name',
            'pci_name',
            'vendor',
            'vendor_id',
            'product_id',
            'subsystem_ids',
            'architecture',
            'form_factor',
            'device_type',
            'device_types',
            'memory_mb',
            'bars',
            'nvswitch',
            'audio_product_id',
            'driver',
            'driver_floor',
            'open_kernel_modules',
            'resource_class',
            'notes',
            'sources',
        ),
        (
            of('slug'),
            columns.TextColumn(of('name')),
            columns.TextColumn(pci_name),
            columns.TextColumn(
                catalogue.VENDORS.get(vendor_id)
                if model is None
                else model.vendor
            ),
            vendor_id,
            product_id,
            texts('subsystem_ids'),
            columns.TextColumn(of('architecture')),
            columns.TextColumn(of('form_factor')),
            of('device_type'),
            texts('device_types'),
            of('memory_mb'),
            columns.BarsColumn(
                [dataclasses.asdict(bar) for bar in of('bars') or ()] or None
            ),
            of('nvswitch'),
            of('audio_product_id'),
            columns.TextColumn(of('driver')),
            columns.TextColumn(of('driver_floor')),
            of('open_kernel_modules'),
            of('resource_class'),
            columns.TextColumn(of('notes')),
            texts('sources'),
        ),
    )
