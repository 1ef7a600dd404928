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

"""Keys that an object of JSON has more than once.

Python's ``json``, with which Nova reads ``[pci]alias`` and
``[pci]device_spec``, keeps the last value of such a key.
"""

import dataclasses
import json
import typing


@dataclasses.dataclass(frozen=True)
class RepeatedKey:
    """A key, the values that are lost, and the one that is used."""

    key: str
    lost: tuple[typing.Any, ...]
    used: typing.Any


def find(text: str) -> tuple[tuple[RepeatedKey, ...], ...]:
    """Return the repeated keys of each object that has some.

    A key that is repeated with the same value loses nothing.

    :param text: Valid JSON.
    """
    objects: list[tuple[RepeatedKey, ...]] = []

    def read(pairs: list[tuple[str, typing.Any]]) -> dict[str, typing.Any]:
        used = dict(pairs)
        lost: dict[str, list[typing.Any]] = {}
        for key, value in pairs:
            if value != used[key] and value not in lost.setdefault(key, []):
                lost[key].append(value)
        repeated = tuple(
            RepeatedKey(key, tuple(values), used[key])
            for key, values in lost.items()
            if values
        )
        if repeated:
            objects.append(repeated)
        return used

    json.loads(text, object_pairs_hook=read)
    return tuple(objects)
