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

"""Values of options as oslo.config parses them.

Each function follows one of ``oslo_config/types.py`` or
``oslo_config/cfg.py:ConfigOpts._substitute``; a test holds it against that.
"""

import collections.abc
import re
import string
import typing

from gpuclient.model import nova_schema

_TRUE = ('true', '1', 'on', 'yes')
_FALSE = ('false', '0', 'off', 'no')

#: Choices that a message lists.
_MOST_CHOICES = 12

#: Returns the last value that an option is set to, as text; None if unset.
Lookup: typing.TypeAlias = collections.abc.Callable[[str, str], str | None]


class InvalidValueError(ValueError):
    """oslo.config refuses a value; the message does not quote it."""


class BadReferenceError(ValueError):
    """A value refers to an option that Nova does not have, or to itself."""


def boolean(text: str) -> bool:
    """Return the value of a Boolean option (``types.Boolean``).

    :raises ValueError: oslo.config refuses it.
    """
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError(f'Unexpected boolean value {text!r}')


def boolean_or_none(text: str) -> bool | None:
    """Return the value of a Boolean option.

    :returns: None if oslo.config refuses it: the service does not start.
    """
    try:
        return boolean(text)
    except ValueError:
        return None


def number(text: str, kind: nova_schema.Type) -> int | float | None:
    """Return the value of a numeric option (``types.Number``).

    :returns: None if the text is empty.
    :raises ValueError: oslo.config refuses it.
    """
    if not text.strip():
        return None
    value = (
        int(text.strip())
        if kind.kind == nova_schema.INTEGER
        else float(text.strip())
    )
    if kind.choices:
        _check_choice(value, kind.choices)
    if kind.minimum is not None and value < kind.minimum:
        raise InvalidValueError(
            f'Should be greater than or equal to {kind.minimum:g}'
        )
    if kind.maximum is not None and value > kind.maximum:
        raise InvalidValueError(
            f'Should be less than or equal to {kind.maximum:g}'
        )
    return value


def check(text: str, kind: nova_schema.Type) -> None:
    """Make sure that oslo.config accepts a text for an option of a type.

    :raises ValueError: It refuses the text.
    """
    if kind.kind == nova_schema.BOOLEAN:
        boolean(text)
    elif kind.kind in (nova_schema.INTEGER, nova_schema.FLOAT):
        number(text, kind)
    elif kind.kind == nova_schema.LIST:
        if kind.items is not None:
            _check_items(text, kind.items)
    elif kind.kind == nova_schema.MULTI:
        if kind.items is not None:
            _check_pairs(text)
    elif kind.kind == nova_schema.STRING:
        _check_string(text, kind)


def _check_string(text: str, kind: nova_schema.Type) -> None:
    """Check a text as ``types.String``, or the class of its form, does."""
    if kind.max_length is not None and len(text) > kind.max_length:
        raise InvalidValueError(f'exceeds maximum length {kind.max_length}')
    if kind.regex and not re.search(kind.regex, text):
        raise InvalidValueError(f"doesn't match regex {kind.regex!r}")
    if kind.choices:
        _check_choice(text, kind.choices)
    if kind.form:
        _check_form(text, kind)


def _check_form(text: str, kind: nova_schema.Type) -> None:
    # Few files have such values, and the module takes long to import.
    from oslo_config import types

    convert: collections.abc.Callable[[str], object]
    if kind.form == nova_schema.URI:
        convert = types.URI(schemes=kind.schemes or None)
        schemes = ' or '.join(kind.schemes)
        name = f'URI with scheme {schemes}' if schemes else 'URI'
    else:
        domain = kind.form == nova_schema.HOST_DOMAIN
        convert = types.HostDomain() if domain else types.HostAddress()
        name = 'host address'
    try:
        convert(text)
    except ValueError as exc:
        raise InvalidValueError(f'not a valid {name}') from exc


def _check_choice(value: str | float, choices: tuple[str | int, ...]) -> None:
    if value in choices:
        return
    shown = ', '.join(str(choice) for choice in choices[:_MOST_CHOICES])
    more = ', ...' if len(choices) > _MOST_CHOICES else ''
    raise InvalidValueError(f'Valid values are [{shown}{more}]')


