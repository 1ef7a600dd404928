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

"""Why a server gets no host: the conditions, and what would change it.

:func:`explain_flavor` returns an :class:`Explanation`, records that other
commands can use:

* ``explanation.evaluation.conditions``: what Nova requests;
* ``explanation.evaluation.conflicts``: minimal sets that no host meets;
* ``explanation.suggestions``: changes with which a host fits, the cheapest
  first. Each is a :class:`Suggestion` with either actions on a host
  (:class:`gpuclient.model.freeing.Action`) or a condition to lower or to
  give up.
"""

import collections.abc
import dataclasses
import functools
import shlex
import typing

from openstack import connection

from gpuclient.cloud import capacity as cloud_capacity
from gpuclient.cloud import explanation as cloud_explanation
from gpuclient.cloud import glance
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud.nova import services as nova_services
from gpuclient.cloud.placement import owners
from gpuclient.cloud import usage
from gpuclient.documents import aliases as alias_documents
from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import demand as demand_model
from gpuclient.model import explanation
from gpuclient.model import explanation_text
from gpuclient.model import flavor as flavor_model
from gpuclient.model import freeing
from gpuclient.model import host as host_model
from gpuclient.model import host_filters
from gpuclient.model import image as image_model
from gpuclient.model import inventory
from gpuclient.model import partial_result
from gpuclient.model import placement_request
from gpuclient.model import release as release_model
from gpuclient.model import scheduler_options
from gpuclient.model import smaller_request
from gpuclient.model import unseen
from gpuclient.operations import capacity_report
from gpuclient.operations import evidence as evidence_reading
from gpuclient.rules import flavor as flavor_rules

T = typing.TypeVar('T')

#: Hosts of which servers are read, to say which one would have to go.
_NEAR = 5
#: Suggestions that are returned.
_SUGGESTIONS = 12
#: Times that the units of smaller requests are compared with Placement.
_BOUNDS = 3
#: Statuses of servers that are not moving.
SETTLED = frozenset({'ACTIVE', 'PAUSED', 'SHUTOFF', 'SUSPENDED'})


@dataclasses.dataclass(frozen=True)
class Request:
    """What a user asks to be explained."""

    #: Configuration files.
    files: tuple[str, ...] = ()
    #: Bundles of hosts.
    bundles: tuple[str, ...] = ()
    project_id: str | None = None
    #: Name or id.
    image: str | None = None
    zone: str | None = None
    host: str | None = None
    volume_backed: bool = False
    #: That of an existing server.
    group: explanation.ServerGroup | None = None
    #: Whether it is that of an existing server.
    of_server: bool = False
    #: Id of a server that moves: it holds its resources meanwhile.
    moved: str | None = None


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A change with which a server of the flavor gets a host."""

    #: What to do, in words.
    text: str
    #: Hypervisor hostnames of the hosts that fit then.
    hosts: tuple[str, ...]
    #: Actions on the one host; empty for a condition to give up.
    actions: tuple[freeing.Action, ...] = ()
    #: The condition of the request to give up, or to lower.
    condition: explanation.Condition | None = None
    #: The amount to request in place of that of the condition; None to give
    #: the condition up.
    amount: int | None = None
    #: Conditions to lower together with it, and their amounts.
    others: tuple[tuple[explanation.Condition, int], ...] = ()
    #: The one host after the actions.
    changed: capacity.HostCapacity | None = None

    @property
    def required(self) -> frozenset[str]:
        """Traits that the flavor requires after the actions."""
        return freeing.required(self.actions)


@dataclasses.dataclass(frozen=True)
class PlacementAnswer:
    """The hosts that Placement itself returns for the request."""

    #: None if Placement was not asked.
    agrees: bool | None
    #: Why it was not asked, or how its answer differs; empty if it agrees.
    note: str
    #: Hypervisor hostnames, sorted; ids of hosts that are not known.
    hosts: tuple[str, ...] = ()
    candidates: int | None = None


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why a server gets a host or not."""

    flavor: flavor_model.Flavor
    image: image_model.Image | None
    evaluation: explanation.Evaluation
    suggestions: tuple[Suggestion, ...]
    #: What Placement cannot see.
    unseen: tuple[unseen.UnseenCause, ...]
    placement: PlacementAnswer
    #: What the result rests on.
    notes: tuple[str, ...]
    restrictions: explanation.Restrictions
    options: scheduler_options.SchedulerOptions
    #: Definitions of the aliases of the flavor, by name.
    aliases: capacity_report.Aliases
    #: Of :attr:`aliases`, those of which only the class is known.
    inferred: frozenset[str]
    release: release_model.Release
    volume_backed: bool

    @property
    def fits(self) -> bool:
        return bool(self.evaluation.fitting)

    @property
    def cause(self) -> str:
        """One sentence."""
        return explanation_text.cause(self.evaluation, self.unseen)


