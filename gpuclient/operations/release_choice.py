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

"""Decide by which release of Nova a command judges."""

import collections.abc
import dataclasses
import os

from openstack import connection

from gpuclient.cloud.nova import version as nova_version
from gpuclient.documents import release_statements
from gpuclient.model import configuration
from gpuclient.model import nova_changes
from gpuclient.model import release as release_model

#: The release of a deployment tool that has one only, and why.
_OF_TARGET = {
    'rhoso': ('rhoso-18', 'target rhoso, of which version 18 is known')
}


@dataclasses.dataclass(frozen=True)
class ChosenRelease:
    """A release, and where it is from."""

    release: release_model.Release
    #: ``--release``, ``globals.yml:3``; empty where nothing names one, so
    #: that it is the newest.
    source: str = ''
    #: Whether the cloud tells it.
    is_of_cloud: bool = False
    #: Other releases that the cloud may run.
    others: tuple[release_model.Release, ...] = ()
    #: What is not certain about it: sentences.
    warnings: tuple[str, ...] = ()

    @property
    def named(self) -> release_model.Release | None:
        """The release; None where nothing names one."""
        return self.release if self.source else None

    @property
    def is_notable(self) -> bool:
        """Whether the user has to know it."""
        return bool(self.source) and not (
            self.is_of_cloud and self.release == release_model.newest()
        )

    @property
    def fields(self) -> dict[str, str | None]:
        """Its fields in the objects that commands show."""
        return {
            'release': self.release.product or self.release.series,
            'nova_version': nova_changes.version_text(self.release.version),
            'release_source': self.source or None,
        }

    def __str__(self) -> str:
        if not self.source:
            return (
                f'Release: {self.release}, the newest that is known. Pass '
                f'--release to use another'
            )
        line = f'Release: {self.release}, from {self.source}'
        if self.others:
            line += (
                f', which {release_model.describe(self.others)} has, too: '
                f'pass --release, or set {release_model.VARIABLE}'
            )
        return line


def choose(
    given: str | None,
    paths: collections.abc.Iterable[str] = (),
    microversion: str | None = None,
    target: str = '',
) -> ChosenRelease:
    """Return the release that is given, or that files or the cloud name.

    :param given: ``--release``, or the environment variable.
    :param paths: Files and folders that may name it.
    :param microversion: The newest microversion of Nova's API in the cloud.
    :param target: The deployment tool of files that are to be created.
    :raises gpuclient.exceptions.InvalidValue: There is no release as given.
    """
    if given is not None:
        variable = given == os.environ.get(release_model.VARIABLE)
        return ChosenRelease(
            release_model.parse(given),
            release_model.VARIABLE if variable else '--release',
        )
    statements = release_statements.find(paths)
    named = [
        item for item in statements if not item.implied_by and not item.is_open
    ]
    implied = [item for item in statements if item.implied_by]
    of_cloud = (
        release_model.of_microversion(microversion) if microversion else ()
    )
    if named:
        return _of_files(named, of_cloud, microversion)
    for item in sorted(implied, key=lambda item: item.release, reverse=True):
        if _fits(item.release, of_cloud, microversion):
            return ChosenRelease(
                item.release, f'{item.place} ({item.implied_by})'
            )
    if microversion:
        return _of_cloud(of_cloud, microversion)
    if target in _OF_TARGET:
        name, source = _OF_TARGET[target]
        return ChosenRelease(release_model.parse(name), source)
    return ChosenRelease(
        release_model.newest(),
        warnings=tuple(
            f'{_nearest(item.place, item.unknown)}. Pass --release'
            for item in statements
            if item.unknown
        ),
    )


def _nearest(
    place: configuration.Place, unknown: release_model.UnknownRelease
) -> str:
    return (
        f'{place} names {unknown.name}, which is {unknown.reason}: the rules '
        f'of {unknown.nearest.product or unknown.nearest.series} are in effect'
    )


def _fits(
    release: release_model.Release,
    of_cloud: tuple[release_model.Release, ...],
    microversion: str | None,
) -> bool:
    """Return whether the cloud may run a release."""
    return not microversion or release.number in {
        candidate.number for candidate in of_cloud
    }


def choose_with_cloud(
    given: str | None,
    paths: collections.abc.Iterable[str],
    cloud: connection.Connection,
) -> ChosenRelease:
    """Return the release that is given, or that files or a cloud name."""
    return choose(
        given,
        paths,
        None if given else nova_version.newest_of(cloud),
    )


def choose_with_optional_cloud(
    given: str | None,
    paths: collections.abc.Iterable[str],
    cloud: connection.Connection | None,
) -> ChosenRelease:
    """Return the release that is given, or that files or a cloud name.

    :param cloud: None if there is none.
    """
    if cloud is None:
        return choose(given, paths)
    return choose_with_cloud(given, paths, cloud)


def _of_files(
    statements: collections.abc.Sequence[release_statements.Statement],
    of_cloud: tuple[release_model.Release, ...],
    microversion: str | None,
) -> ChosenRelease:
    first = min(statements, key=lambda statement: statement.release)
    warnings = []
    other = next(
        (
            statement
            for statement in statements
            if statement.release != first.release
        ),
        None,
    )
    if other is not None:
        warnings.append(
            f'{other.place} names release {other.release}, and {first.place} '
            f'{first.release}: the older one is in effect. Pass --release'
        )
    if first.unknown is not None:
        warnings.append(_nearest(first.place, first.unknown))
    elif of_cloud and not _fits(first.release, of_cloud, microversion):
        warnings.append(
            f'{first.place} names release {first.release}, but the cloud '
            f'runs {release_model.describe(of_cloud)} (microversion '
            f'{microversion}): that of the file is in effect. Pass --release'
        )
    return ChosenRelease(
        first.release, str(first.place), warnings=tuple(warnings)
    )


def _of_cloud(
    candidates: tuple[release_model.Release, ...], microversion: str
) -> ChosenRelease:
    warnings: tuple[str, ...] = ()
    if not candidates:
        nearest = release_model.nearest(microversion)
        candidates = (nearest,)
        warnings = (
            f'Microversion {microversion} of the cloud is that of no known '
            f'release: the rules of the nearest one, {nearest}, are in effect',
        )
    first, *others = sorted(candidates)
    return ChosenRelease(
        first,
        f'microversion {microversion} of the cloud',
        is_of_cloud=True,
        others=tuple(others),
        warnings=warnings,
    )
