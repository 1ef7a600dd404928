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

"""Names of PCI ids, from the database that lspci uses.

pci.ids is part of pciutils or hwdata on most systems, and of the Python
package pypci-ng (extra ``pciids``), which is usually newer. The newest one
is read. Its format is described at https://pci-ids.ucw.cz.
"""

import dataclasses
import importlib.util
import os
import re
import typing

#: Its paths in distributions.
_PATHS = (
    '/usr/share/misc/pci.ids',
    '/usr/share/hwdata/pci.ids',
    '/var/lib/pciutils/pci.ids',
)
_PACKAGE = 'pypci'
_DATE = re.compile(r'#\s*Date:\s+(\S+ \S+)')
#: Characters to read: the date is in the comment at the beginning.
_HEAD = 2048


@dataclasses.dataclass(frozen=True)
class Names:
    """The names in a pci.ids."""

    path: str
    _vendors: dict[str, str]
    _devices: dict[tuple[str, str], str]

    def vendor(self, vendor_id: str) -> str | None:
        """Return the name of a vendor: ``NVIDIA Corporation``."""
        return self._vendors.get(vendor_id.lower())

    def device(self, vendor_id: str, product_id: str) -> str | None:
        """Return the name of a device: ``GA100 [A100 PCIe 40GB]``."""
        return self._devices.get((vendor_id.lower(), product_id.lower()))


def read(path: str) -> Names:
    """Read a pci.ids.

    :raises OSError: It cannot be read.
    """
    vendors: dict[str, str] = {}
    devices: dict[tuple[str, str], str] = {}
    vendor = ''
    with _open(path) as stream:
        for line in stream:
            if line.startswith(('#', '\t\t', '\n')):
                continue
            ids, _blanks, name = line.strip().partition('  ')
            if line.startswith('\t'):
                devices[vendor, ids] = name
            elif line.startswith('C '):
                # Classes follow the vendors.
                break
            else:
                vendor = ids
                vendors[vendor] = name
    return Names(path, vendors, devices)


def find() -> str | None:
    """Return the path of the newest database; None if there is none."""
    dated = [(date, path) for path in _candidates() if (date := _date(path))]
    return max(dated)[1] if dated else None


def load() -> Names | None:
    """Read the newest database; return None if there is none."""
    path = find()
    return None if path is None else read(path)


def _candidates() -> list[str]:
    paths = list(_PATHS)
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        paths.append(os.path.join(folder, 'data', 'pci.ids'))
    return paths


def _date(path: str) -> str:
    """Return the date of a database; empty if it has none."""
    try:
        with _open(path) as stream:
            match = _DATE.search(stream.read(_HEAD))
    except OSError:
        return ''
    return match[1] if match else ''


def _open(path: str) -> typing.TextIO:
    return open(path, encoding='utf-8', errors='replace')
