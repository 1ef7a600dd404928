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
from gpuclient.model import quoting
from gpuclient.model import release as release_model

_START = rb'^[ \t]*(?:-[ \t]+)?'
_VALUE = rb'[ \t]*:[ \t]*["\']?'
#: Names of releases before they had numbers, and the numbers.
_NAME = (
    rb'(?:20\d\d\.\d|zed|yoga|xena|wallaby|victoria|ussuri|train|stein|rocky|'
    rb'queens|pike|ocata|newton)'
)
#: A setting of a tool, and how its value names the release.
_PATTERNS = (
    # Kolla-Ansible, Kayobe; OpenStack-Ansible, whose major version is that of
    # Nova.
    _START
    + rb'(?:openstack_release|openstack_branch|nova_git_install_branch)'
    + _VALUE
    + rb'(?:(?:stable|unmaintained)/)?(?P<release>[^\s"\'#][^"\'#\r\n]*)',
    # OSISM.
    _START + rb'openstack_version' + _VALUE + rb'(?P<release>[\w.]+)',
    # Images of containers: quay.io/openstack.kolla/nova-api:2024.1-ubuntu.
    rb'^[^#\n]*/(?:[\w.-]*-)?nova(?:-[\w-]+)?:(?P<release>'
    + _NAME
    + rb')(?![\w.])',
    # Those of the operators of RHOSO:
    # quay.io/podified-antelope-centos9/openstack-nova-api:current-podified.
    rb'^[^#\n]*/podified-(?P<release>[a-z]+)-[a-z0-9]+/openstack-nova-',
    # Charms.
    _START + rb'channel' + _VALUE + rb'(?P<release>' + _NAME + rb')/',
    _START
    + rb'openstack-origin'
    + _VALUE
    + rb'cloud:[a-z]+-(?P<release>[a-z]+)',
)
_SETTING = re.compile(
    b'|'.join(
        b'(?:%b)' % pattern.replace(b'P<release>', b'P<r%d>' % number)
        for number, pattern in enumerate(_PATTERNS)
    ),
    re.M,
)
_COMMIT = re.compile(r'[0-9a-f]{40}')
#: The group of the pattern whose value always means a release or a branch.
_SETTING_OF_RELEASE = 'r0'
#: RHOSO: the custom resource that selects its version.
_RHOSO_KIND = re.compile(rb'^kind:[ \t]*OpenStackVersion[ \t]*$', re.M)
_RHOSO_VERSION = re.compile(
    _START + rb'targetVersion' + _VALUE + rb'(?P<release>[1-9]\d+)\.', re.M
)
#: RHOSO: other custom resources, and values for them.
_RHOSO = re.compile(
    rb'^(?:apiVersion:[ \t]*["\']?'
    rb'(?:core|dataplane|nova|placement)\.openstack\.org/'
    rb'|[ \t]*(?:-[ \t]+)?(?:customServiceConfig|edpm_\w+)[ \t]*:)',
    re.M,
)
#: RHOSP: images of its containers, and the tag of all of them.
_RHOSP_VERSION = re.compile(
    rb'^[^#\n]*/rhosp-(?:rhel[89]|beta)/openstack-nova-[\w-]+:'
    rb'(?P<release>\d\d)\.',
    re.M,
)
#: TripleO: environments, also for the operator of its OpenStackControlPlane.
_TRIPLEO = re.compile(
    rb'^(?:apiVersion:[ \t]*["\']?osp-director\.openstack\.org/'
    rb'|(?:[ \t]+["\']?OS::TripleO::[\w:]+["\']?[ \t]*:)'
    rb'|[ \t]+(?:NovaPCIPassthrough|NovaScheduler(?:Enabled|Default)Filters)'
    rb'[ \t]*:)',
    re.M,
)
_MARKS = (
    *(b'openstack_release', b'openstack_branch', b'openstack-origin'),
    b'openstack_version',
    *(b'nova', b'Nova', b'channel', b'openstack.org/', b'OpenStackVersion'),
    *(b'customServiceConfig', b'edpm_', b'OS::TripleO'),
)
#: The product, and the release, of files that imply one: what tells them, and
#: the reason.
_IMPLIED = (
    (
        _RHOSO,
        'rhoso-18',
        'a file of RHOSO, of which version 18 is known',
    ),
    (
        _TRIPLEO,
        'zed',
        'a file of TripleO, whose last release is zed',
    ),
)
#: Of Kolla-Ansible, beside the folder ``config`` of its custom configuration,
#: and of Kayobe, one folder above.
_BESIDE = (
    'globals.yml',
    'globals.yaml',
    '../kolla.yml',
    '../openstack.yml',
)
#: How far above a file the folder ``config`` may be:
#: ``config/nova/gpu-1/nova.conf``.
_LEVELS = 4


