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

"""Replace names in answers, for a snapshot that leaves the house.

Names of servers, projects, users, hosts, aggregates and images become
pseudonyms, the same for each occurrence. IDs, and the names of flavors,
aliases, resource classes, traits and availability zones stay: without them an
answer explains nothing.
"""

import collections.abc
import dataclasses
import hashlib
import re
import secrets
import typing

from gpuclient.cloud.snapshot import content
from gpuclient.cloud.snapshot import exchange
from gpuclient.model import inventory

#: Fields whose values are names of hosts, in any answer.
_HOSTS = frozenset(
    {
        'OS-EXT-SRV-ATTR:host',
        'OS-EXT-SRV-ATTR:hostname',
        'OS-EXT-SRV-ATTR:hypervisor_hostname',
        'dest_compute',
        'dest_host',
        'dest_node',
        'host',
        'host_name',
        'hosts',
        'hypervisor_hostname',
        'instance_host',
        'source_compute',
        'source_node',
    }
)
#: Fields whose values are names of regions.
_REGIONS = frozenset({'region', 'region_id'})
#: Kind of the field ``name``, by service and the beginning of the path.
_NAMED = (
    ('compute', '/servers', 'server'),
    ('compute', '/os-aggregates', 'aggregate'),
    ('compute', '/os-server-groups', 'group'),
    ('identity', '/projects', 'project'),
    ('identity', '/users', 'user'),
    ('identity', '/domains', 'domain'),
    ('image', '', 'image'),
    ('placement', '/resource_providers', 'provider'),
)
#: Free text of administrators.
_REASONS = frozenset({'disabled_reason'})
_MESSAGES = frozenset({'message', 'detail', 'title'})


def hide(snapshot: content.Snapshot) -> content.Snapshot:
    """Return a snapshot with pseudonyms in place of names."""
    names = _Names()
    for question, answer in snapshot.answers.items():
        names.collect(question, answer.body)
    if snapshot.project is not None:
        names.add('project', snapshot.project[1])
    if snapshot.region is not None:
        names.add('region', snapshot.region)
    return dataclasses.replace(
        snapshot,
        cloud=None,
        region=snapshot.region and names.replaced('region', snapshot.region),
        project=snapshot.project
        and (
            snapshot.project[0],
            names.replaced('project', snapshot.project[1]),
        ),
        names_hidden=True,
        answers={
            _hidden_question(names, question): dataclasses.replace(
                answer, body=names.hidden(question, answer.body)
            )
            for question, answer in snapshot.answers.items()
        },
    )


def _hidden_question(
    names: '_Names', question: exchange.Question
) -> exchange.Question:
    return dataclasses.replace(
        question,
        path=names.in_text(question.path),
        query=tuple(
            sorted(
                (key, names.in_text(value)) for key, value in question.query
            )
        ),
    )


class _Names:
    """The names of a cloud, and their pseudonyms."""

    def __init__(self) -> None:
        # The same name in another snapshot has another pseudonym.
        self._salt = secrets.token_bytes(16)
        self._pseudonyms: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    def add(self, kind: str, name: str) -> None:
        """Choose the pseudonym of a name."""
        if kind == 'provider':
            # The name of a device begins with that of its host.
            kind = 'host'
            name = inventory.split_provider_name(name)[0] or name
        if name and name not in self._pseudonyms:
            digest = hashlib.sha256(self._salt + name.encode()).hexdigest()
            self._pseudonyms[name] = f'{kind}-{digest[:10]}'

    def replaced(self, kind: str, name: str) -> str:
        if kind == 'provider':
            host = inventory.split_provider_name(name)[0]
            if host is not None and host in self._pseudonyms:
                return self._pseudonyms[host] + name.removeprefix(host)
        return self._pseudonyms.get(name, name)

    def in_text(self, text: str) -> str:
        """Return a text with names replaced where they are words."""
        if self._pattern is None:
            longest_first = sorted(self._pseudonyms, key=len, reverse=True)
            self._pattern = re.compile(
                '|'.join(
                    rf'(?<!\w){re.escape(n)}(?!\w)' for n in longest_first
                )
                or '(?!)'
            )
        plain = text.replace('[.]', '.')
        hidden = self._pattern.sub(
            lambda match: self._pseudonyms[match[0]], plain
        )
        return text if hidden == plain else hidden

    def collect(self, question: exchange.Question, body: object) -> None:
        """Choose the pseudonyms of the names in an answer."""
        for kind, name in _fields(question, body):
            self.add(kind, name)

    def hidden(self, question: exchange.Question, body: object) -> typing.Any:
        """Return an answer with pseudonyms."""
        kind = _kind(question)

        def convert(key: str, value: typing.Any) -> typing.Any:
            if isinstance(value, dict):
                return {name: convert(name, v) for name, v in value.items()}
            if isinstance(value, list):
                return [convert(key, item) for item in value]
            if not isinstance(value, str):
                return value
            if key in _REASONS:
                return 'hidden'
            if key in _MESSAGES:
                return self.in_text(value)
            if key in _HOSTS | _REGIONS:
                return self.replaced('host', value)
            return self.replaced(kind, value) if key == 'name' else value

        return convert('', body)


def _kind(question: exchange.Question) -> str:
    """Return the kind of the names in an answer; empty if they stay."""
    for service, path, kind in _NAMED:
        if question.service == service and question.path.startswith(path):
            return kind
    return ''


def _fields(
    question: exchange.Question, body: object
) -> collections.abc.Iterator[tuple[str, str]]:
    """Yield the names in an answer with their kinds."""
    kind = _kind(question)
    pending: list[tuple[str, object]] = [('', body)]
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            pending += value.items()
        elif isinstance(value, list):
            pending += [(key, item) for item in value]
        elif isinstance(value, str) and key in _HOSTS:
            yield 'host', value
        elif isinstance(value, str) and key in _REGIONS:
            yield 'region', value
        elif isinstance(value, str) and key == 'name' and kind:
            yield kind, value
