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

"""What projects may use: ``openstack gpu project ...``."""

from __future__ import annotations

import argparse
import collections.abc
import typing

from openstackclient.identity import common as identity_common

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient import exceptions
    from gpuclient.model import project as project_model
    from gpuclient.operations import project_editing
    from gpuclient.operations import project_list
    from gpuclient.operations import project_view
    from gpuclient.osc import columns
    from gpuclient.osc import options
    from gpuclient.osc import streams

if typing.TYPE_CHECKING:
    from gpuclient.operations import project_run
    from gpuclient.operations import project_steps


def add_cloud_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about how the cloud limits projects."""
    parser.add_argument(
        '--region',
        metavar='<region>',
        help=(
            'Region whose limits Nova reads ([oslo_limit] of nova.conf; '
            'default: that of this client)'
        ),
    )
    parser.add_argument(
        '--quota-driver',
        metavar='<driver>',
        choices=('unified', 'legacy', 'none'),
        help=(
            '[quota]driver of Nova: unified, legacy or none (default: '
            'inferred from the default quotas that Nova reports)'
        ),
    )


def _add_project(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument('project', metavar='<project>', help=text)
    identity_common.add_project_domain_option_to_parser(parser)


def add_writing(parser: argparse.ArgumentParser) -> None:
    add_cloud_options(parser)
    options.add_alias_files(parser)
    parser.add_argument(
        '--force',
        action='store_true',
        help=(
            'Set limits below what is used, of unknown classes, and those '
            'that Nova does not read'
        ),
    )
    options.add_dry_run(parser)


def driver(
    parsed_args: argparse.Namespace,
) -> project_model.QuotaDriver | None:
    if parsed_args.quota_driver is None:
        return None
    return project_model.QuotaDriver(parsed_args.quota_driver)


def edit_options(
    parsed_args: argparse.Namespace,
) -> project_editing.Options:
    """Return what the options of a writing command are."""
    return project_editing.Options(
        files=tuple(parsed_args.files),
        region=parsed_args.region,
        driver=driver(parsed_args),
        force=parsed_args.force,
        dry_run=parsed_args.dry_run,
    )


def step_record(
    done: project_steps.DoneStep,
) -> dict[str, typing.Any]:
    """Return a step as an object."""
    step = done.step
    return {
        'kind': str(step.kind),
        'name': step.name,
        'before': step.before,
        'after': step.after,
        'state': str(done.outcome),
    }


class _Edit(command.ShowOne):
    """Base of the commands that change a project."""

    def present(
        self, edited: project_editing.Edited
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        result = edited.result
        steps = [*result.shared, *_steps(result)]
        is_changed = any(done.outcome in _CHANGED for done in steps)
        if is_changed:
            self.done = (
                f'Project {edited.project.name or edited.project.id} is '
                'already changed'
            )
        for error in result.errors:
            self.log.error('%s', error)
            self._status = command.FAILED
        return columns.show(
            {
                'id': columns.TextColumn(edited.project.id),
                'name': columns.TextColumn(edited.project.name),
                'changed': is_changed,
                'steps': columns.StepsColumn(
                    [step_record(done) for done in steps]
                ),
                'notes': columns.ListColumn(list(edited.notes)),
            }
        )

    def edit(
        self,
        parsed_args: argparse.Namespace,
        wanted: project_editing.Change,
        *,
        unset: bool,
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        return self.present(
            project_editing.change(
                self.cloud,
                parsed_args.project,
                parsed_args.project_domain,
                wanted,
                edit_options(parsed_args),
                self.release_of_cloud(parsed_args),
                unset=unset,
            )
        )


_CHANGED = ('changed', 'changed, not rolled back', 'unknown')


def _steps(
    result: project_run.RunResult,
) -> list[project_steps.DoneStep]:
    return [done for project in result.projects for done in project.steps]


def _pairs(
    texts: list[str], option: str, example: str
) -> list[tuple[str, str]]:
    """Return name and value of options ``NAME=VALUE``."""
    pairs = []
    for text in texts:
        name, separator, value = text.rpartition('=')
        if not separator or not name or not value:
            raise exceptions.InvalidValue(
                f'{option} {text!r} is not NAME=VALUE, such as {example}'
            )
        pairs.append((name, value))
    names = [name for name, _value in pairs]
    for name in names:
        if names.count(name) > 1:
            raise exceptions.InvalidValue(
                f'{option} is specified twice for {name!r}'
            )
    return pairs


def _limits(texts: list[str]) -> dict[str, int | None]:
    limits: dict[str, int | None] = {}
    for text in texts:
        name, value = project_model.parse_limit(text)
        if name in limits:
            raise exceptions.InvalidValue(
                f'--limit is specified twice for {name!r}'
            )
        limits[name] = value
    return limits


def _quotas(texts: list[str]) -> dict[str, int | None]:
    quotas: dict[str, int | None] = {}
    for name, value in _pairs(texts, '--quota', 'cores=64'):
        quotas[name] = project_model.parse_quota(name, value)
    return quotas


def _groups(texts: list[str]) -> dict[str, str | None]:
    groups: dict[str, str | None] = {}
    for name, policy in _pairs(texts, '--server-group', 'ring=soft-affinity'):
        if policy not in project_model.GROUP_POLICIES:
            raise exceptions.InvalidValue(
                f'{policy!r} is no policy of server groups: use '
                f'{", ".join(project_model.GROUP_POLICIES)}'
            )
        groups[name] = policy
    return groups


class SetProject(_Edit):
    _description = """\
