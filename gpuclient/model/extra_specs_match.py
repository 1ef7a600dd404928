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

"""Operators of extra specs that filters match, ``>= 4`` or ``<or> a <or> b``.

``nova/scheduler/filters/extra_specs_ops.py``
"""

import collections.abc
import operator
import typing

_Match = collections.abc.Callable[[typing.Any, typing.Any], bool]

_OPERATORS: dict[str, _Match] = {
    '=': lambda value, wanted: float(value) >= float(wanted),
    '<in>': lambda value, wanted: wanted in value,
    '==': lambda value, wanted: float(value) == float(wanted),
    '!=': lambda value, wanted: float(value) != float(wanted),
    '>=': lambda value, wanted: float(value) >= float(wanted),
    '<=': lambda value, wanted: float(value) <= float(wanted),
    's==': operator.eq,
    's!=': operator.ne,
    's<': operator.lt,
    's<=': operator.le,
    's>': operator.gt,
    's>=': operator.ge,
}


def matches(value: str, wanted: str) -> bool:
    """Return whether a value is as requested.

    :raises ValueError: Nova fails: an operand is no number.
    :raises IndexError: Nova fails: there is no operand.
    """
    name, *operands = wanted.split() or ['']
    if name == '<or>':
        if not operands:
            raise IndexError('no value after <or>')
        # Every other one is the operator again.
        return value in operands[::2]
    if name == '<all-in>':
        return bool(operands) and all(text in value for text in operands)
    if name not in _OPERATORS:
        return value == wanted
    return bool(operands) and bool(_OPERATORS[name](value, operands[0]))
