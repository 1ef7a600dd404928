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
"""Nova of another release, installed beside the libraries of this one.

Nova from release 28 on runs with the newest libraries, those that the
installed Nova uses. So another release needs a folder with its own package
only, an *overlay*, which a process of that release imports before all others;
for releases 26 and 27 the folder has some libraries, too::

    overlay = nova_overlay.prepare(release.parse('2025.1'), say)
    subprocess.run(
        [sys.executable, '-P', '-m', 'program'],
        env={**os.environ, 'PYTHONPATH': str(overlay.path)},
    )

The program calls :func:`gpuclient.rehearsal.nova_worker.compat.install` before
it imports modules of Nova: releases up to 30 need it. :func:`prepare` returns
None for the release that is installed, which needs no overlay.
"""

import dataclasses
import importlib.metadata
import sys
import typing

from gpuclient import exceptions
from gpuclient.model import nova_changes
from gpuclient.model import release as releases
from gpuclient.rehearsal import package_overlay

#: Nova up to 27 needs older versions of these libraries.
_OLD_LIBRARIES = ('SQLAlchemy<2', 'alembic<1.20', 'oslo.db<18', 'oslo.utils<9')
#: Libraries of which a release needs older versions, by its number.
_LIBRARIES = {26: _OLD_LIBRARIES, 27: _OLD_LIBRARIES}
#: The newest Python with which releases up to a number run, and why.
_NEWEST_PYTHON = (
    # nova/scheduler/filters/image_props_filter.py, nova/virt/disk/api.py
    (30, (3, 11), 'it imports modules that Python 3.12 has removed'),
)


@dataclasses.dataclass(frozen=True)
class NovaOverlay(package_overlay.Overlay):
    """A folder with a version of Nova."""

    distribution: typing.ClassVar[str] = 'nova'
    title: typing.ClassVar[str] = 'Nova'
    megabytes: typing.ClassVar[int] = 70

    @property
    def libraries(self) -> tuple[str, ...]:
        return _LIBRARIES.get(int(self.version.split('.')[0]), ())


def installed() -> str:
    """Return the version of the installed Nova.

    :raises RehearsalError: None is installed.
    """
    try:
        return importlib.metadata.version('nova')
    except importlib.metadata.PackageNotFoundError as exc:
        raise exceptions.RehearsalError(
            "Nova is not installed: pip install 'python-gpuclient[rehearsal]'"
        ) from exc


def release_of(version: str) -> releases.Release | None:
    """Return the release of a version; None if it is not known."""
    try:
        return releases.parse(version)
    except exceptions.InvalidValue:
        return None


def is_version_of(version: str, release: releases.Release) -> bool:
    """Return whether a version of Nova is of a release.

    Any version of the series is, unless the release is an older version.
    """
    newest = releases.parse(str(release.number)).version
    return nova_changes.version_text(release.version) == version or (
        release.version == newest
        and version.split('.')[0] == str(release.number)
    )


def prepare(
    release: releases.Release, say: package_overlay.Say | None = None
) -> NovaOverlay | None:
    """Return the overlay of a release, and install it where it is missing.

    :param say: Called with each line of progress.
    :returns: None for the release that is installed.
    :raises RehearsalError: It cannot be installed, or the overlay in the cache
        cannot be used.
    """
    if is_version_of(installed(), release):
        return None
    check_supported(release)
    if release.product and say is not None:
        say(
            f'{release.product}: Nova {release.number} as it was released, '
            'without changes that the product has added'
        )
    return package_overlay.prepare(
        NovaOverlay, nova_changes.version_text(release.version), say
    )


def check_supported(release: releases.Release) -> None:
    """Check that a release can run here, before it is installed.

    :raises RehearsalError: It cannot.
    """
    for number, newest, reason in _NEWEST_PYTHON:
        if release.number <= number and sys.version_info[:2] > newest:
            supported = package_overlay.dotted(newest)
            running = package_overlay.dotted(sys.version_info[:2])
            raise exceptions.RehearsalError(
                f'Nova {nova_changes.version_text(release.version)} runs with '
                f'Python {supported} or older, and this is Python {running}: '
                f'{reason}. Install python-gpuclient with Python {supported}, '
                f'or choose Nova {number + 1} or later'
            )
