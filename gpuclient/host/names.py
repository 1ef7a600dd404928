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

"""Names of PCI devices, from the database that pciutils and hwdata bring."""

import collections.abc

#: Fedora and RHEL; Debian; some BSD-like layouts.
_PATHS = (
    '/usr/share/hwdata/pci.ids',
    '/usr/share/misc/pci.ids',
    '/usr/share/pci.ids',
)


def names(
    ids: collections.abc.Iterable[tuple[str | None, str | None]],
    paths: collections.abc.Iterable[str] = _PATHS,
) -> dict[tuple[str, str], str]:
    """Return the names of devices, by their vendor and product ids.

    The first database that is there counts; what it does not know is left
    out, which is all where there is none.
    """
    wanted = {
        (vendor, product)
        for vendor, product in ids
        if vendor is not None and product is not None
    }
    for path in paths if wanted else ():
        try:
            with open(path, encoding='utf-8', errors='replace') as stream:
                return _find(stream, wanted)
        except OSError:
            continue
    return {}


def _find(
    lines: collections.abc.Iterable[str], wanted: set[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    vendor = maker = ''
    for line in lines:
        if line.startswith('C '):
            # Classes; vendors are behind us.
            break
        if line[:1] not in ('', '#', '\t', '\n'):
            vendor, maker = line[:4].lower(), line[4:].strip()
        elif line[:1] == '\t' and line[:2] != '\t\t':
            ids = vendor, line[1:5].lower()
            if ids in wanted:
                found[ids] = f'{maker} {line[5:].strip()}'
    return found
