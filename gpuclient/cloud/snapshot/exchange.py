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

"""Requests and answers of a snapshot, independent of tokens and hosts."""

import collections.abc
import dataclasses
import typing
import urllib.parse

from requests import utils

#: Refused requests that only ask, and the keys of their body that tell one
#: from another; :mod:`gpuclient.cloud.nova.alias_probe`.
_SUBJECTS = {('compute', 'POST', '/servers'): ('server', 'flavorRef')}

#: Headers that a command reads: how long an inventory is unchanged.
HEADERS = ('Date', 'Last-Modified')


@dataclasses.dataclass(frozen=True, order=True)
class Question:
    """A request."""

    #: Service type, ``placement``.
    service: str
    method: str
    #: Below the endpoint: ``/resource_providers``.
    path: str
    #: Sorted.
    query: tuple[tuple[str, str], ...] = ()
    microversion: str = ''
    #: What distinguishes the bodies of requests to this path.
    subject: str = ''
    #: Number of the same request before it; several nova-api may answer
    #: differently.
    attempt: int = 0

    @property
    def params(self) -> dict[str, str]:
        return dict(self.query)

    def __str__(self) -> str:
        query = urllib.parse.urlencode(self.query)
        text = f'{self.method} {self.path}'
        if query:
            text += f'?{query}'
        return f'{self.service} {text}'


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer: the status, and the JSON of the body."""

    status: int
    body: typing.Any
    #: Those of :data:`HEADERS`.
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Reason phrase of the status; empty if it is the usual one.
    reason: str = ''


def question(
    service: str | None,
    method: str,
    path: str,
    params: collections.abc.Mapping[str, typing.Any] | None = None,
    microversion: str | None = None,
    body: typing.Any = None,
) -> Question:
    """Return a request in the form that a snapshot keeps.

    :param path: Below the endpoint; it may include a query.
    :param params: Parameters of the query besides.
    :param body: The JSON of the body.
    """
    plain, _mark, query = path.partition('?')
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
    for key, value in (params or {}).items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs += [(key, str(item)) for item in values if item is not None]
    plain = utils.requote_uri('/' + plain.strip('/'))
    subject: typing.Any = body
    for key in _SUBJECTS.get((service or '', method, plain), ('',)):
        subject = subject.get(key) if isinstance(subject, dict) else None
    return Question(
        service or '',
        method,
        plain,
        tuple(sorted(pairs)),
        microversion or '',
        subject if isinstance(subject, str) else '',
    )
