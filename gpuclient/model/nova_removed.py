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

"""Options that Nova removed, and what replaced them.

``gpuclient/data/nova/removed.json`` has them. They are taken from
``nova/conf`` of each release from 13 (Mitaka) to 33 (2026.1): an option, or a
deprecated name of one, that the next release no longer registers. ``advice``
is from Nova's release notes.
"""

import dataclasses
import functools

from gpuclient import data


@dataclasses.dataclass(frozen=True)
class Removed:
    """An option that Nova ignores, because it removed it."""

    #: The first release of Nova without it: ``24`` is 24.0.0.
    release: int
    #: Section and name of the option that replaced it.
    replacement: tuple[str, str] | None
    #: What to do where no single option replaced it; empty where nothing is
    #: known.
    advice: str = ''


def find(section: str, name: str) -> Removed | None:
    """Return a removed option; None where Nova did not remove it."""
    return _table().get((section, name))


def names() -> tuple[tuple[str, str], ...]:
    """Return section and name of every removed option."""
    return tuple(_table())


@functools.cache
def _table() -> dict[tuple[str, str], Removed]:
    table = {}
    for section, options in data.load('nova/removed.json').items():
        for name, fields in options.items():
            replacement = fields.get('replacement')
            table[section, name] = Removed(
                fields['release'],
                replacement and (replacement[0], replacement[1]),
                fields.get('advice', ''),
            )
    return table
