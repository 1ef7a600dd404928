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

"""Read which findings are muted, and leave them out."""

import collections.abc
import dataclasses
import typing

from gpuclient import exceptions
from gpuclient.rules import mute

T = typing.TypeVar('T')
#: A file of mutes is not larger than this, in bytes.
_LARGEST = 2**20


@dataclasses.dataclass
class Mutes:
    """Which findings are muted, and how many were."""

    mutes: tuple[mute.Mute, ...] = ()
    count: int = 0

    def reported(
        self,
        findings: collections.abc.Iterable[T],
        name: collections.abc.Callable[
            [T], tuple[str | None, collections.abc.Iterable[str]]
        ],
    ) -> tuple[T, ...]:
        """Return the findings that are not muted; count the others.

        :param name: Returns the code of a finding, and the names of its
            object.
        """
        reported = []
        for finding in findings:
            code, names = name(finding)
            names = tuple(names)
            if code is not None and any(
                muted.matches(code, names) for muted in self.mutes
            ):
                self.count += 1
            else:
                reported.append(finding)
        return tuple(reported)


def read(
    texts: collections.abc.Iterable[str],
    paths: collections.abc.Iterable[str],
) -> Mutes:
    """Return the mutes of options and files.

    :param texts: ``CODE`` or ``CODE=OBJECT``.
    :param paths: Files with one on each line.
    :raises gpuclient.exceptions.GPUError: One is invalid, or a file cannot be
        read.
    """
    mutes = [mute.parse(text) for text in texts]
    for path in paths:
        try:
            with open(path, 'rb') as stream:
                content = stream.read(_LARGEST + 1)
            text = content.decode().removeprefix('\ufeff')
        except (OSError, ValueError) as exc:
            reason = getattr(exc, 'strerror', None) or 'is not UTF-8 text'
            raise exceptions.DocumentError(f'{path}: {reason}') from exc
        if len(content) > _LARGEST:
            raise exceptions.DocumentError(
                f'{path}: is larger than {_LARGEST // 2**20} MiB'
            )
        try:
            mutes += mute.parse_lines(text.splitlines())
        except exceptions.InvalidValue as exc:
            raise exceptions.DocumentError(f'{path}, {exc}') from exc
    return Mutes(tuple(mutes))
