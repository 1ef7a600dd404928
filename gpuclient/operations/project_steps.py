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

"""Carry out the steps of a plan for projects, and undo them."""

import collections.abc
import contextlib
import dataclasses
import enum
import threading

from openstack import connection

from gpuclient.cloud import unified_limits
from gpuclient.cloud.nova import aggregates as nova_aggregates
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud.nova import quotas as nova_quotas
from gpuclient.cloud.nova import server_groups as nova_groups
from gpuclient import exceptions
from gpuclient.model import project as project_model

Kind = project_model.Kind


#: How often a limit is written that another run writes at the same time.
_ATTEMPTS = 4


class Outcome(enum.StrEnum):
    """What became of a step."""

    UNCHANGED = 'unchanged'
    CHANGED = 'changed'
    #: Nothing was written: a plan, or a step after one that failed.
    PLANNED = 'planned'
    FAILED = 'failed'
    ROLLED_BACK = 'rolled back'
    #: It was changed, and could not be undone.
    LEFT = 'changed, not rolled back'
    #: The service did not say whether it took effect.
    UNKNOWN = 'unknown'


@dataclasses.dataclass
class DoneStep:
    """A step, and what became of it."""

    step: project_model.Step
    outcome: Outcome
    message: str = ''


class Executor:
    """Carries out steps; several threads may use it.

    :param state: What there was when the steps were planned.
    :param force: Write legacy quotas below what is used.
    """

    def __init__(
        self,
        cloud: connection.Connection,
        state: project_model.CloudState,
        *,
        force: bool = False,
    ) -> None:
        self._cloud = cloud
        self._state = state
        self._force = force
        self._lock = threading.Lock()

    @property
    def _scope(self) -> project_model.Scope:
        if self._state.scope is None:
            raise exceptions.Unsupported(
                'The catalog has no compute service, so that limits cannot '
                'be set'
            )
        return self._state.scope

    def run(self, steps: collections.abc.Sequence[DoneStep]) -> None:
        """Carry out steps in order, those of limits of a project at once.

        :raises gpuclient.exceptions.CloudError: One failed; those that were
            done have their outcome.
        """
        new_limits = [
            done
            for done in steps
            if done.step.kind is Kind.LIMIT
            and done.step.is_change
            and done.step.before is None
        ]
        created = False
        for done in steps:
            if not done.step.is_change:
                done.outcome = Outcome.UNCHANGED
                continue
            if done in new_limits and len(new_limits) > 1:
                if not created:
                    self._together(new_limits)
                    created = True
                continue
            with _recorded([done]):
                self.write(done.step)

    def _together(self, steps: list[DoneStep]) -> None:
        with _recorded(steps):
            try:
                unified_limits.create_limits(
                    self._cloud,
                    self._scope,
                    [
                        (
                            done.step.project_id,
                            done.step.key,
                            int(done.step.after or 0),
                        )
                        for done in steps
                    ],
                )
            except exceptions.Conflict:
                # Another run has created some of them.
                for done in steps:
                    self._write_limit(done.step)

    def write(self, step: project_model.Step) -> None:
        """Carry out a step.

        :raises gpuclient.exceptions.CloudError: With the server's message.
        """
        _WRITERS[step.kind](self, step)

    def _write_registered(self, step: project_model.Step) -> None:
        if step.after is None:
            for limit in unified_limits.list_registered(self._cloud):
                if limit.name == step.key and self._scope.has(limit):
                    unified_limits.delete_registered(self._cloud, limit.id)
            return
        unified_limits.create_registered(
            self._cloud, self._scope, step.key, int(step.after)
        )

    def _write_limit(self, step: project_model.Step) -> None:
        """Set, create or delete the limit of a project.

        What was read before may be outdated: another run may have created,
        replaced or deleted it.
        """
        limits = self._state.limits_of(step.project_id, step.key)
        if not limits and step.after is None:
            limits = self._read_limits(step)
        for attempt in range(_ATTEMPTS):
            try:
                self._replace_limits(step, limits)
            except (exceptions.Conflict, exceptions.NotFound):
                if attempt == _ATTEMPTS - 1:
                    raise
                limits = self._read_limits(step)
            else:
                return

    def _replace_limits(
        self,
        step: project_model.Step,
        limits: collections.abc.Iterable[project_model.Limit],
    ) -> None:
        limits = tuple(limits)
        if step.after is None:
            for limit in limits:
                unified_limits.delete_limit(self._cloud, limit)
            return
        value = int(step.after)
        if not limits:
            unified_limits.create_limits(
                self._cloud,
                self._scope,
                [(step.project_id, step.key, value)],
            )
        for limit in limits:
            if limit.value != value:
                unified_limits.update_limit(self._cloud, limit, value)

    def _read_limits(
        self, step: project_model.Step
    ) -> tuple[project_model.Limit, ...]:
        return tuple(
            limit
            for limit in unified_limits.list_limits(
                self._cloud, [step.project_id]
            )
            if limit.name == step.key and self._scope.has(limit)
        )

    def _write_quota(self, step: project_model.Step) -> None:
        if step.reset:
            nova_quotas.reset(self._cloud, step.project_id)
            return
        nova_quotas.write(
            self._cloud,
            step.project_id,
            {step.key: int(step.after or 0)},
            force=self._force,
        )

    def _write_aggregate(self, step: project_model.Step) -> None:
        # Two projects may share a value of the metadata.
        with self._lock:
            aggregate = next(
                (
                    aggregate
                    for aggregate in nova_aggregates.list_aggregates(
                        self._cloud.compute
                    )
                    if str(aggregate.id) == step.key
                ),
                None,
            )
            if aggregate is None:
                raise exceptions.NotFound(
                    f'Aggregate {step.name!r} does not exist any more'
                )
            changes = project_model.tenant_keys(
                aggregate, step.project_id, bool(step.after)
            )
            if changes:
                nova_aggregates.set_metadata(
                    self._cloud.compute, aggregate, changes
                )

    def _write_group(self, step: project_model.Step) -> None:
        if step.before is not None:
            for group in self._state.groups_of(step.project_id, step.key):
                if group.members and step.after is not None:
                    raise exceptions.Conflict(
                        f'Server group {group.name!r} has the policy '
                        f'{group.policy} and {group.members} servers, and '
                        'Nova cannot change a policy'
                    )
                nova_groups.delete(self._cloud, group.id)
        if step.after is not None:
            nova_groups.create(
                self._cloud, step.project_id, step.key, str(step.after)
            )

    def _write_access(self, step: project_model.Step) -> None:
        flavor = self._state.flavors[step.key]
        if not step.after:
            nova_flavors.remove_access(
                self._cloud.compute, flavor, step.project_id
            )
            return
        try:
            nova_flavors.add_access(
                self._cloud.compute, flavor, step.project_id
            )
        except exceptions.Conflict as exc:
            # nova/exception.py:FlavorAccessExists; another run added it.
            if 'already exists' not in str(exc):
                raise


