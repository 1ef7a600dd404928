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

"""Typed bases of the commands, and the rules that all of them follow.

* Data goes to stdout, errors and warnings to stderr.
* If a source does not answer, the other rows are shown, a line on stderr names
  the source, and the exit status is 1 (:meth:`Command.report`).
* A check with findings exits with :data:`FOUND` (:meth:`Command.found`).
"""

from __future__ import annotations

import argparse
import collections.abc
import contextlib
import dataclasses
import datetime
import enum
import re
import sys
import threading
import typing

from cliff import lister
from cliff import show
from keystoneauth1 import exceptions as ksa_exceptions
from openstack import connection
from openstack import exceptions as sdk_exceptions
from openstackclient.common import clientmanager
from openstackclient import shell
from osc_lib.command import command

from gpuclient import exceptions
from gpuclient.osc import lazy_imports
from gpuclient import text

with lazy_imports.deferred():
    from gpuclient.cloud import keystone
    from gpuclient.cloud import request
    from gpuclient.operations import release_choice
    from gpuclient.operations import snapshots
    from gpuclient.osc import columns
    from gpuclient.osc import streams

if typing.TYPE_CHECKING:
    from openstack.config import cloud_region

    from gpuclient.model import partial_result
    from gpuclient.model import release as release_model

#: Exit status of a command that failed, or whose result is incomplete.
FAILED = 1
#: Exit status of a check with findings.
FOUND = 3


class _ClientManager(clientmanager.ClientManager):
    gpu: connection.Connection


class _App(shell.OpenStackShell):
    client_manager: _ClientManager


