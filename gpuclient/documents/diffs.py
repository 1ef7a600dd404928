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

"""Unified diffs that show edits, and no secrets of the lines around them.

Near ``[pci]`` there are passwords, and URLs with passwords. A line around an
edit is shown only if it cannot contain any: blank lines, names of sections and
keys, options of PCI devices. patch(1) finds the position by line number, too.
"""

import collections.abc
import dataclasses
import difflib
import json
import re

from gpuclient.model import quoting

#: Lines around an edit.
_CONTEXT = 3
_SECTIONS = (
    'api|api_database|cinder|compute|conductor|database|default|devices|'
    'filter_scheduler|glance|keystone_authtoken|libvirt|neutron|notifications|'
    'oslo_concurrency|oslo_messaging_notifications|oslo_messaging_rabbit|'
    'oslo_policy|pci|placement|quota|scheduler|serial_console|service_user|'
    'spice|upgrade_levels|vnc|workarounds'
)
_KEYS = (
    'ansible|ansibleVars|ansible_vars|apiServiceTemplate|apiVersion|cell0|'
    'cell1|cellTemplates|compute|conf|customServiceConfig|data|edpm|items|'
    'kind|kernel_args|metadata|metadataServiceTemplate|nodeTemplate|nodes|nova|'
    'nodeset|pci|schedulerServiceTemplate|spec|template|templates|'
    'conductorServiceTemplate|novncproxyServiceTemplate'
)
_HARMLESS = re.compile(
    rf'|\[(?:{_SECTIONS})\]|---|\.\.\.'
    rf'|(?:- )?(?:{_KEYS}):(?: *[|>][-+]?)?'
    r'|(?:report_in_placement|pci_in_placement) *[=:] *'
    r'(?:true|false|yes|no|on|off|1|0)',
    re.IGNORECASE,
)
_KEY = re.compile(r'[a-z][a-z_]{0,60} *[=:] *(?=.)', re.IGNORECASE)
_OF_DEVICES = re.compile(
    r'(?:alias|pci_alias|device_spec|passthrough_whitelist|'
    r'pci_passthrough_whitelist) *[=:] *(?P<json>[\[{].*)'
)


def unified(
    path: str, before: list[str], after: list[str], *, is_new: bool = False
) -> str:
    """Return a unified diff of the lines of a file, for patch(1)."""
    kept = _texts(before) & _texts(after)
    hunks = [
        ''.join(map(_line, _rendered(hunk, before, after, kept)))
        for hunk in _hunks(before, after)
    ]
    if not hunks:
        return ''
    return f'--- {"/dev/null" if is_new else path}\n+++ {path}\n' + ''.join(
        hunks
    )


def _texts(lines: list[str]) -> set[str]:
    return {line.rstrip('\r\n') for line in lines}


@dataclasses.dataclass
class _Hunk:
    """A range of lines in both versions, with edits."""

    old: tuple[int, int]
    new: tuple[int, int]
    #: Start and end of each edit, in the old and in the new lines.
    edits: list[tuple[int, int, int, int]]


def _hunks(
    before: list[str], after: list[str]
) -> collections.abc.Iterator[_Hunk]:
    """Yield hunks, each with the context that may be shown."""
    edits = list(_edits(before, after))
    position = 0
    while position < len(edits):
        first = position
        while position + 1 < len(edits) and _is_open(
            before, edits[position][1], edits[position + 1][0]
        ):
            position += 1
        start = edits[first - 1][1] if first else 0
        end = (
            edits[position + 1][0]
            if position + 1 < len(edits)
            else len(before)
        )
        above, below = _around(
            before, start, edits[first][0], edits[position][1], end
        )
        yield _Hunk(
            (edits[first][0] - above, edits[position][1] + below),
            (edits[first][2] - above, edits[position][3] + below),
            edits[first : position + 1],
        )
        position += 1


