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

"""What happened to a server: its fault, actions and migrations.

The texts are those of Nova; :func:`causes` tells what they prove.
"""

import collections.abc
import dataclasses
import re

from gpuclient.model import unseen

#: Characters of a message that are quoted.
_QUOTED = 300


@dataclasses.dataclass(frozen=True)
class Fault:
    """The fault of a server in ERROR."""

    message: str
    #: A traceback; empty unless the user is an administrator.
    details: str = ''


@dataclasses.dataclass(frozen=True)
class Event:
    """A step of an action."""

    name: str
    #: ``Success`` or ``Error``; empty while it runs.
    result: str
    #: The host that it ran on; empty if Nova does not show it.
    host: str = ''
    #: The message of the exception that ended it.
    details: str = ''
    traceback: str = ''


@dataclasses.dataclass(frozen=True)
class Action:
    """An action of a user on a server."""

    #: ``create``, ``migrate``, ``live-migration`` ...
    name: str
    start: str
    #: ``Error`` if it failed.
    message: str
    events: tuple[Event, ...] = ()

    @property
    def failed(self) -> bool:
        return self.message == 'Error'


@dataclasses.dataclass(frozen=True)
class Migration:
    """A move of a server."""

    #: ``migration``, ``resize``, ``live-migration`` or ``evacuation``.
    kind: str
    status: str
    source: str
    destination: str


@dataclasses.dataclass(frozen=True)
class History:
    """What Nova tells of a server."""

    fault: Fault | None
    #: The latest first.
    actions: tuple[Action, ...] = ()
    migrations: tuple[Migration, ...] = ()

    @property
    def text(self) -> str:
        """All messages of the fault and of the latest action."""
        parts = []
        if self.fault is not None:
            parts += [self.fault.message, self.fault.details]
        for action in self.actions[:1]:
            for event in action.events:
                parts += [event.details, event.traceback]
        return '\n'.join(parts)

    @property
    def message(self) -> str:
        """The message of the fault, or of the failed latest action."""
        if self.fault is not None:
            return self.fault.message
        return next(
            (
                event.details
                for action in self.actions[:1]
                for event in action.events
                if action.failed and event.details
            ),
            '',
        )

    @property
    def refusing_hosts(self) -> tuple[str, ...]:
        """The hosts on which the latest action failed."""
        return tuple(
            dict.fromkeys(
                event.host
                for action in self.actions[:1]
                for event in action.events
                if event.result == 'Error'
                and event.host
                and event.name.startswith('compute_')
            )
        )


#: Messages of Nova, libvirt and QEMU, the most specific first: the code, and
#: what follows.
_MESSAGES: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(
            r'Requested instance NUMA topology together with requested PCI '
            r'devices cannot fit'
        ),
        'GPU652',
        'nova-compute refused the server: its devices and its CPUs or memory '
        'are on different NUMA nodes',
    ),
    (
        re.compile(r'Claim pci failed|PCI device request .* failed'),
        'GPU653',
        'nova-compute refused the server: the host has no free device that '
        'matches the alias',
    ),
    (
        re.compile(r'PCI alias \S+ is not defined'),
        'GPU654',
        'a service does not know the alias; on a move it is the nova-compute '
        'of the destination',
    ),
    (
        re.compile(r'does not explicitly request live-migratable devices'),
        'GPU655',
        'the server cannot be live migrated: its alias does not set '
        'live_migratable',
    ),
    (
        # Of the conductor, which does not tell more
        # (nova/conductor/manager.py:ComputeTaskManager._cold_migrate).
        re.compile(r'No valid host found for (cold migrate|resize)'),
        'GPU658',
        'nova-scheduler found no host for the move: Placement returned no '
        'candidate, filters excluded all hosts, or Placement refused the new '
        'allocations',
    ),
    (
        re.compile(r"host doesn't support passthrough of host PCI devices"),
        'GPU420',
        'the IOMMU of the host is off',
    ),
    (
        re.compile(r'group \d+ is not viable'),
        'GPU426',
        'another device of the IOMMU group is not bound to vfio-pci',
    ),
)
_CHANGED = unseen.UnseenCause(
    'GPU656',
    'a host fits now: the cloud has changed since, or the server requested a '
    'host or a scheduler hint that Nova does not show',
    False,
)
_NO_CANDIDATES = re.compile(r'No valid host was found\.\s*$')
_FILTERED = re.compile(r'There are not enough hosts available')
_RETRIES = re.compile(r'Exceeded maximum number of retries')


def causes(
    history: History, *, fits: bool
) -> collections.abc.Iterator[unseen.UnseenCause]:
    """Yield what the messages prove, and what follows.

    :param fits: Whether a host fits now, by all that is known.
    """
    message = history.message
    quoted = ' '.join(message.split())[:_QUOTED]
    for pattern, code, text in _MESSAGES:
        match = pattern.search(history.text)
        if match is not None:
            yield unseen.UnseenCause(
                code, f'{text} ("{match[0]}")', True, history.refusing_hosts
            )
    if _RETRIES.search(message):
        hosts = history.refusing_hosts
        yield unseen.UnseenCause(
            'GPU651',
            'nova-scheduler found hosts, but each of them refused the '
            'server: see the events of its action'
            if hosts
            else 'nova-scheduler found hosts, but nova-compute of each '
            'refused the server',
            True,
            hosts,
        )
    elif _FILTERED.search(message):
        yield unseen.UnseenCause(
            'GPU650',
            'Placement returned candidates, but filters of nova-scheduler '
            f'excluded all hosts ("{quoted}")',
            True,
        )
        if fits:
            yield _CHANGED
    elif _NO_CANDIDATES.search(message):
        yield unseen.UnseenCause(
            'GPU649',
            'Placement returned no candidate when the server was scheduled '
            f'("{quoted}")',
            True,
        )
        if fits:
            yield _CHANGED
    elif message and not any(
        pattern.search(history.text) for pattern, _code, _text in _MESSAGES
    ):
        yield unseen.UnseenCause(
            'GPU657', f'Nova says: "{quoted}"', True, history.refusing_hosts
        )
