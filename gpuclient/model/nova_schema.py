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

#: A key and a value with a colon between them.
PAIR = 'pair'
HOST_ADDRESS = 'host address'
HOST_DOMAIN = 'host domain'
URI = 'uri'

#: The first release that the types of the table are compared with.
_OLDEST = 26
#: The newest release of Nova with a table: ``34`` is 34.0.0.
NEWEST = 34


@dataclasses.dataclass(frozen=True)
class Type:
    """The type of an option."""

    kind: str
    minimum: float | None = None
    maximum: float | None = None
    #: All valid values; empty where others are valid.
    choices: tuple[str | int, ...] = ()
    #: A pattern that the value has.
    regex: str = ''
    max_length: int | None = None
    #: :data:`HOST_ADDRESS`, :data:`HOST_DOMAIN` or :data:`URI`.
    form: str = ''
    #: Of a URI; empty where others are valid.
    schemes: tuple[str, ...] = ()
    #: Type of the items of a list, or of each value of several.
    items: 'Type | None' = None
    #: The first release in which the option has this type; 0 where it is that
    #: of all releases with a known type.
    since: int = 0

    @property
    def is_refined(self) -> bool:
        """Whether not every text, number or list is valid."""
        return bool(
            self.choices
            or self.regex
            or self.max_length
            or self.form
            or self.items
        )

    def holds_in(self, release: int) -> bool:
        """Return whether the option is known to have this type."""
        return release >= (self.since or (_OLDEST if self.is_refined else 0))


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
    items = value.get('items')
    return Type(
        kind=value['type'],
        minimum=value.get('minimum'),
        maximum=value.get('maximum'),
        choices=tuple(value.get('choices', ())),
        regex=value.get('regex', ''),
        max_length=value.get('max_length'),
        form=value.get('format', ''),
        schemes=tuple(value.get('schemes', ())),
        items=None if items is None else _type(items),
        since=value.get('since', 0),
    )
