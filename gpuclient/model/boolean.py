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

"""Booleans of aliases, device specs and extra specs.

Nova reads them with ``oslo_utils.strutils.bool_from_string``, and so do we.
Boolean options are of another kind: see
:func:`gpuclient.model.oslo_values.boolean`.
"""

import typing

from gpuclient.model import quoting


def is_true(value: typing.Any) -> bool:
    """Return whether a value is true; any unknown value is not."""
    return _read(value, strict=False)


def parse(value: typing.Any) -> bool:
    """Return a value that is true or false.

    :raises ValueError: It is neither. The message is that of oslo.utils, but
        without a value that may be a secret.
    """
    try:
        return _read(value, strict=True)
    except ValueError as exc:
        acceptable = str(exc).rpartition(': ')[2]
        raise ValueError(
            f"Unrecognized value '{quoting.choice(value)}', acceptable values "
            f'are: {acceptable}'
        ) from exc


def _read(value: typing.Any, *, strict: bool) -> bool:
    # It takes longer to import than all of this package.
    from oslo_utils import strutils

    return bool(strutils.bool_from_string(value, strict=strict))
