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

from gpuclient.documents import atomic
from gpuclient.documents import editable
from gpuclient.documents import jinja
from gpuclient.documents import nova_conf
from gpuclient import exceptions
from gpuclient.i18n import _

API = 'nova-api'
COMPUTE = 'nova-compute'
CONDUCTOR = 'nova-conductor'
SCHEDULER = 'nova-scheduler'

_DEEPEST = 200

_TEMPLATES = {
    'apiServiceTemplate': API,
    'conductorServiceTemplate': CONDUCTOR,
    'schedulerServiceTemplate': SCHEDULER,
}
#: Ten times as fast where PyYAML was built with it.
_LOADER: typing.Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)

Keys: typing.TypeAlias = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Part:
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
    #: Index of its first line, and of the line after its last.
    start: int
    end: int
    indent: str


class YamlFile(editable.EditableFile):
    """A YAML file with nova.conf texts in it.

    :raises gpuclient.exceptions.DocumentError: It is not YAML, or one of the
        texts is refused by oslo.config.
    """

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path, content)
        self._text = atomic.decode(path, content)
        self._lines = nova_conf.split_lines(self._text)
        self.parts = tuple(self._find())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> 'YamlFile':
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
        return nova_conf.unified_diff(self.path, self._lines, self._edited())

    def content(self) -> bytes:
        return ''.join(self._edited()).encode()

    def obstacle(self) -> str:
        for part in self.parts:
            if part.conf.changed and part.obstacle:
                return _(
                    'Cannot edit %(path)s in place: %(keys)s %(obstacle)s'
                ) % {
                    'path': self.path,
                    'keys': part.keys,
                    'obstacle': part.obstacle,
                }
        return ''

    def services(self) -> collections.abc.Iterator[tuple[str, list[Part]]]:
        """Yield each service, and the parts that it reads together."""
        groups: dict[tuple[str, str], list[Part]] = {}
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
                line=parts[0].start + 1,
            )

    def _edited(self) -> list[str]:
        lines = list(self._lines)
        # From the end, so that the places of the others stay.
        for part in sorted(
            self.parts, key=lambda part: part.start, reverse=True
        ):
            if part.conf.changed and not part.obstacle:
                new = [
                    f'{part.indent}{line}' if line.strip() else line
                    for line in nova_conf.split_lines(part.conf.text)
                ]
                before = lines[: part.start]
                if new and before and not before[-1].endswith(('\n', '\r')):
                    before[-1] += '\n'
                lines = [*before, *new, *lines[part.end :]]
        return lines

    def _find(self) -> collections.abc.Iterator[Part]:
        documents = compose(self.path, self._text)
        anchors = self._anchors()
        for document in documents:
            if document is not None:
                yield from self._walk(document, (), anchors, set())

    def _anchors(self) -> set[int]:
        """Return the marks of nodes that other places refer to."""
        if '&' not in self._text:
            return set()
        return {
            event.start_mark.index
            for event in yaml.parse(self._text, _LOADER)
            if isinstance(event, yaml.ScalarEvent) and event.anchor
        }

    def _walk(
        self,
        node: yaml.Node,
        keys: Keys,
        anchors: set[int],
        seen: set[int],
    ) -> collections.abc.Iterator[Part]:
        # An alias is the very node that it refers to: once is enough, and a
        # billion laughs stay one.
        if id(node) in seen or len(keys) > _DEEPEST:
            return
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for number, item in enumerate(node.value):
                yield from self._walk(
                    item, (*keys, str(number)), anchors, seen
                )
        elif isinstance(node, yaml.MappingNode):
            is_map = any(
                key.value == 'kind' and value.value == 'ConfigMap'
                for key, value in node.value
                if isinstance(key, yaml.ScalarNode)
                and isinstance(value, yaml.ScalarNode)
            )
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    continue
                below = (*keys, str(key.value))
                if isinstance(value, yaml.ScalarNode):
                    service = _service(below)
                    if service is not None and id(value) not in seen:
                        seen.add(id(value))
                        yield self._part(key, value, below, service, anchors)
                elif is_map and key.value == 'data':
                    yield from self._config_map(value, below, anchors, seen)
                else:
                    yield from self._walk(value, below, anchors, seen)

    def _config_map(
        self,
        data: yaml.Node,
        keys: Keys,
        anchors: set[int],
        seen: set[int],
    ) -> collections.abc.Iterator[Part]:
        """Find files among the data of a ConfigMap, as computes mount them."""
        if isinstance(data, yaml.MappingNode):
            for key, value in data.value:
                if (
                    isinstance(value, yaml.ScalarNode)
                    and str(key.value).endswith('.conf')
                    and _looks_like_nova(value.value)
                ):
                    yield self._part(
                        key, value, (*keys, str(key.value)), COMPUTE, anchors
                    )
        # Values files of kustomize are ConfigMaps with all else in them.
        yield from self._walk(data, keys, anchors, seen)

    def _part(
        self,
        key: yaml.ScalarNode,
        node: yaml.ScalarNode,
        keys: Keys,
        service: str,
        anchors: set[int],
    ) -> Part:
        name = '.'.join(keys)
        values = keys[-1] == 'conf'
        document = self._text.count('\n---', 0, node.start_mark.index)
        header = node.start_mark.line
        start, end, indent = self._block(header, key.start_mark.column)
        text = ''.join(
            line[len(indent) :] if line.strip() else line.lstrip(' ')
            for line in self._lines[start:end]
        )
        obstacle = ''
        if node.style != '|':
            obstacle = _('is not a block of lines ("|")')
        elif node.start_mark.index in anchors:
            obstacle = _('has an anchor that other places refer to')
        elif jinja.is_template(node.value):
            obstacle = _('is a template')
        elif text.replace('\r\n', '\n').rstrip() != node.value.rstrip():
            obstacle = _('is indented in a way that this tool does not know')
        if obstacle:
            text, start = node.value, header
        elif start == end:
            indent = ' ' * (key.start_mark.column + 2)
        return Part(
            nova_conf.NovaConf(
                self.path,
                text.encode(),
                first_line=start + 1,
                template=jinja.is_template(node.value),
            ),
            service,
            name,
            f'{document}.{".".join(keys[:-2] if values else keys[:-1])}',
            obstacle,
            start,
            end,
            indent,
        )

    def _block(self, header: int, column: int) -> tuple[int, int, str]:
        """Return the lines of a block scalar, and their indentation."""
        start = end = header + 1
        indent = ''
        for index in range(start, len(self._lines)):
            line = self._lines[index]
            if not line.strip():
                continue
            blanks = len(line) - len(line.lstrip(' '))
            if not indent:
                if blanks <= column:
                    break
                indent = ' ' * blanks
            if not line.startswith(indent):
                break
            end = index + 1
        return start, end, indent


def compose(path: str, text: str) -> list[yaml.Node]:
    """Return the documents of a YAML file.

    :raises gpuclient.exceptions.DocumentError: It is not YAML.
    """
    try:
        return list(yaml.compose_all(text, _LOADER))
    except yaml.YAMLError as exc:
        raise exceptions.DocumentError(
            _('Cannot read %(path)s: %(reason)s')
            % {'path': path, 'reason': ' '.join(str(exc).split())}
        ) from exc
    except (RecursionError, ValueError) as exc:
        raise exceptions.DocumentError(
            _('Cannot read %(path)s: it is nested too deeply') % {'path': path}
        ) from exc


def _service(keys: Keys) -> str | None:
    """Return the service that reads the value of a key."""
    if keys[-1] == 'customServiceConfig' and 'nova' in keys:
        return _TEMPLATES.get(keys[-2])
    if len(keys) > 2 and keys[-3:] in (
        ('nova', 'pci', 'conf'),
        ('nova', 'compute', 'conf'),
    ):
        return COMPUTE
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
