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

"""GPU models: their PCI ids and what configuration depends on.

:func:`builtin` returns the models of the package, whose records are in
``gpuclient/data/gpus``.
"""

import collections.abc
import dataclasses
import functools
import re
import typing

from gpuclient import data
from gpuclient import exceptions
from gpuclient.model import mapping_reader
from gpuclient.model import naming

#: Vendor ids of the PCI-SIG, and the names of the vendors.
VENDORS = {'1002': 'AMD', '10de': 'NVIDIA', '8086': 'Intel'}

#: Values of :attr:`Model.open_kernel_modules`, NVIDIA's open kernel modules.
OPEN_KERNEL_MODULES = ('required', 'supported', 'unsupported')

_IDS = re.compile(
    r'(?:0x)?([0-9a-f]{4}):(?:0x)?([0-9a-f]{4})', re.ASCII | re.IGNORECASE
)
_SPACED_IDS = re.compile(rf'\s*{_IDS.pattern}\s*', _IDS.flags)
_WORD = re.compile('[a-z0-9]+', re.ASCII)


@dataclasses.dataclass(frozen=True)
class Bar:
    """A base address register, which maps device memory."""

    #: 0 to 5, as in the PCI specification; a 64-bit BAR also uses the next
    #: number.
    number: int
    #: Bytes, a power of two.
    size: int
    #: 64-bit and prefetchable: it can be mapped above 4 GiB, where a guest
    #: needs address space for it.
    prefetchable: bool = False


@dataclasses.dataclass(frozen=True)
class Model:
    """A GPU model. A value that no source confirms is None."""

    #: Lower case, valid as an alias name: ``nvidia_a100_pcie_40gb``.
    slug: str
    #: ``NVIDIA A100 PCIe 40GB``.
    name: str
    #: The part of the name that its variants share: ``A100``.
    designation: str
    #: Four hexadecimal digits, lower case.
    vendor_id: str
    #: Likewise. Some models share it; see :attr:`subsystem_ids`.
    product_id: str
    #: The vendor's name for the generation: ``Ampere``, ``CDNA 3``.
    architecture: str | None = None
    #: Device types in Nova, the usual first: ``type-PF`` for a card that
    #: exposes SR-IOV, ``type-PCI`` otherwise; both if it depends on a mode or
    #: on the firmware, empty if no source says it.
    device_types: tuple[str, ...] = ()
    #: Memory of the GPU in MiB, as the vendor states it.
    memory_mb: int | None = None
    #: In the order of their numbers, as far as sources list them: often only
    #: the largest one.
    bars: tuple[Bar, ...] = ()
    #: Whether boards exist that connect it with NVSwitches, whose fabric must
    #: be configured before a guest can use it.
    nvswitch: bool = False
    #: Kernel driver in the guest: ``nvidia``, ``amdgpu``, ``i915``, ``xe``.
    driver: str | None = None
    #: First branch of the driver that supports it: ``450``.
    driver_floor: str | None = None
    #: One of :data:`OPEN_KERNEL_MODULES`; None for other vendors.
    open_kernel_modules: str | None = None
    #: ``PCIe``, ``SXM4``, ``OAM`` ...
    form_factor: str | None = None
    #: Product id of the audio function of the card, which is in the same
    #: IOMMU group.
    audio_product_id: str | None = None
    #: Subsystem ids, ``10de:157e``, which distinguish it from other models
    #: with the same ids; empty if no other model has them.
    subsystem_ids: tuple[str, ...] = ()
    #: Anything else, such as what the device type depends on.
    notes: str | None = None
    #: Sources of the data.
    sources: tuple[str, ...] = ()

    @property
    def ids(self) -> str:
        """``10de:20f1``, as lspci writes it."""
        return f'{self.vendor_id}:{self.product_id}'

    @property
    def vendor(self) -> str:
        """Name of the vendor; its id if it is not in :data:`VENDORS`."""
        return VENDORS.get(self.vendor_id, self.vendor_id)

    @property
    def device_type(self) -> str | None:
        """The usual one of :attr:`device_types`; None if none is known."""
        return self.device_types[0] if self.device_types else None

    @property
    def resource_class(self) -> str:
        """The suggested class: ``CUSTOM_NVIDIA_A100_PCIE_40GB``."""
        return naming.resource_class(None, None, self.slug)

    @property
    def largest_bar(self) -> Bar | None:
        """The BAR that needs most address space in a guest."""
        return max(self.bars, key=lambda bar: bar.size, default=None)


