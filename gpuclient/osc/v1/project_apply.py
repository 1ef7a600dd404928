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

"""``openstack gpu project apply``."""

from __future__ import annotations

import argparse
import sys
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports
from gpuclient.osc.v1 import project as project_commands

with lazy_imports.deferred():
    from gpuclient import exceptions
    from gpuclient.files import atomic
    from gpuclient.operations import project_apply
    from gpuclient.operations import project_steps
    from gpuclient.osc import columns
    from gpuclient.osc import confirmation
    from gpuclient.osc import options
    from gpuclient import text

if typing.TYPE_CHECKING:
    from gpuclient.operations import project_run

#: Lines of progress for all projects.
_LINES = 20


class ApplyProject(command.Lister):
    _description = """\
Give many projects what a file says

The file has the flavors, limits, quotas, server groups and aggregates of each
project (YAML or JSON); "openstack gpu project list --export" writes it for
what there is. Of a project, each key that is there is complete as far as
devices are concerned: access to other flavors with devices, other limits of
devices and other aggregates are taken away. Keys and projects that are not
there are left alone; "state: absent" takes everything away.

The plan is shown, and carried out after a question, or with --yes. Several
projects are changed at the same time; if a step of one fails, its earlier
steps are rolled back, the others go on, and the exit status is 1. A run that
was interrupted is resumed by another run: what is done is not repeated.

With --plan and a file of projects, the plan is saved, and nothing is changed.
With --plan alone, a saved plan is carried out, but only if the cloud has not
changed since.

--check shows what differs from the file, with exit status 3 if anything does.

Example::

    openstack gpu project apply projects.yaml --check"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'file',
            metavar='<file>',
            nargs='?',
            help=(
                'File of projects (- is standard input); without one, a plan '
                'of --plan'
            ),
        )
        parser.add_argument(
            '--plan',
            metavar='<plan-file>',
            help=(
                'Save the plan in this file, without changing anything; '
                'without a file of projects, carry this plan out'
            ),
        )
        parser.add_argument(
            '--check',
            action='store_true',
            help='Only show what differs; exit status 3 if anything does',
        )
        parser.add_argument(
            '--yes',
            action='store_true',
            help='Carry the plan out without asking',
        )
        parser.add_argument(
            '--long',
            action='store_true',
            help='List also IDs of projects, and what is as it should be',
        )
        project_commands.add_writing(parser)
        options.add_release(parser, cloud=True)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        if parsed_args.file is None and parsed_args.plan is None:
            raise exceptions.InvalidValue(
                'Nothing to apply: name a file of projects, or a saved plan '
                'with --plan'
            )
        if parsed_args.file is not None and parsed_args.plan == '-':
            raise exceptions.InvalidValue(
                'A plan is saved in a file: name one with --plan'
            )
        if parsed_args.file is not None and parsed_args.plan is not None:
            atomic.check_new(parsed_args.plan)
        application = self._prepare(parsed_args)
        result = application.run.result
        if result.changes:
            for note in application.notes:
                self.log.warning('%s', text.one_line(note))
        if self._is_plan_only(parsed_args):
            self._finish_plan(parsed_args, application)
        elif result.changes:
            self._confirm(parsed_args, application)
            application.run.run(self._progress)
            self.done = 'Projects are already changed'
        for error in result.errors:
            self.log.error('%s', text.one_line(error))
            self._status = command.FAILED
        return self._rows(application, parsed_args)

    def _prepare(
        self, parsed_args: argparse.Namespace
    ) -> project_apply.Application:
        edit_options = project_commands.edit_options(parsed_args)
        if parsed_args.file is not None:
            return project_apply.prepare(
                self.cloud,
                parsed_args.file,
                edit_options,
                self.release_of_cloud(parsed_args),
            )
        return project_apply.prepare_saved(
            self.cloud, project_apply.load_plan(parsed_args.plan), edit_options
        )

    @staticmethod
    def _is_plan_only(parsed_args: argparse.Namespace) -> bool:
        return (
            parsed_args.dry_run
            or parsed_args.check
            or (parsed_args.file is not None and parsed_args.plan is not None)
        )

    def _finish_plan(
        self,
        parsed_args: argparse.Namespace,
        application: project_apply.Application,
    ) -> None:
        if parsed_args.check and application.run.result.changes:
            self.found()
        if parsed_args.file is None or parsed_args.plan is None:
            return
        if application.run.result.errors:
            # Half a plan is none.
            self.log.error('The plan was not saved')
            return
        atomic.create(parsed_args.plan, application.saved())

    def _confirm(
        self,
        parsed_args: argparse.Namespace,
        application: project_apply.Application,
    ) -> None:
        """Ask whether to carry the plan out.

        :raises gpuclient.exceptions.InvalidValue: The answer is not yes, or
            nobody can be asked.
        """
        if parsed_args.yes:
            return
        changes = application.run.result.changes
        count = f'{len(changes)} change{"s" if len(changes) > 1 else ""}'
        if not sys.stdin.isatty():
            raise exceptions.InvalidValue(
                f'The plan has {count}, and nothing was changed: see them '
                f'with --dry-run, and use --yes to carry them out'
            )
        names = {
            project.desired.project_id: project.desired.name
            for project in application.run.result.projects
        }
        for step in changes:
            owner = names.get(step.project_id, '')
            line = f'{owner}: {step}' if owner else str(step)
            self.app.stderr.write(columns.escape_lines(f'{line}\n'))
        self.app.stderr.write(f'Carry out {count}? [y/N] ')
        self.app.stderr.flush()
        if not confirmation.answers_yes(self.app.stderr):
            raise exceptions.InvalidValue('Nothing was changed')

    def _progress(self, done: int, total: int) -> None:
        step = max(1, total // _LINES)
        if done % step == 0 or done == total:
            self.say(f'{done} of {total} projects')

    @staticmethod
    def _rows(
        application: project_apply.Application,
        parsed_args: argparse.Namespace,
    ) -> command.Rows:
        result = application.run.result
        steps: list[tuple[str, str, project_steps.DoneStep]] = [
            ('', '', done) for done in result.shared
        ]
        steps += [
            (project.desired.project_id, project.desired.name, done)
            for project in result.projects
            for done in project.steps
        ]
        cells: columns.Cells[tuple[str, str, typing.Any]] = {
            'Project ID': lambda row: columns.TextColumn(row[0] or None),
            'Project': lambda row: columns.TextColumn(row[1] or None),
            'Kind': lambda row: str(row[2].step.kind),
            'Name': lambda row: columns.TextColumn(row[2].step.name),
            'Before': lambda row: row[2].step.before,
            'After': lambda row: row[2].step.after,
            'State': lambda row: str(row[2].outcome),
        }
        if _hides_ids(parsed_args, result):
            del cells['Project ID']
        return columns.table(
            cells,
            (
                row
                for row in steps
                if parsed_args.long or row[2].step.is_change
            ),
        )


def _hides_ids(
    parsed_args: argparse.Namespace, result: project_run.RunResult
) -> bool:
    """Return whether a table has the names of projects alone.

    An ID is as long as half a line. Other formats always have it.
    """
    names = [project.desired.name for project in result.projects]
    return (
        parsed_args.formatter == 'table'
        and not parsed_args.columns
        and not parsed_args.sort_columns
        and not parsed_args.long
        and len(set(names)) == len(names)
    )
