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

"""The error that a service has logged last."""

import collections.abc
import contextlib
import re

from gpuclient.rehearsal.nova_worker import reporting

#: A line of oslo.log: its level, the logger, the request and the message.
_ERROR = re.compile(
    r' (?:ERROR|CRITICAL) [\w.]+(?: \[[^\]]*\])?(?: (.*))?$', re.ASCII
)
_TRACEBACK = 'Traceback (most recent call last):'


def last_error(path: str, start: int) -> str:
    """Return the last error in a log on one line; empty where it has none.

    :param start: The offset at which the lines of this start begin.
    """
    error = ''
    in_traceback = False
    for line in _lines(path, start):
        logged = _ERROR.search(line)
        if logged is not None:
            # The last line of a traceback has the exception.
            error = (logged[1] or '').strip() or error
        elif line == _TRACEBACK:
            in_traceback = True
        elif in_traceback and line and not line.startswith(' '):
            error, in_traceback = line.strip(), False
    return error[: reporting.LONGEST]


def _lines(path: str, start: int) -> collections.abc.Iterator[str]:
    with contextlib.suppress(OSError), open(path, 'rb') as stream:
        stream.seek(start)
        for line in stream:
            yield line.decode(errors='replace').rstrip()
