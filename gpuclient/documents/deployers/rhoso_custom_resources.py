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

"""Configuration of Nova inside YAML: the custom resources of RHOSO.

It is in the values of the control plane
(``nova.apiServiceTemplate.customServiceConfig`` and its siblings), also inside
an OpenStackControlPlane, in the values of the node set (``nova.pci.conf``,
``nova.compute.conf``), and in ConfigMaps with ``*.conf`` keys. YAML is parsed
only to find these; an edit replaces lines of the text, and every other byte
stays.
"""

import collections.abc
import dataclasses
import os
import typing

import yaml

from gpuclient.documents import diffs
from gpuclient.documents import editable
from gpuclient.documents import jinja
from gpuclient.documents import nova_conf
from gpuclient.documents import yaml_edit
from gpuclient.documents import yaml_file
from gpuclient.documents import yaml_nodes
from gpuclient.files import atomic
from gpuclient.model import configuration
from gpuclient.model import deployment

_DEEPEST = 200

#: Parents of ``customServiceConfig`` below ``nova``: in custom resources, and
#: the shorter names in values of kustomize (``architecture``:
#: ``dt/nova/nova03gamma``, ``dt/dcn``). Metadata and noVNC are missing because
#: they read no options of PCI devices, and novaComputeTemplates because its
#: drivers (Ironic, fake) have no PCI passthrough.
_TEMPLATES = {
    'apiServiceTemplate': configuration.API,
    'conductorServiceTemplate': configuration.CONDUCTOR,
    'schedulerServiceTemplate': configuration.SCHEDULER,
    'cell0Conductor': configuration.CONDUCTOR,
    'cell1Conductor': configuration.CONDUCTOR,
    'nova': configuration.API,
}
#: Resources that OpenStackControlPlane generates from what is below ``nova``
#: (``nova-operator``: ``api/nova/v1beta1``).
_NOVA_KINDS = ('Nova', 'NovaCell')
_KINDS = {
    'NovaAPI': configuration.API,
    'NovaConductor': configuration.CONDUCTOR,
    'NovaScheduler': configuration.SCHEDULER,
}
Keys: typing.TypeAlias = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class EmbeddedConf:
    """One nova.conf inside a file."""

    conf: nova_conf.NovaConf
    #: The service that reads it, ``nova-api``.
    service: str
    #: Path of its key: ``data.nova.pci.conf``.
    keys: str
    #: Equal for all that one service reads together.
    group: str
    #: Why it cannot be edited in place; empty if it can.
    obstacle: str
    #: Its lines in the file.
    block: yaml_edit.Block
    #: Name of the ConfigMap whose file it is; None if it is not one.
    config_map: str | None = None

    @property
    def file_name(self) -> str:
        """The file name on the compute; empty if it is not known."""
        if self.config_map is None:
            return ''
        return self.keys.split('data.')[-1]


@dataclasses.dataclass(frozen=True)
class ServiceMounts:
    """What a data plane service mounts on its hosts."""

    #: Name of the service, and its ``edpmServiceType``.
    name: str
    type: str
    #: Names of the ConfigMaps that it mounts.
    config_maps: tuple[str, ...]

    @property
    def is_nova(self) -> bool:
        return 'nova' in self.type


@dataclasses.dataclass(frozen=True)
class _Object:
    """The object that a node is in."""

    kind: str | None = None
    name: str = ''
    #: Another object generates it.
    owned: bool = False


