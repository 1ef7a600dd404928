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


#: The numbers whose row says that another Xid explains it.
FOLLOWS_ANOTHER = frozenset({45, 154})
#: The GPU is lost on the PCI bus.
FALLEN_OFF = 79


@functools.cache
def catalogue() -> dict[int, Xid]:
    """Return all Xids by their numbers."""
    content = data.load('guest/xids.json')
    actions = content['actions']
    return {
        int(number): Xid(
            int(number),
            record.get('meaning', ''),
            record['action'],
            Urgency(actions[record['action']]['severity']),
            actions[record['action']]['remedy'],
        )
        for number, record in content['xids'].items()
    }
