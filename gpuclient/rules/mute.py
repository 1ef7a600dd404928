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

"""Findings that an operator knows and does not want to see."""

import collections.abc
import dataclasses
import fnmatch
import re

from gpuclient import exceptions

_CODE = re.compile('GPU[0-9]{3}', re.ASCII)


@dataclasses.dataclass(frozen=True)
class Mute:
    """A code that is not reported, for all objects or for some."""

    code: str
    #: Name of the object, in which ``*`` matches any text; None for all.
    pattern: str | None = None

    def matches(self, code: str, names: collections.abc.Iterable[str]) -> bool:
        """Return whether a finding is muted.

        :param names: The names of its object.
        """
        if code != self.code:
            return False
        if self.pattern is None:
            return True
        # Only * is special: names of devices and files may have brackets.
        pattern = re.sub(r'([\[?])', r'[\1]', self.pattern)
        return any(fnmatch.fnmatchcase(name, pattern) for name in names)

    def __str__(self) -> str:
        return (
            self.code
            if self.pattern is None
            else f'{self.code}={self.pattern}'
        )


def parse(text: str) -> Mute:
    """Return the mute of ``CODE`` or ``CODE=OBJECT``.

    :raises gpuclient.exceptions.InvalidValue: It is anything else.
    """
    code, equals, pattern = text.strip().partition('=')
    code, pattern = code.strip(), pattern.strip()
    if not _CODE.fullmatch(code) or (equals and not pattern):
        raise exceptions.InvalidValue(
            f'{text.strip()[:80]!r} is not CODE or CODE=OBJECT, such as '
            f'GPU661=compute-1'
        )
    return Mute(code, pattern or None)


def parse_lines(lines: collections.abc.Iterable[str]) -> tuple[Mute, ...]:
    """Return the mutes of a file: one a line, with comments after ``#``.

    :raises gpuclient.exceptions.InvalidValue: A line is invalid; the message
        begins with its number.
    """
    mutes = []
    for number, line in enumerate(lines, 1):
        text = re.sub(r'(^|\s)#.*', '', line).strip()
        if not text:
            continue
        try:
            mutes.append(parse(text))
        except exceptions.InvalidValue as exc:
            raise exceptions.InvalidValue(f'line {number}: {exc}') from exc
    return tuple(mutes)
