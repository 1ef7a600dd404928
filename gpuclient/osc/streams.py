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

"""Write to a standard output that may be closed, full or limited."""

import collections.abc
import contextlib
import os
import sys
import typing

from gpuclient import exceptions


def write_bytes(stream: typing.Any, content: bytes) -> None:
    """Write bytes, regardless of the encoding of the stream."""
    buffer = getattr(stream, 'buffer', None)
    if buffer is None:
        stream.write(content.decode('utf-8', 'surrogateescape'))
        return
    stream.flush()
    buffer.write(content)
    buffer.flush()


@contextlib.contextmanager
def guarded(stream: typing.Any) -> collections.abc.Iterator[None]:
    """Translate the errors of writing output.

    :raises BrokenPipeError: The reader has closed it, as ``head`` does. The
        shell then exits with status 141, without a message.
    :raises gpuclient.exceptions.OutputError: It cannot be written.
    """
    if stream is None:
        # Python has no object for a closed one.
        raise _not_written('it is closed')
    if getattr(stream, 'errors', None) == 'strict':
        # Escape characters that the locale does not support.
        stream.reconfigure(errors='backslashreplace')
    try:
        yield
        stream.flush()
    except BrokenPipeError:
        _discard(stream)
        raise
    except OSError as exc:
        _discard(stream)
        raise _not_written(exc.strerror or str(exc)) from exc
    except exceptions.GPUError:
        raise
    except ValueError as exc:
        # cliff validates the names of columns after the command.
        raise exceptions.OutputError(f'Cannot show the result: {exc}') from exc


def _discard(stream: typing.Any) -> None:
    """Discard what Python would flush at exit."""
    if stream is not sys.stdout:
        return
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _not_written(reason: str) -> exceptions.OutputError:
    return exceptions.OutputError(f'Cannot write to standard output: {reason}')
