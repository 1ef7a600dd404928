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

"""Save the answers of a cloud, and use them in place of it."""

import collections.abc
import dataclasses
import datetime
import typing

from openstack import connection

from gpuclient.cloud import catalog
from gpuclient.cloud import request
from gpuclient.cloud.snapshot import content
from gpuclient.cloud.snapshot import hiding
from gpuclient.cloud.snapshot import recording
from gpuclient.cloud.snapshot import replay
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import partial_result
from gpuclient.operations import snapshot_reads

#: Services whose versions are recorded; those that a cloud lacks are not.
_SERVICES = ('compute', 'placement', 'identity', 'image', 'network')
#: Few commands use them.
_OPTIONAL = ('image', 'network')


@dataclasses.dataclass(frozen=True)
class SavedSnapshot:
    """A snapshot and its file."""

    path: str
    size: int
    snapshot: content.Snapshot

    def counts(self) -> dict[str, int]:
        """Return the number of answers by service type."""
        counts = dict.fromkeys(sorted(self.snapshot.services), 0)
        for question in self.snapshot.answers:
            counts[question.service] = counts.get(question.service, 0) + 1
        return counts

    def questions(self) -> list[str]:
        """Return the requests, as lines."""
        return [str(question) for question in self.snapshot.answers]

    def describe(self, now: datetime.datetime) -> str:
        """Return one sentence about what the snapshot is of."""
        snapshot = self.snapshot
        cloud = 'a cloud whose name is hidden'
        if not snapshot.names_hidden:
            cloud = f'cloud {snapshot.cloud or "without a name"}'
        if snapshot.region:
            cloud += f', region {snapshot.region}'
        return (
            f'Snapshot {self.path} of {cloud}: recorded on '
            f'{snapshot.created:%Y-%m-%d %H:%M} UTC, '
            f'{_age(now - snapshot.created)}'
        )


def _age(age: datetime.timedelta) -> str:
    seconds = age.total_seconds()
    if seconds < 0:
        return 'in the future'
    for unit, length in (('day', 86400), ('hour', 3600), ('minute', 60)):
        count = int(seconds // length)
        if count:
            return f'{count} {unit}{"s" if count > 1 else ""} ago'
    return 'less than a minute ago'


def save(
    cloud: connection.Connection,
    path: str,
    subjects: snapshot_reads.Subjects,
    *,
    client: str,
    now: datetime.datetime,
    hide_names: bool,
    say: collections.abc.Callable[[str], None],
) -> partial_result.PartialResult[SavedSnapshot]:
    """Record the answers that reading commands need, and write them.

    :param subjects: What to record besides.
    :param say: Called with each line of progress.
    :raises gpuclient.exceptions.GPUError: The file exists or cannot be
        written, or Nova does not answer.
    """
    atomic.check_new(path)
    failures: list[partial_result.Failure] = []
    services = dict(_services(cloud, failures))
    with recording.recording(cloud) as recorder:
        # First, so that the other reads need not be repeated.
        with recorder.refreshing():
            snapshot_reads.run_twice(cloud, say)
        snapshot_reads.run(cloud, subjects, say)
    failures += recorder.failures()
    answers = recorder.answers()
    if not answers:
        raise exceptions.Unreachable(
            'No answer of this cloud was recorded: '
            + '; '.join(map(str, failures))
        )
    snapshot = content.Snapshot(
        created=now.replace(microsecond=0),
        client=client,
        cloud=cloud.config.name,
        region=cloud.config.region_name or None,
        project=_project(cloud),
        service_types=_service_types(cloud),
        names_hidden=False,
        services=services,
        answers=answers,
    )
    if hide_names:
        snapshot = hiding.hide(snapshot)
    rendered = content.render(snapshot)
    atomic.create(path, rendered, 0o600)
    return partial_result.PartialResult(
        SavedSnapshot(path, len(rendered), snapshot), tuple(failures)
    )


def _services(
    cloud: connection.Connection, failures: list[partial_result.Failure]
) -> collections.abc.Iterator[tuple[str, content.Service]]:
    """Yield the services of a cloud with their versions."""
    for name in _SERVICES:
        action = f'reading the versions of {name}'
        try:
            # The SDK discovers them when it is asked for the service.
            with request.library_errors(action):
                service = getattr(cloud, name)
            data = request.endpoint_data(service, action)
        except exceptions.CloudError as exc:
            if name not in _OPTIONAL:
                failures.append(partial_result.Failure(name, str(exc)))
            continue
        if data is not None:
            yield (
                name,
                content.Service(
                    _numbers(data.api_version) or (1,),
                    _numbers(data.min_microversion),
                    _numbers(data.max_microversion),
                ),
            )


def _numbers(
    version: tuple[int | float, ...] | None,
) -> tuple[int, ...] | None:
    """Return a version as integers; None if it is not one of numbers.

    keystoneauth has infinity for ``latest``.
    """
    try:
        return tuple(map(int, version)) if version else None
    except (OverflowError, ValueError):
        return None


def _project(cloud: connection.Connection) -> tuple[str, str] | None:
    auth: typing.Any = cloud.session.auth
    if not hasattr(auth, 'get_access'):
        # A fixed token.
        return None
    access = auth.get_access(cloud.session)
    if access.project_id is None:
        return None
    return access.project_id, access.project_name or ''


def _service_types(cloud: connection.Connection) -> tuple[str, ...] | None:
    types = catalog.service_types(cloud)
    return None if types is None else tuple(sorted(types))


def read(path: str) -> SavedSnapshot:
    """Return a snapshot that was saved.

    :raises gpuclient.exceptions.GPUError: It cannot be read, or is none.
    """
    packed = atomic.read(path, or_standard_input=False)
    try:
        snapshot = content.parse(packed)
    except exceptions.SnapshotError as exc:
        raise exceptions.SnapshotError(
            f'Cannot read snapshot {path}: {exc}'
        ) from exc
    return SavedSnapshot(path, len(packed), snapshot)


def connect(saved: SavedSnapshot) -> connection.Connection:
    """Return a connection that answers from a snapshot."""
    return replay.connect(saved.snapshot, saved.path)
