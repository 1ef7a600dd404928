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
import contextlib
import dataclasses
import enum
import re
import sys
import threading
import time
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
    from gpuclient.osc import columns
    from gpuclient.osc import streams

if typing.TYPE_CHECKING:
    from openstack.config import cloud_region

    from gpuclient.model import partial_result

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


#: Seconds after which whoever watches is told what is waited for.
_SILENCE = 10.0
#: Seconds for all that a command asks that also works without a cloud.
_OPTIONAL = 30.0


class CloudUse(enum.Enum):
    """What a command has to do with a cloud."""

    #: It does not work without one.
    NEEDED = enum.auto()
    #: It asks one that is there, and works without.
    OPTIONAL = enum.auto()
    #: It asks none.
    UNUSED = enum.auto()


class Command(command.Command):
    app: _App

    #: What it has to do with a cloud.
    use_of_cloud = CloudUse.NEEDED

    # The shell would authenticate before it reads the options of a command,
    # --timeout among them: we do it after that.
    auth_required = False

    _status = 0
    _timeout: float | None = None
    #: What it has made or changed so far: a sentence for whoever does not get
    #: to see the answer.
    done = ''

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        # Beside what cliff does with the help of options.
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
                    'Seconds to wait for an answer of a service (default: '
                    'api_timeout of clouds.yaml, or 60)'
                ),
            )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        self._timeout = getattr(parsed_args, 'timeout', None)
        # cliff's display commands always answer 0 (cliff/display.py:run).
        self._status = 0
        self.done = ''
        try:
            return self._run_watched(parsed_args)
        except exceptions.GPUError as exc:
            if self.done:
                exc.add(self.done)
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
                # Their words are those of a server.
                raise exceptions.CloudError(str(exc)) from exc
            except request.BELIEVED as exc:
                # The SDK asks a service for its versions where it is first
                # named.
                if not request.is_of_library(exc):
                    raise
                raise exceptions.Unreachable(
                    'A service of this cloud does not say in a known form '
                    f'which versions it has: {exc}'
                ) from exc

    def authenticate(self) -> None:
        """Let the shell authenticate, as for a command of its own."""
        options = self.app.options
        patience = self._patience(self._region(validate=False))
        of_shell = getattr(options, 'api_timeout', None)
        # So the request for a token is bounded, too.
        options.api_timeout = patience.read
        self.auth_required = True
        try:
            self.app.prepare_to_run_command(self)
        finally:
            # Where the shell is interactive, the next command has its own.
            options.api_timeout = of_shell
        request.set_patience(self.cloud.session, patience)

    def _region(self, *, validate: bool) -> cloud_region.CloudRegion:
        """Return what clouds.yaml, environment and options say of a cloud."""
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
                'api_timeout of the cloud in clouds.yaml is not a number '
                f'of seconds above 0: {text.one_line(str(seconds))[:200]}'
            ) from exc

    def bound(
        self, cloud: connection.Connection, total: float | None = None
    ) -> None:
        """Bound how long the services of a cloud are waited for.

        :param total: Seconds for all of them together, from now on.
        """
        patience = self._patience(cloud.config)
        if total is not None and self._timeout is None:
            patience = request.Patience.of(min(patience.read, total / 3))
        request.set_patience(
            cloud.session, dataclasses.replace(patience, total=total)
        )

    @contextlib.contextmanager
    def _watched(self) -> collections.abc.Iterator[None]:
        """Tell whoever watches what is waited for, if that takes long."""
        if self.use_of_cloud is CloudUse.UNUSED or not sys.stderr.isatty():
            yield
            return
        asked = ('', 0.0)
        done = threading.Event()

        def observe(what: str) -> None:
            nonlocal asked
            asked = (what, time.monotonic())

        def watch() -> None:
            while not done.wait(_SILENCE):
                what, since = asked
                seconds = time.monotonic() - since
                if what and seconds >= _SILENCE:
                    self.say(
                        f'{text.one_line(what)}: no answer for {seconds:.0f} '
                        'seconds'
                    )

        request.observers.append(observe)
        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            done.set()
            request.observers.remove(observe)

    def report(
        self, failures: collections.abc.Iterable[partial_result.Failure]
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

        For commands of :attr:`CloudUse.OPTIONAL`: what it asks is bounded in
        total, unless it is required.

        :param required: Fail where there is none.
        :returns: The connection and an empty text, or None and the reason
            why there is none.
        """
        try:
            cloud = connection.Connection(config=self._region(validate=True))
            self.bound(cloud, None if required else _OPTIONAL)
            cloud.authorize()
        except Exception as exc:
            # Every kind of misconfiguration has an exception of its own in
            # three libraries; all of them mean that there is no cloud.
            reason = text.one_line(str(exc))
            if required:
                raise exceptions.Unreachable(
                    f'The cloud does not answer: {reason}'
                ) from exc
            return None, reason
        return cloud, ''

    @property
    def knows_cloud(self) -> bool:
        """Whether there are credentials, so that a cloud could be asked."""
        try:
            config = self._region(validate=False).config
        except Exception:
            # A cloud of that name is not in clouds.yaml, which cannot be
            # read: one is meant all the same.
            return True
        return any(
            settings.get(name)
            for settings in (config, config.get('auth') or {})
            for name in ('auth_url', 'endpoint')
        )


class _Display(Command):
    """What commands that show rows or an object have in common."""

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


class ShowOne(_Display, show.ShowOne):
    """A command that shows one object."""

    #: What it writes in place of that, as a filter.
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


def _seconds(value: str | float) -> float:
    """Return a time that can be waited for."""
    try:
        seconds = float(value)
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