def explain_flavor(
    cloud: connection.Connection,
    name_or_id: str,
    request: Request,
    release: release_model.Release,
    *,
    hardware: tuple[host_model.Host, ...] = (),
) -> partial_result.PartialResult[Explanation]:
    """Explain why a new server of a flavor gets a host or not.

    :param hardware: Hosts that were read already, besides those of bundles.

    :raises gpuclient.exceptions.GPUError: There is no such flavor, image,
        availability zone or host; the definition of an alias is not known; or
        Placement does not list devices for this user.
    """
    flavor = nova_flavors.find_flavor(cloud.compute, name_or_id)
    if flavor.extra_specs is None:
        raise exceptions.Forbidden(
            f'Nova does not show the properties of flavor {flavor.name!r} to '
            'this user (policy os_compute_api:os-flavor-extra-specs:index): '
            'what it requests is not known'
        )
    image = (
        None
        if request.image is None
        else glance.find_image(cloud, request.image)
    )
    return Reader(cloud, request, release, hardware).explain(
        flavor, image, refused=_without_access(cloud, flavor, request)
    )


def _without_access(
    cloud: connection.Connection,
    flavor: flavor_model.Flavor,
    request: Request,
) -> demand_model.Demand | None:
    """Return a refusal if the project may not use the flavor.

    ``nova/objects/flavor.py:Flavor._flavor_get_query_from_db``, which lets
    administrators use all flavors, such as the user of this command.
    """
    if flavor.is_public or request.project_id in (
        None,
        cloud.current_project_id,
    ):
        return None
    try:
        projects = nova_flavors.list_access(cloud.compute, flavor)
    except exceptions.CloudError:
        # To a member, Nova shows flavors that the own project may use.
        return None
    if request.project_id in projects:
        return None
    reason = (
        f'flavor {flavor.name!r} is private, and the project may not use it: '
        f'nova-api returns HTTP 400 "Flavor {flavor.id} could not be found" '
        f'to its members. Add it with "openstack flavor set --project '
        f'{request.project_id} {shlex.quote(flavor.name)}"; without '
        f'--project, the hosts are explained'
    )
    return demand_model.Demand({}, (), refusal=reason)


