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

"""What nova-api and nova-compute read from a file or folder."""

import collections.abc
import dataclasses
import os
import sys

from gpuclient.documents.deployers import formats
from gpuclient.documents.deployers import kolla
from gpuclient.documents.deployers import plain
from gpuclient.documents.deployers import rhoso_custom_resources
from gpuclient.documents.deployers import unsupported
from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import nova_conf
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import configuration
from gpuclient.model import nova_options
from gpuclient.model import oslo_values

API = configuration.API
COMPUTE = configuration.COMPUTE

#: The name of standard input on a command line, and in messages.
STANDARD_INPUT = '-'
_STANDARD_INPUT = '<stdin>'
YAML = ('.yaml', '.yml')
#: Names in a folder that are read to describe its content.
_MOST_NAMES = 100


@dataclasses.dataclass(frozen=True)
class DefinedValue:
    """A definition, such as an alias, in a file."""

    #: The value of the option that contains it.
    value: nova_conf.Value
    conf: editable.OptionsFile
    path: str

    @property
    def text(self) -> str:
        """The value as it is in the file."""
        return self.value.text

    @property
    def line(self) -> int:
        return self.value.line

    @property
    def where(self) -> str:
        return f'{self.path}, line {self.line}'


@dataclasses.dataclass(frozen=True)
class ServiceConfiguration:
    """What a service reads from a file, or from several."""

    file: editable.Editable
    reading: editable.Reading

    @property
    def confs(self) -> tuple[editable.OptionsFile, ...]:
        """All files that the service reads, in order."""
        return self.reading.confs

    @property
    def service(self) -> str | None:
        """The service that reads it; None if the file does not show it."""
        return self.reading.service

    @property
    def where(self) -> str:
        """Its file, and the path of keys in it."""
        if self.reading.keys:
            return f'{self.path}, {self.reading.keys}'
        return self.confs[-1].path if self.reading.replace else self.path

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return any(conf.changed for conf in self.confs)

    def values(
        self, *names: tuple[str, str]
    ) -> collections.abc.Iterator[
        tuple[editable.OptionsFile, nova_conf.Value]
    ]:
        """Yield the values of an option, each with its file."""
        for conf, section, option, value in nova_conf.merged(self.reading):
            if (section, option) in names:
                yield conf, value

    def texts(self, *names: tuple[str, str]) -> list[str]:
        """Return the values of an option that depend on no template."""
        return [
            value.text
            for _conf, value in self.values(*names)
            if not value.depends
        ]

    def boolean(self, *names: tuple[str, str]) -> bool | None:
        """Return the value of a boolean option; None if it is unset.

        The option may be in another file of the same process.
        """
        for process in self.processes:
            texts = [value.text for _conf, value in process.values(*names)]
            if texts:
                return oslo_values.boolean_or_none(texts[-1])
        return None

    @property
    def processes(self) -> tuple['ServiceConfiguration', ...]:
        """The configuration of all processes that read it."""
        return tuple(
            ServiceConfiguration(self.file, reading)
            for reading in self.reading.processes or (self.reading,)
            if reading.service in (None, API, COMPUTE)
        ) or (self,)

    def texts_beside(
        self,
        confs: collections.abc.Container[editable.OptionsFile],
        *names: tuple[str, str],
    ) -> list[str]:
        """Return the values of an option that are not in some files."""
        return [
            value.text
            for conf, value in self.values(*names)
            if conf not in confs and not value.depends
        ]

    def best(self, *names: tuple[str, str]) -> editable.OptionsFile:
        """Return the file to which a new value of an option is added.

        :raises gpuclient.exceptions.DocumentError: There is no such file.
        """
        if self.reading.is_ambiguous:
            raise exceptions.DocumentError(
                f'{self.path} has several ConfigMaps with [pci], and it is '
                'not known which of them nova-compute reads: add the '
                'OpenStackDataPlaneService to the file'
            )
        # The first name is current, the others are deprecated.
        for conf, _value in (*self.values(names[0]), *self.values(*names)):
            return self._last_of_layer(conf)
        if self.reading.replace:
            if self.reading.home is None:
                raise exceptions.DocumentError(
                    f'{self.path} has no file for {self.service}: create '
                    f'nova.conf or nova/{self.service}.conf in it'
                )
            return self.reading.home
        holders = [
            conf for conf in self.confs if conf.has_section(names[0][0])
        ]
        conf = (*holders, *self.confs)[0]
        _check_layer(conf, names)
        return conf

    def _last_of_layer(
        self, conf: editable.OptionsFile
    ) -> editable.OptionsFile:
        """Return the last file of the layer of a file."""
        layers = self.reading.layers
        if layers is None:
            return conf
        layer = layers[self.confs.index(conf)]
        return [
            other
            for other, number in zip(self.confs, layers, strict=True)
            if number == layer
        ][-1]


