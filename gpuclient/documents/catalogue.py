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

"""A file of the user's that adds to the catalogue of GPU models.

It has a mapping ``models`` of slugs to fields, those of
:class:`gpuclient.model.catalogue.Model`. A slug that the catalogue has changes
that model; another adds one.
"""

import collections.abc
import dataclasses
import os
import re
import typing

import platformdirs

from gpuclient.documents import yaml_file
from gpuclient import exceptions
from gpuclient.model import catalogue

_SLUG = re.compile('[a-z0-9]+(_[a-z0-9]+)*', re.ASCII)
_ID = re.compile('[0-9a-fA-F]{4}', re.ASCII)
_TYPES = ('type-PCI', 'type-PF')
#: What a model that the catalogue has not got needs.
_REQUIRED = ('name', 'vendor_id', 'product_id')
_MOST_BARS = 6


def default_path() -> str:
    """Return the path: ``~/.config/gpuclient/catalogue.yaml``."""
    return os.path.join(
        platformdirs.user_config_dir('gpuclient'), 'catalogue.yaml'
    )


def load(path: str | None = None) -> catalogue.Catalogue:
    """Return the catalogue with the changes of a file.

    :param path: The file; by default the one at :func:`default_path`, if it
        is there.
    :raises gpuclient.exceptions.DocumentError: It cannot be read, or is
        wrong; the message is one line with the path and the key.
    """
    if path is None:
        path = default_path()
        if not os.path.exists(path):
            return catalogue.builtin()
    data = yaml_file.load(path)
    known = catalogue.builtin()
    try:
        return catalogue.Catalogue(_merged(known, data, path))
    except _Wrong as exc:
        # A key may have a line end.
        raise exceptions.DocumentError(
            f'{path}: {" ".join(str(exc).split())}'
        ) from exc


class _Wrong(Exception):
    """Not what the key takes."""


def _merged(
    known: catalogue.Catalogue, data: typing.Any, path: str
) -> list[catalogue.Model]:
    for key in _mapping(data, 'the file'):
        if key != 'models':
            raise _Wrong(f'{key!r} is not a key of the file; models is')
    models = {model.slug: model for model in known.models}
    for slug, fields in _mapping(data.get('models'), 'models').items():
        place = f'models.{slug}'
        if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
            raise _Wrong(
                f'{place}: a slug has lower case letters and digits, and '
                'single '
                'underscores between them'
            )
        found = {
            key: _value(key, value, f'{place}.{key}')
            for key, value in _mapping(fields, place).items()
        }
        model = models.get(slug)
        found.setdefault(
            'sources', (*(model.sources if model is not None else ()), path)
        )
        if model is None:
            for key in _REQUIRED:
                if key not in found:
                    raise _Wrong(f'{place}.{key} is missing')
            found.setdefault('designation', found['name'])
            models[slug] = catalogue.Model(slug=slug, **found)
        else:
            models[slug] = dataclasses.replace(model, **found)
    return list(models.values())


def _mapping(value: typing.Any, place: str) -> dict[typing.Any, typing.Any]:
    if not isinstance(value, dict):
        raise _Wrong(f'{place}: a mapping is expected')
    return value


def _value(key: typing.Any, value: typing.Any, place: str) -> typing.Any:
    """Return a value as the field has it."""
    read = _FIELDS.get(key)
    if read is None:
        raise _Wrong(
            '{place}: there is no such field; there are {known}'.format(
                place=place, known=', '.join(_FIELDS)
            )
        )
    return read(value, place)


def _text(value: typing.Any, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Wrong(f'{place}: a text is expected, in quotes')
    if not value.isprintable():
        raise _Wrong(
            f'{place}: the text has a line end or a control character'
        )
    return value


def _id(value: typing.Any, place: str) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _Wrong(
            f'{place}: four hexadecimal digits are expected, in quotes'
        )
    return value.lower()


def _ids(value: typing.Any, place: str) -> str:
    ids = catalogue.parse_ids(value) if isinstance(value, str) else None
    if ids is None:
        raise _Wrong(f"{place}: ids such as '10de:157e' are expected")
    return ':'.join(ids)


def _choice(*choices: str) -> '_Reader':
    def read(value: typing.Any, place: str) -> str:
        if value not in choices:
            raise _Wrong(
                '{place}: one of {choices} is expected'.format(
                    place=place, choices=', '.join(choices)
                )
            )
        return str(value)

    return read


def _boolean(value: typing.Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f'{place}: true or false is expected')
    return value


def _number(value: typing.Any, place: str) -> int:
    if type(value) is not int or value < 1:
        raise _Wrong(f'{place}: a number above zero is expected')
    return value


def _branch(value: typing.Any, place: str) -> str:
    return str(value) if type(value) is int else _text(value, place)


def _bar(value: typing.Any, place: str) -> catalogue.Bar:
    fields = dict(_mapping(value, place))
    number, size = fields.pop('number', None), fields.pop('size', None)
    prefetchable = _boolean(
        fields.pop('prefetchable', False), f'{place}.prefetchable'
    )
    if fields:
        raise _Wrong(f'{place}: a BAR has number, size and prefetchable')
    if type(number) is not int or not 0 <= number < _MOST_BARS:
        raise _Wrong(f'{place}.number: 0 to 5 is expected')
    if _number(size, f'{place}.size') & (size - 1):
        raise _Wrong(f'{place}.size: bytes are expected, a power of two')
    return catalogue.Bar(number, size, prefetchable)


def _optional(read: '_Reader') -> '_Reader':
    return lambda value, place: None if value is None else read(value, place)


def _list(read: '_Reader') -> '_Reader':
    def read_list(value: typing.Any, place: str) -> tuple[typing.Any, ...]:
        if not isinstance(value, list):
            raise _Wrong(f'{place}: a list is expected')
        return tuple(
            read(item, f'{place}[{number}]')
            for number, item in enumerate(value)
        )

    return read_list


_Reader: typing.TypeAlias = collections.abc.Callable[
    [typing.Any, str], typing.Any
]

_FIELDS: dict[typing.Any, _Reader] = {
    'name': _text,
    'designation': _text,
    'vendor_id': _id,
    'product_id': _id,
    'architecture': _optional(_text),
    'device_types': _list(_choice(*_TYPES)),
    'memory_mb': _optional(_number),
    'bars': _list(_bar),
    'nvswitch': _boolean,
    'driver': _optional(_text),
    'driver_floor': _optional(_branch),
    'open_kernel_modules': _optional(_choice(*catalogue.OPEN_KERNEL_MODULES)),
    'form_factor': _optional(_text),
    'audio_product_id': _optional(_id),
    'subsystem_ids': _list(_ids),
    'notes': _optional(_text),
    'sources': _list(_text),
}
