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

"""Reads of Placement: microversion, parallel requests, when to give up.

The SDK's calls of Placement do not do this job: they send one request after
another, at microversions up to 1.20 for providers, and leave retries and
deadlines to the session.
"""

import collections.abc
import concurrent.futures
import typing

from keystoneauth1 import adapter
from keystoneauth1 import discover

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient import exceptions

T = typing.TypeVar('T')
R = typing.TypeVar('R')

Version: typing.TypeAlias = tuple[int, int]

#: Trait that Nova sets on the provider of each PCI device
#: (nova/compute/pci_placement_translator.py:_get_traits_for_dev).
MANAGED = 'COMPUTE_MANAGED_PCI_DEVICE'

#: The newest microversion that is used.
NEWEST: Version = (1, 39)
#: The oldest one that lists providers by trait.
OLDEST: Version = (1, 18)
#: Parallel requests; keystoneauth keeps ten connections alive. More do not
#: help, because Placement is bound by its processors.
THREADS = 8
#: Number of consecutive requests without an answer, after which the others
#: are not sent.
GIVE_UP = 8


class PlacementReader:
    """Reads of one Placement service.

    :param placement: The SDK proxy, ``connection.placement``.
    :raises gpuclient.exceptions.Unreachable: There is no Placement endpoint,
        or it does not answer.
    :raises gpuclient.exceptions.Unsupported: It is older than
        :data:`OLDEST`.
    """

    def __init__(self, placement: adapter.Adapter) -> None:
        self._placement = placement
        self._unanswered = 0
        self.version = min(NEWEST, _newest(placement))
        if self.version < OLDEST:
            raise exceptions.Unsupported(
                f'Placement {_text(OLDEST)} or later is required to list PCI '
                f'devices; this cloud has {_text(self.version)}'
            )

    def get(
        self,
        path: str,
        action: str,
        shape: schema.Shape,
        **params: typing.Any,
    ) -> dict[str, typing.Any]:
        """Return the JSON body of a read.

        :param action: What the read does, for the error message.
        :param shape: Fields that the body must have.
        :raises gpuclient.exceptions.CloudError: With the server's message.
        """
        if self._unanswered >= GIVE_UP:
            raise exceptions.Unreachable(
                f'{action} was skipped: the last {GIVE_UP} requests to '
                'Placement got no response'
            )
        try:
            answer = request.get(
                self._placement,
                path,
                action,
                shape,
                microversion=_text(self.version),
                **params,
            )
        except exceptions.CloudError as exc:
            # Only a hint to stop early: an update that another thread
            # overwrites does no harm.
            self._unanswered = self._unanswered + 1 if unanswered(exc) else 0
            raise
        self._unanswered = 0
        return answer

    def each(
        self,
        function: collections.abc.Callable[[T], R],
        items: collections.abc.Iterable[T],
    ) -> list[R]:
        """Return the results of a function for each item, in their order.

        Several calls run in parallel, over connections of the session.
        """
        items = list(items)
        if len(items) < 2:
            return [function(item) for item in items]
        executor = concurrent.futures.ThreadPoolExecutor(
            min(THREADS, len(items))
        )
        try:
            return list(executor.map(function, items))
        finally:
            executor.shutdown(cancel_futures=True)


def unanswered(exc: exceptions.CloudError) -> bool:
    """Return whether the service itself did not answer."""
    return (
        isinstance(exc, exceptions.Unreachable)
        or exc.status in request.RETRIABLE
    )


def _newest(placement: adapter.Adapter) -> Version:
    action = 'asking Placement'
    data = request.endpoint_data(placement, action)
    newest = data.max_microversion if data else None
    try:
        if newest is None:
            # keystoneauth does not retry, and treats a service that is busy as
            # one without microversions.
            versions = request.get(
                placement, '/', action, {'versions': [{'max_version': str}]}
            )['versions']
            newest = discover.normalize_version_number(
                versions[0]['max_version']
            )
        major, minor = newest
        return int(major), int(minor)
    except (ArithmeticError, LookupError, TypeError, ValueError) as exc:
        raise exceptions.Unreachable(
            f'The Placement endpoint {data.url if data else ""} does not '
            'return its microversions'
        ) from exc


def _text(version: Version) -> str:
    return f'{version[0]}.{version[1]}'
