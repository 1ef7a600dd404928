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

"""Settings in YAML files of deployment tools, as the tools read them."""

import abc
import collections.abc
import json
import re
import typing

import yaml

from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import jinja
from gpuclient.documents import nova_conf
from gpuclient.documents import yaml_file
from gpuclient.documents import yaml_nodes


def scalar_text(value: typing.Any) -> str:
    """Return a value as templates print it."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    return str(value)


def json_texts(path: str, node: yaml.Node, **style: typing.Any) -> list[str]:
    """Return the JSON that a tool renders from a list of mappings.

    A string with JSON is parsed first; any other string is returned
    unchanged, although it is not JSON.
    """
    entries = yaml_nodes.data(path, node)
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
    """Yield what oslo.config reads from ``name = value``.

    A line of the value that is not indented is a further option.
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
    """A YAML file of a deployment tool, and what each service reads from it.

    :raises gpuclient.exceptions.DocumentError: It is not YAML, or a value has
        too many parts.
    """

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path, content)
        self._readings = tuple(
            self.read_settings(yaml_file.compose_mappings(path, content))
        )

    @abc.abstractmethod
    def read_settings(
        self, documents: list[yaml.Node]
    ) -> collections.abc.Iterator[editable.Reading]:
        """Yield what each service reads from the documents."""

    @abc.abstractmethod
    def path_of(
        self, conf: derived_conf.DerivedConf, section: str, option: str
    ) -> tuple[tuple[str, ...], bool]:
        """Return the path of keys to an option, and whether it is a mapping.

        An option that is not a mapping is a string of JSON.
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
    """Return a text as a YAML scalar in single quotes."""
    return "'" + text.replace("'", "''") + "'"


def has(content: bytes, *patterns: str) -> bool:
    """Return whether each of these patterns matches a line of a file."""
    return all(
        re.search(pattern.encode(), content, re.M) is not None
        for pattern in patterns
    )
