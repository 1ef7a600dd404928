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

"""Read data strictly: what is not asked for is refused, with its place.

Nothing passes that could become something else in a file that it is written
to: a line end, a template, a secret.
"""

import math
import re
import typing

from gpuclient import exceptions
from gpuclient.model import quoting

#: Of Jinja, which Ansible applies to variables, and of Go templates.
_TEMPLATE_MARKS = ('{{', '{%', '{#')
NO_SECRETS = 'a description names secrets and does not hold them'
#: What readers in Go take for a whole number.
_MOST = 2**63 - 1
_LABEL_KEY = re.compile(
    r'([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?',
    re.ASCII,
)
_LABEL_VALUE = re.compile(
    r'([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?', re.ASCII
)


def error(where: str, words: str) -> exceptions.InvalidDescription:
    return exceptions.InvalidDescription(f'{where}: {words}')


REQUIRED: typing.Any = object()


class Mapping:
    """A mapping of the description, whose keys are asked for one by one.

    :param defaults: Another mapping, for keys that this one lacks.
    :param where: Its place: ``hosts[0]``.
    """

    def __init__(
        self,
        value: typing.Any,
        where: str,
        defaults: 'Mapping | None' = None,
    ) -> None:
        if not isinstance(value, dict):
            raise error(where, f'{_kind(value)} is no mapping')
        self._own = value
        self._defaults = defaults
        self._value: dict[typing.Any, typing.Any] = {
            **(defaults._value if defaults is not None else {}),
            **value,
        }
        self._where = where
        self._known: list[str] = []

    def __contains__(self, key: str) -> bool:
        return self._value.get(key) is not None

    def keys(self) -> list[str]:
        """Return the keys that it has."""
        return list(self._value)

    def where(self, key: str) -> str:
        """Return the place of a key, for messages."""
        if (
            self._defaults is not None
            and key in self._value
            and key not in self._own
        ):
            return self._defaults.where(key)
        if not isinstance(key, str) or not key.isprintable():
            key = repr(key)
        return f'{self._where}.{key}' if self._where else key

    def get(self, key: str, default: typing.Any = REQUIRED) -> typing.Any:
        """Return the value of a key as it is."""
        self._known.append(key)
        if self._value.get(key) is not None:
            return self._value[key]
        if default is REQUIRED:
            raise error(self._where or 'description', f'{key} is missing')
        return default

    def text(
        self,
        key: str,
        default: typing.Any = REQUIRED,
        pattern: re.Pattern[str] | None = None,
        choices: tuple[str, ...] = (),
    ) -> typing.Any:
        """Return a text of one line that is no template."""
        value = self.get(key, default)
        if value is default:
            return value
        return _text(value, self.where(key), pattern, choices)

    def texts(
        self,
        key: str,
        default: typing.Any = (),
        pattern: re.Pattern[str] | None = None,
        least: int = 0,
    ) -> tuple[str, ...]:
        """Return a list of texts.

        :param least: How many it has at least.
        """
        value = self.get(key, default)
        if len(self._list(key, value)) < least:
            raise error(self.where(key), 'it is empty')
        return tuple(
            _text(item, f'{self.where(key)}[{number}]', pattern)
            for number, item in enumerate(self._list(key, value))
        )

    def integer(
        self, key: str, default: typing.Any = REQUIRED, least: int = 0
    ) -> typing.Any:
        """Return a whole number."""
        value = self.get(key, default)
        return (
            value
            if value is default
            else integer(value, self.where(key), least)
        )

    def boolean(self, key: str, default: typing.Any = REQUIRED) -> bool:
        """Return true or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise error(
                self.where(key),
                f'{_shown(value, self.where(key))} is not true or false',
            )
        return value

    def mapping(self, key: str, default: typing.Any = REQUIRED) -> 'Mapping':
        """Return a mapping."""
        return Mapping(self.get(key, default), self.where(key))

    def mappings(
        self,
        key: str,
        defaults: 'Mapping | None' = None,
    ) -> list['Mapping']:
        """Return a list of mappings, with at least one.

        :param defaults: For keys that one of them lacks.
        """
        value = self._list(key, self.get(key))
        if not value:
            raise error(self.where(key), 'it is empty')
        return [
            Mapping(item, f'{self.where(key)}[{number}]', defaults)
            for number, item in enumerate(value)
        ]

    def free(self, key: str, default: typing.Any = None) -> typing.Any:
        """Return a mapping of any keys, without secrets and templates."""
        value = self.get(key, default)
        if value is default:
            return value
        if not isinstance(value, dict):
            raise error(
                self.where(key),
                f'{_kind(value)} is no mapping',
            )
        _check_free(value, self.where(key))
        return value

    def labels(self, key: str, default: typing.Any) -> dict[str, str]:
        """Return labels of Kubernetes."""
        value = self.get(key, default)
        where = self.where(key)
        if not isinstance(value, dict):
            raise error(where, f'{_kind(value)} is no mapping')
        return {
            _text(name, where, _LABEL_KEY): _text(
                text, f'{where}.{name}', _LABEL_VALUE
            )
            for name, text in value.items()
        }

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self._own:
            if key in self._known:
                continue
            if isinstance(key, str) and quoting.is_secret_name(key):
                raise error(
                    self.where(key),
                    NO_SECRETS,
                )
            raise error(
                self._where or 'description',
                f'unknown key {key!r}; known are '
                f'{", ".join(dict.fromkeys(self._known))}',
            )

    def _list(self, key: str, value: typing.Any) -> typing.Any:
        if not isinstance(value, (list, tuple)):
            raise error(self.where(key), f'{_kind(value)} is no list')
        return value


def _text(
    value: typing.Any,
    where: str,
    pattern: re.Pattern[str] | None = None,
    choices: tuple[str, ...] = (),
) -> str:
    if type(value) is int:
        # Ids may have digits alone.
        value = str(value)
    if not isinstance(value, str):
        raise error(where, f'{_kind(value)} is no text; put it in quotes')
    if choices and value not in choices:
        raise error(
            where, f'{_shown(value, where)} is not one of {", ".join(choices)}'
        )
    _check_text(value, where)
    if pattern is not None and not pattern.fullmatch(value):
        raise error(where, f'{_shown(value, where)} is not possible here')
    return value


def _shown(value: typing.Any, where: str) -> str:
    """Return what may be shown of a value: it may be a secret.

    A number, or a short word that does not look like one and stands where a
    word belongs.
    """
    if quoting.is_secret_name(where):
        return 'the value'
    if value is None or isinstance(value, (bool, int, float)):
        return str(value).lower() if isinstance(value, bool) else repr(value)
    if isinstance(value, str) and quoting.is_word(value):
        return repr(value)
    return 'the value'


def _kind(value: typing.Any) -> str:
    """Return what a value of the wrong type is; a text is not shown."""
    if isinstance(value, dict):
        return 'a mapping'
    if isinstance(value, (list, tuple)):
        return 'a list'
    if isinstance(value, str):
        return 'a text'
    return repr(value) if isinstance(value, (int, float)) else 'the value'


def _check_text(value: str, where: str) -> None:
    if not value.isprintable():
        raise error(
            where,
            f'{_shown(value, where)} has a line end or control character',
        )
    if quoting.holds_secret(value):
        raise error(where, NO_SECRETS)
    for mark in _TEMPLATE_MARKS:
        if mark in value:
            raise error(
                where, f'{_shown(value, where)} is a template ({mark})'
            )


def integer(value: typing.Any, where: str, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= _MOST:
        raise error(
            where,
            f'{_shown(value, where)} is not a number of {least} or above',
        )
    return value


def _check_free(value: typing.Any, where: str, depth: int = 0) -> None:
    """Refuse secrets, templates and what YAML could not hold."""
    if depth > 20:
        raise error(where, 'it is nested too deeply')
    if isinstance(value, dict):
        _check_named_value(value, where)
        for key, item in value.items():
            if not isinstance(key, str):
                raise error(where, f'the key {key!r} is no text')
            _check_text(key, where)
            if quoting.is_secret_name(key):
                raise error(
                    f'{where}.{key}',
                    NO_SECRETS,
                )
            _check_free(item, f'{where}.{key}', depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_free(item, f'{where}[{number}]', depth + 1)
    elif isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise error(where, f'{value!r} is no number')
    elif value is not None and not isinstance(value, (bool, int, float)):
        raise error(where, f'{_shown(value, where)} is not possible here')


def _check_named_value(
    value: dict[typing.Any, typing.Any], where: str
) -> None:
    """Refuse a secret whose name stands beside it, as in an environment."""
    for key in ('name', 'key'):
        name = value.get(key)
        if 'value' in value and isinstance(name, str):
            if quoting.is_secret_name(name):
                raise error(f'{where}.value', NO_SECRETS)
