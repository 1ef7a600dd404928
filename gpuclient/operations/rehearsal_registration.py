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

"""Rehearsal clouds with entries in the user's own clouds.yaml.

An entry belongs to a cloud while it has a password of the cloud; no other
entry is replaced or removed.
"""

import contextlib
import os
import typing

from gpuclient.documents import clouds_yaml
from gpuclient import exceptions
from gpuclient.model import release as releases
from gpuclient.rehearsal import api as rehearsal


def start(
    folder: rehearsal.StateFolder,
    document: typing.Any = None,
    say: rehearsal.Say | None = None,
    register: bool = False,
    bound_to: int | None = None,
    release: releases.Release | None = None,
    placement: str | None = None,
) -> rehearsal.RehearsalCloud:
    """Start a cloud as :func:`gpuclient.rehearsal.api.start` does.

    :param register: Add its entries to the user's clouds.yaml. Those of a
        cloud that is registered already are replaced, since its ports may
        have changed.
    :raises RehearsalError: Also where a name is taken in that file.
    """
    file = _check_names(folder) if register else ''
    cloud = rehearsal.start(
        folder, document, say, bound_to, release, placement
    )
    file = file or cloud.record.registered_in
    return _register(cloud, file) if file else cloud


def stop(
    folder: rehearsal.StateFolder,
    delete: bool = False,
    say: rehearsal.Say | None = None,
) -> bool:
    """Stop a cloud as :func:`gpuclient.rehearsal.api.stop` does.

    :param delete: Delete its state and its entries.
    """
    return rehearsal.stop(folder, delete, say, lambda: _unregister(folder))


def _check_names(folder: rehearsal.StateFolder) -> str:
    """Return the user's clouds.yaml, if the names are free there."""
    file = clouds_yaml.path()
    if os.path.realpath(file) == os.path.realpath(folder.clouds_yaml):
        raise exceptions.RehearsalError(
            'OS_CLIENT_CONFIG_FILE is the clouds.yaml of this rehearsal '
            'cloud: unset it to register the cloud in your own'
        )
    ours = _entries_of(folder, file) if folder.exists() else []
    clouds_yaml.check(file, folder.cloud_names, ours)
    return file


def _register(
    cloud: rehearsal.RehearsalCloud, file: str
) -> rehearsal.RehearsalCloud:
    folder, old_file = cloud.folder, cloud.record.registered_in
    entries = rehearsal.entries(folder)
    clouds_yaml.add(file, entries, _entries_of(folder, file))
    if cloud.record.registered and old_file != file:
        clouds_yaml.remove(old_file, _entries_of(folder, old_file))
    folder.write_registered(entries, file)
    return rehearsal.look(folder)


def _unregister(folder: rehearsal.StateFolder) -> list[str]:
    """Remove the entries of a cloud; return those that are not its own."""
    record = folder.read()
    file = record.registered_in
    ours = _entries_of(folder, file)
    if ours:
        clouds_yaml.remove(file, ours)
    return [
        f'entry {name} of {file}'
        for name in record.registered
        if name not in ours and clouds_yaml.has(file, name)
    ]


def _entries_of(folder: rehearsal.StateFolder, file: str) -> list[str]:
    """Return the entries of a cloud in a file, as its passwords prove."""
    record = folder.read()
    if record.registered_in != file:
        return []
    names = [name for name in record.registered if name in folder.cloud_names]
    passwords: typing.Any = {}
    with contextlib.suppress(FileNotFoundError):
        passwords = folder.load('passwords.json')
    if not isinstance(passwords, dict):
        return []
    return clouds_yaml.made(file, names, list(passwords.values()))
