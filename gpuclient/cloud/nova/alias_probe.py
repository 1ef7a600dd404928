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

"""Ask the running nova-api whether it knows an alias.

No API lists aliases. But nova-api looks up the aliases of the flavor before it
refuses a request for another reason (``nova/compute/api.py``:
``_validate_and_build_base_options`` comes before
``_check_and_transform_bdm``), so a request that is always refused shows
whether the alias exists. This one is refused for two reasons, each before
anything is written: it requests two servers that share a volume, in a server
group that does not exist.
"""

import collections
import collections.abc
import contextlib
import dataclasses
import enum
import os
import re
import time
import typing
import uuid

from openstack.compute.v2 import _proxy

from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud.nova import version
from gpuclient.cloud import request
from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.model import partial_result

MICROVERSION = nova_flavors.VALIDATED

#: Prefix of the names of temporary flavors.
PREFIX = 'gpuclient-probe.'
#: Seconds after which such a flavor is left over.
LEFTOVER_AGE = 300

_NOT_DEFINED = re.compile('PCI alias (?P<name>.*) is not defined', re.DOTALL)
_BROKEN = (
    'Invalid PCI alias definition',
    # nova/pci/request.py:_validate_multispec, _validate_required_ids
    'The PCI alias(es) ',
)
_DEFINED = re.compile(
    'Cannot attach one or more volumes to multiple instances'
    '|Instance group .* could not be found'
)


class AliasState(enum.StrEnum):
    """Whether nova-api knows an alias."""

    DEFINED = 'defined'
    NOT_DEFINED = 'not defined'
    #: nova-api cannot parse the aliases in its configuration.
    BROKEN = 'broken'
    #: The answer does not show it, or nova-api could not be asked.
    UNKNOWN = 'unknown'


@dataclasses.dataclass(frozen=True)
class Reply:
    """An answer of nova-api."""

    state: AliasState
    #: The server's message, or why it could not be asked.
    explanation: str

    @property
    def message(self) -> str:
        """The explanation, and whether the refusal is the expected one."""
        if self.state is not AliasState.DEFINED:
            return self.explanation
        return (
            'Refused as expected, after the alias was found: '
            f'{self.explanation}'
        )


def ask(
    compute: _proxy.Proxy, alias: str, flavor: flavor_model.Flavor
) -> Reply:
    """Ask once, over a new connection.

    :param flavor: A flavor that requests the alias.
    """
    # A load balancer may choose another nova-api then.
    compute.session.session.close()
    name = f'gpuclient-probe-{uuid.uuid4()}'
    try:
        response = request.send(
            compute,
            'POST',
            '/servers',
            f'asking nova-api for alias {alias!r}',
            microversion=MICROVERSION,
            check=False,
            json=_request(name, flavor.id),
        )
    except exceptions.CloudError as exc:
        return Reply(AliasState.UNKNOWN, str(exc))
    message = request.server_message(response)
    if response.status_code == 202:
        # This should not happen; do not leave servers behind.
        _delete_servers(compute, name)
        return Reply(AliasState.UNKNOWN, 'nova-api accepted the request')
    if response.status_code == 400:
        match = _NOT_DEFINED.search(message)
        if match is not None:
            if match['name'] == alias:
                return Reply(AliasState.NOT_DEFINED, message)
            return Reply(AliasState.UNKNOWN, message)
        if any(beginning in message for beginning in _BROKEN):
            return Reply(AliasState.BROKEN, message)
        if _DEFINED.search(message):
            return Reply(AliasState.DEFINED, message)
    return Reply(AliasState.UNKNOWN, message)


def _request(name: str, flavor_id: str) -> dict[str, typing.Any]:
    return {
        'server': {
            'name': name,
            'flavorRef': flavor_id,
            'networks': 'none',
            'min_count': 2,
            'max_count': 2,
            'block_device_mapping_v2': [
                # A root disk that needs no image.
                {
                    'boot_index': 0,
                    'source_type': 'blank',
                    'destination_type': 'local',
                    'volume_size': 1,
                },
                {
                    'boot_index': -1,
                    'source_type': 'volume',
                    'destination_type': 'volume',
                    'uuid': str(uuid.uuid4()),
                },
            ],
        },
        'OS-SCH-HNT:scheduler_hints': {'group': str(uuid.uuid4())},
    }


def _delete_servers(compute: _proxy.Proxy, name: str) -> None:
    with contextlib.suppress(exceptions.CloudError):
        # Nova adds a number to the name of each.
        servers = request.get(
            compute,
            '/servers',
            'listing servers',
            {'servers': [{'id': str}]},
            name=f'^{name}',
        )['servers']
        for server in servers:
            request.send(
                compute,
                'DELETE',
                f'/servers/{server["id"]}',
                f'deleting server {server["id"]}',
            )