class _HelpFormatter(argparse.HelpFormatter):
    """Preserves paragraphs and indented examples.

    Descriptions are reStructuredText, for the documentation.
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


#: Seconds of silence after which a terminal shows what is waited for.
_SILENCE = 10.0
#: Seconds for all requests of a command that also works without a cloud.
_OPTIONAL = 30.0


class CloudUse(enum.Enum):
    """Whether a command uses a cloud."""

    #: It does not work without one.
    NEEDED = enum.auto()
    #: It also works without one.
    OPTIONAL = enum.auto()
    #: It never uses one.
    UNUSED = enum.auto()


class Command(command.Command):
    app: _App

    #: Whether it uses a cloud.
    use_of_cloud = CloudUse.NEEDED

    #: Whether it can read a snapshot in place of a cloud: it sends only
    #: requests that :mod:`gpuclient.operations.snapshot_reads` records.
    reads_snapshots = False
    _snapshot: str | None = None
    _replayed: connection.Connection | None = None

    # The shell would authenticate before it parses the options of a command,
    # such as --timeout; run() authenticates after that.
    auth_required = False

    _status = 0
    _timeout: float | None = None
    #: The fields of the release of Nova that decided, for objects.
    release_fields: collections.abc.Mapping[str, typing.Any] = {}
    #: What it has created or changed so far, for the message of a failure.
    done = ''

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        # In addition to the formatter of cliff.
        bases: tuple[typing.Any, ...] = (
            _HelpFormatter,
            parser.formatter_class,
        )
        formatter: typing.Any = type('HelpFormatter', bases, {})
        parser.formatter_class = formatter
        if self.use_of_cloud is not CloudUse.UNUSED:
            parser.add_argument(
                '--timeout',
                metavar='<seconds>',
                type=_seconds,
                help=(
                    'Seconds to wait for a service to respond (default: '
                    'api_timeout of clouds.yaml, or 60)'
                ),
            )
        if self.reads_snapshots:
            parser.add_argument(
                '--snapshot',
                metavar='<file>',
                help=(
                    'Read this file, which "openstack gpu snapshot save" has '
                    'created, in place of a cloud'
                ),
            )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        self._timeout = getattr(parsed_args, 'timeout', None)
        self._snapshot = getattr(parsed_args, 'snapshot', None)
        self._replayed = None
        # Display commands of cliff always return 0 (cliff/display.py:run).
        self._status = 0
        self.done = ''
        try:
            return self._run_watched(parsed_args)
        except exceptions.GPUError as exc:
            if self.done:
                exc.add(self.done)
            raise
        except BrokenPipeError:
            # The shell exits with status 141, without a message.
            if self.done:
                self.app.stderr.write(f'{columns.escape_lines(self.done)}\n')
            raise
        except KeyboardInterrupt:
            # The shell exits with status 130, without a message.
            if self.done:
                line = columns.escape_lines(f'Interrupted. {self.done}')
                self.app.stderr.write(f'\n{line}\n')
            raise

    def _run_watched(self, parsed_args: argparse.Namespace) -> int:
        with self._watched():
            try:
                if self.use_of_cloud is CloudUse.NEEDED:
                    self.authenticate()
                return super().run(parsed_args) or self._status
            except (
                ksa_exceptions.ClientException,
                sdk_exceptions.SDKException,
            ) as exc:
                silent = request.unavailable(exc)
                if silent is not None:
                    raise exceptions.Unreachable(
                        f'{silent[0].upper()}{silent[1:]}'
                    ) from exc
                # The message is that of a server.
                raise exceptions.CloudError(str(exc)) from exc
            except request.DISCOVERY_ERRORS as exc:
                # The SDK discovers the versions of a service when the service
                # is first used.
                if not request.is_of_library(exc):
                    raise
                raise exceptions.Unreachable(
                    'Cannot parse the version document of a service of this '
                    f'cloud: {exc}'
                ) from exc

    def authenticate(self) -> None:
        """Let the shell authenticate, as for a core command.

        With ``--snapshot``, read that instead.
        """
        if self._snapshot is not None:
            self._replayed = self._open_snapshot(self._snapshot)
            return
        options = self.app.options
        patience = self._patience(self._region(validate=False))
        of_shell = getattr(options, 'api_timeout', None)
        # Bounds the request for a token, too.
        options.api_timeout = patience.read
        self.auth_required = True
        try:
            self.app.prepare_to_run_command(self)
        except sdk_exceptions.ConfigException as exc:
            if self.knows_cloud:
                raise
            raise exceptions.InvalidValue(
                'No cloud is configured: set OS_CLOUD or pass --os-cloud with '
                f'a cloud of clouds.yaml, or source an openrc file ({exc})'
            ) from exc
        except TypeError as exc:
            reason = self._bad_credentials(exc)
            if reason is None:
                raise
            raise exceptions.InvalidValue(reason) from exc
        finally:
            # An interactive shell may run another command.
            options.api_timeout = of_shell
        request.set_patience(self.cloud.session, patience)

    def _open_snapshot(self, path: str) -> connection.Connection:
        """Return the connection of a snapshot, and say what it is of."""
        saved = snapshots.read(path)
        line = saved.describe(datetime.datetime.now(datetime.UTC))
        self.app.stderr.write(f'{text.one_line(line)}\n')
        return snapshots.connect(saved)

    def _bad_credentials(self, exc: Exception) -> str | None:
        """Return why the plugin of ``auth_type`` refuses the credentials.

        :returns: None if it does not: keystoneauth passes all credentials to
            it, as arguments of a function that may not have them.
        """
        match = re.search("unexpected keyword argument '(.*)'", str(exc))
        if match is None:
            return None
        auth_type = self._region(validate=False).config.get('auth_type')
        return (
            f'auth_type {auth_type!r} does not support {match[1]}: remove '
            f'{match[1]} from the credentials of the cloud, or change '
            'auth_type'
        )

    def _region(self, *, validate: bool) -> cloud_region.CloudRegion:
        """Return the settings of clouds.yaml, environment and options."""
        options = self.app.options
        region: cloud_region.CloudRegion = self.app.cloud_config.get_one(
            cloud=options.cloud, argparse=options, validate=validate
        )
        return region

    def _patience(self, region: cloud_region.CloudRegion) -> request.Patience:
        seconds = self._timeout or region.config.get('api_timeout')
        if seconds is None:
            return request.Patience()
        try:
            return request.Patience.of(_seconds(seconds))
        except (TypeError, ValueError, argparse.ArgumentTypeError) as exc:
            raise exceptions.InvalidValue(
                'api_timeout of the cloud in clouds.yaml is not a number of '
                f'seconds greater than 0: {text.one_line(str(seconds))[:200]}'
            ) from exc

    def bound(
        self, cloud: connection.Connection, total: float | None = None
    ) -> None:
        """Bound how long to wait for the services of a cloud.

        :param total: Seconds for all requests together, from now on.
        """
        patience = self._patience(cloud.config)
        if total is not None and self._timeout is None:
            patience = request.Patience.of(min(patience.read, total / 3))
        request.set_patience(
            cloud.session, dataclasses.replace(patience, total=total)
        )

    @contextlib.contextmanager
    def _watched(self) -> collections.abc.Iterator[None]:
        """Show on a terminal what is waited for, if that takes long."""
        if self.use_of_cloud is CloudUse.UNUSED or not sys.stderr.isatty():
            yield
            return
        done = threading.Event()

        def watch() -> None:
            while not done.wait(_SILENCE):
                action, seconds = request.oldest_pending() or ('', 0.0)
                if seconds >= _SILENCE:
                    self.say(
                        f'{text.one_line(action)}: no response for '
                        f'{seconds:.0f} seconds'
                    )

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            done.set()

    @contextlib.contextmanager
    def for_administrators(self) -> collections.abc.Iterator[None]:
        """Say who can use a command that policy refuses to a member."""
        try:
            yield
        except exceptions.Forbidden as exc:
            if 'administrators only' not in str(exc):
                exc.add(
                    'This command is for administrators only. As a member of '
                    'a project, list your servers with "openstack gpu server '
                    'list"'
                )
            raise

    def report(
        self, failures: collections.abc.Iterable[partial_result.Failure]
    ) -> None:
        """Report sources that did not answer; the exit status is 1 then."""
        for failure in failures:
            self.log.error('%s', failure)
            self._status = FAILED

    def release_of_cloud(
        self, parsed_args: argparse.Namespace
    ) -> release_model.Release:
        """Return the release of Nova that a command on a cloud uses.

        That of the options :func:`gpuclient.osc.options.add_release`, or what
        files or the cloud name.
        """
        chosen = release_choice.choose_with_cloud(
            parsed_args.release, getattr(parsed_args, 'files', ()), self.cloud
        )
        self.note_release(chosen)
        return chosen.release

    def note_release(self, chosen: release_choice.ChosenRelease) -> None:
        """Show on standard error which release of Nova decides.

        The default is only shown on a terminal. Objects that a command shows
        have :attr:`release_fields`; lists have rows only.
        """
        self.release_fields = {
            name: columns.TextColumn(value)
            for name, value in chosen.fields.items()
        }
        for warning in chosen.warnings:
            self.log.warning('%s', text.one_line(warning))
        if chosen.named is None:
            self.say(str(chosen))
        elif chosen.is_notable:
            self.app.stderr.write(columns.escape_lines(f'{chosen}\n'))

    def found(self) -> None:
        """Set exit status :data:`FOUND`, unless something failed."""
        self._status = self._status or FOUND

    def note_muted(self, count: int) -> None:
        """Show on standard error how many findings were left out."""
        if count:
            noun = 'finding is' if count == 1 else 'findings are'
            self.app.stderr.write(f'{count} {noun} muted\n')

    def fail(self) -> None:
        """Set exit status :data:`FAILED`."""
        self._status = FAILED

    @staticmethod
    def say(line: str) -> None:
        """Show a line of progress on a terminal."""
        if sys.stderr.isatty():
            sys.stderr.write(f'{line}\n')
            sys.stderr.flush()

    @property
    def cloud(self) -> connection.Connection:
        """The connection of the shell, which is authenticated."""
        if self._replayed is not None:
            return self._replayed
        return self.app.client_manager.gpu

    def project_id(self, parsed_args: argparse.Namespace) -> str | None:
        """Return the id of the project of ``--project``, if it is given.

        :raises gpuclient.exceptions.CloudError: There is no such project, or
            more than one.
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

        For commands of :attr:`CloudUse.OPTIONAL`: the time of all requests
        together is bounded, unless the connection is required.

        :param required: Fail if there is no connection.
        :returns: The connection and an empty string, or None and the reason
            why there is none.
        """
        if self._snapshot is not None:
            self.authenticate()
            return self.cloud, ''
        try:
            cloud = connection.Connection(config=self._region(validate=True))
            self.bound(cloud, None if required else _OPTIONAL)
            cloud.authorize()
        except Exception as exc:
            # Three libraries raise different exceptions for each kind of
            # misconfiguration; all of them mean that there is no cloud.
            reason = text.one_line(self._bad_credentials(exc) or str(exc))
            if required:
                raise exceptions.Unreachable(
                    f'The cloud does not respond: {reason}'
                ) from exc
            return None, reason
        return cloud, ''

    @property
    def knows_cloud(self) -> bool:
        """Whether there are credentials for a cloud."""
        try:
            config = self._region(validate=False).config
        except Exception:
            # clouds.yaml cannot be read, or lacks the cloud that is named.
            return True
        return any(
            settings.get(name)
            for settings in (config, config.get('auth') or {})
            for name in ('auth_url', 'endpoint')
        )


class _Display(Command):
    """Base of commands that show rows or an object."""

    formatter: typing.Any

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: collections.abc.Sequence[str],
        data: typing.Any,
    ) -> int:
        self.formatter = columns.Border(parsed_args.formatter, self.formatter)
        display: typing.Any = super()
        with streams.guarded(self.app.stdout):
            status: int = display.produce_output(
                parsed_args, column_names, data
            )
        return status


class Lister(_Display, lister.Lister):
    """A command that shows rows."""

    #: Whether a table on a terminal is made as narrow as the terminal, as
    #: with --fit-width: it has sentences.
    fits_terminal = False
    #: Column of sentences with commands, of rows that have it. Long ones are
    #: below a table, on a line each, so that the commands can be copied.
    sentences = ''
    #: Columns that name what a sentence is about: of each group, the first
    #: one that is not empty. Rows with the same first name and sentence share
    #: a line.
    labels: tuple[tuple[str, ...], ...] = ()

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: collections.abc.Sequence[str],
        data: typing.Any,
    ) -> int:
        if (
            self.sentences not in column_names
            or parsed_args.formatter != 'table'
            or parsed_args.columns
        ):
            return super().produce_output(parsed_args, column_names, data)
        rows, lines = columns.move_sentences(
            column_names, data, self.sentences, self.labels
        )
        status = super().produce_output(parsed_args, column_names, rows)
        with streams.guarded(self.app.stdout):
            for line in lines:
                self.app.stdout.write(f'\n{line}\n')
        return status

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        if self.fits_terminal:
            parser.set_defaults(fit_width=True)
        return parser


class ShowOne(_Display, show.ShowOne):
    """A command that shows an object."""

    #: Document to write instead of the object, as a filter.
    document: bytes | None = None

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: collections.abc.Sequence[str],
        data: collections.abc.Sequence[typing.Any],
    ) -> int:
        if self.document is None:
            return super().produce_output(parsed_args, column_names, data)
        with streams.guarded(self.app.stdout):
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
                    self.log.warning('%s', text.one_line(warning))
        streams.write_bytes(self.app.stdout, document)


def reason(exc: Exception) -> str:
    """Return why a cloud could not be read."""
    return request.unavailable(exc) or str(exc)


def _seconds(value: str | float) -> float:
    """Return a number of seconds; the type of an option."""
    try:
        # float() also takes digits of other scripts.
        seconds = float(value) if str(value).isascii() else 0
    except ValueError:
        seconds = 0
    if not 0 < seconds < float('inf'):
        raise argparse.ArgumentTypeError(
            f'{value!r} is not a number of seconds greater than 0'
        )
    return seconds


Rows: typing.TypeAlias = tuple[
    tuple[str, ...], collections.abc.Sequence[tuple[typing.Any, ...]]
]
