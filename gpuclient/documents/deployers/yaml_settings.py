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

"""Settings that stand in YAML, as the tools read it that have it.

Most of them read YAML 1.1 (PyYAML, Psych, ``sigs.k8s.io/yaml``): ``yes`` is a
boolean, ``0071`` a number.
"""

import abc
import collections.abc
import json
import re
import typing

import yaml

from gpuclient.documents.deployers import rhoso
from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import jinja
from gpuclient.documents import nova_conf
from gpuclient import exceptions
from gpuclient.files import atomic

#: Values are small.
_DEEPEST = 12
_MOST = 2000

_MERGE = 'tag:yaml.org,2002:merge'

Pairs: typing.TypeAlias = collections.abc.Iterator[tuple[str, yaml.Node]]


def pairs(node: yaml.Node | None) -> Pairs:
    """Yield keys and values; those that are merged in (``<<``) come first."""
    return _pairs(node, 0, [_MOST])


def _pairs(node: yaml.Node | None, depth: int, left: list[int]) -> Pairs:
    """Yield keys and values, of no more merged mappings than are left."""
    left[0] -= 1
    if (
        not isinstance(node, yaml.MappingNode)
        or depth > _DEEPEST
        or left[0] < 0
    ):
        return
    for key, value in node.value:
        if key.tag == _MERGE:
            merged = (
                reversed(value.value)
                if isinstance(value, yaml.SequenceNode)
                else [value]
            )
            for part in merged:
                yield from _pairs(part, depth + 1, left)
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
            yield str(key.value), value


def below(node: yaml.Node | None, *keys: str) -> yaml.Node | None:
    """Return what is below keys; None where there is none."""
    for key in keys:
        node = dict(pairs(node)).get(key)
    return node


def items(node: yaml.Node | None) -> list[yaml.Node]:
    """Return the items of a sequence; none where it is no sequence."""
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def text(node: yaml.Node | None, *keys: str) -> str:
    """Return a scalar as it is written; empty where there is none."""
    value = below(node, *keys)
    return str(value.value) if isinstance(value, yaml.ScalarNode) else ''


def is_null(node: yaml.Node) -> bool:
    """Return whether a value is null."""
    return bool(node.tag == 'tag:yaml.org,2002:null')


def documents(path: str, content: bytes) -> list[yaml.Node]:
    """Return the documents of a file that are mappings.

    :raises gpuclient.exceptions.DocumentError: It is not YAML.
    """
    return [
        node
        for node in rhoso.compose(path, atomic.decode(path, content))
        if isinstance(node, yaml.MappingNode)
    ]


def data(path: str, node: yaml.Node) -> typing.Any:
    """Return the data of a node.

    :raises gpuclient.exceptions.DocumentError: It has too many parts, as
        where it refers to itself.
    """
    left = [_MOST]

    def convert(node: yaml.Node, depth: int) -> typing.Any:
        left[0] -= 1
        if depth > _DEEPEST or left[0] < 0:
            raise exceptions.DocumentError(
                f'Cannot read {path}, line {node.start_mark.line + 1}: a '
                'value has too '
                'many parts'
            )
        if isinstance(node, yaml.MappingNode):
            return {
                key: convert(value, depth + 1) for key, value in pairs(node)
            }
        if isinstance(node, yaml.SequenceNode):
            return [convert(item, depth + 1) for item in node.value]
        return _scalar(node)

    return convert(node, 0)


def _scalar(node: yaml.Node) -> typing.Any:
    loader = yaml.SafeLoader('')
    try:
        value = loader.construct_object(node)
    except (yaml.YAMLError, ValueError, OverflowError, LookupError):
        # A tag of the tool's own: !vault.
        return str(node.value)
    finally:
        loader.dispose()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    # A date is what it is written as.
    return str(node.value)


