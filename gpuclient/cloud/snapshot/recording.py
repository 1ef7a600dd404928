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

"""Record the answers that a session gets."""

import collections.abc
import contextlib
import dataclasses
from http import client as http_client
import threading
import typing

import requests

from gpuclient.cloud import request
from gpuclient.cloud import schema
from gpuclient.cloud.snapshot import exchange
from gpuclient.cloud.snapshot import redaction
from gpuclient.model import partial_result
from gpuclient.model import quoting

if typing.TYPE_CHECKING:
    from openstack import connection


#: Times that a request with a subject is sent: as often as "gpu check" asks.
_ATTEMPTS = 4
_LONGEST_REASON = 60


class Recorder:
    """The answers of a session, each read once.

    So all answers are of nearly the same time, even if several reads need
    one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._responses: dict[exchange.Question, requests.Response] = {}
        self._shapes: dict[exchange.Question, list[schema.Shape]] = {}
        self._missed: dict[exchange.Question, str] = {}
        self._refreshes = False

    def recall(self, question: exchange.Question) -> requests.Response | None:
        """Return an answer that was recorded."""
        if self._refreshes:
            return None
        if question.subject:
            question = dataclasses.replace(question, attempt=_ATTEMPTS - 1)
        return self._responses.get(question)

    @contextlib.contextmanager
    def refreshing(self) -> collections.abc.Iterator[None]:
        """Read again what was recorded, and record that instead, meanwhile."""
        self._refreshes = True
        try:
            yield
        finally:
            self._refreshes = False

    def record(
        self, question: exchange.Question, response: requests.Response
    ) -> None:
        """Record an answer, unless it only says that the service is busy."""
        if question.subject:
            question = self._next(question)
        if response.status_code in request.RETRIABLE:
            self.miss(question, request.server_message(response))
        elif question.method == 'GET' or (
            question.subject and response.status_code >= 400
        ):
            with self._lock:
                if self._refreshes:
                    self._responses[question] = response
                else:
                    self._responses.setdefault(question, response)

    def _next(self, question: exchange.Question) -> exchange.Question:
        """Return the first attempt that was not recorded."""
        while question in self._responses:
            question = dataclasses.replace(
                question, attempt=question.attempt + 1
            )
        return question

    def miss(self, question: exchange.Question, reason: str) -> None:
        """Note that a request had no answer."""
        self._missed[question] = reason

    def failures(self) -> tuple[partial_result.Failure, ...]:
        """Return the requests that had no answer, and why."""
        return tuple(
            partial_result.Failure(str(question), reason)
            for question, reason in sorted(self._missed.items())
            if question not in self._responses
        )

    def allow(self, question: exchange.Question, shape: schema.Shape) -> None:
        """Allow the fields of a shape into the snapshot."""
        with self._lock:
            shapes = self._shapes.setdefault(question, [])
            if shape not in shapes:
                shapes.append(shape)

    def answers(self) -> dict[exchange.Question, exchange.Answer]:
        """Return the answers, with allowed fields only."""
        return {
            question: exchange.Answer(
                response.status_code,
                self._body(question, response),
                _headers(response),
                _reason(response),
            )
            for question, response in sorted(self._responses.items())
        }

    def _body(
        self, question: exchange.Question, response: requests.Response
    ) -> typing.Any:
        shapes: collections.abc.Sequence[schema.Shape]
        shapes = self._shapes.get(question, ())
        if response.status_code >= 400:
            shapes = redaction.ERRORS
        if not shapes:
            return None
        try:
            content = response.json()
        except (ValueError, RecursionError):
            return None
        return redaction.keep(content, shapes)


def _headers(response: requests.Response) -> dict[str, str]:
    """Return the headers that a command reads, if all are there."""
    headers = {
        name: response.headers[name]
        for name in exchange.HEADERS
        if name in response.headers
    }
    return headers if len(headers) == len(exchange.HEADERS) else {}


def _reason(response: requests.Response) -> str:
    """Return the reason phrase if it is not the usual one."""
    usual = http_client.responses.get(response.status_code)
    reason = response.reason or ''
    return '' if reason == usual else quoting.masked(reason[:_LONGEST_REASON])


@contextlib.contextmanager
def recording(
    cloud: 'connection.Connection',
) -> collections.abc.Iterator[Recorder]:
    """Record the answers that a connection gets meanwhile."""
    recorder = Recorder()
    request.recorders[cloud.session] = recorder
    try:
        yield recorder
    finally:
        del request.recorders[cloud.session]
