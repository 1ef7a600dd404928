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

"""Generate the files of a description for Kolla-Ansible.

``config`` is the folder of custom configuration (``node_custom_config``,
``/etc/kolla/config``); ``hosts`` has a folder for each host, with the paths of
its files on the host. An option in a later layer replaces all values of an
earlier one (:mod:`gpuclient.documents.deployers.kolla`): an option that is set
already is edited in the layer that counts. An edit that would hide other
values, or would be hidden, is refused.
"""

import collections.abc
import os
import typing

from gpuclient.documents.deployers import kolla
from gpuclient.documents import editable
from gpuclient.documents.generate import conf_options
from gpuclient.documents.generate import creation
from gpuclient.documents.generate import next_steps
from gpuclient.documents.generate import plain_tree
from gpuclient.documents import nova_conf
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import configuration
from gpuclient.model import description as description_model

ROOT = 'config'
_SERVICE = ROOT + '/nova/{service}.conf'
_HOST = ROOT + '/nova/{host}/nova.conf'
#: Files of all services; the later one counts.
_SHARED = (f'{ROOT}/global.conf', f'{ROOT}/nova.conf')
_CONTROL = (
    configuration.API,
    configuration.SCHEDULER,
    configuration.CONDUCTOR,
)

_Confs: typing.TypeAlias = dict[str, nova_conf.NovaConf]


def create(wanted: description_model.Description) -> creation.Creation:
    """Return the files, and the next steps.

    :raises gpuclient.exceptions.InvalidData: Nova would refuse it.
    """
    warnings = creation.check(wanted)
    artifacts: list[creation.Artifact] = []
    for service in _CONTROL:
        options = creation.control_options(wanted, service)
        options += creation.filter_options(wanted, service)
        artifacts.append(
            creation.ConfArtifact(
                _SERVICE.format(service=service), options, (service,)
            )
        )
    shared: tuple[conf_options.ManagedOption, ...] = ()
    steps = []
    for host in wanted.hosts:
        specs, *shared_options = creation.pci_options(wanted, host)
        shared = tuple(shared_options)
        artifacts.append(
            creation.ConfArtifact(
                _HOST.format(host=host.name),
                (*creation.compute_options(host), specs),
                (configuration.COMPUTE,),
            )
        )
        files, step = plain_tree.prepare(wanted, host)
        artifacts += files
        steps.append(step)
    artifacts.insert(
        len(_CONTROL),
        creation.ConfArtifact(
            _SERVICE.format(service=configuration.COMPUTE),
            shared,
            (configuration.COMPUTE,),
        ),
    )
    return creation.Creation(
        tuple(artifacts),
        tuple(next_steps.of_kolla(wanted, steps, ROOT)),
        warnings,
        creation.providers(wanted),
        layers=ROOT,
    )


def place(
    folder: str, artifacts: collections.abc.Sequence[creation.Artifact]
) -> list[creation.Artifact]:
    """Move options to the layers that set them already.

    :raises gpuclient.exceptions.DocumentError: A layer cannot be read.
    """
    confs = _read(folder)
    placed: dict[str, creation.ConfArtifact] = {}
    others: list[creation.Artifact] = []
    for artifact in artifacts:
        if not isinstance(artifact, creation.ConfArtifact):
            others.append(artifact)
            continue
        for option in artifact.options:
            path = _path_of(folder, confs, artifact.path, option)
            before = placed.get(path)
            options = () if before is None else before.options
            services = () if before is None else before.services
            # Options of the same name have the same values.
            if not any(
                (other.section, other.name) == (option.section, option.name)
                for other in options
            ):
                options = (*options, option)
            placed[path] = creation.ConfArtifact(
                path,
                options,
                tuple(dict.fromkeys((*services, *artifact.services))),
                template=True,
            )
    return [*placed.values(), *others]


def _path_of(
    folder: str, confs: _Confs, path: str, option: conf_options.ManagedOption
) -> str:
    """Return the last layer of a service with an option, or its own."""
    names = ((option.section, option.name), *option.others)
    layers = (path, *reversed(_SHARED))
    if os.path.dirname(path) != f'{ROOT}/nova':
        # An option of one host stays in the layer of that host.
        layers = (path,)
    return next(
        (
            layer
            for layer in layers
            if (conf := confs.get(os.path.join(folder, layer))) is not None
            and conf.values(*names)
        ),
        path,
    )


def check(
    folder: str,
    artifacts: collections.abc.Sequence[creation.Artifact],
    files: collections.abc.Sequence[editable.EditableFile],
) -> None:
    """Make sure that the options take effect, and hide no other values.

    :param files: The files with their new content.
    :raises gpuclient.exceptions.DocumentError: They do not.
    """
    before = _read(folder)
    after = dict(before)
    wanted = {
        os.path.join(folder, artifact.path): artifact
        for artifact in artifacts
        if isinstance(artifact, creation.ConfArtifact)
    }
    for file in files:
        if file.path in wanted:
            after[file.path] = nova_conf.NovaConf(
                file.path, file.content(), template=True
            )
    root = os.path.join(folder, ROOT)
    old = {_name(reading): reading for reading in kolla.readings(root, before)}
    for reading in kolla.readings(root, after):
        paths = [conf.path for conf in reading.confs]
        for path, artifact in wanted.items():
            if path in paths and reading.service in artifact.services:
                for option in artifact.options:
                    _check_option(
                        option,
                        path,
                        reading,
                        _before(old, reading, root),
                    )


def _name(reading: editable.Reading) -> tuple[str | None, str]:
    """Return the service, and the folder of its last layer."""
    return reading.service, os.path.dirname(reading.confs[-1].path)


def _before(
    readings: dict[tuple[str | None, str], editable.Reading],
    wanted: editable.Reading,
    root: str,
) -> editable.Reading | None:
    """Return the earlier reading of the service, on that host or on all."""
    service, folder = _name(wanted)
    for place in (folder, os.path.join(root, 'nova'), root):
        reading = readings.get((service, place))
        if reading is not None:
            return reading
    return None


def _check_option(
    option: conf_options.ManagedOption,
    path: str,
    reading: editable.Reading,
    before: editable.Reading | None,
) -> None:
    names = ((option.section, option.name), *option.others)
    values = [
        (conf.path, value.text)
        for conf, section, name, value in nova_conf.merged(reading)
        if (section, name) in names
    ]
    if not option.values and not any(
        option.owns(text) for _path, text in values
    ):
        # Nothing is to be set, and no managed value is left.
        return
    hiding = next((other for other, _text in values if other != path), None)
    if hiding is not None or not values:
        raise exceptions.DocumentError(
            f'Cannot set [{option.section}]{option.name} in {path}: {hiding} '
            f'sets it, too, and {reading.service} reads only one of them; '
            'move all values to one of the files'
        )
    if before is None:
        return
    kept = {text for _path, text in values}
    for conf, section, name, value in nova_conf.merged(before):
        if (
            (section, name) in names
            and not option.owns(value.text)
            and value.text not in kept
        ):
            raise exceptions.DocumentError(
                f'Cannot set [{option.section}]{option.name} in {path}: '
                f'{reading.service} would no longer read the values of '
                f'{conf.path}, line {value.line}; copy them to {path} first'
            )


def _read(folder: str) -> _Confs:
    return {
        path: nova_conf.NovaConf(path, atomic.read(path), template=True)
        for path in kolla.paths_of(os.path.join(folder, ROOT))
    }