class CustomResourceFile(editable.EditableFile):
    """A YAML file with custom resources, or values for them.

    :raises gpuclient.exceptions.DocumentError: It is not YAML, or oslo.config
        refuses a nova.conf in it.
    """

    tool = 'RHOSO'

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path, content)
        self._text = atomic.decode(path, content)
        self._lines = nova_conf.split_lines(self._text)
        #: What data plane services mount.
        self._mounted: list[ServiceMounts] = []
        parts = tuple(self._find())
        of_nova = self._names_of(True)
        # A ConfigMap that only other services read is not a nova.conf.
        of_others = self._names_of(False) - of_nova
        self.parts = tuple(
            part for part in parts if part.config_map not in of_others
        )

    def _names_of(self, is_nova: bool) -> set[str]:
        """Return the ConfigMaps of the data plane services of Nova, or not."""
        return {
            name
            for service in self._mounted
            if service.is_nova == is_nova
            for name in service.config_maps
        }

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> 'CustomResourceFile':
        """Read a file."""
        path = os.fspath(path)
        return cls(path, atomic.read(path))

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return any(part.conf.changed for part in self.parts)

    def diff(self) -> str:
        """Return the edits as a unified diff; empty if there are none."""
        if any(part.conf.changed and part.obstacle for part in self.parts):
            # The diff of the values, since the file cannot be edited.
            return ''.join(
                part.conf.diff() for part in self.parts if part.conf.changed
            )
        return diffs.unified(self.path, self._lines, self._edited())

    def content(self) -> bytes:
        return ''.join(self._edited()).encode()

    def obstacle(self) -> str:
        for part in self.parts:
            if part.conf.changed and part.obstacle:
                return (
                    f'Cannot edit {self.path} in place: {part.keys} '
                    f'{part.obstacle}'
                )
        return ''

    def services(
        self,
    ) -> collections.abc.Iterator[tuple[str, list[EmbeddedConf]]]:
        """Yield each service with the parts that it reads together."""
        groups: dict[tuple[str, str], list[EmbeddedConf]] = {}
        for part in self.parts:
            groups.setdefault((part.group, part.service), []).append(part)
        for (_group, service), parts in groups.items():
            yield service, parts

    def readings(self) -> collections.abc.Iterator[editable.Reading]:
        for service, parts in self.services():
            yield editable.Reading(
                service,
                tuple(part.conf for part in parts),
                keys=parts[0].keys,
                line=parts[0].block.start + 1,
                names=tuple(part.file_name for part in parts),
            )

    def edit_readings(self) -> collections.abc.Iterator[editable.Reading]:
        """Yield readings; ConfigMaps that one compute reads are one reading.

        OpenStackDataPlaneServices list them (``dataSources``).
        Without one, all ConfigMaps are attributed to one compute; if several
        have ``[pci]``, the reading is ambiguous.
        """
        maps: dict[str, list[EmbeddedConf]] = {}
        for part in self.parts:
            if part.config_map is not None:
                maps.setdefault(part.config_map, []).append(part)
        of_maps = {id(part.conf) for parts in maps.values() for part in parts}
        for reading in self.readings():
            if id(reading.confs[0]) not in of_maps:
                yield reading
        # Several data plane services may mount one.
        mounted = {
            tuple(
                part.keys
                for name in service.config_maps
                for part in maps.get(name, ())
            ): service.config_maps
            for service in self._mounted
            if service.is_nova
        }
        for names in mounted.values():
            parts = [part for name in names for part in maps.get(name, ())]
            if parts:
                yield self._together(parts, is_ambiguous=False)
        taken = {name for names in mounted.values() for name in names}
        left = [
            part
            for name, parts in maps.items()
            if name not in taken
            for part in parts
        ]
        if left:
            is_one_folder = deployment.are_in_one_folder(
                any(part.conf.has_section('pci') for part in parts)
                for name, parts in maps.items()
                if name not in taken
            )
            yield self._together(left, is_ambiguous=not is_one_folder)

    def _together(
        self, parts: list[EmbeddedConf], *, is_ambiguous: bool
    ) -> editable.Reading:
        """Return the reading of files that are mounted in one folder."""
        parts = sorted(parts, key=lambda part: part.file_name)
        return editable.Reading(
            configuration.COMPUTE,
            tuple(part.conf for part in parts),
            keys=parts[0].keys,
            line=parts[0].block.start + 1,
            is_ambiguous=is_ambiguous,
        )

    def _edited(self) -> list[str]:
        lines = list(self._lines)
        # From the end, so that the positions of the others stay valid.
        for part in sorted(
            self.parts, key=lambda part: part.block.start, reverse=True
        ):
            if part.conf.changed and not part.obstacle:
                new = yaml_edit.indented(
                    nova_conf.split_lines(part.conf.text),
                    len(part.block.indent),
                )
                before = lines[: part.block.start]
                if new and before and not before[-1].endswith(('\n', '\r')):
                    before[-1] += '\n'
                lines = [*before, *new, *lines[part.block.end :]]
        return lines

    def _find(self) -> collections.abc.Iterator[EmbeddedConf]:
        documents = yaml_file.compose_as_tools(self.path, self._text)
        self._anchors = yaml_file.anchored_scalars(self._text)
        for number, document in enumerate(documents):
            if document is not None:
                self._document = number
                yield from self._walk(document, (), set(), _Object())

    def _walk(
        self, node: yaml.Node, keys: Keys, seen: set[int], within: _Object
    ) -> collections.abc.Iterator[EmbeddedConf]:
        # An alias of YAML is the node that it refers to. To visit each node
        # once also keeps a "billion laughs" small.
        if id(node) in seen or len(keys) > _DEEPEST:
            return
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                yield from self._walk(item, (*keys, str(number)), seen, within)
        elif isinstance(node, yaml.MappingNode):
            within = _object(node) or within
            if within.kind == 'OpenStackDataPlaneService':
                self._mounted.append(mounts_of(node))
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    yield from self._walk_entry(
                        key, value, (*keys, str(key.value)), seen, within
                    )

    def _walk_entry(
        self,
        key: yaml.ScalarNode,
        value: yaml.Node,
        keys: Keys,
        seen: set[int],
        within: _Object,
    ) -> collections.abc.Iterator[EmbeddedConf]:
        if not isinstance(value, yaml.ScalarNode):
            if within.kind == 'ConfigMap' and key.value == 'data':
                yield from self._config_map(value, keys, within)
            # Values files of kustomize are ConfigMaps with all else in them.
            yield from self._walk(value, keys, seen, within)
            return
        service = _service(keys, within)
        if service is None or id(value) in seen:
            return
        seen.add(id(value))
        part = self._part(key, value, keys, service)
        if within.owned and not part.obstacle:
            obstacle = 'is generated from its owner'
            part = dataclasses.replace(part, obstacle=obstacle)
        yield part

    def _config_map(
        self, data: yaml.Node, keys: Keys, within: _Object
    ) -> collections.abc.Iterator[EmbeddedConf]:
        """Find files among the data of a ConfigMap, as computes mount them."""
        if not isinstance(data, yaml.MappingNode):
            return
        for key, value in data.value:
            if (
                isinstance(value, yaml.ScalarNode)
                and str(key.value).endswith('.conf')
                and _looks_like_nova(value.value)
            ):
                file_keys = (*keys, str(key.value))
                part = self._part(key, value, file_keys, configuration.COMPUTE)
                yield dataclasses.replace(part, config_map=within.name)

    def _part(
        self,
        key: yaml.ScalarNode,
        node: yaml.ScalarNode,
        keys: Keys,
        service: str,
    ) -> EmbeddedConf:
        name = '.'.join(keys)
        values = keys[-1] == 'conf'
        header = node.start_mark.line
        block = yaml_edit.Block(header, header, '')
        if node.style == '|':
            block = yaml_edit.Block.below(
                self._lines, header, key.start_mark.column
            )
        text = block.text(self._lines)
        obstacle = ''
        if node.style != '|':
            obstacle = 'is not a block of lines ("|")'
        elif node.start_mark.index in self._anchors:
            obstacle = 'has an anchor that other values refer to'
        elif jinja.is_template(node.value):
            obstacle = 'is a template'
        elif text.replace('\r\n', '\n').rstrip() != node.value.rstrip():
            obstacle = 'has an indentation that is not supported'
        if obstacle:
            text = node.value
            block = dataclasses.replace(block, start=header)
        elif block.start == block.end:
            indent = ' ' * (key.start_mark.column + yaml_edit.INDENT)
            block = dataclasses.replace(block, indent=indent)
        return EmbeddedConf(
            nova_conf.NovaConf(
                self.path,
                text.encode(),
                first_line=block.start + 1,
                template=jinja.is_template(node.value),
            ),
            service,
            name,
            f'{self._document}.{".".join(keys[:-2] if values else keys[:-1])}',
            obstacle,
            block,
        )