def name_words(text: str) -> tuple[str, ...]:
    """Return the words of a name: letters and digits, in lower case."""
    return tuple(_WORD.findall(text.lower()))


def parse_ids(text: str) -> tuple[str, str] | None:
    """Return vendor and product id of ``10de:20f1``; None for other text."""
    match = _IDS.fullmatch(text.strip())
    return None if match is None else (match[1].lower(), match[2].lower())


class Catalogue:
    """GPU models with unique slugs.

    :param models: In the order in which they are listed.
    """

    def __init__(self, models: collections.abc.Iterable[Model]) -> None:
        self.models = tuple(models)
        self._by_slug = {model.slug: model for model in self.models}
        by_ids: dict[tuple[str, str], list[Model]] = {}
        for model in self.models:
            ids = model.vendor_id, model.product_id
            by_ids.setdefault(ids, []).append(model)
        self._by_ids = {ids: tuple(same) for ids, same in by_ids.items()}

    def by_ids(
        self,
        vendor_id: str | None,
        product_id: str | None,
        subsystem: str | None = None,
    ) -> tuple[Model, ...]:
        """Return the models with a vendor and a product id, in either case.

        Usually one; some models, such as A2 and A16, share their ids.

        :param subsystem: Ids such as ``10de:157e``, which distinguish them.
        """
        if vendor_id is None or product_id is None:
            return ()
        models = self._by_ids.get((vendor_id.lower(), product_id.lower()), ())
        if subsystem is None:
            return models
        wanted = subsystem.lower()
        return (
            tuple(model for model in models if wanted in model.subsystem_ids)
            or models
        )

    def by_name(self, text: str) -> Model:
        """Return the model that a text refers to.

        A slug, ids as ``10de:20f1``, a name with or without the vendor, or
        words that only one name contains.

        :raises gpuclient.exceptions.NotFound: There is none.
        :raises gpuclient.exceptions.Ambiguous: There are several; the message
            lists them.
        """
        models = self.find(text)
        if len(models) == 1:
            return models[0]
        if not models:
            raise exceptions.NotFound(
                f'No model {text!r} in the catalogue: "openstack gpu model '
                f'list" lists all models, and --catalogue adds your own'
            )
        slugs = ', '.join(model.slug for model in models[:_MOST_NAMED])
        if len(models) > _MOST_NAMED:
            slugs += ' ... ("openstack gpu model list" lists all models)'
        raise exceptions.Ambiguous(
            f'{text!r} matches {len(models)} models; name one of: {slugs}'
        )

    def find(self, text: str) -> tuple[Model, ...]:
        """Return all models that a text matches; see :meth:`by_name`."""
        ids = parse_ids(text)
        if ids is not None:
            return self.by_ids(*ids)
        wanted = name_words(text)
        if not wanted:
            return ()
        slug = self._by_slug.get('_'.join(wanted))
        if slug is not None:
            return (slug,)
        whole = tuple(
            model
            for model in self.models
            if wanted in (name_words(model.name), name_words(model.name)[1:])
        )
        return whole or tuple(
            model
            for model in self.models
            if set(wanted)
            <= {*name_words(model.name), *name_words(model.slug)}
        )

    def of_vendor(self, vendor: str) -> tuple[Model, ...]:
        """Return the models of a vendor, by its id or name in any case."""
        wanted = vendor.lower()
        return tuple(
            model
            for model in self.models
            if wanted in (model.vendor_id, model.vendor.lower())
        )


#: Files of models in ``gpuclient/data/gpus``, in the order of lists.
TABLES = ('nvidia', 'nvidia_desktop', 'amd', 'intel')

_SLUG = re.compile('[a-z0-9]+(_[a-z0-9]+)*', re.ASCII)
_ID = re.compile('[0-9a-fA-F]{4}', re.ASCII)
_NOT_EMPTY = re.compile(r'.*\S.*')
_DEVICE_TYPES = ('type-PCI', 'type-PF')
#: Models that a message names at most.
_MOST_NAMED = 10
#: Keys that a new model must have.
_REQUIRED = ('name', 'vendor_id', 'product_id')
#: Keys that may be null, if no source confirms a value.
_NULLABLE = (
    'architecture',
    'memory_mb',
    'driver',
    'driver_floor',
    'open_kernel_modules',
    'form_factor',
    'audio_product_id',
    'notes',
)
_LAST_BAR = 5


