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

"""Validation of extra specs, as the API of Nova does it from 2.86 on.

``nova/api/validation/extra_specs/validators.py``, with the names of
``gpuclient/data/nova/extra_specs-34.json``. Extra specs that are stored
already are not validated again, but whoever writes them anew is refused.
"""

import functools
import re
import typing

from gpuclient import data
from gpuclient.model import boolean
from gpuclient.model import quoting

_GROUP = '[a-zA-Z0-9_-]{1,64}'
_RESOURCES = re.compile(f'resources({_GROUP})?:(?P<name>.*)', re.DOTALL)
_TRAIT = re.compile(f'trait({_GROUP})?:(?P<name>.*)', re.DOTALL)
_CUSTOM = re.compile('CUSTOM_[A-Z0-9_]+')
_REQUIREMENTS = ('required', 'forbidden')


def refusal(name: str, value: str) -> str:
    """Return why Nova refuses an extra spec; empty if it accepts it."""
    for pattern, kind in ((_RESOURCES, 'resources'), (_TRAIT, 'trait')):
        match = pattern.fullmatch(name)
        if match is None:
            continue
        if not (
            _CUSTOM.fullmatch(match['name'])
            or _is_standard(kind, match['name'])
        ):
            return _unknown(name)
        if kind == 'resources':
            return _refused_integer(value, {})
        return _refused_string(value, {'choices': list(_REQUIREMENTS)})
    for known, validator in _validators():
        if known.fullmatch(name):
            return _REFUSED[validator['type']](value, validator)
    namespace, colon, _rest = name.partition(':')
    if colon and namespace in _namespaces():
        return _unknown(name)
    return ''


def _unknown(name: str) -> str:
    return (
        f'extra spec {quoting.word(name)!r} does not appear to be a valid '
        f'extra spec'
    )


def _is_standard(kind: str, name: str) -> bool:
    if kind == 'resources':
        import os_resource_classes

        return name in os_resource_classes.STANDARDS
    return name in _standard_traits()


@functools.cache
def _standard_traits() -> frozenset[str]:
    import os_traits

    return frozenset(os_traits.get_traits())


@functools.cache
def _validators() -> tuple[tuple[re.Pattern[str], dict[str, typing.Any]], ...]:
    return tuple(
        (re.compile(name), validator)
        for name, validator in data.load('nova/extra_specs-34.json')[
            'extra_specs'
        ].items()
    )


@functools.cache
def _namespaces() -> frozenset[str]:
    return frozenset(
        {
            pattern.pattern.partition(':')[0]
            for pattern, _validator in _validators()
            if ':' in pattern.pattern
        }
        | {'resources', 'trait'}
    )


def _refused_string(value: str, validator: dict[str, typing.Any]) -> str:
    shown = quoting.choice(value)
    pattern = validator.get('pattern')
    if pattern is not None:
        if re.fullmatch(pattern, value):
            return ''
        return f"'{shown}' is not of the format '{pattern}'"
    choices = validator.get('choices')
    if choices is not None and value not in choices:
        return f"'{shown}' is not one of: {', '.join(choices)}"
    return ''


def _refused_integer(value: str, validator: dict[str, typing.Any]) -> str:
    try:
        number = int(value)
    except ValueError:
        return f"'{quoting.choice(value)}' is not a valid integer value"
    if number > validator.get('maximum', number):
        return (
            f"'{number}' is greater than the max value of "
            f"'{validator['maximum']}'"
        )
    if number < validator.get('minimum', number):
        return (
            f"'{number}' is less than the min value of "
            f"'{validator['minimum']}'"
        )
    return ''


def _refused_boolean(value: str, _validator: dict[str, typing.Any]) -> str:
    try:
        boolean.parse(value)
    except ValueError:
        return f"'{quoting.choice(value)}' is not a valid boolean-like value"
    return ''


_REFUSED: typing.Final = {
    'boolean': _refused_boolean,
    'integer': _refused_integer,
    'string': _refused_string,
}
