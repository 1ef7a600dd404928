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

"""Where files of deployment tools name the release of OpenStack."""

import collections.abc
import dataclasses
import os
import re

from gpuclient.documents import services
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import configuration
from gpuclient.model import release as release_model

_START = rb'^[ \t]*(?:-[ \t]+)?'
_VALUE = rb'[ \t]*:[ \t]*["\']?'
#: A setting of a tool, and how its value names the release.
_PATTERNS = (
    # Kolla-Ansible, Kayobe; OpenStack-Ansible, whose major version is that of
    # Nova.
    _START + rb'openstack_release' + _VALUE + rb'(?P<release>[\w.]+)',
    # Kayobe, OpenStack-Ansible.
    _START
    + rb'(?:openstack_branch|nova_git_install_branch)'
    + _VALUE
    + rb'(?:(?:stable|unmaintained)/)?(?P<release>[\w.]+)',
    # Images of containers: quay.io/openstack.kolla/nova-api:2024.1-ubuntu.
    rb'^[^#\n]*/(?:[\w.-]*-)?nova(?:-[\w-]+)?:(?P<release>\d{4}\.\d)\b',
    # Charms.
    _START + rb'channel' + _VALUE + rb'(?P<release>\d{4}\.\d)/',
)
_SETTING = re.compile(
    b'|'.join(
        b'(?:%b)' % pattern.replace(b'P<release>', b'P<r%d>' % number)
        for number, pattern in enumerate(_PATTERNS)
    ),
    re.M,
)
#: RHOSO: the custom resource that selects its version.
_RHOSO_KIND = re.compile(rb'^kind:[ \t]*OpenStackVersion[ \t]*$', re.M)
_RHOSO_VERSION = re.compile(
    _START + rb'targetVersion' + _VALUE + rb'(?P<release>\d+)\.', re.M
)
_MARKS = (
    b'openstack_release',
    b'openstack_branch',
    b'nova_git_install_branch',
    b'nova',
    b'channel',
    b'OpenStackVersion',
)
#: Of Kolla-Ansible, beside the folder of its custom configuration.
_BESIDE = ('globals.yml', 'globals.yaml')


@dataclasses.dataclass(frozen=True)
class Statement:
    """A line of a file that names the release."""

    release: release_model.Release
    place: configuration.Place


def find(paths: collections.abc.Iterable[str]) -> tuple[Statement, ...]:
    """Return the lines that name a release of Nova that is known.

    :param paths: Files and folders; also read is ``globals.yml`` beside the
        custom configuration of Kolla-Ansible.
    """
    statements: list[Statement] = []
    names = [*paths, *_beside(paths)]
    for path, _named in tree.named_files(names, []):
        if path.endswith(services.YAML):
            try:
                content = atomic.read(path)
            except exceptions.DocumentError:
                # The check of the files reports it.
                continue
            statements += _statements(path, content)
    return tuple(dict.fromkeys(statements))


def _beside(paths: collections.abc.Iterable[str]) -> list[str]:
    """Return ``globals.yml`` of which paths are the ``config`` folder."""
    files = []
    for path in paths:
        folder = os.path.abspath(path)
        if os.path.basename(folder) == 'nova':
            folder = os.path.dirname(folder)
        if os.path.basename(folder) != 'config':
            continue
        for name in _BESIDE:
            file = os.path.join(os.path.dirname(folder), name)
            if os.path.isfile(file):
                files.append(file)
    return files


def _statements(
    path: str, content: bytes
) -> collections.abc.Iterator[Statement]:
    if not any(mark in content for mark in _MARKS):
        return
    for match in _SETTING.finditer(content):
        text = next(group for group in match.groups() if group is not None)
        release = _parse(text.decode())
        if release is not None:
            yield Statement(release, _place(path, content, match))
    if _RHOSO_KIND.search(content):
        for match in _RHOSO_VERSION.finditer(content):
            release = _parse(f'rhoso-{match["release"].decode()}')
            if release is not None:
                yield Statement(release, _place(path, content, match))


def _parse(text: str) -> release_model.Release | None:
    """Return a release; None for ``master``, or one that is not known."""
    try:
        return release_model.parse(text)
    except exceptions.InvalidValue:
        return None


def _place(
    path: str, content: bytes, match: re.Match[bytes]
) -> configuration.Place:
    return configuration.Place(path, content.count(b'\n', 0, match.end()) + 1)
