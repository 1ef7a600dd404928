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

"""Releases of Nova: which there are, their names, and what each one does.

``gpuclient/data/nova/releases.json`` has them. A rule that depends on the
release asks :meth:`Release.has` for a change of
:mod:`gpuclient.model.nova_changes`.
"""

import dataclasses
import functools
import re
import typing

from gpuclient import data
from gpuclient import exceptions
from gpuclient.model import nova_changes
from gpuclient.model import quoting

#: The environment variable with the default of ``--release``.
VARIABLE = 'OS_GPU_RELEASE'
_VERSION = re.compile(
    r'(?:nova[ -]?)?(\d{2})(?:\.(\d{1,3}))?(?:\.(\d{1,3}))?', re.ASCII
)
_PLACEMENT_VERSION = re.compile(r'(\d{1,2})(\.\d{1,3}\.\d{1,3})?', re.ASCII)
#: ``2027.1``
_SERIES = re.compile(r'20\d{2}\.\d{1,2}', re.ASCII)
_MICROVERSION = re.compile(r'2\.(\d{1,4})', re.ASCII)


@dataclasses.dataclass(frozen=True, order=True)
class Release:
    """A release of Nova, as a cloud runs it."""

    #: ``(31, 3, 1)``; the newest of the series unless another is known.
    version: nova_changes.Version
    #: That of OpenStack: ``2025.1``; ``zed`` for one without a number.
    series: str
    #: ``epoxy``
    name: str
    #: The newest minor microversion of the API: 100 of 2.100.
    microversion: int
    #: A product that adds changes of its own to this version, ``rhoso-18``;
    #: empty for Nova as it was released.
    product: str = ''
    #: The newest version of Placement of the same release: ``13.0.1``.
    placement: str = ''

    def __str__(self) -> str:
        version = nova_changes.version_text(self.version)
        if self.product:
            return f'{self.product} (built on Nova {version})'
        return f'{self.series} (Nova {version})'

    @property
    def number(self) -> int:
        """The number of the series: 31."""
        return self.version[0]

    def has(self, change: nova_changes.NovaChange) -> bool:
        """Return whether Nova has a change, as it was released."""
        return change.is_in(self.version)

    def knows(self, change: nova_changes.NovaChange) -> bool:
        """Return whether :meth:`has` is certain.

        A product may have added changes of later releases; which ones is not
        public as a whole.
        """
        return not self.product or self.has(change)


class _Product(typing.NamedTuple):
    release: int
    names: tuple[str, ...]


def newest() -> Release:
    """Return the newest release that is known: the default of all rules."""
    return releases()[-1]


@functools.cache
def releases() -> tuple[Release, ...]:
    """Return the newest version of every series that is known, in order."""
    return tuple(
        sorted(
            Release(
                _numbers(fields['newest']),
                fields['series'],
                fields['name'],
                int(fields['microversion'].removeprefix('2.')),
                placement=fields['placement'],
            )
            for fields in data.load('nova/releases.json')['releases'].values()
        )
    )


def _plain(text: str) -> str:
    """Return a name or version without what packages and branches add.

    ``1:31.3.1-1ubuntu1`` of a package, ``stable/2025.1`` of a branch.
    """
    wanted = text.strip().lower()
    wanted = re.sub(r'^(\d:|(stable|unmaintained)/)', '', wanted)
    return re.sub(r'^(\d{2}(?:\.\d{1,3}){2})-\d[\w.+~-]*$', r'\1', wanted)


def parse(text: str) -> Release:
    """Return the release that a name, or a version of Nova, means.

    :param text: ``2025.1``, ``epoxy``, ``31``, ``31.3.1``, ``rhoso-18``; for
        a series its newest version.
    :raises gpuclient.exceptions.InvalidValue: There is no such release.
    """
    wanted = _plain(text)
    for product, details in _products().items():
        if wanted in (product, *details.names) or re.fullmatch(
            rf'{product}(\.\d{{1,3}})*', wanted, re.ASCII
        ):
            return dataclasses.replace(
                _of_series(details.release, text), product=product
            )
    for release in releases():
        if wanted in (release.series, release.name):
            return release
    match = _VERSION.fullmatch(wanted)
    if match is None:
        raise _unknown(text)
    release = _of_series(int(match[1]), text)
    if match[2] is None:
        return release
    version = (int(match[1]), int(match[2]), int(match[3] or 0))
    return dataclasses.replace(release, version=version)


@dataclasses.dataclass(frozen=True)
class UnknownRelease:
    """A release of Nova whose rules are not known."""

    #: ``wallaby (Nova 23)``
    name: str
    #: The release with the nearest rules.
    nearest: Release
    #: Why it is unknown, if not because of its age.
    other_reason: str = ''

    @property
    def reason(self) -> str:
        """``older than zed (Nova 26.3.0), the oldest that is known``"""
        if self.other_reason:
            return self.other_reason
        if self.nearest == releases()[0]:
            return f'older than {self.nearest}, the oldest that is known'
        return f'newer than {self.nearest}, the newest that is known'


