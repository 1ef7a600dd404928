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

"""The options of a release of Nova, and of the libraries that it uses.

``gpuclient/data/nova/options-RELEASE.json`` has them: deprecated names, and
options of libraries, among them. A test compares the table of Nova 34 with
``nova.conf.opts.list_opts``.
"""

import dataclasses
import functools
import typing

from gpuclient import data

BOOLEAN = 'boolean'
INTEGER = 'integer'
FLOAT = 'float'
LIST = 'list'
#: Of several values, each in a line of its own.
MULTI = 'multi'
STRING = 'string'
#: A deprecated name; the type is that of the option's current name.
DEPRECATED = 'deprecated'
#: A type that is not modeled, or an option of a library.
OTHER = 'other'

#: The newest release of Nova with a table: ``34`` is 34.0.0.
NEWEST = 34


@dataclasses.dataclass(frozen=True)
class Type:
    """The type of an option."""

    kind: str
    minimum: float | None = None
    maximum: float | None = None


def find(section: str, name: str, release: int = NEWEST) -> Type | None:
    """Return the type of an option; None where the release does not have it.

    :param section: As oslo.config compares it: ``DEFAULT``, all others in
        lower case.
    """
    return _table(release).get(section, {}).get(name)


def names(section: str, release: int = NEWEST) -> frozenset[str]:
    """Return the names of the options in a section."""
    return frozenset(_table(release).get(section, ()))


@functools.cache
def _table(release: int) -> dict[str, dict[str, Type]]:
    content = data.load(f'nova/options-{release}.json')
    return {
        section: {name: _type(value) for name, value in options.items()}
        for section, options in content['options'].items()
    }


def _type(value: typing.Any) -> Type:
    """Return the type that ``"string"`` or ``{"type": ...}`` means."""
    if isinstance(value, str):
        return Type(value)
    return Type(value['type'], value.get('minimum'), value.get('maximum'))