Set what a project may use of devices

Limits are set before access to flavors is added, so that no server can be
created without a limit. What is set already stays as it is: "steps" says what
was changed and what is unchanged. If a step fails, the earlier ones are rolled
back, and the message says what could not be.

--limit takes the name of an alias, a GPU model, a resource class or a limit of
Nova (servers, class:PCPU, class:MEMORY_MB). The resource class of an alias is
that of --config, or of servers that booted with it. A registered limit is
created if there is none: 0 for devices and servers, unlimited for others (0
for all up to Nova 30, where an unset limit is 0).

"notes" says what limits do not do in this release: before Nova 34 they do not
count devices of aliases, and no release compares them on a resize.

Example::

    openstack gpu project set research --flavor gpu.a100.1 \\
        --limit nvidia_a100=4 --limit servers=8"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_project(parser, 'Project to modify (name or ID)')
        for option, metavar, text in (
            ('--flavor', '<flavor>', 'Private flavor to add access to'),
            (
                '--limit',
                '<name=number>',
                'Unified limit of an alias, a model, a resource class or '
                'servers; -1 is unlimited, up to Nova 30 use 2147483647',
            ),
            (
                '--quota',
                '<name=number>',
                'Legacy quota: cores, instances or ram',
            ),
            (
                '--server-group',
                '<name=policy>',
                'Server group to create; needs a role on the project',
            ),
            (
                '--aggregate',
                '<aggregate>',
                'Host aggregate to reserve for the project (filter_tenant_id)',
            ),
        ):
            parser.add_argument(
                option,
                metavar=metavar,
                dest=f'{option[2:].replace("-", "_")}s',
                action='append',
                default=[],
                help=f'{text} (repeat option for several)',
            )
        add_writing(parser)
        options.add_release(parser, cloud=True)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        wanted = project_editing.Change(
            flavors=tuple(parsed_args.flavors),
            limits=_limits(parsed_args.limits),
            quotas=_quotas(parsed_args.quotas),
            server_groups=_groups(parsed_args.server_groups),
            aggregates=tuple(parsed_args.aggregates),
        )
        if wanted.is_empty:
            raise exceptions.InvalidValue(
                'Nothing to set: specify --flavor, --limit, --quota, '
                '--server-group or --aggregate'
            )
        return self.edit(parsed_args, wanted, unset=False)


class UnsetProject(_Edit):
    _description = """\
Unset what a project may use of devices

Access to flavors is removed before limits are. A limit that is unset is
deleted, so that the registered limit applies; where that is not 0, the project
keeps a limit of 0 for devices. The command fails if the project uses more than
that, unless --force is specified.

--all removes access to all flavors that request devices, all limits of the
project and its reservation of aggregates, and resets legacy quotas. A project
that was deleted is named by its ID.

Example::

    openstack gpu project unset research --all"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_project(
            parser, 'Project to modify (name or ID; ID if it was deleted)'
        )
        for option, metavar, text in (
            ('--flavor', '<flavor>', 'Private flavor to remove access to'),
            (
                '--limit',
                '<name>',
                'Unified limit to delete: an alias, a model, a resource class '
                'or servers',
            ),
            ('--server-group', '<name>', 'Server group to delete'),
            (
                '--aggregate',
                '<aggregate>',
                'Host aggregate that is no longer reserved for the project',
            ),
        ):
            parser.add_argument(
                option,
                metavar=metavar,
                dest=f'{option[2:].replace("-", "_")}s',
                action='append',
                default=[],
                help=f'{text} (repeat option for several)',
            )
        parser.add_argument(
            '--all',
            action='store_true',
            help='Unset all of these, except for server groups',
        )
        add_writing(parser)
        options.add_release(parser, cloud=True)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        wanted = project_editing.Change(
            flavors=tuple(parsed_args.flavors),
            limits=dict.fromkeys(parsed_args.limits),
            server_groups=dict.fromkeys(parsed_args.server_groups),
            aggregates=tuple(parsed_args.aggregates),
            everything=parsed_args.all,
        )
        if wanted.is_empty:
            raise exceptions.InvalidValue(
                'Nothing to unset: specify --all, --flavor, --limit, '
                '--server-group or --aggregate'
            )
        return self.edit(parsed_args, wanted, unset=True)


class ShowProject(command.ShowOne):
    _description = """\
Show what a project may use of devices

Without a project, that of this client: members of a project see which flavors
they may use, their limits, and what is left of them. "limits" has the limits
of Nova in Keystone with what Nova counts as used; a "source" of "default" is
the registered limit, and "none" is no limit at all.

A project that was deleted is named by its ID.

