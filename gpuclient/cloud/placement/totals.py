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

"""Total and reserved, of which summaries contain only the difference.

A summary contains ``capacity``, which is total minus reserved. Inventories
contain both, but cost a request for each device, so they are read only if
these rules do not apply:

* The providers of a resource class are either all whole devices, with a total
  of one, or all parents of virtual functions, of which some have more than one
  unit.
* A whole device without capacity is reserved; Nova reserves devices for
  one-time use (``nova/compute/pci_placement_translator.py:
  PciResourceProvider._handle_one_time_use``). Any other device without
  capacity is read, because it may be the parent of virtual functions.
* Several parents of a class with the same capacity are alike: one of them is
  read, and if none of its units is reserved, those of the others are not
  either. Parents of which some functions are reserved differ in capacity.
"""

import collections
import typing

#: A provider in an answer to a candidate query, or its inventory of a class.
Summary: typing.TypeAlias = dict[str, typing.Any]

#: Trait of a device that Nova reserves once a server has used it; always a
#: whole device (pci_placement_translator.py:PciResourceProvider.add_child).
ONE_TIME_USE = 'HW_PCI_ONE_TIME_USE'
#: Number of parents of a class with the same capacity that are seen as alike.
_ALIKE = 4

#: The inventories of providers that were read; None if that failed.
Inventories: typing.TypeAlias = dict[str, dict[str, Summary] | None]


def several(units: Summary) -> bool:
    """Return whether a summary has more than one unit of a class."""
    return bool(units['capacity'] > 1 or units['used'] > 1)


def unclear(
    summaries: dict[str, Summary], inventories: Inventories
) -> set[str]:
    """Return the providers whose inventories have to be read.

    Their inventories may make others unclear: call it again after reading.

    :param summaries: The summaries of devices, with the resource classes to
        return.
    """
    shared = {
        name
        for summary in summaries.values()
        for name, units in summary['resources'].items()
        if several(units)
    } | {
        name
        for read in inventories.values()
        for name, record in (read or {}).items()
        if record['total'] > 1
    }
    answer: set[str] = set()
    alike: dict[tuple[str, int], list[str]] = collections.defaultdict(list)
    for uuid, summary in summaries.items():
        for name, units in summary['resources'].items():
            if units['capacity'] == 0:
                if name in shared or ONE_TIME_USE not in summary['traits']:
                    answer.add(uuid)
            elif name in shared:
                alike[name, units['capacity']].append(uuid)
    for (name, _capacity), uuids in alike.items():
        uuids.sort()
        witnesses = uuids
        if len(uuids) >= _ALIKE:
            witnesses = uuids[:1]
            if _reserved(inventories, uuids[0], name):
                witnesses = uuids
        answer.update(witnesses)
    return answer - inventories.keys()


def _reserved(inventories: Inventories, uuid: str, name: str) -> bool:
    """Return whether a provider that was read has units reserved."""
    if uuid not in inventories:
        return False
    record = (inventories[uuid] or {}).get(name)
    return record is None or record['reserved'] > 0


def divide(
    uuid: str, name: str, capacity: int, inventories: Inventories
) -> tuple[int | None, int | None]:
    """Return total and reserved of a resource class of a provider.

    :returns: Both None if they had to be read and could not.
    """
    if uuid in inventories:
        record = (inventories[uuid] or {}).get(name, {})
        return record.get('total'), record.get('reserved')
    return (capacity, 0) if capacity else (1, 1)
