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

"""Images of Glance."""

import re
import typing
import urllib.parse

from openstack import connection

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions
from gpuclient.model import image as image_model

_FIELDS: dict[str, schema.Shape] = {
    'id': str,
    'name': schema.Optional(str),
    'disk_format': schema.Optional(str),
    'min_ram': schema.Optional(int),
    'min_disk': schema.Optional(int),
}
#: Properties that Nova reads, beside the fields of the image
#: (nova/objects/image_meta.py:ImageMetaProps).
PROPERTY = re.compile(
    'hw_.*|img_.*|os_.*|trait:.*|architecture|hypervisor_type|vm_mode'
)
# A field of the image, os_hidden, is a boolean.
_IMAGE = schema.Open(
    _FIELDS, PROPERTY, schema.Optional(schema.OneOf((str, bool)))
)


def find_image(
    cloud: connection.Connection, name_or_id: str
) -> image_model.Image:
    """Return the image with an ID or a name, in this order.

    :raises gpuclient.exceptions.CloudError: There is none, or more than one.
    """
    action = f'finding image {name_or_id!r}'
    record = _find_by_id(cloud, name_or_id, action)
    if record is not None:
        return _image(record)
    records = []
    if name_or_id:
        records = request.get(
            cloud.image,
            '/images',
            action,
            {'images': [_IMAGE]},
            name=name_or_id,
        )['images']
    if len(records) > 1:
        raise exceptions.Ambiguous(
            f'{len(records)} images have the name {name_or_id!r}: use the ID '
            f'of one of them: '
            f'{", ".join(record["id"] for record in records[:5])}'
        )
    if not records:
        raise exceptions.NotFound(
            f'No image has the name or ID {name_or_id!r}'
        )
    return _image(records[0])


def _find_by_id(
    cloud: connection.Connection, text: str, action: str
) -> dict[str, typing.Any] | None:
    if not request.is_segment(text):
        return None
    try:
        return request.get(
            cloud.image,
            f'/images/{urllib.parse.quote(text, safe="")}',
            action,
            _IMAGE,
        )
    except exceptions.CloudError as exc:
        if exc.status not in (400, 404):
            raise
        return None


def _image(record: dict[str, typing.Any]) -> image_model.Image:
    return image_model.Image(
        id=record['id'],
        name=record.get('name') or record['id'],
        properties={
            key: value
            for key, value in record.items()
            if isinstance(value, str) and PROPERTY.fullmatch(key)
        },
        disk_format=record.get('disk_format'),
        min_ram=record.get('min_ram') or 0,
        min_disk=record.get('min_disk') or 0,
    )
