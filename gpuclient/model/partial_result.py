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

"""Results from several sources, some of which may have failed.

No result is silently partial: a function that reads several sources returns
a :class:`Failure` for each source that failed.
"""

import dataclasses
import typing

from gpuclient import text

T = typing.TypeVar('T')


@dataclasses.dataclass(frozen=True)
class Failure:
    """A source that failed, so that rows or values may be missing."""

    #: What was read, in words of the user: ``inventories of 0000:04:00.0 on
    #: edpm-compute-0``.
    source: str
    #: The reason, as the server gave it.
    reason: str

    def __str__(self) -> str:
        return text.one_line(f'{self.source}: {self.reason}')


@dataclasses.dataclass(frozen=True)
class PartialResult(typing.Generic[T]):
    """A value, and the sources that are missing from it."""

    value: T
    #: Sources whose rows may be missing from the value.
    failures: tuple[Failure, ...] = ()
