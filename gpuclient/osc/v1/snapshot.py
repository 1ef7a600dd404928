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

"""Snapshots of a cloud: ``openstack gpu snapshot ...``."""

from __future__ import annotations

import argparse
import datetime
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from importlib import metadata

    from gpuclient import exceptions
    from gpuclient.operations import snapshot_reads
    from gpuclient.operations import snapshots
    from gpuclient.osc import columns

#: Kinds of ``--for``.
_KINDS = ('flavor', 'image', 'project', 'server', 'user')


class _SnapshotCommand(command.ShowOne):
    def present(
        self, saved: snapshots.SavedSnapshot, **others: typing.Any
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        """Return the columns and values that show a snapshot."""
        snapshot = saved.snapshot
        return columns.show(
            {
                'file': columns.TextColumn(saved.path),
                'cloud': columns.TextColumn(snapshot.cloud),
                'region': columns.TextColumn(snapshot.region),
                'created': snapshot.created.isoformat(),
                'client': columns.TextColumn(snapshot.client),
                'names_hidden': snapshot.names_hidden,
                'answers': columns.CountsColumn(saved.counts()),
                'bytes': saved.size,
                **others,
            }
        )


class SaveSnapshot(_SnapshotCommand):
    _description = """\
Save the answers of a cloud to a file

The reading commands of this client use the file with --snapshot, without a
cloud and without credentials: a colleague, or the reader of a bug report, sees
what you see. The file contains the fields that these commands read, and no
others: no tokens, passwords, addresses, metadata or user data of servers, and
no addresses of services. Names of projects, servers and hosts are in it unless
--hide-names is specified. Only you can read the file.

What the services refuse to you is recorded as refused. If a service does not
respond, this is reported on stderr, the rest is saved and the exit status is
1.

Example::

    openstack gpu snapshot save cloud.snapshot"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'file', metavar='<file>', help='File to create; it must not exist'
        )
        parser.add_argument(
            '--hide-names',
            action='store_true',
            help=(
                'Replace the names of servers, projects, users, hosts, '
                'aggregates and images with pseudonyms; names of flavors, '
                'aliases, resource classes and availability zones are kept'
            ),
        )
        parser.add_argument(
            '--for',
            metavar='<kind>=<name>',
            dest='subjects',
            action='append',
            default=[],
            help=(
                'Also record what commands read of this flavor, image, '
                'project, server or user, such as server=NAME for "openstack '
                'gpu server explain" of a server that has a host (repeat '
                'option for several)'
            ),
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        answer = snapshots.save(
            self.cloud,
            parsed_args.file,
            _subjects(parsed_args.subjects),
            client=metadata.version('python-gpuclient'),
            now=datetime.datetime.now(datetime.UTC),
            hide_names=parsed_args.hide_names,
            say=self.say,
        )
        self.done = f'The snapshot {parsed_args.file} is already written'
        self.report(answer.failures)
        return self.present(answer.value)


def _subjects(texts: list[str]) -> snapshot_reads.Subjects:
    """Return the objects of ``--for``."""
    names: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for text in texts:
        kind, mark, name = text.partition('=')
        if kind not in names or not mark or not name:
            raise exceptions.InvalidValue(
                f'--for {text!r} is not KIND=NAME with one of the kinds '
                f'{", ".join(_KINDS)}'
            )
        names[kind].append(name)
    return snapshot_reads.Subjects(
        flavors=tuple(names['flavor']),
        images=tuple(names['image']),
        projects=tuple(names['project']),
        servers=tuple(names['server']),
        users=tuple(names['user']),
    )


class ShowSnapshot(_SnapshotCommand):
    _description = """\
Show what a snapshot of a cloud contains

Example::

    openstack gpu snapshot show cloud.snapshot"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'file',
            metavar='<file>',
            help='File that "openstack gpu snapshot save" has created',
        )
        parser.add_argument(
            '--long',
            action='store_true',
            help='List the recorded requests',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        saved = snapshots.read(parsed_args.file)
        if parsed_args.long:
            return self.present(
                saved, requests=columns.ListColumn(saved.questions())
            )
        return self.present(saved)