@dataclasses.dataclass(frozen=True)
class Statement:
    """A line of a file that names the release, or that implies it."""

    #: The release whose rules are the nearest.
    release: release_model.Release
    place: configuration.Place
    #: The release that it names, if the rules of that are not known.
    unknown: release_model.UnknownRelease | None = None
    #: Why the release follows from a line that does not name it.
    implied_by: str = ''
    #: Whether the line names a branch, or what is no release at all: it tells
    #: no release, and nothing contradicts it.
    is_open: bool = False


def find(paths: collections.abc.Iterable[str]) -> tuple[Statement, ...]:
    """Return the lines that name a release of Nova, or imply it.

    :param paths: Files and folders; if they are of the custom configuration of
        Kolla-Ansible, its ``globals.yml`` is read, too.
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
    """Return the files beside the folders ``config`` that paths are in."""
    files = []
    for path in paths:
        folder = os.path.abspath(path)
        for _level in range(_LEVELS):
            if os.path.basename(folder) == 'config':
                files += [
                    file
                    for name in _BESIDE
                    if os.path.isfile(
                        file := os.path.normpath(
                            os.path.join(folder, os.pardir, name)
                        )
                    )
                ]
            folder = os.path.dirname(folder)
    return files


def _statements(
    path: str, content: bytes
) -> collections.abc.Iterator[Statement]:
    if not any(mark in content for mark in _MARKS):
        return
    for match in _SETTING.finditer(content):
        text = next(group for group in match.groups() if group is not None)
        named = [*_named(_decoded(text), path, content, match)]
        if not named and match.lastgroup == _SETTING_OF_RELEASE:
            named = [_open(_decoded(text), _place(path, content, match))]
        yield from named
    if _RHOSO_KIND.search(content):
        for match in _RHOSO_VERSION.finditer(content):
            name = f'rhoso-{match["release"].decode()}'
            yield from _named(name, path, content, match)
    for match in _RHOSP_VERSION.finditer(content):
        name = f'rhosp-{match["release"].decode()}'
        yield from _named(name, path, content, match)
    for pattern, name, reason in _IMPLIED:
        first = pattern.search(content)
        if first is not None:
            yield Statement(
                release_model.parse(name),
                _place(path, content, first),
                implied_by=reason,
            )


def _named(
    text: str, path: str, content: bytes, match: re.Match[bytes]
) -> collections.abc.Iterator[Statement]:
    """Yield the statement of the name of a release; none for others."""
    place = _place(path, content, match)
    unknown = release_model.unknown(text)
    if unknown is not None:
        yield Statement(unknown.nearest, place, unknown)
        return
    try:
        yield Statement(release_model.parse(text), place)
    except exceptions.InvalidValue:
        return


def _open(text: str, place: configuration.Place) -> Statement:
    """Return the statement of a branch, a template or any other text."""
    if _COMMIT.fullmatch(text):
        name = 'a commit'
    elif '{{' in text:
        name = 'a template'
    else:
        name = quoting.word(text)
    newest = release_model.newest()
    return Statement(
        newest,
        place,
        release_model.UnknownRelease(name, newest, 'no release that is known'),
        is_open=True,
    )


def _decoded(value: bytes) -> str:
    return value.decode(errors='replace').strip()


def _place(
    path: str, content: bytes, match: re.Match[bytes]
) -> configuration.Place:
    return configuration.Place(path, content.count(b'\n', 0, match.end()) + 1)
