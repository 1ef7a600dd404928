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

"""Leaks in Placement: ``openstack gpu placement check``."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

if typing.TYPE_CHECKING:
    import collections.abc

with lazy_imports.deferred():
    from gpuclient import exceptions
    from gpuclient.files import atomic
    from gpuclient.model import placement_write
    from gpuclient.operations import leak_check
    from gpuclient.operations import leak_repair
    from gpuclient.operations import placement_journal
    from gpuclient.osc import columns
    from gpuclient.osc import confirmation
    from gpuclient.osc import options
    from gpuclient.rules import placement_leaks
    from gpuclient import text


class CheckPlacement(command.Lister):
    _description = """\
Find devices in use in Placement that nobody uses

Compares allocations and reservations of PCI devices in Placement with the
servers, migrations and compute nodes of Nova. What looks like a leak is read
again before it is reported: a server that is created, moved or deleted
meanwhile is none.

Nova has no API that shows which devices a server uses. The check counts them,
and compares with the flavor that the server booted with. --expect and --bundle
name files that show which devices a host has.

--fix repairs the leaks: it shows what it will change, asks, reads each
consumer again just before it writes, and records each write in a journal, from
which --undo restores the allocations. --plan saves the repairs instead, and
--apply makes them later, unless the cloud has changed since. A consumer that
Nova is moving is left alone. A run that was interrupted can be run again.

Which device a server with too many uses is known to nova-compute alone: all of
them are removed, and nova-compute adds back those in use, within a minute.

The exit status is 3 if a leak at or above --fail-on is there, or left.

