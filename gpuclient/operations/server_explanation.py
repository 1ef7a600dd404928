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

"""Why a server has no host, or where its devices are."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud import glance
from gpuclient.cloud.nova import server_details
from gpuclient.cloud.nova import server_groups
from gpuclient.cloud.placement import held
from gpuclient import exceptions
from gpuclient.model import explanation as conditions
from gpuclient.model import failed_attempt
from gpuclient.model import image as image_model
from gpuclient.model import image_properties
from gpuclient.model import inventory
from gpuclient.model import partial_result
from gpuclient.model import release as release_model
from gpuclient.model import server_history
from gpuclient.model import unseen
from gpuclient.operations import explanation

#: Statuses of servers that have their resources, whatever happened last.
_PLACED = ('ERROR', 'BUILD')
_Failures = list[partial_result.Failure]


@dataclasses.dataclass(frozen=True)
class ServerExplanation:
    """Why a server has no host, or where its devices are."""

    details: server_details.ServerDetails
    history: server_history.History
    #: What the history proves.
    causes: tuple[unseen.UnseenCause, ...]
    #: None where policy hides them.
    devices: tuple[inventory.Device, ...] | None
    #: Why the scheduler finds a host for it or not; None for a server that
    #: has a host, or if this user may not read the cloud.
    explanation: explanation.Explanation | None

    @property
    def needs_host(self) -> bool:
        return needs_host(self.details)

    @property
    def leaks(self) -> tuple[unseen.UnseenCause, ...]:
        """What the server holds and does not use."""
        return tuple(
            leaks(
                self.details.server,
                self.devices or (),
                evacuated=any(
                    migration.kind == 'evacuation'
                    for migration in self.history.migrations
                ),
            )
        )

    @property
    def is_explained(self) -> bool:
        """Whether there is a failure that was explained."""
        return (
            self.needs_host
            or self.details.server.status == 'ERROR'
            or any(leak.proved for leak in self.leaks)
        )


def leaks(
    server: inventory.Server,
    devices: collections.abc.Iterable[inventory.Device],
    *,
    evacuated: bool = False,
) -> collections.abc.Iterator[unseen.UnseenCause]:
    """Yield what a server that does not move holds and does not use.

    As "openstack gpu placement check" reports it
    (:mod:`gpuclient.rules.placement_leaks`).

    :param evacuated: Whether it was: the source removes its allocations when
        it is up again.
    """
    devices = [device for device in devices if device.address is not None]
    if (
        server.status not in explanation.SETTLED
        or server.task_state is not None
        or server.host is None
    ):
        return
    elsewhere = sorted(
        {device.host for device in devices if device.host != server.host}
    )
    if elsewhere and not evacuated:
        yield unseen.UnseenCause(
            'GPU611',
            f'it holds devices of {", ".join(elsewhere)}, where it does not '
            f'run, so that no server can use them',
            True,
            tuple(elsewhere),
        )
    held = sum(
        consumer.amount
        for device in devices
        if device.host == server.host
        for consumer in device.consumers or ()
    )
    requested = sum(inventory.requested_aliases(server.extra_specs).values())
    if requested and held > requested:
        yield unseen.UnseenCause(
            'GPU612',
            f'it holds {held} devices, and its flavor requests {requested}; '
            f'unless its ports request devices, the rest is leaked',
            False,
            (server.host,),
        )


def needs_host(details: server_details.ServerDetails) -> bool:
    """Return whether a server has no host, so that it must be scheduled."""
    server = details.server
    if server.status == 'SHELVED_OFFLOADED':
        return True
    if server.status not in _PLACED:
        return False
    if server.service_host is not None or server.host is not None:
        return False
    # To a member Nova shows no host of any server.
    return not details.launched


def explain_server(
    cloud: connection.Connection,
    name_or_id: str,
    request: explanation.Request,
    release: release_model.Release,
) -> partial_result.PartialResult[ServerExplanation]:
    """Explain why a server has no host, or say where its devices are.

    :param request: Its project, image and availability zone are those of the
        server, unless they are given.
    :raises gpuclient.exceptions.GPUError: There is no such server, or see
        :func:`explanation.explain_flavor`.
    """
    failures: _Failures = []
    details = server_details.find(cloud.compute, name_or_id)
    history = _history(cloud, details, failures)
    explained = None
    if needs_host(details):
        explained = _explain(cloud, details, request, release, failures)
    causes, explained = relate(history, explained)
    return partial_result.PartialResult(
        ServerExplanation(
            details,
            history,
            causes,
            _devices(cloud, details, failures),
            explained,
        ),
        tuple(failures),
    )


def relate(
    history: server_history.History,
    explained: explanation.Explanation | None,
) -> tuple[tuple[unseen.UnseenCause, ...], explanation.Explanation | None]:
    """Hold what Nova recorded of a server against its explanation.

    :returns: What the history proves, and the explanation, with what else is
        suspected if filters excluded hosts that fit by all that is known.
    """
    causes = tuple(server_history.causes(history, fits=False))
    if explained is None or not explained.fits:
        return causes, explained
    evaluation = explained.evaluation
    suspects = failed_attempt.suspects(evaluation, causes, explained.unseen)
    if failed_attempt.excludes_all(evaluation, suspects):
        return causes, explained
    if any(cause.code == failed_attempt.FILTERED for cause in causes):
        if suspects:
            return causes, explained
        explained = dataclasses.replace(
            explained,
            unseen=(*explained.unseen, *unseen.of_types(evaluation)),
        )
    return tuple(server_history.causes(history, fits=True)), explained


def _history(
    cloud: connection.Connection,
    details: server_details.ServerDetails,
    failures: _Failures,
) -> server_history.History:
    uuid = details.server.uuid
    actions: tuple[server_history.Action, ...] = ()
    migrations: tuple[server_history.Migration, ...] = ()
    try:
        actions = server_details.read_actions(cloud.compute, uuid)
    except exceptions.CloudError as exc:
        failures.append(
            partial_result.Failure('actions on the server', str(exc))
        )
    try:
        migrations = server_details.read_migrations(cloud.compute, uuid)
    except exceptions.Forbidden:
        # A member may not list migrations; the actions show their failures.
        pass
    except exceptions.CloudError as exc:
        failures.append(
            partial_result.Failure('migrations of the server', str(exc))
        )
    return server_history.History(details.fault, actions, migrations)


def _explain(
    cloud: connection.Connection,
    details: server_details.ServerDetails,
    request: explanation.Request,
    release: release_model.Release,
    failures: _Failures,
) -> explanation.Explanation | None:
    server = details.server
    if server.flavor is None:
        failures.append(
            partial_result.Failure(
                'flavor of the server', 'Nova does not return it whole'
            )
        )
        return None
    request = dataclasses.replace(
        request,
        project_id=server.project_id,
        zone=request.zone or details.zone,
        volume_backed=details.image_id is None,
        of_server=True,
        group=group_of(cloud, details, failures),
    )
    reader = explanation.Reader(cloud, request, release)
    try:
        unknown = reader.unknown_aliases(server.flavor)
        if unknown and details.fault is not None:
            # The fault tells something without them.
            failures.append(
                partial_result.Failure(
                    'conditions of the request',
                    f'The definition of alias {", ".join(unknown)} is not '
                    f'known: pass the file that defines it with --config',
                )
            )
            return None
        answer = reader.explain(
            server.flavor, image_of(cloud, details, failures)
        )
    except exceptions.Forbidden as exc:
        failures.append(
            partial_result.Failure('conditions of the request', str(exc))
        )
        return None
    failures += answer.failures
    return answer.value


def image_of(
    cloud: connection.Connection,
    details: server_details.ServerDetails,
    failures: _Failures,
) -> image_model.Image | None:
    """Return the image of a server, with its properties at its creation.

    Nova returns those that ``nova/objects/image_meta.py:ImageMetaProps`` has,
    since 31; the traits that the image requires, and all properties of earlier
    releases, are those that Glance has now.
    """
    if details.image_id is None:
        return None
    of_nova = details.image_properties
    try:
        image = glance.find_image(cloud, details.image_id)
    except exceptions.CloudError as exc:
        failures.append(
            partial_result.Failure(
                'image of the server'
                if of_nova is None
                else 'traits that the image of the server requires',
                str(exc),
            )
        )
        if of_nova is None:
            return None
        return image_model.Image(details.image_id, details.image_id, of_nova)
    if of_nova is None:
        return image
    return dataclasses.replace(
        image,
        properties={
            **{
                name: value
                for name, value in image.properties.items()
                if not image_properties.is_in_servers(name)
            },
            **of_nova,
        },
    )


def group_of(
    cloud: connection.Connection,
    details: server_details.ServerDetails,
    failures: _Failures,
) -> conditions.ServerGroup | None:
    """Return the server group of a server, if it is in one."""
    for group_id in details.groups:
        try:
            return server_groups.read_occupied(
                cloud,
                group_id,
                details.server.uuid,
                details.server.project_id,
            )
        except (exceptions.CloudError, exceptions.NotRecorded) as exc:
            failures.append(
                partial_result.Failure('server group of the server', str(exc))
            )
    return None


def _devices(
    cloud: connection.Connection,
    details: server_details.ServerDetails,
    failures: _Failures,
) -> tuple[inventory.Device, ...] | None:
    try:
        return held.read_held(cloud.placement, details.server.uuid)
    except exceptions.Forbidden:
        return None
    except exceptions.CloudError as exc:
        failures.append(
            partial_result.Failure('devices of the server', str(exc))
        )
        return None