class Prober:
    """Asks nova-api for aliases with flavors that request them.

    A context manager: temporary flavors are deleted at its end.

    :param make_flavors: Create a private flavor for an alias that no visible
        flavor requests.
    """

    def __init__(
        self,
        compute: _proxy.Proxy,
        flavors: collections.abc.Sequence[flavor_model.Flavor],
        *,
        make_flavors: bool = True,
    ) -> None:
        self._compute = compute
        self._flavors = [
            flavor for flavor in flavors if not flavor.name.startswith(PREFIX)
        ]
        self._leftovers = [
            flavor for flavor in flavors if is_leftover(flavor.name)
        ]
        self._make_flavors = make_flavors
        self._made: dict[str, flavor_model.Flavor] = {}
        self._ids: list[str] = []
        #: Temporary flavors that could not be deleted, at the end.
        self.failures: list[partial_result.Failure] = []

    def __enter__(self) -> 'Prober':
        return self

    def __exit__(self, *_exc: object) -> None:
        for flavor_id in self._ids:
            try:
                nova_flavors.delete_flavor(
                    self._compute, flavor_id, missing_ok=True
                )
            except exceptions.CloudError as exc:
                self.failures.append(
                    partial_result.Failure(
                        f'temporary flavor {flavor_id}', str(exc)
                    )
                )
        if self._make_flavors:
            for flavor in self._leftovers:
                # Of a run that was killed. Only users who can create flavors
                # can delete them.
                with contextlib.suppress(exceptions.CloudError):
                    nova_flavors.delete_flavor(
                        self._compute, flavor.id, missing_ok=True
                    )

    def ask(self, alias: str, attempts: int = 1) -> dict[Reply, int]:
        """Ask several times; return the number of attempts for each answer.

        Answers with the same state count as one, with the first explanation.
        """
        counts: collections.Counter[AliasState] = collections.Counter()
        explanations: dict[AliasState, str] = {}
        for _attempt in range(attempts):
            reply = self._ask_once(alias)
            counts[reply.state] += 1
            explanations.setdefault(reply.state, reply.explanation)
        return {
            Reply(state, explanations[state]): count
            for state, count in counts.items()
        }

    def _ask_once(self, alias: str) -> Reply:
        try:
            version.require(
                self._compute, MICROVERSION, 'asking nova-api for aliases'
            )
        except exceptions.CloudError as exc:
            return Reply(AliasState.UNKNOWN, str(exc))
        reply = None
        for flavor in _candidates(self._flavors, alias):
            reply = ask(self._compute, alias, flavor)
            if reply.state is not AliasState.UNKNOWN:
                return reply
        if not self._make_flavors:
            return reply or Reply(
                AliasState.UNKNOWN, 'no visible flavor requests it'
            )
        try:
            flavor = self._make(alias)
        except exceptions.Forbidden as exc:
            return reply or Reply(
                AliasState.UNKNOWN,
                'no visible flavor requests it, and this user may not create '
                'one (policy os_compute_api:os-flavor-manage:create and '
                f'os_compute_api:os-flavor-extra-specs:create): {exc}',
            )
        except exceptions.CloudError as exc:
            return reply or Reply(AliasState.UNKNOWN, str(exc))
        reply = ask(self._compute, alias, flavor)
        if (
            'Flavor' in reply.explanation
            and 'could not be found' in reply.explanation
        ):
            # Another run has deleted the flavor as left over.
            del self._made[alias]
            reply = ask(self._compute, alias, self._make(alias))
        return reply

    def _make(self, alias: str) -> flavor_model.Flavor:
        """Create a private flavor that requests only an alias."""
        if alias in self._made:
            return self._made[alias]
        # With a known ID it can be deleted even if the answer is lost.
        flavor_id = str(uuid.uuid4())
        self._ids.append(flavor_id)
        try:
            flavor = nova_flavors.create_flavor(
                self._compute,
                _name(),
                vcpus=1,
                ram=64,
                disk=1,
                is_public=False,
                flavor_id=flavor_id,
            )
        except exceptions.Forbidden:
            self._ids.remove(flavor_id)
            raise
        nova_flavors.write_extra_specs(
            self._compute, flavor, {flavor_model.ALIASES: f'{alias}:1'}
        )
        self._made[alias] = flavor
        return flavor


def _candidates(
    flavors: collections.abc.Iterable[flavor_model.Flavor], alias: str
) -> list[flavor_model.Flavor]:
    """Return a few flavors that request an alias, the simplest first.

    Nova names the first alias that it does not find, and checks other extra
    specs first.
    """
    candidates = sorted(
        (flavor for flavor in flavors if alias in (flavor.aliases or {})),
        key=lambda flavor: (
            len(flavor.aliases or {}),
            len(flavor.extra_specs or {}),
            flavor.name,
        ),
    )
    return candidates[:3]


def _name() -> str:
    return (
        f'{PREFIX}{int(time.time())}.{uuid.getnode():x}.{os.getpid()}.'
        f'{uuid.uuid4().hex[:8]}'
    )


def is_leftover(name: str) -> bool:
    """Return whether a temporary flavor was left behind by a killed run.

    It is, if its process on this machine has ended, or if it is old.
    """
    match = re.fullmatch(
        re.escape(PREFIX) + r'(\d+)\.([0-9a-f]+)\.(\d+)\.[0-9a-f]+', name
    )
    if match is None:
        return False
    if time.time() - int(match[1]) > LEFTOVER_AGE:
        return True
    if int(match[2], 16) != uuid.getnode():
        return False
    try:
        os.kill(int(match[3]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
