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

"""Versions of nova-compute that Nova records, and the oldest that it accepts.

nova-api, nova-conductor and nova-scheduler do not start while the database has
a nova-compute, running or not, that is older than the release accepts
(``nova/utils.py:raise_if_old_compute``). Services that are forced down, and
those that were deleted, are not considered
(``nova/db/main/api.py:service_get_minimum_version``).
"""

import typing

from gpuclient.model import release as release_model


class _Versions(typing.NamedTuple):
    #: ``SERVICE_VERSION``
    current: int
    #: ``OLDEST_SUPPORTED_SERVICE_VERSION``, as a version and by name.
    oldest: int
    oldest_name: str


#: ``nova/objects/service.py`` of each release. That of 29 was 66 at first.
_VERSIONS = {
    26: _Versions(64, 57, 'Xena'),
    27: _Versions(66, 61, 'Yoga'),
    28: _Versions(66, 66, 'Antelope'),
    29: _Versions(67, 66, 'Antelope'),
    30: _Versions(67, 66, 'Caracal'),
    31: _Versions(68, 66, 'Caracal'),
    32: _Versions(70, 68, 'Epoxy'),
    33: _Versions(72, 68, 'Epoxy'),
    34: _Versions(74, 72, 'Gazpacho'),
}


def version(release: release_model.Release) -> int:
    """Return the version that nova-compute of a release records."""
    return _VERSIONS[release.number].current


def refusal(
    old: release_model.Release, new: release_model.Release
) -> str | None:
    """Return Nova's message about a nova-compute that is too old.

    :param old: The release that nova-compute last ran.
    :param new: That of nova-api.
    :returns: None where it accepts the other.
    """
    recorded, accepted = version(old), _VERSIONS[new.number]
    if recorded >= accepted.oldest:
        return None
    return (
        f'Current Nova version does not support computes older than '
        f'{accepted.oldest_name} but the minimum compute service level in '
        f'your system is {recorded} and the oldest supported service level is '
        f'{accepted.oldest}'
    )


def accepts_fewer(
    old: release_model.Release, new: release_model.Release
) -> bool:
    """Return whether a release refuses versions that another accepts."""
    return _VERSIONS[new.number].oldest > _VERSIONS[old.number].oldest
