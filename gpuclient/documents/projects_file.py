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

"""Read and write the file of projects, with lines in messages."""

import re

import yaml

from gpuclient import exceptions
from gpuclient.documents import services
from gpuclient.documents import yaml_file
from gpuclient.files import atomic
from gpuclient.model import project_file

_INDEX = re.compile(r'\[(\d+)\]')
_UNKNOWN = re.compile(r"unknown key '([^']*)'")


class ProjectsFile:
    """The projects of a file, and the lines of their entries.

    :param path: ``-`` is standard input.
    """

    def __init__(self, path: str) -> None:
        path, content = services.read_content(path)
        self.path = path
        text = atomic.decode(path, content)
        self._nodes = yaml_file.compose_all(path, text, fast=True)
        if len(self._nodes) > 1:
            raise exceptions.DocumentError(
                f'Cannot read {path}: it has {len(self._nodes)} documents, '
                f'not one'
            )
        data = (
            yaml_file.construct_document(path, self._nodes[0])
            if self._nodes
            else None
        )
        try:
            self.projects = project_file.parse(data)
        except exceptions.InvalidData as exc:
            raise self.located(str(exc)) from exc

    def located(self, message: str) -> exceptions.InvalidData:
        """Return the error with a message that begins with a place."""
        line = self._line(message)
        where = self.path if line is None else f'{self.path}, line {line}'
        return exceptions.InvalidData(f'{where}: {message}')

    def _line(self, message: str) -> int | None:
        """Return the line of the place that a message begins with."""
        if not self._nodes:
            return None
        node = self._nodes[0]
        line = node.start_mark.line
        rest = message
        while True:
            step = _step(node, rest)
            if step is None:
                break
            line, node, rest = step
        unknown = _UNKNOWN.search(rest)
        if unknown and isinstance(node, yaml.MappingNode):
            for key, _value in node.value:
                if key.value == unknown[1]:
                    line = key.start_mark.line
        return int(line) + 1


def _step(node: yaml.Node, rest: str) -> tuple[int, yaml.Node, str] | None:
    """Return line, node and remaining text of the next part of a place."""
    if isinstance(node, yaml.SequenceNode):
        match = _INDEX.match(rest)
        if match is None or int(match[1]) >= len(node.value):
            return None
        item = node.value[int(match[1])]
        return item.start_mark.line, item, rest[match.end() :]
    if not isinstance(node, yaml.MappingNode):
        return None
    rest = rest.removeprefix('.')
    for key, value in sorted(
        node.value, key=lambda pair: -len(str(pair[0].value))
    ):
        name = key.value
        if (
            isinstance(name, str)
            and rest.startswith(name)
            and re.match(r'[.\[: ]', rest[len(name) :])
        ):
            return key.start_mark.line, value, rest[len(name) :]
    return None


def write(projects: list[project_file.WantedProject]) -> bytes:
    """Return the content of a file that has some projects."""
    text: str = yaml.safe_dump(
        project_file.document(projects),
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
    )
    return (
        '# What projects may use of devices: openstack gpu project apply\n'
        f'{text}'
    ).encode()
