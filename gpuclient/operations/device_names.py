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

"""Names of PCI devices, and aliases that do not fit them."""

import functools

from gpuclient.documents import pci_ids
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.rules import catalogue as catalogue_rules


def check_alias(
    alias: alias_model.Alias, models: catalogue.Catalogue
) -> list[str]:
    """Return warnings of the GPU catalogue and the database of PCI ids."""
    return [
        str(warning)
        for warning in catalogue_rules.check_alias(alias, models, known_name)
    ]


def check_model(model: catalogue.Model) -> list[str]:
    """Return warnings about a model whose values an alias takes."""
    return list(map(str, catalogue_rules.check_choice(model)))


@functools.cache
def _names() -> pci_ids.Names | None:
    return pci_ids.load()


def known_name(vendor_id: str, product_id: str) -> str | None:
    """Return the name of a device; None if a database lacks it.

    Without a database it is empty.
    """
    names = _names()
    return '' if names is None else names.device(vendor_id, product_id)
