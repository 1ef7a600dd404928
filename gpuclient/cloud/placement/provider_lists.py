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

"""Which providers have something: a request for all providers at once.

The answers are those of Placement itself, with minimum, maximum and step of an
allocation, for every compute node, with devices or without.
"""

from keystoneauth1 import adapter

from gpuclient.cloud.placement import reader as placement_reader
from gpuclient import exceptions

_SHARING = 'MISC_SHARES_VIA_AGGREGATE'


class ProviderLists:
    """Lists of providers; each is requested once.

    :param placement: The SDK proxy, ``connection.placement``.
    """

    def __init__(self, placement: adapter.Adapter) -> None:
        self.reader = placement_reader.PlacementReader(placement)
        self._answers: dict[tuple[str, str], frozenset[str]] = {}

    def with_free(self, name: str, amount: int) -> frozenset[str]:
        """Return the providers that can allocate an amount of a class.

        :raises gpuclient.exceptions.CloudError: With the server's message;
            its status is 400 for a class that Placement does not know.
        """
        return self._list(
            'listing the providers with free units',
            resources=f'{name}:{amount}',
        )

    def with_trait(self, trait: str) -> frozenset[str] | None:
        """Return the providers with a trait.

        :returns: None for a trait that Placement does not know.
        :raises gpuclient.exceptions.CloudError: With the server's message.
        """
        try:
            return self._list(
                f'listing the providers with trait {trait}', required=trait
            )
        except exceptions.CloudError as exc:
            if exc.status != 400:
                raise
            return None

    def sharing(self) -> frozenset[str]:
        """Return the providers that share resources with others.

        :raises gpuclient.exceptions.CloudError: With the server's message.
        """
        return self.with_trait(_SHARING) or frozenset()

    def _list(self, action: str, **params: str) -> frozenset[str]:
        ((key, value),) = params.items()
        if (key, value) not in self._answers:
            self._answers[key, value] = frozenset(
                provider['uuid']
                for provider in self.reader.get(
                    '/resource_providers',
                    action,
                    {'resource_providers': [{'uuid': str}]},
                    **params,
                )['resource_providers']
            )
        return self._answers[key, value]
