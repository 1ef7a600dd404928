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

"""The commands of this plugin at a glance: ``openstack gpu``.

cliff has no help for a group of commands: for words that are no command, it
lists all commands that begin with the first word, by name alone. So the word
``gpu`` is a command itself, whose help lists the others in the order of use.
"""

from __future__ import annotations

import argparse
import collections.abc
import difflib
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.osc import columns
    from gpuclient.osc import streams

#: Titles, and objects in the order in which operators need them.
_SECTIONS = (
    ('Check everything', ('check',)),
    ('Prepare hosts', ('host',)),
    ('Configure Nova', ('model', 'alias', 'device spec', 'config')),
    ('Schedule devices', ('placement', 'flavor', 'capacity')),
    (
        'Operate',
        ('project', 'server', 'guest', 'metrics', 'snapshot', 'upgrade'),
    ),
    ('Rehearsal cloud on this machine', ('rehearsal',)),
)
_OTHERS = 'Others'
#: Actions in the order in which they are needed; others come last.
_ACTIONS = (
    'start',
    'list',
    'show',
    'check',
    'create',
    'set',
    'unset',
    'delete',
)


class ShowOverview(command.Command):
    """``openstack gpu``: the list of its commands.

    The entry point is ``gpu-commands``, of which ``gpu`` is the start: cliff
    accepts that, and its list for the completion of shells takes no command
    whose name is the first word of others
    (``cliff/complete.py:CompleteDictionary``).
    """

    _description = """\
Manage GPU passthrough in hosts, Nova and Placement

For help on a command, run: openstack help gpu <command>. Commands for hosts
and configuration work without a cloud.

Example::

    openstack gpu host check"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.usage = f'{prog_name} <command> [<option> ...]'
        parser.add_argument(
            'command_words',
            metavar='<command>',
            nargs=argparse.REMAINDER,
            help='Command to run; without one, this list is shown',
        )
        return parser

    def get_description(self) -> str:
        purpose, usage, *example = self._description.split('\n\n')
        return '\n\n'.join((purpose, *self._sections(), usage, *example))

    def _sections(self) -> collections.abc.Iterator[str]:
        """Yield the other commands, by section, as reStructuredText."""
        if self.app is None:
            return
        purposes = {
            name: _purpose(self.app.command_manager.commands[name])
            for name in self._names()
        }
        for title, names in arrange(purposes):
            lines = [f'  {name:22}  {purposes[name]}' for name in names]
            yield f'{title}::'
            yield '\n'.join(lines)

    def _names(self) -> list[str]:
        return [
            name
            for name, _entry_point in self.app.command_manager
            if name.startswith('gpu ')
        ]

    def run(self, parsed_args: argparse.Namespace) -> int:
        if not parsed_args.command_words:
            return super().run(parsed_args)
        # As cliff does for words that are no command.
        given = ' '.join(('gpu', *parsed_args.command_words))
        lines = [f"openstack: '{given}' is not an openstack command."]
        matches = similar(given, self._names())
        if matches:
            lines.append('Did you mean one of these?')
            lines += [f'  openstack {name}' for name in matches]
        else:
            lines.append("See 'openstack help gpu'.")
        self.app.stderr.write(columns.escape_lines('\n'.join(lines) + '\n'))
        return 2

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        parser = self.get_parser('openstack gpu')
        with streams.guarded(self.app.stdout):
            self.app.stdout.write(parser.format_help())


def arrange(
    names: collections.abc.Iterable[str],
) -> list[tuple[str, list[str]]]:
    """Return commands in sections, in the order of use."""
    remaining = sorted(names, key=_action_order)
    sections = []
    for title, objects in _SECTIONS:
        chosen = [
            name
            for object_name in objects
            for name in remaining
            if f'{name} '.startswith(f'gpu {object_name} ')
        ]
        remaining = [name for name in remaining if name not in chosen]
        sections.append((title, chosen))
    sections.append((_OTHERS, remaining))
    return [section for section in sections if section[1]]


def _action_order(name: str) -> tuple[str, int, str]:
    """Sort key within an object."""
    subject, _space, action = name.rpartition(' ')
    order = _ACTIONS.index(action) if action in _ACTIONS else len(_ACTIONS)
    return subject, order, action


def _purpose(entry_point: typing.Any) -> str:
    """Return the first line of the help of a command."""
    factory = entry_point.load()
    description: str = factory(None, None).get_description()
    return description.split('\n')[0]


def similar(given: str, names: list[str]) -> list[str]:
    """Return the commands that a user may have meant."""
    parts = given.split()
    for count in range(len(parts), 1, -1):
        beginning = ' '.join(parts[:count])
        matches = [
            name for name in names if f'{name} '.startswith(f'{beginning} ')
        ] or difflib.get_close_matches(beginning, names)
        if matches:
            return sorted(matches)
    return []