Example::

    openstack gpu project show research"""

    reads_snapshots = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'project',
            metavar='<project>',
            nargs='?',
            help='Project to show (name or ID; default: that of this client)',
        )
        identity_common.add_project_domain_option_to_parser(parser)
        add_cloud_options(parser)
        options.add_release(parser, cloud=True)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        view = project_view.show(
            self.cloud,
            parsed_args.project,
            parsed_args.project_domain,
            parsed_args.region,
            driver(parsed_args),
            self.release_of_cloud(parsed_args),
        )
        aggregates = None
        if view.aggregates is not None:
            aggregates = [aggregate.name for aggregate in view.aggregates]
        return columns.show(
            {
                'id': columns.TextColumn(view.project.id),
                'name': columns.TextColumn(view.project.name),
                'exists': columns.KnownColumn(view.exists),
                'quota_driver': str(view.driver),
                'flavors': columns.ListColumn(
                    sorted(flavor.name for flavor in view.flavors)
                ),
                'limits': columns.UsedLimitsColumn(
                    [
                        {
                            'name': limit.name,
                            'limit': limit.limit,
                            'source': limit.source,
                            'used': limit.used,
                            'left': limit.left,
                        }
                        for limit in view.limits
                    ]
                ),
                'quotas': columns.CountsColumn(view.quotas),
                'aggregates': columns.ListColumn(aggregates),
                'server_groups': columns.ListColumn(
                    [
                        f'{group.name} ({group.policy})'
                        for group in view.server_groups
                    ]
                ),
                'findings': columns.ListColumn(list(map(str, view.findings))),
            }
        )


class ListProject(command.Lister):
    _description = """\
List projects that may use devices

These are the projects with access to a private flavor that requests devices,
a limit of devices, devices in use, or an aggregate reserved for them.

With --over-limit, only projects that use more than their limits are listed, a
row for each limit, with the usage in Placement that Nova compares with; the
exit status is 3 if there is one. Servers can be resized past a limit, so run
it in a nightly job. --all-limits also compares other resources than devices,
with a request for each project that has such a limit.

With --export, the file that "openstack gpu project apply" reads is written
instead, in YAML, for what there is: applying it changes nothing.

Example::

    openstack gpu project list --over-limit"""

    reads_snapshots = True
    _document: bytes | None = None

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        shown = parser.add_mutually_exclusive_group()
        shown.add_argument(
            '--export',
            action='store_true',
            help='Write the file for "openstack gpu project apply"',
        )
        shown.add_argument(
            '--over-limit',
            action='store_true',
            help='List only projects that use more than their limits',
        )
        parser.add_argument(
            '--all-limits',
            action='store_true',
            help='Compare also limits of CPUs, memory and servers',
        )
        options.add_long(parser)
        add_cloud_options(parser)
        options.add_release(parser, cloud=True)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        answer = project_list.read(
            self.cloud,
            parsed_args.region,
            driver(parsed_args),
            self.release_of_cloud(parsed_args),
        )
        self.report(answer.failures)
        listed = answer.value
        if parsed_args.over_limit:
            return self._over_limit(listed, parsed_args.all_limits)
        if parsed_args.export:
            self._document, warnings = project_list.export(self.cloud, listed)
            for warning in warnings:
                self.log.warning('%s', warning)
            return (), []
        cells: columns.Cells[project_list.ProjectRow] = {
            'ID': lambda row: columns.TextColumn(row.project.id),
            'Name': lambda row: columns.TextColumn(row.project.name),
            'Flavors': lambda row: columns.ListColumn(list(row.flavors)),
            'Limits': lambda row: columns.NumbersColumn(row.limits),
            'Used': lambda row: columns.NumbersColumn(row.used),
        }
        if parsed_args.long:
            cells['Exists'] = lambda row: row.exists
            cells['Aggregates'] = lambda row: columns.ListColumn(
                list(row.aggregates)
            )
            cells['Findings'] = lambda row: columns.ListColumn(
                list(map(str, row.findings))
            )
        return columns.table(cells, project_list.rows(listed))

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: collections.abc.Sequence[str],
        data: typing.Any,
    ) -> int:
        document, self._document = self._document, None
        if document is None:
            return super().produce_output(parsed_args, column_names, data)
        with streams.guarded(self.app.stdout):
            streams.write_bytes(self.app.stdout, document)
        return 0

    def _over_limit(
        self, listed: project_list.ProjectList, all_limits: bool
    ) -> command.Rows:
        over = list(project_list.over_limits_of_devices(listed))
        if all_limits:
            over += project_list.over_other_limits(self.cloud, listed)
        for finding in project_list.unread_limits(listed):
            self.log.warning('%s', finding)
        if over:
            self.found()
        cells: columns.Cells[project_list.OverLimit] = {
            'Project ID': lambda row: columns.TextColumn(row.project.id),
            'Project': lambda row: columns.TextColumn(row.project.name),
            'Name': lambda row: columns.TextColumn(row.name),
            'Limit': lambda row: row.limit,
            'Source': lambda row: row.source,
            'Used': lambda row: row.used,
        }
        return columns.table(cells, over)
