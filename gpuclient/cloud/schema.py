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

"""Validation of the answers of services, where they enter.

A shape is written like the answer::

    {'servers': [{'id': str, 'flavor': Optional({'extra_specs': Map(str)})}]}

* a type, ``str``, ``int``, ``float`` or ``bool``: a value of that type; an
  integer is a float, too, and a boolean is no integer;
* a list of one shape: a list of such values;
* a dict: an object that has these keys, and any others;
* :class:`Map`: an object with any keys, whose values are of one shape;
* :class:`Optional`: the same, null, or not there at all;
* :class:`OneOf`: any of several;
* :class:`Open`: an object with certain keys, and others that match a pattern.

Other keys are ignored, so that the answers of newer services are valid.
"""

import collections.abc
import dataclasses
import json
import re
import typing

from gpuclient.model import quoting
from gpuclient import text

Shape: typing.TypeAlias = typing.Any

#: Characters of a wrong value that a message quotes.
_QUOTED = 40


@dataclasses.dataclass(frozen=True)
class Map:
    """An object with any keys."""

    values: Shape


@dataclasses.dataclass(frozen=True)
class Optional:
    """A value that may be null or missing."""

    shape: Shape


@dataclasses.dataclass(frozen=True)
class OneOf:
    """A value that has one of several shapes."""

    shapes: tuple[Shape, ...]


@dataclasses.dataclass(frozen=True)
class Open:
    """An object with certain keys, and others that match a pattern."""

    fields: dict[str, Shape]
    others: re.Pattern[str]
    #: Of the values of others.
    shape: Shape

    def of(self, key: str) -> Shape | None:
        """Return the shape of a key; None for one that is ignored."""
        if key in self.fields:
            return self.fields[key]
        return self.shape if self.others.fullmatch(key) else None


#: Path of a value, outermost first, and what is wrong with it.
_Fault: typing.TypeAlias = tuple[tuple[str, ...], str]


def find_fault(value: typing.Any, shape: Shape) -> str:
    """Return what is wrong with an answer, or an empty string."""
    fault = _find(value, shape)
    if fault is None:
        return ''
    path, reason = fault
    name = ''.join(path).removeprefix('.')
    return f'{text.escape(name) or "the body"} {reason}'


def _find(value: typing.Any, shape: Shape) -> _Fault | None:
    if isinstance(shape, Optional):
        return None if value is None else _find(value, shape.shape)
    if isinstance(shape, OneOf):
        faults = [_find(value, choice) for choice in shape.shapes]
        return None if None in faults else faults[0]
    if isinstance(shape, list):
        if not isinstance(value, list):
            return (), _wrong(value, 'a list')
        return _first((f'[{at}]', v, shape[0]) for at, v in enumerate(value))
    if isinstance(shape, Open):
        if not isinstance(value, dict):
            return (), _wrong(value, 'an object')
        others = {key: shape.of(key) for key in value if shape.of(key)}
        return _find_in_object(value, {**shape.fields, **others})
    if isinstance(shape, dict | Map):
        if not isinstance(value, dict):
            return (), _wrong(value, 'an object')
        if isinstance(shape, Map):
            return _first(
                (f'.{key}', item, shape.values) for key, item in value.items()
            )
        return _find_in_object(value, shape)
    if _is_a(value, shape):
        return None
    return (), _wrong(value, _name_of(shape))


def _find_in_object(
    value: dict[str, typing.Any], shape: dict[str, Shape]
) -> _Fault | None:
    for key, inner in shape.items():
        if key not in value and not isinstance(inner, Optional):
            return (f'.{key}',), 'is missing'
    return _first(
        (f'.{key}', value.get(key), inner) for key, inner in shape.items()
    )


def _first(
    parts: collections.abc.Iterable[tuple[str, typing.Any, Shape]],
) -> _Fault | None:
    for step, value, shape in parts:
        fault = _find(value, shape)
        if fault is not None:
            return (step, *fault[0]), fault[1]
    return None


def _is_a(value: typing.Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _name_of(kind: type) -> str:
    return {
        str: 'a string',
        int: 'an integer',
        float: 'a number',
        bool: 'true or false',
    }[kind]


def _wrong(value: typing.Any, wanted: str) -> str:
    if isinstance(value, list):
        shown = 'a list'
    elif isinstance(value, dict):
        shown = 'an object'
    else:
        shown = json.dumps(value)
        if isinstance(value, str):
            shown = quoting.cut(text.escape(shown), _QUOTED)
    return f'is {shown}, not {wanted}'
