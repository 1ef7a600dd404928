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
"""Placement of another release, beside the libraries of this one.

Its processes import it from an overlay
(:mod:`gpuclient.rehearsal.package_overlay`), with the installed libraries.
"""

import dataclasses
import importlib
import importlib.metadata
import os
import sys
import typing

from gpuclient import exceptions
from gpuclient.model import release as releases
from gpuclient.rehearsal import package_overlay

#: Older ones use a parameter that SQLAlchemy 2 has removed.
OLDEST = 10


@dataclasses.dataclass(frozen=True)
class PlacementOverlay(package_overlay.Overlay):
    """A folder with a version of Placement."""

    distribution: typing.ClassVar[str] = 'openstack-placement'
    title: typing.ClassVar[str] = 'Placement'
    megabytes: typing.ClassVar[int] = 3

    def activate(self) -> None:
        """Let this process import it; no module may be imported yet."""
        sys.path.insert(0, os.fspath(self.path))
        importlib.invalidate_caches()
        _add_enforce_scope()


def _add_enforce_scope() -> None:
    """Placement up to 15 reads it; oslo.policy 6.0 has removed it.

    Since then oslo.policy does what it did by default.
    """
    from oslo_config import cfg
    from oslo_policy import opts

    if not any(option.name == 'enforce_scope' for option in opts._options):
        opts._options.append(cfg.BoolOpt('enforce_scope', default=True))


def installed() -> str:
    """Return the version of the installed Placement.

    :raises RehearsalError: None is installed.
    """
    try:
        return importlib.metadata.version(PlacementOverlay.distribution)
    except importlib.metadata.PackageNotFoundError as exc:
        raise exceptions.RehearsalError(
            'Placement is not installed: pip install '
            "'python-gpuclient[rehearsal]'"
        ) from exc


def is_version_of(version: str, wanted: str) -> bool:
    """Return whether a version of Placement is the wanted one.

    Any version of the series is, if the newest of it is wanted.
    """
    series = wanted.split('.')[0]
    return version == wanted or (
        version.split('.')[0] == series
        and releases.parse_placement(series) == wanted
    )


def prepare(
    version: str, say: package_overlay.Say | None = None
) -> PlacementOverlay | None:
    """Return the overlay of a version, and install it where it is missing.

    :param say: Called with each line of progress.
    :returns: None for the version that is installed.
    :raises RehearsalError: It cannot be installed, or the overlay in the cache
        cannot be used.
    """
    if is_version_of(installed(), version):
        return None
    if int(version.split('.')[0]) < OLDEST:
        raise exceptions.RehearsalError(
            f'Placement {version} is too old for this environment: choose '
            f'Placement {releases.parse_placement(str(OLDEST))} or later'
        )
    return package_overlay.prepare(PlacementOverlay, version, say)
