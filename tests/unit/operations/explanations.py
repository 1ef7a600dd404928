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

"""Explanations of clouds that are made up, with their suggestions."""

import collections.abc
import dataclasses
import typing
import uuid

from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import explanation
from gpuclient.model import flavor as flavor_model
from gpuclient.model import freeing
from gpuclient.model import host_filters
from gpuclient.model import image as image_model
from gpuclient.model import release
from gpuclient.operations import explanation as operation

from tests.unit.model import test_explanation

Hosts = tuple[capacity.HostCapacity, ...]


def explain(
    hosts: collections.abc.Sequence[capacity.HostCapacity],
    flavor: flavor_model.Flavor,
    *,
    holders: collections.abc.Sequence[freeing.Holder] = (),
    restrictions: explanation.Restrictions | None = None,
    options: test_explanation.Options | None = None,
    image: image_model.Image | None = None,
    **facts: typing.Any,
) -> operation.Explanation:
    """Return what ``gpu flavor explain`` returns for a cloud.

    :param holders: The consumers of resources of the first host.
    """
    options = options or test_explanation.Options()
    restrictions = restrictions or explanation.Restrictions()

    def evaluate_demand(
        wanted: demand_model.Demand, hosts: Hosts
    ) -> explanation.Evaluation:
        verdicts = host_filters.judge_all(
            hosts,
            host_filters.Server(
                flavor, image, release.newest(), restrictions.project_id
            ),
            options,
        )
        return explanation.evaluate(
            wanted,
            explanation.Facts(hosts, **facts),
            restrictions,
            options,
            tuple(host_filters.conditions(verdicts)),
        )

    evaluation = evaluate_demand(
        demand_model.demand(flavor, test_explanation.ALIASES, image=image),
        tuple(hosts),
    )
    evaluate = operation.evaluate_hosts(evaluation, evaluate_demand)
    suggestions: list[operation.Suggestion] = []
    if not evaluation.fitting:
        ways = [
            way
            for host in freeing.near(evaluation.facts.hosts, evaluate, 5)
            for way in freeing.ways(
                host,
                holders if host.node.name == hosts[0].node.name else (),
                evaluate,
            )
        ]
        suggestions += operation.suggest_ways(evaluation, ways, evaluate)
        suggestions += operation.changes_of_the_request(
            evaluation, evaluate_demand
        )
    return operation.Explanation(
        flavor=flavor,
        image=image,
        evaluation=evaluation,
        suggestions=tuple(suggestions),
        unseen=(),
        placement=operation.PlacementAnswer(None, ''),
        notes=(),
        restrictions=restrictions,
        options=options,
        aliases={
            name: test_explanation.ALIASES[name]
            for name in flavor.aliases or {}
        },
        inferred=frozenset(),
        release=release.newest(),
        volume_backed=False,
    )


def with_ids(host: capacity.HostCapacity) -> capacity.HostCapacity:
    """Return a host whose providers have ids that Placement accepts."""
    root = str(uuid.uuid5(uuid.NAMESPACE_DNS, host.node.name))
    return dataclasses.replace(
        host,
        node=dataclasses.replace(host.node, uuid=root),
        devices=tuple(
            dataclasses.replace(
                device,
                uuid=str(uuid.uuid5(uuid.NAMESPACE_DNS, device.name)),
                root_uuid=root,
            )
            for device in host.devices
        ),
    )
