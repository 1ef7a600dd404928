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

"""Files that Ansible renders with Jinja before a service reads them.

Kolla renders every layer of its custom configuration (``kolla-ansible``:
``action_plugins/merge_configs.py``), and Kayobe renders them before that
(hence ``{% raw %}``). Nothing is rendered here. Statements and comments are
removed, lines that depend on them are marked, and such lines are not edited.
"""

import re
import typing

#: Beginnings of expressions, statements and comments.
MARKS = ('{{', '{%', '{#')
_BEGIN = re.compile(r'\{%[-+]?\s*raw\s*[-+]?%\}|\{\{|\{%|\{#')
_END_OF_RAW = re.compile(r'\{%[-+]?\s*endraw\s*[-+]?%\}')
_ENDS = {'{{': '}}', '{%': '%}', '{#': '#}'}
_WORD = re.compile(r'\{%[-+]?\s*(\w+)')
#: Statements with an end statement.
_BLOCKS = {
    *('autoescape', 'block', 'call', 'filter', 'for', 'if', 'macro', 'trans'),
    'with',
}


class Line(typing.NamedTuple):
    """A line of a template."""

    #: Without statements and comments; ``#`` if nothing else is in it.
    text: str
    #: It depends on an expression or a statement.
    depends: bool
    #: Another line can be inserted before it.
    open: bool


def is_template(text: str) -> bool:
    """Return whether Jinja would change a text."""
    return any(mark in text for mark in MARKS)


def read(lines: list[str], *, twice: bool = False) -> list[Line]:
    """Return the lines of a template, before it is rendered.

    :param twice: The result is rendered again: the text between ``{% raw %}``
        and ``{% endraw %}`` is a template, too.
    """
    spans = _spans(''.join(lines), twice)
    result = []
    depth = at = begin = 0
    for line in lines:
        end = begin + len(line.rstrip('\r\n'))
        depends = depth > 0
        is_open = depth == 0 and not (
            at < len(spans) and spans[at].start < begin
        )
        text, rest, cut = '', '', begin
        touched = False
        while at < len(spans) and spans[at].start < end:
            span = spans[at]
            touched = True
            between = line[cut - begin : max(span.start, begin) - begin]
            inside = line[max(span.start, begin) - begin : span.end - begin]
            text += between
            rest += between
            if span.kind == '{{':
                text += inside.rstrip('\r\n')
            if span.kind in ('{{', '{%'):
                depends = True
            cut = min(span.end, end)
            if span.end > end:
                break
            depth = max(0, depth + span.change)
            at += 1
        text += line[cut - begin : end - begin]
        rest += line[cut - begin : end - begin]
        result.append(
            Line(
                '#' if touched and not rest.strip() else text,
                depends or depth > 0,
                is_open,
            )
        )
        begin += len(line)
    return result


class _Span(typing.NamedTuple):
    """An expression, statement or comment in the text."""

    start: int
    end: int
    #: Its beginning; ``raw`` for the statements that disable Jinja.
    kind: str
    #: By how many it changes the number of open statements.
    change: int


def _spans(text: str, twice: bool) -> list[_Span]:
    spans = []
    position = 0
    unended: set[str] = set()
    while (match := _BEGIN.search(text, position)) is not None:
        start, position = match.span()
        kind = match[0]
        if kind not in _ENDS:
            spans.append(_Span(start, position, 'raw', 0))
            if twice:
                continue
            last = _END_OF_RAW.search(text, position)
            if last is None:
                break
            position = last.end()
            spans.append(_Span(*last.span(), 'raw', 0))
            continue
        if twice and (last := _END_OF_RAW.match(text, start)):
            position = last.end()
            spans.append(_Span(start, position, 'raw', 0))
            continue
        end = -1 if kind in unended else text.find(_ENDS[kind], position)
        if end < 0:
            # Jinja would refuse the file.
            unended.add(kind)
            continue
        position = end + 2
        change = _change(text[start:position]) if kind == '{%' else 0
        spans.append(_Span(start, position, kind, change))
    return spans


def _change(statement: str) -> int:
    word = _WORD.match(statement)
    if word is None:
        return 0
    if word[1] == 'set':
        return 0 if '=' in statement else 1
    if word[1].startswith('end'):
        return -1
    return 1 if word[1] in _BLOCKS else 0
