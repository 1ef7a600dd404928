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

"""Clouds that a command starts for itself, and deletes at its end."""

import collections.abc
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import typing

from gpuclient import exceptions
from gpuclient.model import release as releases
from gpuclient.rehearsal import control
from gpuclient.rehearsal import launch
from gpuclient.rehearsal import state


@contextlib.contextmanager
def temporary(
    document: typing.Any,
    say: launch.Say | None = None,
    release: releases.Release | None = None,
) -> collections.abc.Iterator[control.RehearsalCloud]:
    """Start a cloud that is deleted at the end, with all its files.

    SIGTERM and SIGHUP end the block, too, as ``SystemExit``; no signal
    interrupts the stop.

    :param document: The spec.
    :param say: Called with each line of progress.
    :param release: The release of Nova; the installed one by default.
    :returns: The cloud. Where a service of Nova did not start, its state may
        be ``failed``.
    :raises InvalidValue: The spec is invalid.
    :raises RehearsalError: The cloud did not start.
    """
    with _exit_on(signal.SIGTERM, signal.SIGHUP):
        path = tempfile.mkdtemp(prefix='gpu-rehearse-')
        folder = state.StateFolder(os.path.basename(path), path)
        try:
            yield _start(folder, document, say, os.getpid(), release)
        finally:
            _stop_and_delete(folder)


def _stop_and_delete(folder: state.StateFolder) -> None:
    with _ignore(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        try:
            if folder.exists():
                control.stop(folder)
        finally:
            shutil.rmtree(folder.path, ignore_errors=True)


@contextlib.contextmanager
def kept(
    folder: state.StateFolder,
    document: typing.Any,
    say: launch.Say | None = None,
    bound_to: int | None = None,
    release: releases.Release | None = None,
) -> collections.abc.Iterator[control.RehearsalCloud]:
    """Start a cloud that keeps running; otherwise as :func:`temporary`.

    :param bound_to: The ID of a process: the cloud stops when that process
        ends.
    :param release: The release of Nova; the installed one by default.
    :raises RehearsalError: The folder has a cloud already.
    """
    if folder.exists():
        raise exceptions.RehearsalError(
            f'Rehearsal cloud {folder.name} exists already: choose another '
            f'name, or delete it with "openstack gpu rehearsal stop '
            f'{folder.name} --delete"'
        )
    yield _start(folder, document, say, bound_to, release)


def _start(
    folder: state.StateFolder,
    document: typing.Any,
    say: launch.Say | None,
    bound_to: int | None,
    release: releases.Release | None,
) -> control.RehearsalCloud:
    """Start a cloud; also return one in which Nova did not start."""
    try:
        return control.start(folder, document, say, bound_to, release)
    except exceptions.RehearsalError:
        if folder.exists():
            cloud = control.look(folder)
            if any(
                service.name.startswith('nova-')
                for service in cloud.record.refused
            ):
                return cloud
        raise


@contextlib.contextmanager
def _exit_on(
    *numbers: signal.Signals,
) -> collections.abc.Iterator[None]:
    """Raise ``SystemExit`` on signals."""

    def leave(number: int, _frame: object) -> typing.NoReturn:
        # The status that a shell reports after a signal.
        sys.exit(128 + number)

    with _handle(leave, *numbers):
        yield


@contextlib.contextmanager
def _ignore(*numbers: signal.Signals) -> collections.abc.Iterator[None]:
    with _handle(signal.SIG_IGN, *numbers):
        yield


@contextlib.contextmanager
def _handle(
    handler: typing.Any, *numbers: signal.Signals
) -> collections.abc.Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
