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

"""How long a regular expression in the address of a device_spec may take.

A field of an address has at most eight characters, and yet ``(?:|){60}x``
makes ``re`` try 2**60 ways to match them: in Nova, and in this tool.
"""

import re

#: Ways beyond which the number no longer matters.
MOST = 10**9
#: Optional repetitions that are counted: one for each character, and one that
#: matches nothing.
_MORE = 9
_VERBOSE = re.compile(r'\(\?[a-zA-Z]*x')
_TOKEN = re.compile(
    r'(?P<escape>\\.)'
    r'|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])'
    r'|(?P<comment>\(\?#[^)]*\))'
    r'|(?P<open>\((?:\?(?:P?<[=!]?\w*>?|P=\w+|\(\w+\)|[a-zA-Z-]*:|[a-zA-Z]+|'
    r'[=!:>]))?)'
    r'|(?P<close>\))'
    r'|(?P<or>\|)'
    r'|(?P<repeat>(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\}|\{,[0-9]*\})[?+]?)'
    r'|(?P<other>.)',
    re.DOTALL,
)


def ways(pattern: str) -> int:
    """Return in how many ways ``re`` may try a pattern; too many, not few.

    Alternatives add up, and parts that follow each other multiply.

    :param pattern: One that ``re`` compiles.
    :returns: :data:`MOST` for all that are more.
    """
    if _VERBOSE.search(pattern):
        # Its comments may hide the bounds of sets.
        return MOST
    # Of each open group: the ways of its alternatives before the last ``|``,
    # those of what follows it but for the last item, and of that.
    groups = [[0, 1, 1]]
    for token in _TOKEN.finditer(pattern):
        kind = token.lastgroup
        if kind == 'open':
            groups.append([0, 1, 1])
        elif kind == 'close' and len(groups) > 1:
            alternatives, before, last = groups.pop()
            _follow(groups[-1], alternatives + before * last)
        elif kind == 'or':
            alternatives, before, last = groups[-1]
            groups[-1] = [min(MOST, alternatives + before * last), 1, 1]
        elif kind == 'repeat':
            groups[-1][2] = _repeated(groups[-1][2], token[0])
        elif kind != 'comment':
            _follow(groups[-1], 1)
    total = 1
    for alternatives, before, last in groups:
        total *= alternatives + before * last
    return min(MOST, total)


def _follow(group: list[int], item: int) -> None:
    group[1] = min(MOST, group[1] * group[2])
    group[2] = min(MOST, item)


def _repeated(item: int, repeat: str) -> int:
    """Return the ways of what a repeat matches several times, or never."""
    if repeat[0] in '*+?':
        least, most = int(repeat[0] == '+'), int(repeat[0] == '?') or _MORE
    else:
        first, comma, last = repeat.strip('{}?+').partition(',')
        least = int(first or 0)
        most = int(last or least + _MORE) if comma else least
    most = min(most, least + _MORE)
    if item > 1 and most > 64:
        return MOST
    total = 0
    for count in range(least, most + 1):
        total += item**count if item > 1 else 1
        if total >= MOST:
            return MOST
    return total