Example::

    openstack gpu placement check --fix"""

    fits_terminal = True
    reads_snapshots = True
    sentences = 'Problem'
    labels = (('Code',), ('Server', 'Consumer', 'Host'))

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_host(
            parser, 'Report only leaks of this host (hypervisor hostname)'
        )
        parser.add_argument(
            '--code',
            metavar='<code>',
            dest='codes',
            action='append',
            default=[],
            help=(
                'Report only leaks with this code, such as GPU612; --fix '
                'releases reserved devices only with GPU617 or GPU618 (repeat '
                'option for several)'
            ),
        )
        parser.add_argument(
            '--reserved-days',
            metavar='<days>',
            type=options.not_negative,
            default=7,
            help=(
                'Report free devices that are reserved for at least so many '
                'days (default: 7)'
            ),
        )
        _add_documents(parser)
        _add_repairs(parser)
        options.add_fail_on(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        leak_check.unknown_codes(parsed_args.codes)
        if parsed_args.snapshot is not None and (
            parsed_args.fix
            or parsed_args.plan
            or parsed_args.plan_to_apply
            or parsed_args.journal_to_undo
        ):
            raise exceptions.InvalidValue(
                'A snapshot shows leaks and cannot be repaired: omit '
                '--snapshot'
            )
        if parsed_args.plan:
            atomic.check_new(parsed_args.plan)
        with self.for_administrators():
            return self._run(parsed_args)

    def _run(self, parsed_args: argparse.Namespace) -> command.Rows:
        if parsed_args.plan_to_apply:
            return self._apply(parsed_args)
        if parsed_args.journal_to_undo:
            return self._undo(parsed_args)
        if not parsed_args.fix:
            if parsed_args.snapshot is None:
                self._warn_of_interrupted()
            return self._check(parsed_args)
        with placement_journal.locked():
            leak_repair.finish(self.cloud, parsed_args.journal, self._say)
            return self._check(parsed_args)

    def _warn_of_interrupted(self) -> None:
        journals = placement_journal.unfinished(
            placement_journal.CloudName.of(self.cloud), None
        )
        if not journals:
            return
        try:
            with placement_journal.locked():
                pass
        except exceptions.DocumentError:
            # It is running.
            return
        for journal in journals:
            self.log.warning(
                '%s',
                text.one_line(
                    f'A repair was interrupted: finish it with --fix, or take '
                    f'it back with --undo {shlex.quote(journal.path)}'
                ),
            )

    def _check(self, parsed_args: argparse.Namespace) -> command.Rows:
        answer = leak_check.check(
            self.cloud,
            leak_check.LeakFilters(
                host=parsed_args.host,
                codes=frozenset(parsed_args.codes),
                reserved_days=parsed_args.reserved_days,
                expected=tuple(parsed_args.expected),
                bundles=tuple(parsed_args.bundles),
            ),
        )
        self.report(answer.failures)
        leaks = answer.value.leaks
        results: dict[str, list[leak_repair.StepResult]] = {}
        if parsed_args.fix or parsed_args.plan:
            steps = leak_repair.Planner(
                self.cloud, answer.value, parsed_args.codes
            ).plan(leaks)
            if parsed_args.plan:
                placement_journal.write_plan(
                    parsed_args.plan,
                    placement_journal.CloudName.of(self.cloud),
                    steps,
                )
                number = len(steps)
                self.app.stderr.write(
                    text.one_line(
                        f'{number} change{"" if number == 1 else "s"} saved '
                        f'in {parsed_args.plan}: make them with '
                        f'--apply {parsed_args.plan}'
                    )
                    + '\n'
                )
            elif steps and self._agrees(parsed_args, steps):
                results = _by_leak(leaks, self._repair(parsed_args, steps))
        self._judge(parsed_args, leaks, results)
        return columns.table(
            {
                **_CELLS,
                'Repair': lambda leak: _repairs(leak, parsed_args.codes),
                'Result': lambda leak: _results(results.get(_key(leak))),
            },
            leaks,
        )

    def _judge(
        self,
        parsed_args: argparse.Namespace,
        leaks: collections.abc.Iterable[placement_leaks.Leak],
        results: dict[str, list[leak_repair.StepResult]],
    ) -> None:
        """Set the exit status from what is left."""
        left = {
            leak.finding.severity
            for leak in leaks
            if not results.get(_key(leak))
            or not all(done.is_done for done in results[_key(leak)])
        }
        if any(
            done.is_failure for of_leak in results.values() for done in of_leak
        ):
            self.fail()
        if options.fails(parsed_args, left):
            self.found()

    def _agrees(
        self,
        parsed_args: argparse.Namespace,
        steps: collections.abc.Sequence[placement_write.Step],
    ) -> bool:
        return confirmation.confirm(
            parsed_args,
            [
                text.one_line(f'{step.action}: {leak_repair.describe(step)}')
                for step in steps
            ],
            'Make this change in Placement'
            if len(steps) == 1
            else f'Make these {len(steps)} changes in Placement',
        )

    def _repair(
        self,
        parsed_args: argparse.Namespace,
        steps: collections.abc.Sequence[placement_write.Step],
    ) -> list[leak_repair.StepResult]:
        with self._repairer(parsed_args) as repairer:
            return repairer.apply(steps)

    @contextlib.contextmanager
    def _repairer(
        self, parsed_args: argparse.Namespace
    ) -> collections.abc.Iterator[leak_repair.Repairer]:
        journal = placement_journal.Journal(
            parsed_args.journal, placement_journal.CloudName.of(self.cloud)
        )
        self.done = (
            f'The journal of this run is {journal.path}: run "openstack gpu '
            f'placement check --fix" again to finish, or take it back with '
            f'"openstack gpu placement check --undo '
            f'{shlex.quote(journal.path)}"'
        )
        self._say(f'Journal: {journal.path}')
        try:
            yield leak_repair.Repairer(
                self.cloud, journal, parsed_args.wait, self._say
            )
        finally:
            if not journal.entries:
                # It removes the file.
                journal.close()
                self.done = ''
        if journal.entries:
            line = (
                f'To take the changes back: openstack gpu placement check '
                f'--undo {shlex.quote(journal.path)}'
            )
            self.app.stderr.write(columns.escape_lines(f'{line}\n'))

    def _apply(self, parsed_args: argparse.Namespace) -> command.Rows:
        name, steps = placement_journal.read_plan(parsed_args.plan_to_apply)
        self._compare(name, parsed_args.plan_to_apply)
        leak_repair.check_cloud(
            self.cloud,
            name,
            (step.write for step in steps),
            parsed_args.plan_to_apply,
        )
        results: list[leak_repair.StepResult] = []
        with placement_journal.locked():
            leak_repair.finish(self.cloud, parsed_args.journal, self._say)
            if steps and self._agrees(parsed_args, steps):
                with self._repairer(parsed_args) as repairer:
                    repairer.refuse_changes(steps, parsed_args.plan_to_apply)
                    results = repairer.apply(steps)
        return self._of_steps(results)

    def _undo(self, parsed_args: argparse.Namespace) -> command.Rows:
        path = parsed_args.journal_to_undo
        with placement_journal.locked():
            leak_repair.finish(self.cloud, path, self._say)
            journal = placement_journal.Journal.resume(path)
            self._compare(journal.cloud, path)
            leak_repair.check_cloud(
                self.cloud,
                journal.cloud,
                (entry.write for entry in journal.entries),
                path,
            )
            results: list[leak_repair.StepResult] = []
            if confirmation.confirm(
                parsed_args,
                [f'{path}: {len(journal.entries)} writes to Placement'],
                'Take these writes back',
            ):
                with self._repairer(parsed_args) as repairer:
                    results = repairer.undo(journal.entries)
        return self._of_steps(results)

    def _compare(self, name: placement_journal.CloudName, path: str) -> None:
        """Warn if a file names another cloud: an address may have changed."""
        current = placement_journal.CloudName.of(self.cloud)
        if name != current:
            self.log.warning(
                '%s',
                text.one_line(
                    f'{path} was written for {name}, and this cloud is '
                    f'{current}: its resource providers decide whether it is '
                    f'the same'
                ),
            )

    def _of_steps(
        self, results: collections.abc.Sequence[leak_repair.StepResult]
    ) -> command.Rows:
        if any(result.is_failure for result in results):
            self.fail()
        if any(not result.is_done for result in results):
            self.found()
        return columns.table(_STEP_CELLS, results)

    def _say(self, line: str) -> None:
        self.say(text.one_line(line))


def _add_documents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--expect',
        metavar='<path>',
        dest='expected',
        action='append',
        default=[],
        help=(
            'Report devices that hosts do not have according to this '
            'description, or file or folder of configuration (repeat option '
            'for several; --host names the host of a file that does not name '
            'it)'
        ),
    )
    parser.add_argument(
        '--bundle',
        metavar='<file>',
        dest='bundles',
        action='append',
        default=[],
        help=(
            'Report devices that the host of this bundle does not have '
            '("openstack gpu host bundle create"; repeat option for several)'
        ),
    )


def _add_repairs(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        '--fix', action='store_true', help='Repair the leaks, after a question'
    )
    what.add_argument(
        '--plan',
        metavar='<file>',
        help='Save the repairs in this file, without making them',
    )
    what.add_argument(
        '--apply',
        metavar='<file>',
        dest='plan_to_apply',
        help='Make the repairs of this plan, unless the cloud has changed',
    )
    what.add_argument(
        '--undo',
        metavar='<journal>',
        dest='journal_to_undo',
        help='Restore the allocations that the writes of this journal changed',
    )
    parser.add_argument(
        '--journal',
        metavar='<file>',
        help=(
            'File to record writes in (default: a new file in '
            '$XDG_STATE_HOME/gpuclient/placement-journals)'
        ),
    )
    parser.add_argument(
        '--wait',
        metavar='<seconds>',
        type=options.not_negative,
        default=180,
        help=(
            'Seconds to wait until nova-compute has added the devices in use; '
            'then the allocations are restored (default: 180)'
        ),
    )
    confirmation.add_yes(parser)


def _key(leak: placement_leaks.Leak) -> str:
    return ' '.join(leak.subject)


def _by_leak(
    leaks: collections.abc.Iterable[placement_leaks.Leak],
    results: collections.abc.Iterable[leak_repair.StepResult],
) -> dict[str, list[leak_repair.StepResult]]:
    """Return the results of the steps of each leak."""
    results = tuple(results)
    return {
        _key(leak): [
            result
            for result in results
            if leak.code in result.step.codes
            and leak.finding.message in result.step.problem
        ]
        for leak in leaks
    }


def _repairs(
    leak: placement_leaks.Leak, codes: collections.abc.Container[str]
) -> str | None:
    """Return what --fix does about a leak."""
    actions = {
        str(repair.action)
        for repair in leak.repairs
        if not repair.deliberate or leak.code in codes
    }
    return ', '.join(sorted(actions)) or None


def _results(
    results: collections.abc.Sequence[leak_repair.StepResult] | None,
) -> typing.Any:
    if not results:
        return None
    worst = [result.result for result in results if not result.is_done]
    return columns.ProseColumn(worst[0] if worst else results[0].result)


_CELLS: typing.Final[dict[str, typing.Any]] = {
    'Code': lambda leak: leak.code,
    'Severity': lambda leak: str(leak.finding.severity),
    'Host': lambda leak: columns.TextColumn(leak.host),
    'Devices': lambda leak: columns.DevicesColumn(
        [placement_write.device_record(device) for device in leak.devices]
    ),
    'Consumer': lambda leak: leak.consumer,
    'Server': lambda leak: columns.TextColumn(leak.name),
    'Problem': lambda leak: columns.ProseColumn(leak.finding.message),
}
_STEP_CELLS: typing.Final[dict[str, typing.Any]] = {
    'Action': lambda done: done.step.action,
    'Codes': lambda done: columns.ListColumn(list(done.step.codes)),
    'Host': lambda done: columns.TextColumn(done.step.host),
    'Consumer': lambda done: done.step.consumer,
    'Change': lambda done: columns.ProseColumn(
        leak_repair.describe(done.step)
    ),
    'Result': lambda done: columns.ProseColumn(done.result),
}
