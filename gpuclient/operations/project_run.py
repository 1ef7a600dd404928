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

"""Give projects what they should have, and read back that they have it."""

import collections
import collections.abc
import concurrent.futures
import dataclasses

from openstack import connection

from gpuclient.cloud import unified_limits
from gpuclient.cloud.nova import quotas as nova_quotas
from gpuclient.cloud.nova import server_groups as nova_groups
from gpuclient.cloud.nova import servers as nova_servers
from gpuclient.cloud.placement import reader as placement_reader
from gpuclient.cloud.placement import usages
from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.model import project as project_model
from gpuclient.operations import project_reading
from gpuclient.operations import project_steps

Kind = project_model.Kind
Outcome = project_steps.Outcome
DoneStep = project_steps.DoneStep

#: Reads back after duplicates were deleted.
_ROUNDS = 3
#: Projects that fail one after another, after which the rest is not begun.
_GIVE_UP = 8
#: Projects whose servers are counted with a request each.
_FEW_PROJECTS = 5

Progress = collections.abc.Callable[[int, int], None]


@dataclasses.dataclass
class ProjectResult:
    """What became of the steps of a project."""

    desired: project_model.Desired
    steps: list[DoneStep]
    #: Why it failed; empty if it did not.
    error: str = ''

    @property
    def is_changed(self) -> bool:
        return any(
            done.outcome in (Outcome.CHANGED, Outcome.LEFT, Outcome.UNKNOWN)
            for done in self.steps
        )


@dataclasses.dataclass
class RunResult:
    """What became of a plan."""

    #: Of registered limits, which all projects share.
    shared: list[DoneStep]
    projects: list[ProjectResult]

    @property
    def errors(self) -> list[str]:
        return [result.error for result in self.projects if result.error]

    @property
    def changes(self) -> list[project_model.Step]:
        """The steps that change something."""
        return [
            done.step
            for done in (
                *self.shared,
                *(done for result in self.projects for done in result.steps),
            )
            if done.step.is_change
        ]


