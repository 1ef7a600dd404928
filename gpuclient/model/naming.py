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

"""Resource classes and traits of devices, normalized as Nova does.

Nova normalizes the names of an alias and those of a device spec before it
compares them (``nova/compute/pci_placement_translator.py``).
"""

import functools
import re

_CUSTOM = 'CUSTOM_'
#: Names that Placement accepts besides the standard ones.
RULE = (
    'CUSTOM_ and capital letters, digits and underscores, at most 255 '
    'characters'
)
#: ``placement/schemas/common.py``
_LEGAL = re.compile('CUSTOM_[A-Z0-9_]+', re.ASCII)
_LONGEST = 255


def is_resource_class(name: str) -> bool:
    """Return whether Placement accepts a name as a resource class."""
    import os_resource_classes

    return name in os_resource_classes.STANDARDS or _is_custom(name)


def is_trait(name: str) -> bool:
    """Return whether Placement accepts a name as a trait."""
    import os_traits

    return not os_traits.check_traits([name])[1] or _is_custom(name)


def _is_custom(name: str) -> bool:
    return _LEGAL.fullmatch(name) is not None and len(name) <= _LONGEST


def resource_class(
    vendor_id: str | None, product_id: str | None, requested: str | None = None
) -> str:
    """Return the resource class of a device, or of a request for one.

    ``CUSTOM_PCI_10DE_20F1`` unless one is requested. That one is changed to
    upper case and, unless it is a standard class or begins with ``CUSTOM_``,
    normalized to a custom class
    (``pci_placement_translator.py:get_resource_class``). A name that begins
    with ``CUSTOM_`` is not changed, even if Placement refuses it.
    """
    import os_resource_classes

    if not requested:
        return f'CUSTOM_PCI_{vendor_id}_{product_id}'.upper()
    name = requested.upper()
    if name in os_resource_classes.STANDARDS or name.startswith(_CUSTOM):
        return name
    return str(os_resource_classes.normalize_name(name))


def traits(text: str) -> frozenset[str]:
    """Return the traits of a comma-separated list.

    A standard trait in its exact spelling is kept; any other is changed to
    upper case and, unless it then begins with ``CUSTOM_``, normalized to a
    custom trait. Spaces are part of a name: `` big`` becomes ``CUSTOM__BIG``
    (``pci_placement_translator.py:get_traits``).
    """
    return _traits(tuple(text.split(','))) if text else frozenset()


@functools.lru_cache(maxsize=1024)
def _traits(names: tuple[str, ...]) -> frozenset[str]:
    # os_traits searches all its traits each time.
    import os_traits

    standard, others = os_traits.check_traits(names)
    return frozenset(standard) | {
        name.upper()
        if name.upper().startswith(_CUSTOM)
        else str(os_traits.normalize_name(name.upper()))
        for name in others
    }
