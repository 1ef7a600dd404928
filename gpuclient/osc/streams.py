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

"""Standard output that is closed, full, or cannot take a character."""

import collections.abc
import contextlib
import os
import sys
import typing

from gpuclient import exceptions


def write_bytes(stream: typing.Any, content: bytes) -> None:
    """Write bytes as they are, whatever the encoding of the stream is."""
    buffer = getattr(stream, 'buffer', None)
    if buffer is None:
        stream.write(content.decode('utf-8', 'surrogateescape'))
        return
    stream.flush()
    buffer.write(content)
    buffer.flush()


@contextlib.contextmanager
def guarded(stream: typing.Any) -> collections.abc.Iterator[None]:
    """Raise what goes wrong with output as one error of ours.

    :raises gpuclient.exceptions.OutputError: It cannot be written.
    """
    if stream is None:
        # What Python makes of a closed one.
        raise _not_written('it is closed')
    if getattr(stream, 'errors', None) == 'strict':
        # What the locale has no character for is shown by its number.
        stream.reconfigure(errors='backslashreplace')
    try:
        yield
        stream.flush()
    except OSError as exc:
        _discard(stream)
        raise _not_written(exc.strerror or str(exc)) from exc
    except exceptions.GPUError:
        raise
    except ValueError as exc:
        # cliff knows the names of columns only when all is done.
        raise exceptions.OutputError(f'Cannot show the result: {exc}') from exc


def _discard(stream: typing.Any) -> None:
    """Let what is still to be flushed at the end go nowhere."""
    if stream is not sys.stdout:
        return
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _not_written(reason: str) -> exceptions.OutputError:
    return exceptions.OutputError(f'Cannot write to standard output: {reason}')
