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

"""What to do about a key of ``[pci]device_spec`` that Nova does not have."""

import difflib
import json

from gpuclient import exceptions
from gpuclient.model import device_sets
from gpuclient.model import device_spec

#: Keys of an alias, which people write in the device spec, too.
_OF_ALIASES = ('device_type', 'numa_policy')
#: Other names for keys.
_SYNONYMS = {
    'custom_traits': 'traits',
    'device_id': 'product_id',
    'network': 'physical_network',
    'physnet': 'physical_network',
    'pid': 'product_id',
    'vid': 'vendor_id',
}
#: Beginnings of keys that mean something else than the key they resemble.
_OTHER_THINGS = ('parent', 'sub', 'un', 'not')
#: What to do about what may be the name of an interface; GPUs have none.
_INTERFACE = (
    ". Write 'devname' if it is the name of a network interface; otherwise "
    'remove it'
)
#: How similar a misspelled key is to the correct one, at least.
_SIMILAR = 0.7


def consequence(key: str, spec: device_spec.DeviceSpec) -> str:
    """Return what follows from an unknown key, and what to do.

    The continuation of a sentence. A key is suggested only if Nova accepts
    the entry with it, and the entry can match a device.
    """
    if key in _OF_ALIASES:
        return (
            ': it does not restrict the devices. Set it in the alias, and '
            'remove it from the entry'
        )
    if key == 'name':
        return _of_name(spec)
    meant = _meant(key)
    if meant is None or meant in spec.written or _excludes(spec, meant):
        return '. Remove it'
    if meant == 'devname':
        return _INTERFACE
    rest = ''
    if meant == 'product_id' and spec.product_id == device_spec.ANY:
        rest = ': the entry matches every product of the vendor'
    if _is_possible(spec, key, meant):
        return f'{rest}. Write {meant!r}'
    return f'{rest}. Write {meant!r} with a valid value, or remove it'


def _of_name(spec: device_spec.DeviceSpec) -> str:
    if spec.tags.get('physical_network') and not _excludes(spec, 'devname'):
        return _INTERFACE
    return ': only an alias has a name. Remove it'


def _excludes(spec: device_spec.DeviceSpec, key: str) -> bool:
    """Return whether an entry has the alternative to a key."""
    other = {'address': 'devname', 'devname': 'address'}.get(key)
    return other is not None and other in spec.written


def _meant(key: str) -> str | None:
    """Return the key that an unknown one is a misspelling of."""
    normal = key.strip().lower().replace('-', '_')
    if normal in device_spec.KEYS:
        return normal
    if normal in _SYNONYMS:
        return _SYNONYMS[normal]
    if normal.startswith(_OTHER_THINGS):
        return None
    close = difflib.get_close_matches(normal, device_spec.KEYS, 1, _SIMILAR)
    return close[0] if close else None


def _is_possible(spec: device_spec.DeviceSpec, key: str, meant: str) -> bool:
    """Return whether an entry with another key can match a device."""
    entry = {
        meant if name == key else name: value
        for name, value in spec.written.items()
    }
    try:
        (renamed,) = device_spec.parse(json.dumps(entry), release=spec.release)
    except exceptions.InvalidDeviceSpec:
        return False
    return device_sets.reached(renamed, ()) is not None
