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

"""Untrusted text, made fit for one line of a terminal.

Names of servers, words of services and names of files may carry escape codes,
line breaks and marks that turn the direction of writing. Everything that
reaches a terminal or a table goes through here.
"""

import re

_LINE_BREAK = re.compile(r'\s*[\r\n]\s*')


def escape(text: str) -> str:
    """Return a text with each character that is not printable escaped."""
    if text.isprintable():
        return text
    return ''.join(
        character
        if character.isprintable()
        else character.encode('unicode_escape', 'surrogatepass').decode()
        for character in text
    )


def escape_lines(text: str) -> str:
    """Return lines, a diff, with everything but line breaks and tabs escaped.

    Characters that only some of Python's functions take for line breaks are
    escaped, too.
    """
    return ''.join(
        character if character in '\n\r\t' else escape(character)
        for character in text
    )


def one_line(text: str) -> str:
    """Return a text on one line: a space for each line break, all escaped."""
    return escape(_LINE_BREAK.sub(' ', text).strip())