class Reader:
    """Reads what one explanation needs."""

    def __init__(
        self,
        cloud: connection.Connection,
        request: Request,
        release: release_model.Release,
        hardware: tuple[host_model.Host, ...] = (),
    ) -> None:
        self._hardware = hardware
        self._cloud = cloud
        self._request = request
        self._release = release
        self._zones: dict[str, str | None] = {}
        self.failures: list[partial_result.Failure] = []
        #: Hosts of devices in Placement that Nova does not have.
        self.strangers: tuple[capacity.HostCapacity, ...] = ()

    @functools.cached_property
    def evidence(self) -> evidence_reading.Evidence:
        """What files and bundles tell."""
        evidence = evidence_reading.read(
            self._request.files, self._request.bundles, self._release
        )
        return dataclasses.replace(
            evidence, bundles=(*evidence.bundles, *self._hardware)
        )

    @functools.cached_property
    def defined(self) -> capacity_report.Aliases:
        """The aliases that files define."""
        return capacity_report.defined(self._documents)

    @functools.cached_property
    def _documents(self) -> tuple[alias_documents.AliasDocument, ...]:
        return alias_documents.read_all(self._request.files)

    @functools.cached_property
    def hosts(self) -> cloud_capacity.CloudHosts:
        """All compute nodes."""
        try:
            hosts = self._add(cloud_capacity.read_all_hosts(self._cloud))
        except exceptions.Forbidden as exc:
            raise usage.hidden(exc) from exc
        self.strangers = tuple(
            host for host in hosts.with_devices if not host.is_compute_node
        )
        forced_down = self._forced_down((*hosts.with_devices, *hosts.others))
        return dataclasses.replace(
            hosts,
            with_devices=tuple(
                _mark(host, forced_down)
                for host in hosts.with_devices
                if host.is_compute_node
            ),
            others=tuple(_mark(host, forced_down) for host in hosts.others),
        )

    def _forced_down(
        self, hosts: collections.abc.Iterable[capacity.HostCapacity]
    ) -> frozenset[str]:
        """Return the compute services that are forced down, if one is down.

        It only explains why one is down, so a failure is ignored.
        """
        if not any(host.down and host.is_compute_node for host in hosts):
            return frozenset()
        try:
            return nova_services.forced_down(self._cloud.compute)
        except exceptions.GPUError:
            return frozenset()

    @functools.cached_property
    def _inferred(self) -> capacity_report.Aliases:
        return {}

    def aliases(self, flavor: flavor_model.Flavor) -> capacity_report.Aliases:
        """Return the aliases of a flavor: of files, or as servers show.

        Those that nova-api does not know are left out.
        """
        known = {**self._inferred, **self.defined}
        self._inferred.update(
            capacity_report.infer(
                self._cloud,
                {
                    name
                    for name in set(flavor.aliases or {}) - set(known)
                    if not self._is_refused(name)
                },
                self.hosts.with_devices,
                None,
                self.failures,
            )
        )
        return {**self._inferred, **self.defined}

    def unknown_aliases(self, flavor: flavor_model.Flavor) -> tuple[str, ...]:
        """Return the aliases of a flavor that no file and no server shows."""
        if demand_model.refused_by_placement(flavor):
            return ()
        known = self.aliases(flavor)
        return tuple(
            name
            for name in flavor.aliases or {}
            if name not in known or known[name].placement_class is None
        )

    def restrictions(
        self, excluded: dict[str, str] | None = None
    ) -> explanation.Restrictions:
        """Return where a server may go.

        :param excluded: Hypervisor hostnames, and why each is excluded.
        """
        return self.restrictions_of(
            self._request.project_id, self._request.zone, excluded or {}
        )

    def restrictions_of(
        self,
        project_id: str | None,
        zone: str | None,
        excluded: dict[str, str],
    ) -> explanation.Restrictions:
        """Return where a server of a project and zone may go.

        :raises gpuclient.exceptions.NotFound: There is no such zone, or no
            host of that name.
        """
        name = self._request.host
        if name is not None:
            self.find_host(name)
        return explanation.Restrictions(
            project_id,
            None if zone is None else self._restricting_zone(zone),
            name,
            excluded,
            self._request.group,
        )

    def _restricting_zone(self, zone: str) -> str | None:
        if zone not in self._zones:
            self._zones[zone] = cloud_capacity.restricting_zone(
                self._cloud, zone
            )
        return self._zones[zone]

    def find_host(self, name: str) -> capacity.HostCapacity:
        """Return a host by its hypervisor hostname or compute service.

        :raises gpuclient.exceptions.NotFound: There is no such host.
        """
        for host in (*self.hosts.with_devices, *self.hosts.others):
            if name in (host.node.name, host.service_host):
                return host
        raise exceptions.NotFound(f'The cloud has no compute host {name!r}')

    def known_aliases(
        self, flavor: flavor_model.Flavor
    ) -> capacity_report.Aliases:
        """Return the aliases of a flavor that files define."""
        return {
            name: self.defined[name]
            for name in flavor.aliases or {}
            if name in self.defined
        }

    def read_facts(
        self, wanted: tuple[demand_model.Demand, ...]
    ) -> explanation.Facts:
        """Return what is known of all compute nodes for some requests."""
        return dataclasses.replace(
            self._add(
                cloud_explanation.read_facts(
                    self._cloud, self.hosts, wanted, self._release
                )
            ),
            devices=self.evidence.facts(self.hosts.with_devices),
        )

    def explain(
        self,
        flavor: flavor_model.Flavor,
        image: image_model.Image | None,
        *,
        excluded: dict[str, str] | None = None,
        more: tuple[explanation.Condition, ...] = (),
        refused: demand_model.Demand | None = None,
    ) -> partial_result.PartialResult[Explanation]:
        """Explain a flavor with an image.

        :param excluded: See :meth:`restrictions`.
        :param more: Further conditions.
        :param refused: What is known of a request that nova-api refuses.
        :raises gpuclient.exceptions.GPUError: See :func:`explain_flavor`.
        """
        # Errors of the user's options, before anything else is read.
        options = self.evidence.options
        restrictions = self.restrictions(excluded)
        aliases = self.aliases(flavor)
        wanted = refused or self.demand(
            flavor, image, aliases, volume_backed=self._request.volume_backed
        )
        evaluator = self._evaluator(flavor, image, wanted, restrictions, more)
        evaluation = self._bound_units(
            evaluator.evaluate(wanted, evaluator.facts.hosts),
            evaluator.evaluate,
        )
        inferred = self._inferred.keys() & set(flavor.aliases or {})
        return partial_result.PartialResult(
            Explanation(
                flavor,
                image,
                evaluation,
                self._suggestions(evaluation, evaluator.evaluate),
                unseen.find(
                    evaluation,
                    restrictions,
                    options,
                    inferred,
                    evaluator.verdicts,
                ),
                self._ask_placement(evaluation, restrictions, options),
                self._notes(flavor, aliases, inferred),
                restrictions,
                options,
                _of_flavor(aliases, flavor),
                frozenset(inferred),
                self._release,
                self._request.volume_backed,
            ),
            tuple(self.failures),
        )

    def _evaluator(
        self,
        flavor: flavor_model.Flavor,
        image: image_model.Image | None,
        wanted: demand_model.Demand,
        restrictions: explanation.Restrictions,
        more: tuple[explanation.Condition, ...],
    ) -> '_Evaluator':
        facts = dataclasses.replace(
            self.read_facts((wanted,)), aliases=self.known_aliases(flavor)
        )
        judge = functools.partial(
            self.judge_filters, flavor, image, restrictions.project_id
        )
        return _Evaluator(
            facts,
            restrictions,
            self.evidence.options,
            (*more, *self._of_numa(flavor, image, wanted, facts)),
            judge(facts.hosts),
            judge,
        )

    def _bound_units(
        self,
        evaluation: explanation.Evaluation,
        evaluate_demand: smaller_request.Evaluate,
    ) -> explanation.Evaluation:
        """Return an evaluation that knows how much one server may have.

        Only of the amounts that smaller requests have: where a host has more
        free, because it is overcommitted, they would be too large.
        """
        if evaluation.fitting or evaluation.wanted.refusal:
            return evaluation
        for _attempt in range(_BOUNDS):
            try:
                hosts = cloud_capacity.bound_units(
                    self._cloud,
                    evaluation.facts.hosts,
                    smaller_request.amounts(evaluation, evaluate_demand),
                )
            except (exceptions.CloudError, exceptions.NotRecorded) as exc:
                self.failures.append(
                    partial_result.Failure(
                        'largest units of an allocation', str(exc)
                    )
                )
                break
            if hosts == evaluation.facts.hosts:
                break
            evaluation = evaluate_demand(evaluation.wanted, hosts)
        return evaluation

    def judge_filters(
        self,
        flavor: flavor_model.Flavor,
        image: image_model.Image | None,
        project_id: str | None,
        hosts: tuple[capacity.HostCapacity, ...],
    ) -> tuple[host_filters.FilterVerdicts, ...]:
        """Return what filters of nova-scheduler do with hosts."""
        return host_filters.judge_all(
            hosts,
            host_filters.Server(
                flavor,
                image,
                self._release,
                project_id,
                has_known_image=image is not None
                or not self._request.of_server,
                has_known_hints=not self._request.of_server,
            ),
            self.evidence.options,
        )

    def _of_numa(
        self,
        flavor: flavor_model.Flavor,
        image: image_model.Image | None,
        wanted: demand_model.Demand,
        facts: explanation.Facts,
    ) -> collections.abc.Iterator[explanation.Condition]:
        """Yield a condition if bundles show that a topology does not fit."""
        if wanted.refusal:
            return
        if image is not None:
            flavor = image_model.merge(flavor, image)
        name, obstacles = self.evidence.numa_obstacles(
            facts.hosts, flavor, wanted, self.known_aliases(flavor)
        )
        if obstacles:
            yield explanation.Condition(
                'numa',
                explanation.Kind.FILTER,
                name,
                obstacles,
                in_placement=False,
            )

    def _add(self, answer: partial_result.PartialResult[T]) -> T:
        self.failures += answer.failures
        return answer.value

    def demand(
        self,
        flavor: flavor_model.Flavor,
        image: image_model.Image | None,
        aliases: capacity_report.Aliases,
        *,
        volume_backed: bool,
    ) -> demand_model.Demand:
        """Return what Nova requests from Placement.

        :raises gpuclient.exceptions.NotFound: The definition of an alias is
            not known.
        """
        try:
            wanted = demand_model.demand(
                flavor,
                aliases,
                image=image,
                volume_backed=volume_backed,
                release=self._release,
            )
        except exceptions.NotFound as exc:
            reason = demand_model.refused_by_placement(
                flavor
            ) or self._not_defined(flavor, aliases)
            if not reason:
                raise exceptions.NotFound(
                    f'Flavor {flavor.name!r}: {exc}'
                ) from exc
            wanted = demand_model.Demand({}, (), refusal=reason)
        if self.evidence.options.no_pcpu_fallback:
            wanted = dataclasses.replace(wanted, vcpus_in_place_of_pcpus=0)
        return wanted

    def _notes(
        self,
        flavor: flavor_model.Flavor,
        aliases: capacity_report.Aliases,
        inferred: collections.abc.Iterable[str],
    ) -> tuple[str, ...]:
        return (
            *_unread(flavor),
            *(
                f'The files have different definitions of alias {name}: this '
                f'is of the last, and nova-api on other hosts may decide '
                f'otherwise'
                for name in capacity_report.ambiguous(
                    self._documents, flavor.aliases or {}
                )
            ),
            *_assumptions(aliases, inferred),
            *_left_out(self.strangers),
        )

    def _not_defined(
        self, flavor: flavor_model.Flavor, aliases: capacity_report.Aliases
    ) -> str:
        """Return how nova-api refuses an alias that the files lack.

        Empty if they define none, so that they may be those of another
        service, or if the server exists already.
        """
        if self._request.of_server:
            return ''
        for name in flavor.aliases or {}:
            message = f'HTTP 400 "PCI alias {name} is not defined" (GPU707)'
            if self._is_refused(name):
                return (
                    f'the files of nova-api do not define alias {name!r}, so '
                    f'that it returns {message}: define it there, and '
                    f'restart nova-api'
                )
            if self.defined and name not in aliases:
                return (
                    f'no file of --config defines alias {name!r}, and if '
                    f'these are the files of nova-api, it returns {message}'
                )
        return ''

    def _is_refused(self, name: str) -> bool:
        return not self._request.of_server and capacity_report.is_refused(
            self._documents, name
        )

    def _suggestions(
        self,
        evaluation: explanation.Evaluation,
        evaluate_demand: smaller_request.Evaluate,
    ) -> tuple[Suggestion, ...]:
        """Return changes with which a host fits, the cheapest first."""
        if evaluation.fitting or evaluation.wanted.refusal:
            return ()
        evaluate = evaluate_hosts(evaluation, evaluate_demand)
        near = freeing.near(evaluation.facts.hosts, evaluate, _NEAR)
        holders = self._holders(near)
        ways = sorted(
            (
                way
                for host in near
                for way in freeing.ways(
                    host,
                    [
                        holder
                        for holder in holders[host.node.uuid]
                        if holder.uuid != self._request.moved
                    ],
                    evaluate,
                )
            ),
            key=lambda way: (way.cost, way.host),
        )
        return (
            *suggest_ways(evaluation, ways, evaluate),
            *changes_of_the_request(evaluation, evaluate_demand),
        )

    def _holders(
        self, hosts: tuple[capacity.HostCapacity, ...]
    ) -> dict[str, list[freeing.Holder]]:
        """Return the consumers of resources of hosts, by the host's id."""
        holders: dict[str, list[freeing.Holder]] = {
            host.node.uuid: [] for host in hosts
        }
        if not hosts:
            return holders
        try:
            servers = nova_servers.list_servers(
                self._cloud.compute,
                all_projects=True,
                hosts=[host.node.name for host in hosts],
            )
            owned = self._add(
                owners.read_owners(
                    self._cloud.placement,
                    [device for host in hosts for device in host.devices],
                    servers,
                )
            )
        except exceptions.CloudError as exc:
            self.failures.append(
                partial_result.Failure('servers of the hosts', str(exc))
            )
            return holders
        by_name = {host.node.name: host.node.uuid for host in hosts}
        down = {host.node.uuid for host in hosts if host.down}
        devices: dict[tuple[str, str], dict[str, int]] = {}
        for device in owned:
            for consumer in device.consumers or ():
                if consumer.consumer_type == inventory.MIGRATION:
                    # The move must be confirmed or reverted.
                    continue
                devices.setdefault((device.root_uuid, consumer.uuid), {})[
                    device.uuid
                ] = consumer.amount
        classes = {
            device.uuid: device.resource_class
            for host in hosts
            for device in host.devices
        }
        for server in servers:
            uuid = by_name.get(server.host or '')
            if uuid is not None:
                held = devices.pop((uuid, server.uuid), {})
                holders[uuid].append(
                    freeing.Holder(
                        server.uuid,
                        server.name,
                        True,
                        self._resources(server),
                        held,
                        self._surplus(server, held, classes),
                        self._can_move(server),
                    )
                )
        self._add_strangers(holders, devices, down)
        return holders

    def _surplus(
        self,
        server: inventory.Server,
        held: dict[str, int],
        classes: dict[str, str | None],
    ) -> dict[str, int]:
        """Return the units that a server holds beyond its flavor.

        Which of several devices it does not use is not known; those of the
        same class are alike.
        """
        if server.status not in SETTLED or server.task_state is not None:
            return {}
        requested = inventory.requested_aliases(server.extra_specs)
        if server.extra_specs is None or len(requested) > 1:
            # Several aliases may be of the same class.
            return {}
        spare = sum(requested.values())
        surplus: dict[str, int] = {}
        if len({classes.get(uuid) for uuid in held}) > 1:
            return {}
        for uuid, amount in sorted(held.items()):
            kept = min(spare, amount)
            spare -= kept
            if amount > kept:
                surplus[uuid] = amount - kept
        return surplus

    def _can_move(self, server: inventory.Server) -> bool:
        """Return whether a request still has to follow a server."""
        group = self._request.group
        return (
            group is None
            or group.policy != 'affinity'
            or server.uuid not in group.members
        )

    def _add_strangers(
        self,
        holders: dict[str, list[freeing.Holder]],
        devices: dict[tuple[str, str], dict[str, int]],
        down: set[str],
    ) -> None:
        """Add consumers that Nova does not have on the host.

        :param down: Hosts that are down: they remove the allocations of
            evacuated servers when they are up again.
        """
        for (root, consumer), units in devices.items():
            server = nova_servers.find_server(self._cloud.compute, consumer)
            if server is not None and root in down:
                continue
            leaked = (
                units
                if server is not None
                and server.status in SETTLED
                and server.task_state is None
                and server.host is not None
                else {}
            )
            holders[root].append(
                freeing.Holder(
                    consumer,
                    consumer if server is None else server.name,
                    server is not None,
                    {},
                    units,
                    leaked,
                )
            )

    def _resources(self, server: inventory.Server) -> dict[str, int]:
        """Return what a server takes of its compute node."""
        if server.flavor is None:
            return {}
        specs = {
            key: value
            for key, value in (server.flavor.extra_specs or {}).items()
            if key != flavor_model.ALIASES
        }
        return demand_model.demand(
            dataclasses.replace(server.flavor, extra_specs=specs),
            {},
            release=self._release,
        ).resources

    def _ask_placement(
        self,
        evaluation: explanation.Evaluation,
        restrictions: explanation.Restrictions,
        options: scheduler_options.SchedulerOptions,
    ) -> PlacementAnswer:
        """Compare the hosts with those that Placement returns."""
        if evaluation.wanted.refusal:
            return PlacementAnswer(None, 'Nova does not ask Placement')
        hosts = evaluation.facts.hosts
        reason = placement_request.too_many(hosts, evaluation.wanted)
        if reason:
            return PlacementAnswer(
                None,
                f'Placement was not asked: {reason}',
                candidates=placement_request.count_candidates(
                    hosts, evaluation.wanted
                ),
            )
        destination = _destination(
            evaluation.facts, evaluation.wanted, restrictions, options
        )
        requests = [evaluation.wanted]
        if evaluation.wanted.vcpus_in_place_of_pcpus:
            requests.append(
                placement_request.without_pinned_cpus(evaluation.wanted)
            )
        try:
            answer = cloud_explanation.read_candidates(
                self._cloud,
                [
                    placement_request.params(
                        wanted,
                        destination,
                        owner_required=evaluation.facts.owner_required,
                    )
                    for wanted in requests
                ],
                {host.node.uuid for host in self.strangers},
            )
        except exceptions.NotRecorded:
            return PlacementAnswer(
                None, 'the snapshot has no answer to this request'
            )
        except exceptions.CloudError as exc:
            self.failures.append(
                partial_result.Failure('candidates of Placement', str(exc))
            )
            return PlacementAnswer(None, str(exc))
        return _compare(evaluation, answer)