@functools.cache
def builtin() -> Catalogue:
    """Return the models of the package."""
    models = Catalogue(())
    for table in TABLES:
        models = merged(models, data.load(f'gpus/{table}.json'))
    return models


def merged(
    base: Catalogue, content: typing.Any, source: str | None = None
) -> Catalogue:
    """Return a catalogue with the models of a file.

    Its mapping ``models`` has the fields of :class:`Model` by slug. A slug of
    the catalogue changes that model, any other adds one.
    ``gpuclient/data/schema/catalogue.json`` describes the format.

    :param content: The data of the file.
    :param source: The source of models without ``sources`` in the file.
    :raises gpuclient.exceptions.InvalidData: A key or a value is invalid.
    """
    top = mapping_reader.MappingReader(content, mapping_reader.CATALOGUE)
    names = top.mapping('sources', {})
    sources = {name: names.text(name) for name in names.keys()}
    items = top.mapping('models')
    top.done()
    models = {model.slug: model for model in base.models}
    for slug in items.keys():
        if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
            raise items.error(
                slug,
                'a slug consists of lower-case letters and digits, with '
                'single underscores between them',
            )
        known = models.get(slug)
        fields = _fields(items.mapping(slug), is_new=known is None)
        if 'sources' in fields:
            fields['sources'] = tuple(
                sources.get(text, text) for text in fields['sources']
            )
        elif source is not None:
            fields['sources'] = (*(known.sources if known else ()), source)
        models[slug] = (
            Model(slug=slug, **{'designation': fields['name'], **fields})
            if known is None
            else dataclasses.replace(known, **fields)
        )
    return Catalogue(models.values())


def _fields(
    item: mapping_reader.MappingReader, is_new: bool
) -> dict[str, typing.Any]:
    """Return the fields of a model in a file."""
    fields = {
        'name': _text(item, 'name'),
        'designation': _text(item, 'designation'),
        'vendor_id': _id(item, 'vendor_id'),
        'product_id': _id(item, 'product_id'),
        'architecture': _text(item, 'architecture'),
        'device_types': item.texts(
            'device_types', None, choices=_DEVICE_TYPES
        ),
        'memory_mb': item.integer('memory_mb', None, 1),
        'bars': tuple(_bar(bar) for bar in item.mappings('bars', (), 0)),
        'nvswitch': item.boolean('nvswitch', None),
        'driver': _text(item, 'driver'),
        'driver_floor': _driver_floor(item),
        'open_kernel_modules': item.text(
            'open_kernel_modules', None, choices=OPEN_KERNEL_MODULES
        ),
        'form_factor': _text(item, 'form_factor'),
        'audio_product_id': _id(item, 'audio_product_id'),
        'subsystem_ids': _subsystem_ids(item),
        'notes': _text(item, 'notes'),
        'sources': item.texts('sources', None, _NOT_EMPTY),
    }
    item.done()
    for key in item.keys():
        if not item.has(key) and key not in _NULLABLE:
            raise item.error(key, 'must not be null')
    for key in _REQUIRED if is_new else ():
        item.get(key)
    return {key: fields[key] for key in item.keys()}


def _text(item: mapping_reader.MappingReader, key: str) -> typing.Any:
    return item.text(key, None, _NOT_EMPTY)


def _id(item: mapping_reader.MappingReader, key: str) -> str | None:
    text = item.text(key, None, _ID, expected='four hexadecimal digits')
    return None if text is None else str(text).lower()


def _driver_floor(item: mapping_reader.MappingReader) -> typing.Any:
    value = item.get('driver_floor', None)
    return str(value) if type(value) is int else _text(item, 'driver_floor')


def _subsystem_ids(
    item: mapping_reader.MappingReader,
) -> tuple[str, ...] | None:
    texts = item.texts(
        'subsystem_ids', None, _SPACED_IDS, expected="IDs such as '10de:157e'"
    )
    return texts and tuple(':'.join(parse_ids(text) or ()) for text in texts)


def _bar(item: mapping_reader.MappingReader) -> Bar:
    bar = Bar(
        item.integer('number'),
        item.integer('size', minimum=1),
        item.boolean('prefetchable', False),
    )
    item.done()
    if bar.number > _LAST_BAR:
        raise item.error('number', f'must be at most {_LAST_BAR}')
    if bar.size & (bar.size - 1):
        raise item.error('size', 'must be a power of two, in bytes')
    return bar
