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

"""One HTTP request to a service, with its errors.

All requests of this package are sent from here, so that each error names what
was requested, the object, and the server's message.
"""

import collections.abc
import contextlib
import dataclasses
import json
import logging
import re
import time
import traceback
import typing
import weakref

from keystoneauth1 import adapter
from keystoneauth1 import discover
from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import session
from openstack import exceptions as sdk_exceptions
import requests

from gpuclient.cloud import bounds
from gpuclient.cloud import schema
from gpuclient.cloud import silence
from gpuclient.cloud.snapshot import exchange
from gpuclient import exceptions

# keystoneauth warns about each retry, after which there is an answer or an
# error. Its other messages are for --debug.
_LOG = logging.getLogger('gpuclient.http')
_LOG.addFilter(lambda record: record.levelno != logging.WARNING)
# It warns about each discovery without a response, which an error reports.
logging.getLogger('keystoneauth.discover').addFilter(
    lambda record: (
        record.levelno != logging.WARNING or not silence.last_failure()
    )
)

#: Status codes after which a read is retried.
RETRIABLE = (429, 502, 503, 504)
#: Number of retries of a read.
RETRIES = 3

_FIRST_PAUSE = 0.5

#: No name of an object in a path: the list, or the path above it, is read.
_NO_SEGMENTS = ('', '.', '..')