def _mark(
    host: capacity.HostCapacity, forced_down: frozenset[str]
) -> capacity.HostCapacity:
    """Return a host that says whether its service is forced down."""
    if not host.down or host.service_host not in forced_down:
        return host
    return dataclasses.replace(
        host,
        down=capacity.FORCED_DOWN,
        closed=capacity.FORCED_DOWN
        if host.closed == host.down
        else host.closed,
    )


def _left_out(
    strangers: tuple[capacity.HostCapacity, ...],
) -> collections.abc.Iterator[str]:
    """Yield the hosts of devices that Nova does not have."""
    for host in strangers:
        count = len(host.devices)
        yield (
            f'{host.node.name} is left out: Placement has {count} '
            f'device{"" if count == 1 else "s"} of it, but Nova has no such '
            f'compute node (GPU615)'
        )


def _of_flavor(
    aliases: capacity_report.Aliases, flavor: flavor_model.Flavor
) -> capacity_report.Aliases:
    """Return the aliases that a flavor requests."""
    return {
        name: aliases[name]
        for name in aliases.keys() & set(flavor.aliases or {})
    }


def _unread(
    flavor: flavor_model.Flavor,
) -> collections.abc.Iterator[str]:
    """Yield the properties that look as if they requested devices."""
    for problem in flavor_rules.unread_properties(flavor.extra_specs or {}):
        yield f'{problem.message} ({problem.code})'


