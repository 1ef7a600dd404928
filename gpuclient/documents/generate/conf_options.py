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

"""Options of Nova that have to have certain values, beside what is there."""

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
    """One option, and all the values of it that are ours."""

    section: str
    name: str
    values: tuple[str, ...]
    #: Names it had before, with their sections; what they are set to counts.
    others: tuple[tuple[str, str], ...] = ()
    #: Which of the values that are there are ours, to be replaced.
    owns: collections.abc.Callable[[str], bool] = _everything
    #: What two spellings of one value have in common.
    meaning: collections.abc.Callable[[str], typing.Any] = str.strip

    def apply(self, conf: nova_conf.NovaConf) -> None:
        """Give a nova.conf the values, in memory; values of others stay."""
        wanted = {self.meaning(text): text for text in self.values}
        surplus: list[nova_conf.Value] = []
        for value in conf.values((self.section, self.name), *self.others):
            if self.owns(value.text):
                meaning = self.meaning(value.text)
                if wanted.pop(meaning, None) is None:
                    surplus.append(value)
        texts = list(wanted.values())
        # From the end, so that the lines of the others stay.
        for number in reversed(range(len(surplus))):
            if number < len(texts):
                conf.replace(surplus[number], texts[number])
            else:
                conf.remove(surplus[number])
        for text in texts[len(surplus) :]:
            conf.add(self.section, self.name, text)


def setting(section: str, name: str, value: object) -> ManagedOption:
    """Return an option that has one value."""
    return ManagedOption(section, name, (str(value),), meaning=str.lower)


def cpu_set(section: str, name: str, cpus: frozenset[int]) -> ManagedOption:
    """Return an option that is a set of CPUs."""
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
        found = meaning(text)
        return (
            isinstance(found, cpu.ReservedPages) and found.size_kib == size_kib
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
    """Return ``[pci]alias`` with aliases in it; others of it stay."""
    names = {alias.name for alias in wanted}

    def owns(text: str) -> bool:
        # One that Nova refuses is ours, too, by its name.
        found = _json(text)
        return (
            isinstance(found, dict) and str(found.get('name')).strip() in names
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
    """Return what reads a value; one that it refuses means itself."""

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
    """Return ``[pci]device_spec`` with entries in it.

    :param ids: Vendor and product of the devices that are ours: values for
        other devices stay.
    """

    def owns(text: str) -> bool:
        # A placeholder for an address is no device spec, and ours.
        found = _json(text)
        parts = found if isinstance(found, list) else [found]
        return bool(parts) and all(
            isinstance(part, dict)
            and (
                str(part.get('vendor_id')).lower(),
                str(part.get('product_id')).lower(),
            )
            in ids
            for part in parts
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
    """Filters beside those that are there, or else Nova's own."""

    def apply(self, conf: nova_conf.NovaConf) -> None:
        found = conf.values((self.section, self.name))
        if not found:
            conf.add(
                self.section,
                self.name,
                ','.join((*scheduler_filters.DEFAULT, *self.values)),
            )
            return
        names = [
            name.strip() for name in found[-1].text.split(',') if name.strip()
        ]
        missing = [name for name in self.values if name not in names]
        if missing:
            conf.replace(found[-1], ','.join((*names, *missing)))


def filters(names: tuple[str, ...]) -> ManagedOption:
    """Return ``[filter_scheduler]enabled_filters`` with filters in it."""
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
    """Return a nova.conf with options in it, in memory.

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

    #: Where it stands, for messages.
    path: str
    options: tuple[ManagedOption, ...]

    def merged(self, old: typing.Any) -> str:
        text = old if isinstance(old, str) else ''
        return merged(self.path, text, self.options)