def located(
    conf: editable.OptionsFile, value: nova_conf.Value, exc: Exception
) -> str:
    """Return the message of an error with file and line, on one line."""
    return f'{conf.path}, line {value.line}: {" ".join(str(exc).split())}'


def open_file(path: str) -> editable.EditableFile:
    """Read a file, or standard input, in the format that it has.

    :raises gpuclient.exceptions.DocumentError: It cannot be read.
    """
    name, content = read_content(path)
    if path == STANDARD_INPUT:
        file = parse(name, content, is_yaml=not _looks_like_ini(content))
        file.is_stream = True
        return file
    return parse(path, content, is_yaml=path.endswith(YAML))


def read_content(path: str) -> tuple[str, bytes]:
    """Return the name of a file, or standard input, and its bytes.

    :raises gpuclient.exceptions.DocumentError: It cannot be read.
    """
    if path == STANDARD_INPUT:
        if sys.stdin is None:
            raise exceptions.DocumentError(
                f'Cannot read {_STANDARD_INPUT}: it is closed'
            )
        return _STANDARD_INPUT, atomic.read_stream(
            _STANDARD_INPUT, sys.stdin.buffer
        )
    return path, atomic.read(path)


def parse(
    path: str, content: bytes, *, is_yaml: bool
) -> editable.EditableFile:
    """Return a file in the format that it has.

    :raises gpuclient.exceptions.DocumentError: It is invalid.
    """
    if is_yaml:
        return formats.parse_yaml(
            path, content
        ) or rhoso_custom_resources.CustomResourceFile(path, content)
    tool = formats.parse_plain(path, content)
    if tool is not None:
        return tool
    return nova_conf.NovaConf(
        path, content, template=kolla.root_of(path) is not None
    )


def _looks_like_ini(content: bytes) -> bool:
    """Return whether the first line of content is a section header."""
    for line in content.removeprefix(b'\xef\xbb\xbf').splitlines():
        text = line.strip()
        if text and not text.startswith((b'#', b';', b'{%', b'{#')):
            return text.startswith(b'[')
    return True


def _open(path: str) -> editable.Editable:
    if not os.path.isdir(path):
        return open_file(path)
    if path.rstrip('/').endswith(plain.DROP_INS):
        return kolla.DropIns(path)
    if kolla.is_root(path):
        return kolla.CustomConfiguration(path.rstrip('/') or path)
    if plain.is_folder(path):
        return plain.ConfigFolder(path.rstrip('/') or path)
    folders, has_files = _inside(path)
    if len(folders) == 1 and not has_files:
        return plain.ConfigFolder(folders[0])
    raise exceptions.DocumentError(_not_a_folder_of_nova(path, folders))


def _inside(folder: str) -> tuple[list[str], bool]:
    """Return the folders of Nova in a folder, and whether it has files."""
    folders = []
    has_files = False
    for name in plain.names_of(folder)[:_MOST_NAMES]:
        path = os.path.join(folder, name)
        if not os.path.isdir(path):
            has_files |= name.endswith(('.conf', '.yaml', '.yml', '.j2'))
        elif plain.is_folder(path):
            folders.append(path)
    return folders, has_files