def _assumptions(
    aliases: capacity_report.Aliases, inferred: collections.abc.Iterable[str]
) -> collections.abc.Iterator[str]:
    """Yield what is assumed of aliases that only servers show."""
    for name in sorted(inferred):
        yield (
            f'Alias {name} is assumed to request '
            f'{aliases[name].resource_class}, the class of devices of '
            'servers that booted with it'
        )


@dataclasses.dataclass(frozen=True)
class _Evaluator:
    """Evaluates a request, and smaller ones, on hosts as they could be."""

    #: Of the hosts as they are.
    facts: explanation.Facts
    restrictions: explanation.Restrictions
    options: scheduler_options.SchedulerOptions
    #: Conditions besides, but of filters.
    others: tuple[explanation.Condition, ...]
    #: Of filters, on the hosts as they are.
    verdicts: tuple[host_filters.FilterVerdicts, ...]
    #: Returns those on other hosts.
    judge: collections.abc.Callable[
        [tuple[capacity.HostCapacity, ...]],
        tuple[host_filters.FilterVerdicts, ...],
    ]

    def evaluate(
        self,
        wanted: demand_model.Demand,
        hosts: tuple[capacity.HostCapacity, ...],
    ) -> explanation.Evaluation:
        """Return the conditions of a request, and the hosts that meet them."""
        verdicts = self.verdicts
        if any(
            host.aggregates != self._aggregates[host.node.uuid]
            for host in hosts
        ):
            verdicts = self.judge(hosts)
        return explanation.evaluate(
            wanted,
            dataclasses.replace(self.facts, hosts=hosts),
            self.restrictions,
            self.options,
            (*self.others, *host_filters.conditions(verdicts)),
        )

    @functools.cached_property
    def _aggregates(self) -> dict[str, tuple[capacity.Aggregate, ...]]:
        return {host.node.uuid: host.aggregates for host in self.facts.hosts}