_WRITERS: dict[
    Kind, collections.abc.Callable[[Executor, project_model.Step], None]
] = {
    Kind.REGISTERED_LIMIT: Executor._write_registered,
    Kind.LIMIT: Executor._write_limit,
    Kind.QUOTA: Executor._write_quota,
    Kind.AGGREGATE: Executor._write_aggregate,
    Kind.SERVER_GROUP: Executor._write_group,
    Kind.FLAVOR_ACCESS: Executor._write_access,
}


@contextlib.contextmanager
def _recorded(
    steps: collections.abc.Sequence[DoneStep],
) -> collections.abc.Iterator[None]:
    """Record the outcome of steps that are carried out together."""
    outcome, message = Outcome.UNKNOWN, ''
    try:
        yield
        outcome = Outcome.CHANGED
    except exceptions.CloudError as exc:
        message = str(exc)
        if not is_unknown(exc):
            outcome = Outcome.FAILED
        raise
    finally:
        for done in steps:
            done.outcome = outcome
            done.message = message


def is_unknown(exc: exceptions.CloudError) -> bool:
    """Return whether a write may have taken effect in spite of an error."""
    return exc.status is None or exc.status >= 500


def roll_back(
    executor: Executor,
    steps: collections.abc.Sequence[DoneStep],
    state: project_model.CloudState,
) -> None:
    """Undo what was changed, the last step first.

    What another user has set meanwhile is not changed.

    :param executor: With the same state.
    :param state: What there is now.
    """
    for done in reversed(steps):
        if done.outcome in (Outcome.UNCHANGED, Outcome.PLANNED):
            continue
        step = done.step
        now = state.value(step.kind, step.project_id, step.key)
        if now == step.before:
            if done.outcome is Outcome.CHANGED:
                done.outcome = Outcome.ROLLED_BACK
            elif done.outcome is Outcome.UNKNOWN:
                done.outcome = Outcome.FAILED
        elif now != step.after and not (now is None and step.after == 0):
            # A limit that is set to 0 is deleted first.
            done.outcome = Outcome.LEFT
            done.message = f'another user has set it to {now}'
        else:
            _undo(executor, done)


def _undo(executor: Executor, done: DoneStep) -> None:
    message = done.message
    try:
        executor.write(done.step.inverse)
    except exceptions.CloudError as exc:
        done.outcome = Outcome.LEFT
        done.message = str(exc)
    else:
        done.outcome = (
            Outcome.FAILED
            if message and done.outcome is not Outcome.CHANGED
            else Outcome.ROLLED_BACK
        )