def unknown(text: str) -> UnknownRelease | None:
    """Return an older or a newer release that a name or a version means.

    :param text: ``wallaby``, ``23.2.1``, ``rhosp-17.1``, ``2027.1``; None for
        a release that :func:`parse` knows, and for other texts.
    """
    wanted = _plain(text)
    oldest, newest_known = releases()[0], releases()[-1]
    for name, number in data.load('nova/releases.json')['older'].items():
        if wanted == name or (
            name.startswith('rhosp')
            and re.fullmatch(rf'{name[:5]}-?{name[6:]}(\.\d{{1,3}})*', wanted)
        ):
            return UnknownRelease(f'{wanted} (Nova {number})', oldest)
    match = re.fullmatch(r'rhoso-?(\d{2})(\.\d{1,3})*', wanted, re.ASCII)
    if match is not None and match[1] != '18':
        return UnknownRelease(
            wanted, parse('rhoso-18'), 'no version of RHOSO that is known'
        )
    if _SERIES.fullmatch(wanted) and wanted > newest_known.series:
        return UnknownRelease(wanted, newest_known)
    match = _VERSION.fullmatch(wanted)
    if match is None or oldest.number <= int(match[1]) <= newest_known.number:
        return None
    older = int(match[1]) < oldest.number
    return UnknownRelease(
        f'Nova {wanted.removeprefix("nova").strip(" -")}',
        oldest if older else newest_known,
    )


def parse_placement(text: str) -> str:
    """Return the version of Placement that a name or a version means.

    :param text: A release as :func:`parse` takes it, ``2025.1``, or a version
        of Placement: ``13``, ``13.0.0``; for a series its newest version.
    :raises gpuclient.exceptions.InvalidValue: There is no such release.
    """
    match = _PLACEMENT_VERSION.fullmatch(text.strip())
    for release in releases():
        if match and match[1] == release.placement.split('.')[0]:
            return match[0] if match[2] else release.placement
    try:
        return parse(text).placement
    except exceptions.InvalidValue as exc:
        first, last = releases()[0], releases()[-1]
        raise exceptions.InvalidValue(
            f'Unknown release {quoting.word(text)!r} of Placement: use a '
            f'release ({first.series} to {last.series}) or a version of '
            f'Placement (to {last.placement})'
        ) from exc


def of_microversion(text: str) -> tuple[Release, ...]:
    """Return the releases whose newest microversion of the API this is.

    Several releases may have the same, 2.100 for one; none may have it, such
    as that of a development version.

    :raises gpuclient.exceptions.InvalidValue: It is no microversion of Nova.
    """
    match = _MICROVERSION.fullmatch(text.strip())
    if match is None:
        raise exceptions.InvalidValue(
            f'{quoting.word(text)!r} is not a microversion of Nova, such as '
            f'2.100'
        )
    return tuple(
        release
        for release in releases()
        if release.microversion == int(match[1])
    )


def nearest(microversion: str) -> Release:
    """Return the newest release of which an API has all microversions.

    The oldest that is known, if the API is older.
    """
    minor = int(microversion.strip().removeprefix('2.'))
    return max(
        (known for known in releases() if known.microversion <= minor),
        default=releases()[0],
    )


def describe(candidates: tuple[Release, ...]) -> str:
    """Return the releases that a cloud may run: ``2025.1 or 2025.2``."""
    if not candidates:
        return f'none of the known releases ({_known()})'
    return ' or '.join(release.series for release in candidates)


def _of_series(number: int, text: str) -> Release:
    for release in releases():
        if release.number == number:
            return release
    raise _unknown(text)


def _unknown(text: str) -> exceptions.InvalidValue:
    other = unknown(text)
    return exceptions.InvalidValue(
        f'Unknown Nova release {quoting.word(text)!r}'
        f'{f" ({other.reason})" if other else ""}: use a release '
        f'({_known()}), a version of Nova (31.3.1) or a product '
        f'({", ".join(_products())})'
        + ('. RHOSO 18 is rhoso-18' if text.strip()[:2] == '18' else '')
    )


def _known() -> str:
    first, last = releases()[0], releases()[-1]
    return f'{first.series} to {last.series}, {first.number} to {last.number}'


@functools.cache
def _products() -> dict[str, _Product]:
    return {
        product: _Product(fields['release'], tuple(fields['names']))
        for product, fields in data.load('nova/releases.json')[
            'products'
        ].items()
    }


def _numbers(text: str) -> nova_changes.Version:
    major, minor, patch = map(int, text.split('.'))
    return major, minor, patch