def evaluate_hosts(
    evaluation: explanation.Evaluation, evaluate: smaller_request.Evaluate
) -> freeing.Evaluate:
    """Return what evaluates the request of an evaluation on other hosts."""

    def evaluate_others(
        hosts: tuple[capacity.HostCapacity, ...],
        required: frozenset[str] = frozenset(),
    ) -> explanation.Evaluation:
        return evaluate(
            demand_model.require(evaluation.wanted, required), hosts
        )

    return evaluate_others


def suggest_ways(
    evaluation: explanation.Evaluation,
    ways: collections.abc.Iterable[freeing.Way],
    evaluate: freeing.Evaluate,
) -> list[Suggestion]:
    """Return suggestions of the cheapest ways, some of them for many hosts.

    A trait that the flavor has to require is the same for all hosts.
    """
    suggestions: list[Suggestion] = []
    sufficient: list[frozenset[str]] = []
    for way in ways:
        if len(suggestions) == _SUGGESTIONS:
            break
        if any(traits <= way.required for traits in sufficient):
            continue
        hosts: tuple[capacity.HostCapacity, ...] = (way.changed,)
        if way.required:
            hosts = evaluate(
                tuple(
                    way.changed if host.node.name == way.host else host
                    for host in evaluation.facts.hosts
                ),
                way.required,
            ).fitting
        text = explanation_text.way(evaluation, way)
        if len(way.required) == len(way.actions):
            sufficient.append(way.required)
            action = text.partition(': ')[2]
            text = f'{explanation_text.names(evaluation, hosts)}: {action}'
        suggestions.append(
            Suggestion(text, _names(hosts), way.actions, changed=way.changed)
        )
    return suggestions


