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

"""Ask before a command changes what cannot simply be changed back."""

from __future__ import annotations

import argparse
import sys
import typing

from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient import exceptions


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add the option that answers the question."""
    parser.add_argument(
        '--yes',
        action='store_true',
        help='Do not ask before the changes are made',
    )


def confirm(
    parsed_args: argparse.Namespace, lines: list[str], question: str
) -> bool:
    """Return whether the user agrees.

    :param lines: What is going to be changed.
    :param question: Without its mark.
    :raises gpuclient.exceptions.InvalidValue: There is neither a terminal nor
        ``--yes``.
    """
    if parsed_args.yes:
        return True
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise exceptions.InvalidValue(
            'Nothing was changed: pass --yes to make the changes without a '
            'terminal that can ask'
        )
    for line in lines:
        sys.stderr.write(f'{line}\n')
    sys.stderr.write(f'{question}? [y/N] ')
    sys.stderr.flush()
    if answers_yes(sys.stderr):
        return True
    sys.stderr.write('Nothing was changed\n')
    return False


def answers_yes(stderr: typing.TextIO) -> bool:
    """Return whether the user answers a question with yes."""
    answer = sys.stdin.readline()
    if not answer.endswith('\n'):
        # The end of input leaves the cursor behind the question.
        stderr.write('\n')
    return answer.strip().lower() in ('y', 'yes')
