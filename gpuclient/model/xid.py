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

"""Xids: what the NVIDIA driver reports of a GPU, and what to do first.

The records are in ``gpuclient/data/guest/xids.json``.
"""

import dataclasses
import enum
import functools
import typing

from gpuclient import data


class Urgency(enum.StrEnum):
    """What the first action of NVIDIA's catalogue says of the GPU."""

    #: The GPU works on.
    NONE = 'none'
    #: An application has to be restarted or looked at.
    WARNING = 'warning'
    #: The GPU, the server or the host has to be reset or looked at.
    ERROR = 'error'


@dataclasses.dataclass(frozen=True)
class Xid:
    """A number that the driver logs, as NVIDIA's catalogue lists it."""

    number: int
    #: Empty for a number that the catalogue does not use from Ampere on.
    meaning: str
    #: Name of the first action in the catalogue: ``RESET_GPU``.
    action: str
    urgency: Urgency
    #: The action in a guest, imperative.
    remedy: str


#: Errors of NVLink 5, whose registers tell the action.
NVLINK5 = frozenset(range(144, 151))
#: Channels of an application were removed.
CLEANUP = 45
#: The driver changed the recovery that it asks for.
RECOVERY = 154
#: The numbers whose row says that another Xid explains it.
FOLLOWS_ANOTHER = frozenset({CLEANUP, RECOVERY})
#: The GPU is lost on the PCI bus.
FALLEN_OFF = 79


@functools.cache
def _content() -> dict[str, typing.Any]:
    return data.load('guest/xids.json')


@functools.cache
def catalogue() -> dict[int, Xid]:
    """Return all Xids by their numbers."""
    return {
        int(number): with_action(
            int(number), record.get('meaning', ''), record['action']
        )
        for number, record in _content()['xids'].items()
    }


def with_action(number: int, meaning: str, action: str) -> Xid:
    """Return an Xid with an action of the catalogue."""
    record = _content()['actions'][action]
    return Xid(
        number,
        meaning,
        action,
        Urgency(record['severity']),
        record['remedy'],
    )


#: What needs most comes first.
_ACTIONS = ('RESET_GPU', 'XID_154_EVAL', 'IGNORE')


def nvlink_action(
    unit: str, information: int, status: int, *, is_fatal: bool
) -> str | None:
    """Return the action for an error of NVLink 5; None if it is not listed.

    :param unit: As in the message: ``RLW_CTRL``.
    :param information: The first register of the message.
    :param status: The second register.
    """
    tables = _content()['nvlink5']
    subcode = information >> 20 & 0x3F
    if unit in tables['subcodes']:
        action = tables['subcodes'][unit].get(str(subcode))
        return None if action is None else str(action)
    if subcode:
        return None
    if unit in tables['values']:
        actions = {tables['values'][unit].get(f'0x{status:x}')}
    else:
        bits = tables['bits'].get(unit, {})
        actions = {
            bits.get(f'0x{1 << bit:x}')
            for bit in range(status.bit_length())
            if status >> bit & 1
        }
    if 'PROMOTED' in actions:
        actions.remove('PROMOTED')
        actions.add('RESET_GPU' if is_fatal else 'IGNORE')
    if None in actions:
        return None
    return next((action for action in _ACTIONS if action in actions), None)