def _edits(
    before: list[str], after: list[str]
) -> collections.abc.Iterator[tuple[int, int, int, int]]:
    """Yield the ranges of lines that differ.

    Equal lines at both ends are skipped first, so that the time is linear if
    the edits are close together.
    """
    first = 0
    shorter = min(len(before), len(after))
    while first < shorter and before[first] == after[first]:
        first += 1
    last = 0
    while last < shorter - first and before[-1 - last] == after[-1 - last]:
        last += 1
    old = before[first : len(before) - last]
    new = after[first : len(after) - last]
    matcher = difflib.SequenceMatcher(None, old, new)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag != 'equal':
            yield first + i1, first + i2, first + j1, first + j2


def _is_open(lines: list[str], start: int, end: int) -> bool:
    """Return whether all lines between two edits may be shown."""
    return end - start <= 2 * _CONTEXT and all(
        map(is_harmless, lines[start:end])
    )


def _around(
    lines: list[str], least: int, start: int, end: int, most: int
) -> tuple[int, int]:
    """Return the number of lines of context before and after an edit.

    It is the same on both sides: patch(1) anchors a hunk with less context on
    one side to that end of the file.
    """
    above = below = 0
    while (
        above < _CONTEXT
        and start - above > least
        and is_harmless(lines[start - above - 1])
    ):
        above += 1
    while (
        below < _CONTEXT
        and end + below < most
        and is_harmless(lines[end + below])
    ):
        below += 1
    if start - above:
        below = min(above, below)
    if end + below < len(lines):
        above = min(above, below) if start - above else above
    return above, below


def is_harmless(line: str) -> bool:
    """Return whether a line of context can be shown."""
    text = line.strip()
    if _HARMLESS.fullmatch(text):
        return True
    match = _OF_DEVICES.fullmatch(text)
    if match is None or len(text) > 10 * quoting.LONGEST:
        return False
    try:
        json.loads(match['json'])
    except (ValueError, RecursionError):
        return False
    return quoting.MASK not in quoting.spec(match['json']) and (
        not quoting.holds_secret(text)
    )


def _rendered(
    hunk: _Hunk,
    before: list[str],
    after: list[str],
    kept: collections.abc.Set[str],
) -> collections.abc.Iterator[str]:
    section = _section(before, hunk)
    yield f'@@ -{_range(*hunk.old)} +{_range(*hunk.new)} @@{section}\n'
    position = hunk.old[0]
    for i1, i2, j1, j2 in hunk.edits:
        for line in before[position:i1]:
            yield f' {line}'
        position = i2
        for line in before[i1:i2]:
            yield f'-{_shown(_without_odd_values(line), kept)}'
        for line in after[j1:j2]:
            yield f'+{_shown(line, kept)}'
    for line in before[position : hunk.old[1]]:
        yield f' {line}'


def _section(before: list[str], hunk: _Hunk) -> str:
    """Return the section of an edit, unless its header is shown."""
    for line in reversed(before[: hunk.edits[0][0]]):
        text = line.strip()
        if text.startswith('[') and text.endswith(']'):
            break
    else:
        return ''
    is_shown = line in before[hunk.old[0] : hunk.edits[0][0]]
    return f' {text}' if _HARMLESS.fullmatch(text) and not is_shown else ''


def _range(start: int, end: int) -> str:
    # As difflib writes it.
    length = end - start
    if length == 1:
        return str(start + 1)
    return f'{start + (1 if length else 0)},{length}'


def _without_odd_values(line: str) -> str:
    """Return a line, without values of an alias that are no names.

    They are not Nova's, so they may be secrets.
    """
    match = _OF_DEVICES.match(line)
    if match is None:
        return line
    start = match.start('json')
    return line[:start] + quoting.without_odd_values(line[start:])


def _shown(line: str, kept: collections.abc.Set[str]) -> str:
    """Return a line of an edit; of a line that is kept, only the key.

    Such a line only gets a line end, or was not matched by difflib.
    """
    text = line.rstrip('\r\n')
    ending = line[len(text) :]
    if text in kept and not is_harmless(text):
        match = _KEY.match(text)
        text = (match[0] if match else '') + quoting.MASK
    return quoting.masked(text) + ending


def _line(line: str) -> str:
    if line.endswith('\n'):
        return line
    return f'{line}\n\\ No newline at end of file\n'
