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

"""Rules about keys that an alias or a device spec has more than once."""

import collections.abc
import json
import typing

from gpuclient.model import quoting
from gpuclient.model import repeated_keys
from gpuclient.rules import finding

#: Keys that select devices.
_SELECTING = frozenset(
    {
        'address',
        'bus',
        'devname',
        'domain',
        'function',
        'product_id',
        'slot',
        'vendor_id',
    }
)
#: Values that a message quotes, at most.
_MOST_QUOTED = 8

_Keys: typing.TypeAlias = tuple[repeated_keys.RepeatedKey, ...]


def check_device_spec(text: str) -> collections.abc.Iterator[finding.Finding]:
    """Find values of ``[pci]device_spec`` that Nova does not see.

    ``nova/pci/whitelist.py:Whitelist._parse_white_list_from_config``

    :param text: A value that Nova accepts.
    """
    for keys in repeated_keys.find(text):
        if _select(keys):
            rest = (
                'devices that only these match are not available to servers. '
                'Write an entry for each: a list, [{...}, {...}], or a '
                'device_spec line each'
            )
        else:
            rest = f'these have no effect. {_keep_one(keys)}'
        yield finding.warning(
            'GPU217', f'The entry of device_spec has {_describe(keys)}: {rest}'
        )


def check_alias(
    name: str, text: str
) -> collections.abc.Iterator[finding.Finding]:
    """Find values of ``[pci]alias`` that Nova does not see.

    ``nova/pci/request.py:get_alias_from_config``

    :param text: A value that Nova accepts.
    """
    for keys in repeated_keys.find(text):
        if _select(keys):
            rest = (
                'the alias does not request devices with these. Write an '
                'alias line for each'
            )
        elif any(repeated.key == 'name' for repeated in keys):
            rest = (
                'no alias is defined with this name. Write an alias line for '
                'each'
            )
        else:
            rest = f'these have no effect. {_keep_one(keys)}'
        yield finding.warning(
            'GPU125', f'Alias {name!r} has {_describe(keys)}: {rest}'
        )


def _select(keys: _Keys) -> bool:
    return any(repeated.key in _SELECTING for repeated in keys)


def _keep_one(keys: _Keys) -> str:
    text = 'Keep one value'
    if any(repeated.key == 'traits' for repeated in keys):
        text += '; commas separate several traits'
    return text


def _describe(keys: _Keys) -> str:
    """Return which keys are repeated, and which of their values are lost."""
    names = ' and '.join(repr(quoting.word(repeated.key)) for repeated in keys)
    lost = [
        _pair(repeated.key, value)
        for repeated in keys
        for value in repeated.lost
    ]
    quoted = ', '.join(lost[:_MOST_QUOTED])
    if len(lost) > _MOST_QUOTED:
        quoted += f' and {len(lost) - _MOST_QUOTED} more'
    used = ', '.join(_pair(repeated.key, repeated.used) for repeated in keys)
    return (
        f'{names} more than once, and Nova reads only the last value, {used}. '
        f'It ignores {quoted}'
    )


def _pair(key: str, value: typing.Any) -> str:
    return quoting.spec(f'{json.dumps(key)}: {json.dumps(value)}')