def mounts_of(node: yaml.Node | None) -> ServiceMounts:
    """Return the ConfigMaps that an OpenStackDataPlaneService mounts."""
    name = yaml_nodes.text(node, 'metadata', 'name')
    sources = yaml_nodes.below(node, 'spec', 'dataSources')
    # In earlier releases.
    plain = yaml_nodes.below(node, 'spec', 'configMaps')
    return ServiceMounts(
        name,
        # The webhook of the operator defaults the type to the name.
        yaml_nodes.text(node, 'spec', 'edpmServiceType') or name,
        tuple(
            config_map
            for config_map in (
                *(
                    yaml_nodes.text(source, 'configMapRef', 'name')
                    for source in yaml_nodes.items(sources)
                ),
                *(yaml_nodes.text(item) for item in yaml_nodes.items(plain)),
            )
            if config_map
        ),
    )


def _object(node: yaml.MappingNode) -> _Object | None:
    """Return the object that a mapping is; None if it is not an object."""
    kind = yaml_nodes.text(node, 'kind')
    if not kind:
        return None
    return _Object(
        kind,
        yaml_nodes.text(node, 'metadata', 'name'),
        yaml_nodes.below(node, 'metadata', 'ownerReferences') is not None,
    )


def _service(keys: Keys, within: _Object) -> str | None:
    """Return the service that reads the value of a key."""
    if keys[-1] == 'customServiceConfig':
        if within.kind in _KINDS and keys[-2:-1] == ('spec',):
            return _KINDS[within.kind]
        if 'nova' in keys or within.kind in _NOVA_KINDS:
            return _TEMPLATES.get(keys[-2]) if len(keys) > 1 else None
    if len(keys) > 2 and keys[-3:] in (
        ('nova', 'pci', 'conf'),
        ('nova', 'compute', 'conf'),
    ):
        return configuration.COMPUTE
    return None


def _looks_like_nova(text: str) -> bool:
    sections = {line.strip() for line in text.splitlines()}
    return bool(
        sections
        & {
            '[pci]',
            '[compute]',
            '[libvirt]',
            '[filter_scheduler]',
            '[DEFAULT]',
        }
    )