def _check_items(text: str, kind: nova_schema.Type) -> None:
    """Check the items of a list (``types.List``).

    An item that is invalid is read with the next one and the comma between
    them.
    """
    rest = items(text)
    while rest:
        item, *rest = rest
        while True:
            try:
                check(item.strip(), kind)
                break
            except ValueError:
                if not rest:
                    raise
            item = f'{item},{rest.pop(0)}'


def _check_pairs(text: str) -> None:
    """Check pairs of a key and a value (``types.Dict``)."""
    rest = text.strip().split(',') if text.strip() else []
    keys: set[str] = set()
    while rest:
        pair = rest.pop(0)
        while ':' not in pair:
            if not rest:
                raise InvalidValueError(
                    'Value should be NAME:VALUE pairs separated by ","'
                )
            pair = f'{pair},{rest.pop(0)}'
        key = pair.partition(':')[0].strip()
        if not key:
            raise InvalidValueError('Key name should not be empty')
        if key in keys:
            raise InvalidValueError('Duplicate key')
        keys.add(key)


def items(text: str) -> list[str]:
    """Return the items of a list option (``types.List`` of strings).

    Commas separate them. Spaces around items, and commas at the end, are
    ignored. Brackets and quotes are part of the items; an empty text between
    two commas is an item.
    """
    text = text.strip().rstrip(',')
    return [item.strip() for item in text.split(',')] if text else []


class _Template(string.Template):
    # oslo_config/cfg.py:ConfigOpts.Template
    idpattern = r'[_a-z][\._a-z0-9]*'


class _UnknownValueError(Exception):
    """A reference is to an option whose value is not known."""


class _Values(typing.Mapping[str, str]):
    """Values of references (``cfg.ConfigOpts.StrSubWrapper``)."""

    def __init__(
        self, section: str, lookup: Lookup, seen: frozenset[tuple[str, str]]
    ) -> None:
        self._section = section
        self._lookup = lookup
        self._seen = seen

    def __getitem__(self, key: str) -> str:
        group, dot, name = key.partition('.')
        # [DEFAULT] is not a group in oslo.config.
        candidates = (
            ((group, name),)
            if dot and group != 'DEFAULT'
            else ((self._section, key), ('DEFAULT', key))
        )
        for option in candidates:
            kind = nova_schema.find(*option)
            if kind is not None:
                return self._value(option, kind)
        raise BadReferenceError(
            f'it refers to {key!r}, which Nova does not have'
        )

    def _value(self, option: tuple[str, str], kind: nova_schema.Type) -> str:
        text = self._lookup(*option)
        if text is None:
            raise _UnknownValueError
        if option in self._seen:
            raise BadReferenceError('it refers to itself')
        value = substitute(
            text, option[0], self._lookup, self._seen | {option}
        )
        if value is None:
            raise _UnknownValueError
        try:
            if kind.kind == nova_schema.STRING:
                check(value, kind)
                return value
            if kind.kind == nova_schema.BOOLEAN:
                return str(boolean(value))
            if kind.kind in (nova_schema.INTEGER, nova_schema.FLOAT):
                converted = number(value, kind)
                return '' if converted is None else str(converted)
        except ValueError:
            # Another finding reports that option.
            pass
        raise _UnknownValueError

    def __iter__(self) -> collections.abc.Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def substitute(
    text: str,
    section: str,
    lookup: Lookup,
    seen: frozenset[tuple[str, str]] = frozenset(),
) -> str | None:
    r"""Return a text with references to other options replaced.

    ``$name`` is an option of the section or of ``[DEFAULT]``,
    ``$section.name`` is any option; ``$$`` and ``\$`` are a dollar sign.

    :param lookup: Returns the text that another option is set to.
    :returns: None if the value of an option is not known: its default, or a
        list.
    :raises BadReferenceError: There is no such option, or it refers to this
        one; a service that reads this option fails.
    """
    if '$' not in text:
        return text
    template = _Template(text.replace(r'\$', '$$'))
    try:
        return template.safe_substitute(_Values(section, lookup, seen))
    except _UnknownValueError:
        return None
