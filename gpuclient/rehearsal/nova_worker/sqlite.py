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

"""Let SQLite wait for a lock instead of failing.

oslo.db opens each SQLite transaction with a deferred ``BEGIN``. If such a
transaction reads, and writes after another connection has committed, it fails
with ``database is locked`` without waiting for the timeout. So a transaction
that may write takes the write lock when it begins, and waits for it. Readers
stay deferred; with the write-ahead log they are never blocked.
"""

import contextlib
import threading
import typing

from oslo_db.sqlalchemy import enginefacade
import sqlalchemy.engine
from sqlalchemy import event

_local = threading.local()
_READERS = (enginefacade._READER, enginefacade._ASYNC_READER)


def install() -> None:
    """Change oslo.db for this process and those forked from it."""
    for name in ('_session', '_connection'):
        original = getattr(enginefacade._TransactionContext, name)
        setattr(enginefacade._TransactionContext, name, _track(original))
    event.listen(
        sqlalchemy.engine.Engine, 'before_cursor_execute', _begin, retval=True
    )


def _track(original: typing.Any) -> typing.Any:
    """Remember the mode of the innermost transaction of the thread."""

    @contextlib.contextmanager
    def tracked(
        self: typing.Any, *args: typing.Any, **kwargs: typing.Any
    ) -> typing.Iterator[typing.Any]:
        modes = _local.__dict__.setdefault('modes', [])
        modes.append(self.mode)
        try:
            with original(self, *args, **kwargs) as resource:
                yield resource
        finally:
            modes.pop()

    return tracked


def _begin(
    connection: typing.Any,
    cursor: typing.Any,
    statement: str,
    parameters: typing.Any,
    context: typing.Any,
    executemany: bool,
) -> tuple[str, typing.Any]:
    if statement == 'BEGIN' and connection.dialect.name == 'sqlite':
        modes = _local.__dict__.get('modes')
        if not modes or modes[-1] not in _READERS:
            statement = 'BEGIN IMMEDIATE'
    return statement, parameters
