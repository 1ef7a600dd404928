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

"""Set options of nova.conf, and keep the values of others."""

import collections.abc
import dataclasses
import json
import typing

from gpuclient.documents import nova_conf
from gpuclient.documents import yaml_merge
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import cpu
from gpuclient.model import device_spec
from gpuclient.model import nova_options
from gpuclient.model import scheduler_filters


def _everything(_text: str) -> bool:
    return True


@dataclasses.dataclass(frozen=True)
class ManagedOption:
    """An option, and the values of it that this tool manages."""

    section: str
    name: str
    values: tuple[str, ...]
    #: Deprecated sections and names; their values count, too.
    others: tuple[tuple[str, str], ...] = ()
    #: Whether a present value is managed, and may be replaced.
    owns: collections.abc.Callable[[str], bool] = _everything
    #: Returns the same for two spellings of one value.
    meaning: collections.abc.Callable[[str], typing.Any] = str.strip

    def apply(self, conf: nova_conf.NovaConf) -> None:
        """Set the values in a nova.conf, in memory; other values stay."""
        wanted = {self.meaning(text): text for text in self.values}
        surplus: list[nova_conf.Value] = []
        for value in conf.values((self.section, self.name), *self.others):
            if self.owns(value.text):
                meaning = self.meaning(value.text)
                if wanted.pop(meaning, None) is None:
                    surplus.append(value)
        texts = list(wanted.values())
        # From the end, so that the line numbers of the others stay valid.
        for number in reversed(range(len(surplus))):
            if number < len(texts):
                conf.replace(surplus[number], texts[number])
            else:
                conf.remove(surplus[number])
        for text in texts[len(surplus) :]:
            conf.add(self.section, self.name, text)


def setting(section: str, name: str, value: object) -> ManagedOption:
    """Return an option with one value."""
    return ManagedOption(section, name, (str(value),), meaning=str.lower)


def cpu_set(section: str, name: str, cpus: frozenset[int]) -> ManagedOption:
    """Return an option whose value is a set of CPUs."""
    return ManagedOption(
        section, name, (cpu.render(cpus),), meaning=_read_by(cpu.parse)
    )


def reserved_pages(
    size_kib: int, counts: collections.abc.Sequence[int]
) -> ManagedOption:
    """Return ``[DEFAULT]reserved_huge_pages``; other page sizes stay.

    :param counts: Number of pages of each NUMA node.
    """
    meaning = _read_by(cpu.parse_reserved)

    def owns(text: str) -> bool:
        pages = meaning(text)
        return (
            isinstance(pages, cpu.ReservedPages) and pages.size_kib == size_kib
        )

    return ManagedOption(
        'DEFAULT',
        'reserved_huge_pages',
        tuple(
            cpu.ReservedPages(node, size_kib, count).render()
            for node, count in enumerate(counts)
            if count
        ),
        owns=owns,
        meaning=meaning,
    )


def aliases(
    wanted: collections.abc.Sequence[alias_model.Alias],
) -> ManagedOption:
    """Return ``[pci]alias`` with some aliases; other aliases stay."""
    names = {alias.name for alias in wanted}

    def owns(text: str) -> bool:
        # By name, so that an invalid value is replaced, too.
        alias = _json(text)
        return (
            isinstance(alias, dict) and str(alias.get('name')).strip() in names
        )

    return ManagedOption(
        'pci',
        'alias',
        tuple(alias.render() for alias in wanted),
        nova_options.ALIAS[1:],
        owns,
        _read_by(_of_alias),
    )


def _read_by(
    parse: collections.abc.Callable[[str], typing.Any],
) -> collections.abc.Callable[[str], typing.Any]:
    """Return a parser of values; an invalid value is returned unchanged."""

    def meaning(text: str) -> typing.Any:
        try:
            return parse(text)
        except exceptions.InvalidValue:
            return text

    return meaning


def _of_alias(text: str) -> typing.Any:
    return alias_model.parse(text).meaning


def _json(text: str) -> typing.Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def device_specs(
    entries: collections.abc.Sequence[dict[str, str]],
    ids: collections.abc.Collection[tuple[str, str]],
) -> ManagedOption:
    """Return ``[pci]device_spec`` with some entries.

    :param ids: Vendor and product of the managed devices; values for other
        devices stay.
    """

    def owns(text: str) -> bool:
        # By ids, so that an entry with a placeholder for the address is
        # replaced, too.
        data = _json(text)
        entries = data if isinstance(data, list) else [data]
        return bool(entries) and all(
            isinstance(entry, dict)
            and (
                str(entry.get('vendor_id')).lower(),
                str(entry.get('product_id')).lower(),
            )
            in ids
            for entry in entries
        )

    return ManagedOption(
        'pci',
        'device_spec',
        tuple(json.dumps(entry) for entry in entries),
        nova_options.DEVICE_SPEC[1:],
        owns,
        _read_by(_of_specs),
    )


@dataclasses.dataclass(frozen=True)
class _ManagedFilters(ManagedOption):
    """Filters to be added to the present ones, or to Nova's default."""

    def apply(self, conf: nova_conf.NovaConf) -> None:
        values = conf.values((self.section, self.name))
        if not values:
            conf.add(
                self.section,
                self.name,
                ','.join((*scheduler_filters.DEFAULT, *self.values)),
            )
            return
        names = [
            name.strip() for name in values[-1].text.split(',') if name.strip()
        ]
        missing = [name for name in self.values if name not in names]
        if missing:
            conf.replace(values[-1], ','.join((*names, *missing)))


def filters(names: tuple[str, ...]) -> ManagedOption:
    """Return ``[filter_scheduler]enabled_filters`` with some filters."""
    return _ManagedFilters('filter_scheduler', 'enabled_filters', names)


def _of_specs(text: str) -> typing.Any:
    return tuple(
        (
            spec.address,
            spec.vendor_id,
            spec.product_id,
            json.dumps(spec.tags, sort_keys=True),
        )
        for spec in device_spec.parse(text)
    )


def edited(
    path: str,
    text: str,
    options: tuple[ManagedOption, ...],
    *,
    template: bool = False,
) -> nova_conf.NovaConf:
    """Return a nova.conf with options, in memory.

    :raises gpuclient.exceptions.DocumentError: oslo.config would refuse it.
    """
    conf = nova_conf.NovaConf(path, text.encode(), template=template)
    for option in options:
        option.apply(conf)
    return conf


def merged(path: str, text: str, options: tuple[ManagedOption, ...]) -> str:
    """Return the text of a nova.conf with options, see :func:`edited`."""
    return edited(path, text, options).text


@dataclasses.dataclass(frozen=True)
class ConfMerge(yaml_merge.Merge):
    """A nova.conf inside YAML."""

    #: Path of the file and of its key, for messages.
    path: str
    options: tuple[ManagedOption, ...]

    def merged(self, old: typing.Any) -> str:
        text = old if isinstance(old, str) else ''
        return merged(self.path, text, self.options)