def scalar_text(value: typing.Any) -> str:
    """Return a value as templates print it."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    return str(value)


def json_texts(path: str, node: yaml.Node, **style: typing.Any) -> list[str]:
    """Return the JSON that a tool makes of a list of mappings.

    What is already JSON in a string is taken for what it says; what is no
    list of mappings is returned as it is, which is no JSON.
    """
    entries = data(path, node)
    if isinstance(entries, str):
        try:
            entries = json.loads(entries)
        except (ValueError, RecursionError):
            return [entries]
    if not isinstance(entries, list):
        entries = [entries]
    return [
        part if isinstance(part, str) else json.dumps(part, **style)
        for part in entries
    ]


def line(node: yaml.Node) -> int:
    """Return the line that a node begins on, from 1."""
    return int(node.start_mark.line) + 1


def line_of_text(node: yaml.Node) -> int:
    """Return the line that the text of a scalar begins on, from 1."""
    block = isinstance(node, yaml.ScalarNode) and node.style in ('|', '>')
    return line(node) + int(block)


def lines(node: yaml.Node, number: int) -> list[int]:
    """Return the lines of the values that a list has, one each."""
    numbers = [line(item) for item in items(node)]
    return numbers if len(numbers) == number else [line(node)] * number


def option(
    section: str, name: str, value: str, line: int, *, depends: bool = False
) -> derived_conf.Option:
    """Return an option with one value on one line."""
    value = nova_conf.unquoted(value.strip())
    return (
        section,
        name,
        nova_conf.Value(value, line, depends or jinja.is_template(value)),
    )


def rendered(
    path: str, section: str, name: str, value: str, line: int
) -> collections.abc.Iterator[derived_conf.Option]:
    """Yield what oslo.config reads of ``name = value``.

    A line of the value that is not indented is an option of its own.
    """
    if '\n' not in value.rstrip('\n'):
        yield option(section, name, value, line)
        return
    conf = nova_conf.NovaConf(
        path,
        f'[{section}]\n{name} = {value}\n'.encode(),
        first_line=line - 1,
        template=True,
    )
    yield from conf.options()


class SettingsFile(derived_conf.DerivedFile):
    """A file of YAML, with what each service reads of it.

    :raises gpuclient.exceptions.DocumentError: It is not YAML, or a value is
        far too large for one.
    """

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path, content)
        self._readings = tuple(self.read_settings(documents(path, content)))

    @abc.abstractmethod
    def read_settings(
        self, documents: list[yaml.Node]
    ) -> collections.abc.Iterator[editable.Reading]:
        """Yield what each service reads of the documents."""

    @abc.abstractmethod
    def path_of(
        self, conf: derived_conf.DerivedConf, section: str, option: str
    ) -> tuple[tuple[str, ...], bool]:
        """Return the keys that an option stands below, and if as a mapping.

        An option that is no mapping is a text with JSON in it.
        """

    @property
    def confs(self) -> collections.abc.Iterable[derived_conf.DerivedConf]:
        confs: dict[int, derived_conf.DerivedConf] = {}
        for reading in self._readings:
            for conf in reading.confs:
                if isinstance(conf, derived_conf.DerivedConf):
                    confs[id(conf)] = conf
        return confs.values()

    def readings(self) -> collections.abc.Iterator[editable.Reading]:
        return iter(self._readings)

    def write_edit(
        self, conf: derived_conf.DerivedConf, edit: derived_conf.Edit
    ) -> str:
        mark, section, name, value = edit
        keys, is_mapping = self.path_of(conf, section, name)
        above = ''.join(
            f' {"  " * depth}{key}:\n' for depth, key in enumerate(keys)
        )
        written = value if is_mapping else quoted(value)
        return f'{above}{mark}{"  " * len(keys)}- {written}\n'


def quoted(text: str) -> str:
    """Return a text as a scalar of YAML."""
    return "'" + text.replace("'", "''") + "'"


def has(content: bytes, *patterns: str) -> bool:
    """Return whether a file has lines that match all of these patterns."""
    return all(
        re.search(pattern.encode(), content, re.M) is not None
        for pattern in patterns
    )
