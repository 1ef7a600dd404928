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

"""Booleans as OpenStack reads them in text."""

import typing

from gpuclient.model import quoting

_TRUE = ('1', 't', 'true', 'on', 'y', 'yes')
_FALSE = ('0', 'f', 'false', 'off', 'n', 'no')


def is_true(value: typing.Any) -> bool:
    """Return whether a value means yes; anything unknown means no."""
    return str(value).strip().lower() in _TRUE


def parse(value: typing.Any) -> bool:
    """Return what a value means.

    :raises ValueError: It means neither, in the words of
        ``oslo_utils.strutils:bool_from_string``.
    """
    if is_true(value):
        return True
    if str(value).strip().lower() in _FALSE:
        return False
    acceptable = ', '.join(f"'{word}'" for word in sorted(_TRUE + _FALSE))
    raise ValueError(
        f"Unrecognized value '{quoting.choice(value)}', acceptable values "
        f'are: {acceptable}'
    )


def of_option(text: str) -> bool | None:
    """Return what a boolean option of oslo.config is set to.

    :returns: None where the value is no boolean; the service that reads it
        does not start (``oslo_config/types.py:Boolean``).
    """
    words = {
        **dict.fromkeys(('true', '1', 'on', 'yes'), True),
        **dict.fromkeys(('false', '0', 'off', 'no'), False),
    }
    return words.get(text.lower())