def _not_a_folder_of_nova(folder: str, folders: list[str]) -> str:
    """Return why the files of a folder are not taken together.

    :param folders: The folders of Nova in it.
    """
    paths = [(plain.paths_of(path) or [path])[0] for path in folders]
    for name in plain.names_of(folder)[:_MOST_NAMES]:
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            continue
        try:
            file = open_file(path)
        except exceptions.DocumentError:
            continue
        if isinstance(file, derived_conf.DerivedFile):
            return (
                f'{folder} has files of {file.tool}, which this command does '
                f'not edit: pass one file, such as {path}, to see the change '
                f'to make by hand'
            )
        if isinstance(file, rhoso_custom_resources.CustomResourceFile) and [
            *file.readings()
        ]:
            paths.append(path)
    if paths:
        return (
            f'{folder} has configuration of several services: pass each '
            f'file, such as {paths[0]}'
        )
    return (
        f'{folder} is a folder without nova.conf. It is neither a folder of '
        'drop-ins (.conf.d) nor the custom configuration of Kolla: pass the '
        'file itself'
    )


def not_read(path: str, name: str) -> str:
    """Return the message about a file in an unsupported format."""
    return (
        f'{path} has settings of PCI devices in an unsupported format '
        f'({name}): pass the nova.conf files that are generated from it'
    )


def _content(file: editable.Editable) -> bytes:
    return file.content() if isinstance(file, editable.EditableFile) else b''


def read(path: str) -> tuple[ServiceConfiguration, ...]:
    """Read the configuration of nova-api and nova-compute.

    A plain nova.conf is one configuration; YAML has one for each service.

    :raises gpuclient.exceptions.DocumentError: It cannot be read, or has no
        such configuration.
    """
    file = _open(path)
    readings = [*file.edit_readings()]
    if type(file) is nova_conf.NovaConf and not file.is_stream:
        processes = plain.processes_of(file)
        readings = [
            dataclasses.replace(
                reading,
                processes=processes,
                service=reading.service or _only_reader(processes),
            )
            for reading in readings
        ]
    configurations = tuple(
        ServiceConfiguration(file, reading)
        for reading in readings
        if reading.service in (None, API, COMPUTE)
    )
    if not configurations:
        name = unsupported.name_of(_content(file), named=True)
        if name:
            raise exceptions.DocumentError(not_read(path, name))
        raise exceptions.DocumentError(
            f'{file.path} has no configuration of nova-api '
            '(nova.apiServiceTemplate.customServiceConfig) or of '
            'nova-compute (nova.pci.conf, nova.compute.conf, or a '
            'ConfigMap with a .conf key)'
        )
    return configurations


def _only_reader(
    processes: collections.abc.Iterable[editable.Reading],
) -> str | None:
    """Return which of nova-api and nova-compute reads a file; None for both.

    ``/etc/kolla/nova-api/nova.conf`` is that of one service.
    """
    readers = {process.service for process in processes} & {API, COMPUTE}
    return readers.pop() if len(readers) == 1 else None


def _check_layer(
    conf: editable.OptionsFile, names: nova_options.Names
) -> None:
    """Make sure that a first value does not hide those of other layers.

    :raises gpuclient.exceptions.UnsafeEdit: The file is a layer of Kolla, and
        the value would.
    """
    root = kolla.root_of(conf.path)
    if root is None:
        return
    for reading in kolla.CustomConfiguration(root).readings():
        paths = [layer.path for layer in reading.confs]
        for other, section, option, _value in nova_conf.merged(reading):
            if (
                (section, option) == names[0]
                and conf.path in paths
                and paths.index(other.path) < paths.index(conf.path)
            ):
                raise exceptions.UnsafeEdit(
                    f'Cannot edit {conf.path}: for {reading.service}, its '
                    f'{option} would override all values of {other.path}; '
                    f'pass the folder {root or "."} instead'
                )


def check_effect(
    document: ServiceConfiguration, names: nova_options.Names, texts: list[str]
) -> None:
    """Make sure that an edit has the intended effect.

    :param texts: The values that the service should read after the edit.
    :raises gpuclient.exceptions.UnsafeEdit: Another layer takes effect.
    """
    if not document.reading.replace or any(
        conf.obstacle() for conf in document.confs
    ):
        return
    if sorted(document.texts(*names)) != sorted(texts):
        raise exceptions.UnsafeEdit(
            f'Cannot edit {document.path}: {names[0][1]} of an earlier layer '
            f'would take effect for {document.where}, because a later layer '
            'replaces all its values; edit the layers by hand',
            document.file.diff(),
        )
