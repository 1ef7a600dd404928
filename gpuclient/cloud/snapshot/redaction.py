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

"""What of an answer a snapshot may hold.

Only fields that a reading command requires, that is those of the shapes that
validate the answer (:mod:`gpuclient.cloud.schema`). Everything else, such as
addresses, metadata and user data of servers, is dropped where it is recorded.
"""

import collections.abc
import typing

from gpuclient.cloud import schema
from gpuclient.model import quoting

#: Never recorded, even if a shape should have it some day.
_NEVER = frozenset(
    {
        'accessIPv4',
        'accessIPv6',
        'addresses',
        'adminPass',
        'config_drive',
        'key_name',
        'links',
        'OS-EXT-SRV-ATTR:user_data',
        'password',
        'personality',
        'user_data',
    }
)
#: Of errors of Nova and Keystone (an object with any key), and of Placement.
_ERROR: typing.Final = {
    'code': int,
    'detail': str,
    'message': str,
    'status': int,
    'title': str,
}
ERRORS: tuple[schema.Shape, ...] = (schema.Map(_ERROR), {'errors': [_ERROR]})


def keep(
    value: typing.Any, shapes: collections.abc.Iterable[schema.Shape]
) -> typing.Any:
    """Return the parts of an answer that any of several shapes has.

    What looks like a secret in a text is masked.
    """
    plain = [part for shape in shapes for part in _plain(shape)]
    if isinstance(value, dict):
        return _keep_object(value, plain)
    if isinstance(value, list):
        inner = [shape[0] for shape in plain if isinstance(shape, list)]
        return [keep(item, inner) for item in value] if inner else None
    if not any(isinstance(shape, type) for shape in plain):
        return None
    return quoting.masked(value) if isinstance(value, str) else value


def _plain(shape: schema.Shape) -> list[schema.Shape]:
    """Return the shapes that one allows, without alternatives."""
    if isinstance(shape, schema.Optional):
        return _plain(shape.shape)
    if isinstance(shape, schema.OneOf):
        return [part for choice in shape.shapes for part in _plain(choice)]
    return [shape]


def _keep_object(
    value: dict[str, typing.Any], shapes: list[schema.Shape]
) -> dict[str, typing.Any] | None:
    kinds = (dict, schema.Map, schema.Open)
    objects = [shape for shape in shapes if isinstance(shape, kinds)]
    if not objects:
        return None
    kept = {}
    for key, item in value.items():
        inner = [
            part
            for shape in objects
            if (part := _of_key(shape, key)) is not None
        ]
        if not inner or key in _NEVER:
            continue
        kept[key] = keep(item, inner)
        if quoting.is_secret_name(key) and isinstance(item, str):
            kept[key] = quoting.MASK
    return kept


def _of_key(shape: schema.Shape, key: str) -> schema.Shape | None:
    """Return the shape of a key of an object; None if it is ignored."""
    if isinstance(shape, schema.Map):
        return shape.values
    if isinstance(shape, schema.Open):
        return shape.of(key)
    return shape.get(key)
