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

"""Ask the running nova-api for aliases."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud.nova import alias_probe
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.model import partial_result


@dataclasses.dataclass(frozen=True)
class VerifiedAlias:
    """An answer about an alias, and how many attempts got it."""

    name: str
    reply: alias_probe.Reply
    count: int

    @property
    def is_refused(self) -> bool:
        """Whether nova-api does not know the alias, or cannot read any."""
        return self.reply.state in (
            alias_probe.AliasState.NOT_DEFINED,
            alias_probe.AliasState.BROKEN,
        )


def verify(
    cloud: connection.Connection,
    names: collections.abc.Iterable[str],
    attempts: int,
) -> partial_result.PartialResult[tuple[VerifiedAlias, ...]]:
    """Return nova-api's answers to each alias; no server is created.

    :param attempts: For each alias, over a new connection each.
    """
    compute = cloud.compute
    with alias_probe.Prober(
        compute, nova_flavors.list_flavors(compute)
    ) as prober:
        answers = tuple(
            VerifiedAlias(name, reply, count)
            for name in dict.fromkeys(names)
            for reply, count in prober.ask(name, attempts).items()
        )
    return partial_result.PartialResult(
        answers,
        (
            *(
                partial_result.Failure(
                    f'alias {answer.name!r}', answer.reply.explanation
                )
                for answer in answers
                if answer.reply.state is alias_probe.AliasState.UNKNOWN
            ),
            *prober.failures,
        ),
    )