def changes_of_the_request(
    evaluation: explanation.Evaluation, evaluate: smaller_request.Evaluate
) -> collections.abc.Iterator[Suggestion]:
    """Yield the requests with which some host fits.

    Smaller ones, then those without a condition. The devices come last: who
    requests devices wants them.
    """
    lowered = set()
    for smaller in smaller_request.search(evaluation, evaluate):
        (condition, amount), *others = smaller.lowered
        if not others:
            lowered.add(condition.key)
        yield Suggestion(
            f'request at most {smaller.name}',
            _names(smaller.hosts),
            condition=condition,
            amount=amount,
            others=tuple(others),
        )
    for number, condition in sorted(
        enumerate(evaluation.conditions),
        key=lambda item: item[1].kind is explanation.Kind.DEVICES,
    ):
        hosts = evaluation.without(number)
        # The state of services and aggregates is none of the request.
        if (
            hosts
            and condition.key not in lowered
            and condition.kind is not explanation.Kind.SERVICE
            and condition.key != 'isolated-aggregates'
        ):
            name = condition.key.removeprefix(host_filters.KEY)
            yield Suggestion(
                f'request it without "{condition.name}"'
                if name == condition.key
                else f'change what filter {name} matches',
                _names(hosts),
                condition=condition,
            )


