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

"""Read the mappings of a file in one of our formats, strictly.

An unknown key, a missing one and a value of another type are refused with one
line that begins with the place in the file: ``hosts[0].name``. A key whose
value is null counts as missing. The JSON schemas in ``gpuclient/data/schema``
describe the same formats.
"""

import collections.abc
import dataclasses
import math
import re
import typing

from gpuclient import exceptions
from gpuclient.model import quoting

#: Of Jinja, which Ansible applies to variables, and of Go templates.
_TEMPLATE_MARKS = ('{{', '{%', '{#')
NO_SECRETS = 'must not contain a secret; a description refers to it by name'
#: The largest integer that readers in Go accept.
_MAXIMUM = 2**63 - 1
_LABEL_KEY = re.compile(
    r'([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?',
    re.ASCII,
)
_LABEL_VALUE = re.compile(
    r'([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?', re.ASCII
)


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of file, for everything that its mappings have in common."""

    #: Names the whole file in messages: ``description``.
    name: str
    #: Whether its strings are written to other files, so that they must not
    #: contain templates or secrets.
    is_written: bool = False
    #: Whether an integer is accepted as a string: ids may consist of digits.
    accepts_digits: bool = False


DESCRIPTION = Format('description', is_written=True, accepts_digits=True)
REHEARSAL_SPEC = Format('spec')
CATALOGUE = Format('file')

#: The key by which editors find the JSON schema of a file.
SCHEMA = '$schema'
#: The default of a key that must be there.
REQUIRED: typing.Any = object()


def error(place: str, problem: str) -> exceptions.InvalidData:
    return exceptions.InvalidData(f'{place}: {problem}')


class MappingReader:
    """A mapping of a file, whose keys are read by name.

    :param file_format: The format of the file.
    :param place: The place of the mapping: ``hosts[0]``; empty for the file.
    :param defaults: A mapping for keys that this one lacks.
    :raises gpuclient.exceptions.InvalidData: It is not a mapping.
    """

    def __init__(
        self,
        value: typing.Any,
        file_format: Format,
        place: str = '',
        defaults: 'MappingReader | None' = None,
    ) -> None:
        if not isinstance(value, dict):
            raise error(
                place or file_format.name,
                f'must be a mapping, not {_kind(value)}',
            )
        self._format = file_format
        self._place = place
        self._own = value
        self._defaults = defaults
        self._value: dict[typing.Any, typing.Any] = {
            **(defaults._value if defaults is not None else {}),
            **value,
        }
        self._read: list[str] = []

    def keys(self) -> list[typing.Any]:
        """Return the keys that the mapping has."""
        return list(self._value)

    def has(self, key: str) -> bool:
        """Return whether a known key is there."""
        self._read.append(key)
        return self._value.get(key) is not None

    def where(self, key: typing.Any) -> str:
        """Return the place of a key, for messages."""
        if (
            self._defaults is not None
            and key in self._value
            and key not in self._own
        ):
            return self._defaults.where(key)
        if not isinstance(key, str) or not key.isprintable():
            key = repr(key)
        return f'{self._place}.{key}' if self._place else key

    def error(self, key: typing.Any, problem: str) -> exceptions.InvalidData:
        """Return the error of a key."""
        return error(self.where(key), problem)

    def unexpected(self, key: str, expected: str) -> exceptions.InvalidData:
        """Return the error of a key that must have another value."""
        place = self.where(key)
        value = self._value.get(key)
        return error(place, f'must be {expected}{_not(value, place)}')

    def get(self, key: str, default: typing.Any = REQUIRED) -> typing.Any:
        """Return the value of a key as it is."""
        if self.has(key):
            return self._value[key]
        if default is REQUIRED:
            raise exceptions.InvalidData(f'{self.where(key)} is missing')
        return default

    def text(
        self,
        key: str,
        default: typing.Any = REQUIRED,
        pattern: re.Pattern[str] | None = None,
        choices: tuple[str, ...] = (),
        expected: str = '',
    ) -> typing.Any:
        """Return a string of one line.

        :param expected: What the pattern matches, for the message.
        """
        if choices and default is REQUIRED and not self.has(key):
            raise exceptions.InvalidData(
                f'{self.where(key)} is missing: set {_any_of(choices)}'
            )
        value = self.get(key, default)
        if value is default:
            return value
        return self._text(value, self.where(key), pattern, choices, expected)

    def texts(
        self,
        key: str,
        default: typing.Any = (),
        pattern: re.Pattern[str] | None = None,
        choices: tuple[str, ...] = (),
        expected: str = '',
        minimum: int = 0,
    ) -> typing.Any:
        """Return a list of strings, as a tuple.

        :param minimum: How many it has at least.
        """
        if default is None and not self.has(key):
            return None
        return tuple(
            self._text(item, place, pattern, choices, expected)
            for place, item in self._items(key, default, minimum)
        )

    def integer(
        self, key: str, default: typing.Any = REQUIRED, minimum: int = 0
    ) -> typing.Any:
        """Return an integer that is not below a minimum."""
        value = self.get(key, default)
        if value is default:
            return value
        return integer(value, self.where(key), minimum)

    def integers(
        self, key: str, length: int, default: typing.Any = REQUIRED
    ) -> tuple[int, ...]:
        """Return some integers: one for all, or a list of them."""
        value = self.get(key, default)
        if not isinstance(value, list):
            return (integer(value, self.where(key)),) * length
        return tuple(
            integer(item, place) for place, item in self._items(key, default)
        )

    def boolean(self, key: str, default: typing.Any = REQUIRED) -> typing.Any:
        """Return true or false."""
        value = self.get(key, default)
        if value is not default and not isinstance(value, bool):
            raise self.error(
                key,
                f'must be true or false{_not(value, self.where(key))}',
            )
        return value

    def mapping(
        self, key: str, default: typing.Any = REQUIRED
    ) -> 'MappingReader':
        """Return a mapping."""
        return MappingReader(
            self.get(key, default), self._format, self.where(key)
        )

    def mappings(
        self,
        key: str,
        default: typing.Any = REQUIRED,
        minimum: int = 1,
        defaults: 'MappingReader | None' = None,
    ) -> list['MappingReader']:
        """Return a list of mappings.

        :param minimum: How many it has at least.
        :param defaults: For keys that one of them lacks.
        """
        return [
            MappingReader(item, self._format, place, defaults)
            for place, item in self._items(key, default, minimum)
        ]

    def free(self, key: str, default: typing.Any = None) -> typing.Any:
        """Return a mapping of any keys, without secrets and templates."""
        value = self.get(key, default)
        if value is default:
            return value
        MappingReader(value, self._format, self.where(key))
        _check_free(value, self.where(key))
        return value

    def labels(self, key: str, default: typing.Any) -> dict[str, str]:
        """Return labels of Kubernetes."""
        place = self.where(key)
        labels = self.mapping(key, default)
        return {
            self._text(name, place, _LABEL_KEY): self._text(
                value, f'{place}.{name}', _LABEL_VALUE
            )
            for name, value in labels._value.items()
        }

    def done(self) -> None:
        """Refuse keys that were not read."""
        for key in self._own:
            if key in self._read or (key == SCHEMA and not self._place):
                continue
            if isinstance(key, str) and quoting.is_secret_name(key):
                if self._format.is_written:
                    raise self.error(key, NO_SECRETS)
            raise error(
                self._place or self._format.name,
                f'unknown key {key!r}; known keys: '
                f'{", ".join(sorted(set(self._read)))}',
            )

    def _items(
        self, key: str, default: typing.Any, minimum: int = 0
    ) -> collections.abc.Iterator[tuple[str, typing.Any]]:
        """Yield the place and the value of each item of a list."""
        value = self.get(key, default)
        place = self.where(key)
        if not isinstance(value, (list, tuple)):
            raise error(place, f'must be a list, not {_kind(value)}')
        if len(value) < minimum:
            raise error(place, 'must not be empty')
        for number, item in enumerate(value):
            yield f'{place}[{number}]', item

    def _text(
        self,
        value: typing.Any,
        place: str,
        pattern: re.Pattern[str] | None = None,
        choices: tuple[str, ...] = (),
        expected: str = '',
    ) -> str:
        if self._format.accepts_digits and type(value) is int:
            value = str(value)
        if choices and value not in choices:
            raise error(
                place,
                f'must be one of {", ".join(choices)}{_not(value, place)}',
            )
        if not isinstance(value, str):
            if expected:
                raise error(
                    place, f'must be {expected}, in quotes{_not(value, place)}'
                )
            raise error(
                place, f'must be a string, not {_kind(value)}; use quotes'
            )
        if not value.isprintable():
            raise error(place, 'contains a line end or a control character')
        if self._format.is_written:
            _check_written(value, place)
        if pattern is not None and not pattern.fullmatch(value):
            if expected:
                raise error(place, f'must be {expected}{_not(value, place)}')
            raise error(place, f'invalid value{_shown(value, place, " ")}')
        return value


def integer(value: typing.Any, place: str, minimum: int = 0) -> int:
    """Return a value that is an integer.

    :raises gpuclient.exceptions.InvalidData: It is not, or is out of range.
    """
    if type(value) is int and value > _MAXIMUM:
        raise error(place, f'must be an integer of at most {_MAXIMUM}')
    if type(value) is not int or value < minimum:
        raise error(
            place,
            f'must be an integer of at least {minimum}{_not(value, place)}',
        )
    return value


def _not(value: typing.Any, place: str) -> str:
    return _shown(value, place, ', not ')


def _shown(value: typing.Any, place: str, prefix: str) -> str:
    """Return what may be shown of a value, which may be a secret.

    A number, or a short word that does not look like a secret, in a place
    whose name does not either; empty for any other.
    """
    if quoting.is_secret_name(place):
        return ''
    if value is None or isinstance(value, bool):
        return prefix + {None: 'null', True: 'true', False: 'false'}[value]
    if isinstance(value, (int, float)) or (
        isinstance(value, str) and quoting.is_word(value)
    ):
        return f'{prefix}{value!r}'
    return ''


def _kind(value: typing.Any) -> str:
    """Return the type of a value; a string itself is not shown."""
    if isinstance(value, dict):
        return 'a mapping'
    if isinstance(value, (list, tuple)):
        return 'a list'
    if isinstance(value, str):
        return 'a string'
    return _shown(value, '', '') or 'the value'


def _check_written(value: str, place: str) -> None:
    if quoting.holds_secret(value):
        raise error(place, NO_SECRETS)
    for mark in _TEMPLATE_MARKS:
        if mark in value:
            raise error(
                place,
                f'must not contain a template{_shown(value, place, ": ")}',
            )


def _check_free(value: typing.Any, place: str, depth: int = 0) -> None:
    """Refuse secrets, templates and what YAML could not hold."""
    if depth > 20:
        raise error(place, 'nested too deeply')
    if isinstance(value, dict):
        _check_free_mapping(value, place, depth)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_free(item, f'{place}[{number}]', depth + 1)
    elif isinstance(value, str):
        _check_free_text(value, place)
    elif isinstance(value, float) and not math.isfinite(value):
        raise error(place, f'must be a finite number, not {value!r}')
    elif value is not None and not isinstance(value, (bool, int, float)):
        raise error(place, 'invalid value')


def _check_free_mapping(
    value: dict[typing.Any, typing.Any], place: str, depth: int
) -> None:
    for key in ('name', 'key'):
        # A secret next to its name, as in the variables of an environment.
        name = value.get(key)
        if 'value' in value and isinstance(name, str):
            if quoting.is_secret_name(name):
                raise error(f'{place}.value', NO_SECRETS)
    for key, item in value.items():
        if not isinstance(key, str):
            raise error(place, f'the key {key!r} must be a string')
        _check_free_text(key, place)
        if quoting.is_secret_name(key):
            raise error(f'{place}.{key}', NO_SECRETS)
        _check_free(item, f'{place}.{key}', depth + 1)


def _check_free_text(value: str, place: str) -> None:
    if not value.isprintable():
        raise error(place, 'contains a line end or a control character')
    _check_written(value, place)


def _any_of(choices: tuple[str, ...]) -> str:
    """Return ``a, b or c``."""
    *others, last = choices
    return f'{", ".join(others)} or {last}' if others else last
