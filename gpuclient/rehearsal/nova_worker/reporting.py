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
"""Run a function in a process of its own, and report how it ended."""

import collections.abc
import contextlib
import json
import os
import sys
import traceback
import typing

#: States of a service that its process reports.
READY = 'ready'
REFUSED = 'refused'
#: Longest message of a service.
LONGEST = 900

#: Called by a service when it is ready.
Ready: typing.TypeAlias = collections.abc.Callable[[], None]


def run(
    job: collections.abc.Callable[[Ready], None],
    pipe: int,
    number: int | None,
) -> typing.NoReturn:
    """Run a function, then end this process.

    :param job: Called with a function that it calls when it is ready.
    :param pipe: Where reports are written.
    :param number: The number of the service in the record of its cloud.
    """
    status = 1
    try:
        job(lambda: _report(pipe, number, READY, ''))
        status = 0
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else int(bool(exc.code))
        # A code that is a text is the message of the service.
        message = '' if isinstance(exc.code, int | None) else message_of(exc)
        _report(pipe, number, REFUSED, message)
    except BaseException as exc:
        with contextlib.suppress(Exception):
            traceback.print_exc()
            _report(pipe, number, REFUSED, message_of(exc))
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _report(pipe: int, number: int | None, state: str, message: str) -> None:
    report = json.dumps([number, state, message[:LONGEST]], ensure_ascii=False)
    # One write of this length is not mixed with another (pipe(7)).
    os.write(pipe, f'{report}\n'.encode())


def message_of(exc: BaseException) -> str:
    """Return the message of an exception on one line."""
    text = ' '.join(str(exc).split())
    return text or type(exc).__name__
