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

"""Nova configuration inside YAML: the custom resources of RHOSO.

Read and edited in place are the control plane's values
(``nova.apiServiceTemplate.customServiceConfig`` and its siblings), also
within an OpenStackControlPlane, the nodeset's values (``nova.pci.conf``,
``nova.compute.conf``) and ConfigMaps with ``*.conf`` keys. YAML is only read
to find them; an edit patches lines of the text, so every other byte stays.
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

_DEEPEST = 200

#: What holds a ``customServiceConfig``, below ``nova``: in custom resources,
#: and the shorter names that values of kustomize have (``architecture``:
#: ``dt/nova/nova03gamma``, ``dt/dcn``). Left out are metadata and noVNC, which
#: read nothing of devices, and novaComputeTemplates, whose drivers, of Ironic
#: and for tests, give none away.
_TEMPLATES = {
    'apiServiceTemplate': configuration.API,
    'conductorServiceTemplate': configuration.CONDUCTOR,
    'schedulerServiceTemplate': configuration.SCHEDULER,
    'cell0Conductor': configuration.CONDUCTOR,
    'cell1Conductor': configuration.CONDUCTOR,
    'nova': configuration.API,
}
#: Resources that stand for what is below ``nova`` in OpenStackControlPlane,
#: which makes them (``nova-operator``: ``api/nova/v1beta1``).
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
    #: Where it stands, ``data.nova.pci.conf``.
    keys: str
    #: The same for all that one service reads together.
    group: str
    #: Why it cannot be edited in place; empty where it can.
    obstacle: str
    #: Its lines in the file.
    block: yaml_edit.Block
    #: Name of the ConfigMap whose file it is; None where it is none.
    config_map: str | None = None

    @property
    def file_name(self) -> str:
        """What it is called where a compute reads it, if that is known."""
        if self.config_map is None:
            return ''
        return self.keys.split('data.')[-1]


@dataclasses.dataclass(frozen=True)
class ServiceMounts:
    """What a data plane service brings to its hosts."""

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
    """What is known of the object that a node is in."""

    kind: str | None = None
    #: Its name.
    name: str = ''
    #: Another object makes it anew.
    owned: bool = False


class CustomResourceFile(editable.EditableFile):
    """A YAML file with nova.conf texts in it.

    :raises gpuclient.exceptions.DocumentError: It is not YAML, or one of the
        texts is refused by oslo.config.
    """

    tool = 'RHOSO'

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path, content)
        self._text = atomic.decode(path, content)
        self._lines = nova_conf.split_lines(self._text)
        #: What data plane services read.
        self._mounted: list[ServiceMounts] = []
        found = tuple(self._find())
        of_nova = self._names_of(True)
        # What only data plane services of others read is no nova.conf.
        of_others = self._names_of(False) - of_nova
        self.parts = tuple(
            part for part in found if part.config_map not in of_others
        )

    def _names_of(self, is_nova: bool) -> set[str]:
        """Return the ConfigMaps of data plane services, Nova's or others'."""
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
        """Return the edits as a unified diff; empty where there are none."""
        if any(part.conf.changed and part.obstacle for part in self.parts):
            # Not what the file would be; what the value would be.
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
        """Yield each service, and the parts that it reads together."""
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
        """Yield readings, with ConfigMaps together that one compute reads.

        An OpenStackDataPlaneService says so (``dataSources``). Without one,
        all ConfigMaps are taken for those of one compute; where several of
        them have devices, it cannot be told which are.
        """
        maps: dict[str, list[EmbeddedConf]] = {}
        for part in self.parts:
            if part.config_map is not None:
                maps.setdefault(part.config_map, []).append(part)
        of_maps = {id(one.conf) for parts in maps.values() for one in parts}
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
            found = [part for name in names for part in maps.get(name, ())]
            if found:
                yield self._together(found, is_ambiguous=False)
        taken = {name for names in mounted.values() for name in names}
        left = [
            part
            for name, parts in maps.items()
            if name not in taken
            for part in parts
        ]
        if left:
            holders = {
                one.config_map for one in left if one.conf.has_section('pci')
            }
            yield self._together(left, is_ambiguous=len(holders) > 1)

    def _together(
        self, parts: list[EmbeddedConf], *, is_ambiguous: bool
    ) -> editable.Reading:
        """Return files that are mounted in one folder, by their names."""
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
        # From the end, so that the places of the others stay.
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
        anchors = yaml_file.anchored_scalars(self._text)
        for number, document in enumerate(documents):
            if document is not None:
                self._document = number
                yield from self._walk(document, (), anchors, set(), _Object())

    def _walk(
        self,
        node: yaml.Node,
        keys: Keys,
        anchors: set[int],
        seen: set[int],
        within: _Object,
    ) -> collections.abc.Iterator[EmbeddedConf]:
        # An alias is the very node that it refers to: once is enough, and a
        # billion laughs stay one.
        if id(node) in seen or len(keys) > _DEEPEST:
            return
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                yield from self._walk(
                    item, (*keys, str(number)), anchors, seen, within
                )
        elif isinstance(node, yaml.MappingNode):
            within = _object(node) or within
            if within.kind == 'OpenStackDataPlaneService':
                self._mounted.append(mounts_of(node))
            is_map = within.kind == 'ConfigMap'
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    continue
                below = (*keys, str(key.value))
                if isinstance(value, yaml.ScalarNode):
                    service = _service(below, within)
                    if service is not None and id(value) not in seen:
                        seen.add(id(value))
                        part = self._part(key, value, below, service, anchors)
                        if within.owned and not part.obstacle:
                            part = dataclasses.replace(
                                part, obstacle='is made by its owner'
                            )
                        yield part
                elif is_map and key.value == 'data':
                    yield from self._config_map(
                        value, below, anchors, seen, within
                    )
                else:
                    yield from self._walk(value, below, anchors, seen, within)

    def _config_map(
        self,
        data: yaml.Node,
        keys: Keys,
        anchors: set[int],
        seen: set[int],
        within: _Object,
    ) -> collections.abc.Iterator[EmbeddedConf]:
        """Find files among the data of a ConfigMap, as computes mount them."""
        if isinstance(data, yaml.MappingNode):
            for key, value in data.value:
                if (
                    isinstance(value, yaml.ScalarNode)
                    and str(key.value).endswith('.conf')
                    and _looks_like_nova(value.value)
                ):
                    part = self._part(
                        key,
                        value,
                        (*keys, str(key.value)),
                        configuration.COMPUTE,
                        anchors,
                    )
                    yield dataclasses.replace(part, config_map=within.name)
        # Values files of kustomize are ConfigMaps with all else in them.
        yield from self._walk(data, keys, anchors, seen, within)

    def _part(
        self,
        key: yaml.ScalarNode,
        node: yaml.ScalarNode,
        keys: Keys,
        service: str,
        anchors: set[int],
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
        elif node.start_mark.index in anchors:
            obstacle = 'has an anchor that other places refer to'
        elif jinja.is_template(node.value):
            obstacle = 'is a template'
        elif text.replace('\r\n', '\n').rstrip() != node.value.rstrip():
            obstacle = 'is indented in a way that this tool does not know'
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
    """Return what an OpenStackDataPlaneService mounts."""
    name = yaml_nodes.text(node, 'metadata', 'name')
    sources = yaml_nodes.below(node, 'spec', 'dataSources')
    # As releases before had it.
    plain = yaml_nodes.below(node, 'spec', 'configMaps')
    return ServiceMounts(
        name,
        # The webhook of the operator makes the type the name.
        yaml_nodes.text(node, 'spec', 'edpmServiceType') or name,
        tuple(
            found
            for found in (
                *(
                    yaml_nodes.text(source, 'configMapRef', 'name')
                    for source in yaml_nodes.items(sources)
                ),
                *(yaml_nodes.text(item) for item in yaml_nodes.items(plain)),
            )
            if found
        ),
    )


def _object(node: yaml.MappingNode) -> _Object | None:
    """Return what a mapping says of itself, if it is an object."""
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
