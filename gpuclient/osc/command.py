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

"""Typed bases of our commands, and the rules that all of them keep.

* Bad news that a command cannot mend goes to stderr, the data to stdout.
* A source that did not answer: the rows that there are on stdout, one line a
  failed source on stderr, exit status 1 (:meth:`Command.report`).
* A check that ran and found something exits with :data:`FOUND`
  (:meth:`Command.found`).
"""

from __future__ import annotations

import argparse
import collections.abc
import re
import sys
import typing

from cliff import lister
from cliff import show
from openstack import connection
from openstackclient.common import clientmanager
from openstackclient import shell
from osc_lib.command import command

from gpuclient import exceptions
from gpuclient.i18n import _
from gpuclient.osc import lazy

with lazy.imports():
    from gpuclient.cloud import keystone
    from gpuclient.osc import streams

if typing.TYPE_CHECKING:
    from gpuclient.model import answer

#: Exit status of a command that failed, or whose answer is partial.
FAILED = 1
#: Exit status of a check that ran and found something.
FOUND = 3


class _ClientManager(clientmanager.ClientManager):
    gpu: connection.Connection


class _App(shell.OpenStackShell):
    client_manager: _ClientManager


class _HelpFormatter(argparse.HelpFormatter):
    """Keeps paragraphs apart, and examples as they are written.

    Descriptions are reStructuredText, of which the documentation is made.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return '\n\n'.join(
            paragraph
            if paragraph.startswith(' ')
            else super(_HelpFormatter, self)._fill_text(
                re.sub(r'::$', ':', paragraph), width, indent
            )
            for paragraph in re.split(r'\n\s*?\n', text)
        )


class Command(command.Command):
    app: _App

    _status = 0
    #: Paths of files that it has written.
    written: tuple[str, ...] = ()

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        # Beside what cliff does with the help of options.
        bases: tuple[typing.Any, ...] = (
            _HelpFormatter,
            parser.formatter_class,
        )
        formatter: typing.Any = type('HelpFormatter', bases, {})
        parser.formatter_class = formatter
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        # cliff's display commands always answer 0 (cliff/display.py:run).
        self._status = 0
        return super().run(parsed_args) or self._status

    def report(
        self, failures: collections.abc.Iterable[answer.Failure]
    ) -> None:
        """Say which sources did not answer and let the run fail for it."""
        for failure in failures:
            self.log.error('%s', failure)
            self._status = FAILED

    def found(self) -> None:
        """Let the run end with :data:`FOUND`, unless something failed."""
        self._status = self._status or FOUND

    @staticmethod
    def say(line: str) -> None:
        """Tell whoever watches how a long run goes on."""
        if sys.stderr.isatty():
            sys.stderr.write(f'{line}\n')
            sys.stderr.flush()

    @property
    def cloud(self) -> connection.Connection:
        """The connection of this run; the shell has authenticated it."""
        return self.app.client_manager.gpu

    def project_id(self, parsed_args: argparse.Namespace) -> str | None:
        """Return the id of the project that ``--project`` names, if it does.

        :raises gpuclient.exceptions.CloudError: There is none, or more than
            one.
        """
        if parsed_args.project is None:
            return None
        return keystone.find_project(
            self.cloud, parsed_args.project, parsed_args.project_domain
        )

    def optional_connection(
        self, required: bool = False
    ) -> tuple[connection.Connection | None, str]:
        """Return a connection for a command that also works without one.

        For commands with ``auth_required = False``: the shell then leaves
        the credentials alone.

        :param required: Fail where there is none.
        :returns: The connection and an empty text, or None and the reason
            why there is none.
        """
        options = self.app.options
        try:
            region = self.app.cloud_config.get_one(
                cloud=options.cloud, argparse=options
            )
            cloud = connection.Connection(config=region)
            cloud.authorize()
        except Exception as exc:
            # Every kind of misconfiguration has an exception of its own in
            # three libraries; all of them mean that there is no cloud.
            reason = ' '.join(str(exc).split())
            if required:
                raise exceptions.Unreachable(
                    _('The cloud cannot be asked: %(reason)s')
                    % {'reason': reason}
                ) from exc
            return None, reason
        return cloud, ''


class Lister(Command, lister.Lister):
    """A command that shows rows."""

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: collections.abc.Sequence[str],
        data: collections.abc.Iterable[typing.Any],
    ) -> int:
        with streams.guarded(self.app.stdout, self.written):
            return super().produce_output(parsed_args, column_names, data)


class ShowOne(Command, show.ShowOne):
    """A command that shows one object."""

    #: What it writes in place of that, as a filter.
    document: bytes | None = None

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: collections.abc.Sequence[str],
        data: collections.abc.Sequence[typing.Any],
    ) -> int:
        with streams.guarded(self.app.stdout, self.written):
            if self.document is None:
                return super().produce_output(parsed_args, column_names, data)
            self._write_document(self.document, column_names, data)
        return 0

    def _write_document(
        self,
        document: bytes,
        column_names: collections.abc.Sequence[str],
        data: collections.abc.Sequence[typing.Any],
    ) -> None:
        for name, value in zip(column_names, data, strict=True):
            if name == 'warnings':
                for warning in value.machine_readable():
                    self.log.warning('%s', warning)
        streams.write_bytes(self.app.stdout, document)


Rows: typing.TypeAlias = tuple[
    tuple[str, ...], collections.abc.Sequence[tuple[typing.Any, ...]]
]
