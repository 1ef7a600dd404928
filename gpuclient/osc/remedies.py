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

"""Remedies, as commands show them."""

from __future__ import annotations

import shlex
import typing

if typing.TYPE_CHECKING:
    from gpuclient.rules import remedy as remedy_rules


def command_line(command: remedy_rules.SuggestedCommand) -> str:
    """Return the command line of a command of this plugin."""
    options = [
        word
        for name, value in command.options
        for word in (f'--{name}', value)
    ]
    return shlex.join(['openstack', 'gpu', *command.name.split(), *options])


def render(remedy: remedy_rules.Remedy | None) -> str | None:
    """Return a remedy with the command line that helps."""
    if remedy is None or remedy.command is None:
        return None if remedy is None else remedy.text
    line = command_line(remedy.command)
    return f'{remedy.text}. "{line}" {remedy.command.effect}'
