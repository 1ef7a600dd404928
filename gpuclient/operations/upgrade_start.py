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

"""Find out from which release of Nova a cloud is upgraded."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud.nova import version as nova_version
from gpuclient.documents import release_statements
from gpuclient import exceptions
from gpuclient.model import release as release_model


@dataclasses.dataclass(frozen=True)
class Start:
    """The release before an upgrade."""

    release: release_model.Release
    #: Where it is from: ``--from``, ``microversion 2.103 of the cloud``.
    source: str
    #: What is not certain about it: sentences.
    warnings: tuple[str, ...] = ()
    #: The releases that the cloud may run; empty if it is not known.
    of_cloud: tuple[release_model.Release, ...] = ()

    def __str__(self) -> str:
        return f'From: {self.release}, from {self.source}'


def choose(
    given: str | None,
    end: release_model.Release,
    paths: collections.abc.Iterable[str],
    microversion: str | None = None,
) -> Start:
    """Return the release that is given, or that the cloud or files name.

    The cloud is in effect before files. These may name the release after the
    upgrade already, which is no contradiction.

    :param given: ``--from``.
    :param end: The release after the upgrade.
    :param microversion: The newest microversion of Nova's API in the cloud.
    :raises gpuclient.exceptions.InvalidValue: There is no such release, or
        nothing names one.
    """
    of_cloud = (
        release_model.of_microversion(microversion) if microversion else ()
    )
    statements = tuple(
        item for item in release_statements.find(paths) if not item.is_open
    )
    if given is not None:
        start = Start(release_model.parse(given), '--from')
    elif microversion:
        start = _of_cloud(statements, of_cloud, microversion)
    else:
        start = _of_files(statements)
    warnings = [*start.warnings]
    if microversion and start.release.number not in _numbers(of_cloud):
        warnings.append(
            f'{start.source} is {start.release}, but the cloud runs '
            f'{release_model.describe(of_cloud)} (microversion '
            f'{microversion}): {start.source} is in effect'
        )
    other = next(
        (
            statement
            for statement in statements
            if not statement.implied_by
            and statement.release.number
            not in (start.release.number, end.number)
        ),
        None,
    )
    if other is not None:
        warnings.append(
            f'{other.place} names release {_name(other)}, but '
            f'{start.source} is {start.release}: {start.source} is in effect'
        )
    return dataclasses.replace(
        start, warnings=tuple(warnings), of_cloud=of_cloud
    )


def choose_with_cloud(
    given: str | None,
    end: release_model.Release,
    paths: collections.abc.Iterable[str],
    cloud: connection.Connection | None,
) -> Start:
    """Return the release that is given, or that a cloud or files name."""
    return choose(
        given,
        end,
        paths,
        nova_version.newest_of(cloud) if cloud else None,
    )


def _name(statement: release_statements.Statement) -> str:
    return (
        statement.unknown.name if statement.unknown else str(statement.release)
    )


def _of_files(
    statements: tuple[release_statements.Statement, ...],
) -> Start:
    named = [item for item in statements if not item.implied_by]
    if not statements:
        raise exceptions.InvalidValue(
            'Neither the files nor a cloud names the release before the '
            'upgrade: pass --from, or --cloud with the cloud of --os-cloud'
        )
    first, *others = named or statements
    if first.unknown is not None:
        raise exceptions.InvalidValue(
            f'{first.place} names {first.unknown.name}, which is '
            f'{first.unknown.reason}: pass --from'
        )
    for other in others:
        if other.release != first.release:
            raise exceptions.InvalidValue(
                f'{first.place} names release {first.release}, and '
                f'{other.place} {_name(other)}: pass --from'
            )
    if first.implied_by:
        return Start(first.release, f'{first.place} ({first.implied_by})')
    return Start(first.release, str(first.place))


def _of_cloud(
    statements: tuple[release_statements.Statement, ...],
    of_cloud: tuple[release_model.Release, ...],
    microversion: str,
) -> Start:
    source = f'microversion {microversion} of the cloud'
    if not of_cloud:
        raise exceptions.InvalidValue(
            f'The {source} is that of {release_model.describe(())}: pass '
            f'--from'
        )
    fitting = [
        statement
        for statement in statements
        if statement.unknown is None
        and statement.release.number in _numbers(of_cloud)
    ]
    if fitting:
        chosen = min(fitting, key=lambda statement: statement.release)
        return Start(chosen.release, f'{source} and {chosen.place}')
    release = min(of_cloud)
    if len(of_cloud) == 1:
        return Start(release, source)
    return Start(
        release,
        source,
        (
            f'{source[0].upper()}{source[1:]} is that of '
            f'{release_model.describe(of_cloud)}: the older one is in effect. '
            f'Pass --from',
        ),
    )


def _numbers(releases: tuple[release_model.Release, ...]) -> set[int]:
    return {release.number for release in releases}