def is_segment(text: str) -> bool:
    """Return whether a path can name the object that a user names."""
    return text not in _NO_SEGMENTS


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long to wait for a service, in seconds."""

    #: For a connection.
    connect: float = 10
    #: For each part of an answer, including the first.
    read: float = 60
    #: For all reads with their retries, from now on; None for no bound.
    total: float | None = None

    @classmethod
    def of(cls, seconds: float) -> 'Patience':
        """Return the patience for a ``--timeout``."""
        return cls(min(seconds, cls.connect), seconds)


#: By session: how long to wait, and the deadline.
_PATIENCE: weakref.WeakKeyDictionary[
    session.Session, tuple[Patience, float | None]
] = weakref.WeakKeyDictionary()

#: By session: services that did not answer after all retries. Other reads are
#: not retried until they do.
_GIVEN_UP: weakref.WeakKeyDictionary[session.Session, set[str]] = (
    weakref.WeakKeyDictionary()
)

#: Called with what a request does, before it is sent.
observers: list[collections.abc.Callable[[str], None]] = []
#: Requests without a response yet, in their order: what each does, and since
#: when, a time of time.monotonic().
_pending: dict[object, tuple[str, float]] = {}


def oldest_pending() -> tuple[str, float] | None:
    """Return what is waited for longest, and for how many seconds."""
    for action, since in list(_pending.values()):
        return action, time.monotonic() - since
    return None


class Recorder(typing.Protocol):
    """Records requests and answers: :mod:`gpuclient.cloud.snapshot`."""

    def recall(self, question: exchange.Question) -> requests.Response | None:
        """Return an answer that was recorded."""

    def record(
        self, question: exchange.Question, response: requests.Response
    ) -> None:
        """Record an answer."""

    def miss(self, question: exchange.Question, reason: str) -> None:
        """Note that a request had no answer."""

    def allow(self, question: exchange.Question, shape: schema.Shape) -> None:
        """Note which fields of an answer are used."""


#: By session: what records its requests.
recorders: weakref.WeakKeyDictionary[session.Session, Recorder] = (
    weakref.WeakKeyDictionary()
)
#: By answer: what records it, and the request.
_RECORDED: weakref.WeakKeyDictionary[
    requests.Response, tuple[Recorder, exchange.Question]
] = weakref.WeakKeyDictionary()


def set_patience(ksa_session: session.Session, patience: Patience) -> None:
    """Bound how long requests of a session, tokens included, may take."""
    deadline = (
        None if patience.total is None else time.monotonic() + patience.total
    )
    _PATIENCE[ksa_session] = patience, deadline
    # requests supports a pair of timeouts, and keystoneauth passes it on.
    timeout: typing.Any = (patience.connect, patience.read)
    ksa_session.timeout = timeout
    # For requests of keystoneauth itself: for versions and tokens.
    ksa_session.session.hooks.update(bounds.hooks(patience.read, deadline))
    silence.watch(ksa_session.session, _longest(patience))
    _GIVEN_UP.pop(ksa_session, None)


def _longest(patience: Patience) -> float:
    """Return how long one read may take: a second attempt after a timeout."""
    return patience.connect + 2 * patience.read


_ERRORS: dict[int, type[exceptions.CloudError]] = {
    401: exceptions.Unauthorized,
    403: exceptions.Forbidden,
    404: exceptions.NotFound,
    406: exceptions.Unsupported,
    409: exceptions.Conflict,
}


def server_message(response: requests.Response) -> str:
    """Return the server's message on one line.

    Nova sends it as ``{"badRequest": {"message": ...}}``, Placement as
    ``{"errors": [{"detail": ...}]}``, Keystone as ``{"error": {...}}``;
    proxies send HTML.
    """
    text = ''
    try:
        content = response.json()
    except (
        json.JSONDecodeError,
        requests.exceptions.JSONDecodeError,
        RecursionError,
    ):
        if 'html' not in response.headers.get('content-type', ''):
            text = response.text
        else:
            text = re.sub(r'<[^>]*>', ' ', response.text)
    else:
        if isinstance(content, dict):
            items: list[typing.Any] = list(content.values())
            if isinstance(content.get('errors'), list):
                items = content['errors']
            text = ' '.join(
                str(item.get('message') or item.get('detail') or '')
                for item in items
                if isinstance(item, dict)
            )
    text = ' '.join(text.split())
    reason = f'{response.status_code} {response.reason or ""}'.strip()
    return f'{text[:1000]} (HTTP {reason})' if text else f'HTTP {reason}'


def error(response: requests.Response, action: str) -> exceptions.CloudError:
    """Return the exception for a status of 400 or above.

    :param action: What the request does, ``reading flavor 'gpu.1'``.
    """
    kind = _ERRORS.get(response.status_code, exceptions.CloudError)
    return kind(
        f'{action} failed: {server_message(response)}',
        status=response.status_code,
    )


def send(
    service: adapter.Adapter,
    method: str,
    path: str,
    action: str,
    *,
    microversion: str | None = None,
    check: bool = True,
    **kwargs: typing.Any,
) -> requests.Response:
    """Send a request and return the answer.

    Reads are retried after a status of :data:`RETRIABLE` or a connection
    failure; writes are not.

    :param service: An SDK proxy, ``connection.placement``.
    :param action: What the request does, for the error message.
    :param microversion: Sent as ``OpenStack-API-Version``.
    :param check: Raise for a status of 400 or above.
    :raises gpuclient.exceptions.CloudError: With the server's message.
    """
    for observe in observers:
        observe(action)
    kwargs['microversion'] = microversion
    recorder = recorders.get(service.session)
    key = object()
    _pending[key] = action, time.monotonic()
    try:
        if recorder is None:
            response = _send(service, method, path, action, kwargs)
        else:
            response = _recorded(
                recorder, service, method, path, action, kwargs
            )
    finally:
        del _pending[key]
    if check and response.status_code >= 400:
        raise error(response, action)
    return response


def _recorded(
    recorder: Recorder,
    service: adapter.Adapter,
    method: str,
    path: str,
    action: str,
    kwargs: dict[str, typing.Any],
) -> requests.Response:
    """Return an answer that was recorded, or record it."""
    question = exchange.question(
        service.service_type,
        method,
        path,
        kwargs.get('params'),
        kwargs['microversion'],
        kwargs.get('json'),
    )
    response = recorder.recall(question)
    if response is None:
        try:
            response = _send(service, method, path, action, kwargs)
        except exceptions.CloudError as exc:
            recorder.miss(question, str(exc))
            raise
        recorder.record(question, response)
    _RECORDED[response] = recorder, question
    return response


def _send(
    service: adapter.Adapter,
    method: str,
    path: str,
    action: str,
    kwargs: dict[str, typing.Any],
) -> requests.Response:
    given_up = _GIVEN_UP.setdefault(service.session, set())
    name = service.service_type or ''
    retries = RETRIES if method == 'GET' and name not in given_up else 0
    kwargs.update(
        raise_exc=False,
        logger=_LOG,
        status_code_retries=retries,
        retriable_status_codes=RETRIABLE,
    )
    with library_errors(action):
        try:
            response = _request(service, method, path, kwargs, retries)
        except ksa_exceptions.ConnectionError:
            given_up.add(name)
            raise
        if response.status_code == 401:
            # keystoneauth gets a new token and retries, but not if another
            # thread has found the same token expired meanwhile.
            response = _request(service, method, path, kwargs, retries)
    if response.status_code in (502, 503, 504):
        given_up.add(name)
    else:
        given_up.discard(name)
    return response


def _request(
    service: adapter.Adapter,
    method: str,
    path: str,
    kwargs: dict[str, typing.Any],
    retries: int,
) -> requests.Response:
    """Send a request; retry a read whose connection or answer fails.

    keystoneauth retries failed connections, but not interrupted answers
    (``keystoneauth1/session.py:_send_request``), and does not bound the time
    of all retries.
    """
    patience, end = _PATIENCE.get(service.session, (Patience(), None))
    until = time.monotonic() + _longest(patience)
    if end is not None:
        until = min(until, end)
    pause = _FIRST_PAUSE
    kwargs = {'hooks': bounds.hooks(patience.read, end), **kwargs}
    while True:
        left = until - time.monotonic()
        if left <= 0:
            raise ksa_exceptions.ConnectTimeout(
                'no response within %g seconds'
                % (patience.total or _longest(patience))
            )
        kwargs['timeout'] = (
            min(patience.connect, left),
            min(patience.read, left),
        )
        try:
            return service.request(path, method, connect_retries=0, **kwargs)
        except (
            ksa_exceptions.RetriableConnectionFailure,
            ksa_exceptions.UnknownConnectionError,
        ):
            if (
                not retries
                or silence.was_refused()
                or time.monotonic() + pause > until
            ):
                raise
        retries -= 1
        time.sleep(pause)
        pause *= 2


def endpoint_data(
    service: adapter.Adapter, action: str
) -> discover.EndpointData | None:
    """Return the endpoint of a service with its microversions.

    :param action: What the request is for, for the error message.
    :raises gpuclient.exceptions.Unreachable: There is no such service, or it
        does not answer.
    """
    with library_errors(action):
        return service.get_endpoint_data()


#: What keystoneauth and the SDK raise for malformed version documents.
DISCOVERY_ERRORS = (
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def unavailable(exc: Exception) -> str | None:
    """Return why the version discovery of a service has no response.

    keystoneauth ignores failed connections, and the SDK takes that for a
    service without supported versions.

    :returns: None if the exception is of something else.
    """
    failure = silence.last_failure()
    if not failure or not isinstance(
        exc,
        sdk_exceptions.NotSupported
        | sdk_exceptions.ServiceDiscoveryException
        | ksa_exceptions.DiscoveryFailure,
    ):
        return None
    match = re.match(r'The (\S+) service for ', str(exc))
    name = f'the {match[1]} service' if match else 'the service'
    return (
        f'{name} does not respond: {failure}. Check it, its endpoint in the '
        f'Keystone catalog and the network'
    )


def is_of_library(exc: Exception) -> bool:
    """Return whether code of keystoneauth or the SDK raised an exception."""
    frames = [frame for frame, _line in traceback.walk_tb(exc.__traceback__)]
    ours = [
        number
        for number, frame in enumerate(frames)
        if frame.f_globals.get('__name__', '').startswith('gpuclient.')
    ]
    after = frames[ours[-1] + 1 :] if ours else frames
    return any(
        frame.f_globals.get('__name__', '').partition('.')[0]
        in ('keystoneauth1', 'openstack')
        for frame in after
    )


@contextlib.contextmanager
def library_errors(action: str) -> collections.abc.Iterator[None]:
    """Translate exceptions of keystoneauth and the SDK.

    :param action: What the request does, for the message.
    """
    kind: type[exceptions.CloudError] = exceptions.CloudError
    try:
        yield
        return
    except (
        ksa_exceptions.ClientException,
        sdk_exceptions.SDKException,
    ) as exc:
        reason = str(exc)
        cause: Exception = exc
        silent = unavailable(exc)
        if silent is not None:
            reason, kind = silent, exceptions.Unreachable
        elif isinstance(
            exc,
            ksa_exceptions.CatalogException
            | ksa_exceptions.ConnectionError
            | ksa_exceptions.DiscoveryFailure,
        ):
            kind = exceptions.Unreachable
    except DISCOVERY_ERRORS as exc:
        if not is_of_library(exc):
            raise
        reason = 'its version document cannot be parsed'
        cause = exc
        kind = exceptions.Unreachable
    raise kind(f'{action} failed: {reason}') from cause


def get(
    service: adapter.Adapter,
    path: str,
    action: str,
    shape: schema.Shape,
    *,
    microversion: str | None = None,
    **params: typing.Any,
) -> dict[str, typing.Any]:
    """Return the JSON body of a read.

    :param shape: Fields that the body must have, :mod:`.schema`.
    :raises gpuclient.exceptions.CloudError: With the server's message, or with
        what is wrong with its answer.
    """
    response = send(
        service,
        'GET',
        path,
        action,
        microversion=microversion,
        params=params,
    )
    return read_body(response, action, shape)


def _refuse_constant(constant: str) -> typing.NoReturn:
    """Refuse NaN and Infinity, which Python accepts, but JSON does not."""
    raise ValueError(constant)


def read_body(
    response: requests.Response, action: str, shape: schema.Shape
) -> dict[str, typing.Any]:
    """Return the JSON object of an answer, if its fields are valid.

    :raises gpuclient.exceptions.CloudError: A field is missing or has a wrong
        type.
    """
    if response in _RECORDED:
        # Those of an answer that is refused, too.
        recorder, question = _RECORDED[response]
        recorder.allow(question, shape)
    try:
        content = response.json(parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise exceptions.CloudError(
            f'{action} failed: the response is not JSON (HTTP '
            f'{response.status_code})',
            status=response.status_code,
        ) from exc
    fault = schema.find_fault(content, shape)
    if fault:
        raise exceptions.CloudError(
            f'{action} failed: in the response, {fault} (HTTP '
            f'{response.status_code})',
            status=response.status_code,
        )
    return typing.cast(dict[str, typing.Any], content)