def _names(
    hosts: collections.abc.Iterable[capacity.HostCapacity],
) -> tuple[str, ...]:
    return tuple(host.node.name for host in hosts)


def _destination(
    facts: explanation.Facts,
    wanted: demand_model.Demand,
    restrictions: explanation.Restrictions,
    options: scheduler_options.SchedulerOptions,
) -> placement_request.Destination:
    groups = {
        group.uuid: group for host in facts.hosts for group in host.aggregates
    }.values()
    member_of = []
    if restrictions.zone is not None:
        member_of.append(
            frozenset(
                group.uuid
                for group in groups
                if group.zone == restrictions.zone
            )
        )
    project = restrictions.project_id
    if options.limits_tenants and project is not None:
        own = frozenset(
            group.uuid for group in groups if group.is_of_project(project)
        )
        if own:
            member_of.append(own)
    nodes = [
        host.node.uuid
        for host in facts.hosts
        if restrictions.host in (host.node.name, host.service_host)
    ]
    return placement_request.Destination(
        tuple(member_of),
        frozenset(
            group.uuid
            for group in groups
            if options.isolates_aggregates
            and group.isolating_traits() - wanted.all_required
        ),
        in_tree=nodes[0]
        if restrictions.host is not None and len(nodes) == 1
        else None,
    )


def _compare(
    evaluation: explanation.Evaluation,
    answer: cloud_explanation.Candidates,
) -> PlacementAnswer:
    names = {host.node.uuid: host.node.name for host in evaluation.facts.hosts}
    ours = {host.node.uuid for host in evaluation.in_placement}
    only_ours = sorted(names[uuid] for uuid in ours - answer.roots)
    only_theirs = sorted(names.get(uuid, uuid) for uuid in answer.roots - ours)
    notes = []
    if only_ours:
        notes.append(
            f'Placement returns no candidate on {", ".join(only_ours)}, '
            'which should fit'
        )
    if only_theirs:
        notes.append(
            f'Placement returns candidates on {", ".join(only_theirs)}, '
            'which should not fit'
        )
    return PlacementAnswer(
        not notes,
        '; '.join(notes),
        tuple(sorted(names.get(uuid, uuid) for uuid in answer.roots)),
        answer.count,
    )