class ProjectRun:
    """Plans the settings of projects, and carries the plan out.

    :param device_classes: Which of some limits are of devices.
    :param force: Set limits below what is used.
    :param state: What there is, if it was read already.
    """

    def __init__(
        self,
        cloud: connection.Connection,
        facts: project_reading.QuotaFacts,
        flavors: collections.abc.Mapping[str, flavor_model.Flavor],
        desired: collections.abc.Iterable[project_model.Desired],
        device_classes: collections.abc.Callable[
            [collections.abc.Iterable[str]], frozenset[str]
        ],
        *,
        force: bool = False,
        state: project_model.CloudState | None = None,
    ) -> None:
        self._cloud = cloud
        self._facts = facts
        self._flavors = flavors
        self._desired = tuple(desired)
        self._device_classes = device_classes
        self._force = force
        self.state = self._read(refresh=False) if state is None else state
        self.result = self.plan()

    def _read(self, *, refresh: bool) -> project_model.CloudState:
        desired = self._desired
        return project_reading.read_state(
            self._cloud,
            self._facts,
            self._flavors,
            project_ids={project.project_id for project in desired},
            access=sorted({key for each in desired for key in each.access}),
            limits=any(project.limits for project in desired),
            quotas=[each.project_id for each in desired if each.quotas],
            aggregates=any(project.aggregates for project in desired),
            server_groups=any(project.server_groups for project in desired),
            refresh=refresh,
        )

    def plan(self) -> RunResult:
        """Return all steps, none of which is done."""
        missing = {
            name
            for project in self._desired
            for name, value in project.limits.items()
            if value is not None and self.state.registered_limit(name) is None
        }
        shared = project_model.plan_registered(
            self._desired,
            self.state,
            self._device_classes(missing) if missing else frozenset(),
        )
        return RunResult(
            _done(shared),
            [
                ProjectResult(
                    desired,
                    _done(project_model.plan_project(desired, self.state)),
                )
                for desired in self._desired
            ],
        )

    def check_usage(self) -> None:
        """Refuse limits below what is used, unless forced.

        Placement is asked for each project with a limit that is to be lower
        than what it may use now. Limits that Nova does not read refuse
        nothing.
        """
        if self._force or not self._facts.driver.reads_limits:
            return
        lowered = [
            (result, names)
            for result in self.result.projects
            if (names := self._lowered(result))
        ]
        servers = self._count_servers(
            [
                result.desired.project_id
                for result, names in lowered
                if project_model.SERVERS in names
            ]
        )
        reader = placement_reader.PlacementReader(self._cloud.placement)
        for (result, names), used in zip(
            lowered,
            reader.each(
                lambda item: self._used(item[0].desired, item[1], servers),
                lowered,
            ),
            strict=True,
        ):
            below = [
                f'{name} to {names[name]}, of which {count} are in use'
                for name, count in used.items()
                if count > names[name]
            ]
            if below:
                result.error = (
                    f'Project {result.desired.name!r} was not changed: it '
                    f'would set {"; ".join(below)}. Delete servers first, or '
                    f'use --force: servers keep their devices, and no new '
                    f'one can be created'
                )

    def _lowered(self, result: ProjectResult) -> dict[str, int]:
        """Return limits that are to be lower than what counts now."""
        lowered = {}
        for done in result.steps:
            step = done.step
            if step.kind is not Kind.LIMIT or not step.is_change:
                continue
            now = self.state.effective_limit(step.project_id, step.key)
            after = step.after
            if after is None:
                registered = self.state.registered_limit(step.key)
                unset = -1 if self.state.ignores_unset else 0
                after = registered.default if registered else unset
            if int(after) >= 0 and (
                now is None or int(after) < now or step.before is None
            ):
                lowered[step.key] = int(after)
        return lowered

    def _used(
        self,
        desired: project_model.Desired,
        names: collections.abc.Iterable[str],
        servers: dict[str, int],
    ) -> dict[str, int]:
        names = tuple(names)
        used: dict[str, int] = {}
        if any(name.startswith(project_model.CLASS) for name in names):
            by_class = usages.read_usages(self._cloud, desired.project_id)
            used = {
                name: by_class.get(name.removeprefix(project_model.CLASS), 0)
                for name in names
                if name.startswith(project_model.CLASS)
            }
        if project_model.SERVERS in names:
            used[project_model.SERVERS] = servers.get(desired.project_id, 0)
        return used

    def _count_servers(self, project_ids: list[str]) -> dict[str, int]:
        """Return how many servers projects have.

        Of many projects, all servers are listed, a thousand with a request.
        """
        if len(project_ids) > _FEW_PROJECTS:
            return collections.Counter(
                server.project_id or ''
                for server in nova_servers.list_servers(
                    self._cloud.compute, all_projects=True
                )
            )
        counts = {}
        for project_id in project_ids:
            try:
                counts[project_id] = nova_quotas.count_servers(
                    self._cloud, project_id
                )
            except exceptions.CloudError as exc:
                # Nova validates the project, which was deleted.
                if exc.status != 400:
                    raise
        return counts

    def run(self, progress: Progress = lambda _done, _all: None) -> RunResult:
        """Carry out the plan, and read back what it has changed.

        A project whose step fails gets its earlier settings back; the others
        go on.
        """
        executor = project_steps.Executor(
            self._cloud, self.state, force=self._force
        )
        todo = [result for result in self.result.projects if not result.error]
        if any(done.step.is_change for done in self.result.shared) and todo:
            executor.run(self.result.shared)
        else:
            for done in self.result.shared:
                if not done.step.is_change:
                    done.outcome = Outcome.UNCHANGED
        self._run_all(executor, todo, progress)
        changed = [result for result in todo if result.is_changed]
        if changed and not self.result.errors:
            self._verify(changed)
        elif changed:
            self._verify([result for result in changed if not result.error])
        return self.result

    def _run_all(
        self,
        executor: project_steps.Executor,
        results: list[ProjectResult],
        progress: Progress,
    ) -> None:
        failed_in_a_row = 0
        finished = 0

        def run(result: ProjectResult) -> None:
            nonlocal failed_in_a_row, finished
            if failed_in_a_row >= _GIVE_UP:
                result.error = (
                    f'Project {result.desired.name!r} was not begun: the '
                    f'last {_GIVE_UP} projects failed'
                )
                return
            self._run_project(executor, result)
            failed_in_a_row = failed_in_a_row + 1 if result.error else 0
            finished += 1
            progress(finished, len(results))

        if len(results) == 1:
            run(results[0])
            return
        with concurrent.futures.ThreadPoolExecutor(
            placement_reader.THREADS
        ) as pool:
            try:
                list(pool.map(run, results))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _run_project(
        self, executor: project_steps.Executor, result: ProjectResult
    ) -> None:
        try:
            executor.run(result.steps)
        except exceptions.CloudError as exc:
            result.error = str(exc)
            self._roll_back(result)

    def _roll_back(self, result: ProjectResult) -> None:
        """Undo what was changed of a project, as far as possible."""
        if not any(
            done.outcome in (Outcome.CHANGED, Outcome.UNKNOWN)
            for done in result.steps
        ):
            result.error += f'. Project {result.desired.name!r} is unchanged'
            return
        try:
            state = ProjectRun(
                self._cloud,
                self._facts,
                self._flavors,
                [result.desired],
                self._device_classes,
            ).state
        except exceptions.CloudError as exc:
            result.error += (
                f'. What was changed could not be read back ({exc}), so that '
                f'nothing was rolled back'
            )
            return
        project_steps.roll_back(
            project_steps.Executor(self._cloud, state, force=True),
            result.steps,
            state,
        )
        left = [
            f'{done.step} ({done.message})'
            for done in result.steps
            if done.outcome in (Outcome.LEFT, Outcome.UNKNOWN)
        ]
        if left:
            result.error += f'. Not rolled back: {"; ".join(left)}'
        else:
            result.error += (
                f'. Project {result.desired.name!r} is as it was before'
            )

    def _verify(self, results: list[ProjectResult]) -> None:
        """Read back what was changed; delete duplicates of another run."""
        state = self._read(refresh=True)
        for _round in range(_ROUNDS):
            if not self._delete_duplicates(state):
                break
            state = self._read(refresh=True)
        for result in results:
            lost = []
            for done in result.steps:
                step = done.step
                now = state.value(step.kind, step.project_id, step.key)
                if now != step.after:
                    lost.append(f'{step.kind} {step.name} is now {now}')
                    done.outcome = Outcome.FAILED
                    done.message = lost[-1]
            if lost:
                result.error = (
                    f'Project {result.desired.name!r} was changed by another '
                    f'user at the same time: {"; ".join(lost)}. Run the '
                    f'command again'
                )

    def _delete_duplicates(self, state: project_model.CloudState) -> bool:
        """Delete duplicates; return whether there were some."""
        project_ids = {desired.project_id for desired in self._desired}
        limits = project_model.duplicates(state, project_ids)
        for limit in limits:
            unified_limits.delete_limit(self._cloud, limit)
        registered = project_model.registered_twice(
            state,
            {name for each in self._desired for name in each.limits},
        )
        deleted = sum(map(self._delete_registered, registered))
        groups: tuple[project_model.ServerGroup, ...] = ()
        if any(desired.server_groups for desired in self._desired):
            groups = project_model.duplicate_groups(state, project_ids)
        for group in groups:
            nova_groups.delete(self._cloud, group.id)
        return bool(limits or deleted or groups)

    def _delete_registered(
        self, same: tuple[project_model.RegisteredLimit, ...]
    ) -> bool:
        """Delete registered limits of one name except for one.

        One to which a limit of a project refers cannot be deleted, and does
        no harm: Nova finds limits of projects by name.
        """
        left = len(same)
        for limit in reversed(same):
            if left == 1:
                break
            try:
                unified_limits.delete_registered(self._cloud, limit.id)
            except exceptions.Forbidden:
                continue
            left -= 1
        return left < len(same)


def _done(
    steps: collections.abc.Iterable[project_model.Step],
) -> list[DoneStep]:
    return [
        DoneStep(
            step, Outcome.PLANNED if step.is_change else Outcome.UNCHANGED
        )
        for step in steps
    ]
