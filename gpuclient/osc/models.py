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

"""The GPU model that options name, and what is known of aliases by it."""

import argparse
import functools

from gpuclient.documents import pci_ids
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.rules import catalogue as catalogue_rules


def fill(
    parsed_args: argparse.Namespace,
    models: catalogue.Catalogue,
    *,
    device_type: bool = False,
) -> list[str]:
    """Give options that were left out the values of ``--model``.

    :param device_type: The device type, too.
    :returns: Warnings.
    :raises gpuclient.exceptions.NotFound: There is no such model.
    :raises gpuclient.exceptions.Ambiguous: There are several.
    """
    if parsed_args.model is None:
        return []
    model = models.by_name(parsed_args.model)
    if parsed_args.vendor_id is None:
        parsed_args.vendor_id = model.vendor_id
    if parsed_args.product_id is None:
        parsed_args.product_id = model.product_id
    if not device_type or parsed_args.device_type is not None:
        return []
    parsed_args.device_type = model.device_type
    return [str(found) for found in catalogue_rules.check_choice(model)]


def judge(alias: alias_model.Alias, models: catalogue.Catalogue) -> list[str]:
    """Return what the catalogue and the database of PCI ids find odd."""
    return [
        str(found)
        for found in catalogue_rules.check_alias(alias, models, known_name)
    ]


@functools.cache
def _names() -> pci_ids.Names | None:
    return pci_ids.load()


def known_name(vendor_id: str, product_id: str) -> str | None:
    """Return the name of a device; None only where a database lacks it."""
    names = _names()
    return '' if names is None else names.device(vendor_id, product_id)
