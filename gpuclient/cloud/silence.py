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

"""Services that do not respond.

A command sends many requests. If each waited for a service that accepts
connections and never responds, the command would take its timeout times their
number: after a while, the other requests to that service fail at once.

The version discovery of keystoneauth ignores failed connections
(``keystoneauth1/discover.py:get_discovery``), so that the SDK says of a
service that does not respond that it has no supported version. What failed is
kept here for the message.
"""

import dataclasses
import threading
import time
import typing

import requests
from requests import adapters

from gpuclient.cloud import bounds

#: Times the patience, after which a service is tried again.
_RECOVERY = 4
#: What may undo earlier changes is always sent.
_ALWAYS_SENT = frozenset({'PUT', 'DELETE'})

_LAST = threading.local()


def last_failure() -> str:
    """Return why the last request of this thread had no response.

    Empty if there was a response, or no request.
    """
    return getattr(_LAST, 'failure', '')


def was_refused() -> bool:
    """Return whether the last request of this thread was not sent."""
    return getattr(_LAST, 'refused', False)


@dataclasses.dataclass
class _Service:
    """How long a service has not responded, since it last did."""

    seconds: float = 0.0
    #: End of the last request that had no response.
    until: float = 0.0
    failure: str = ''


class _Guard(adapters.BaseAdapter):
    """Sends requests, unless the service has been silent for too long."""

    def __init__(self, inner: adapters.BaseAdapter, patience: float) -> None:
        super().__init__()
        self.inner = inner
        self._patience = patience
        self._services: dict[str, _Service] = {}
        self._lock = threading.Lock()

    def send(
        self,
        request: requests.PreparedRequest,
        *arguments: typing.Any,
        **options: typing.Any,
    ) -> requests.Response:
        address = bounds.address(request.url or '')
        if request.method not in _ALWAYS_SENT:
            self._refuse(address, request)
        _LAST.refused = False
        began = time.monotonic()
        try:
            response = self.inner.send(request, *arguments, **options)
        except requests.exceptions.RequestException as exc:
            failure = _describe(address, exc, time.monotonic() - began)
            _LAST.failure = failure
            if isinstance(exc, requests.exceptions.Timeout):
                self._add(address, began, failure)
            raise
        _LAST.failure = ''
        with self._lock:
            self._services.pop(address, None)
        return response

    def _refuse(self, address: str, request: requests.PreparedRequest) -> None:
        """Fail if the service has been silent for too long.

        :raises requests.exceptions.ConnectTimeout: It has.
        """
        with self._lock:
            service = self._services.get(address)
            if service is None or service.seconds < self._patience:
                return
            pause = time.monotonic() - service.until
            if pause >= _RECOVERY * self._patience:
                del self._services[address]
                return
        _LAST.failure = service.failure
        _LAST.refused = True
        raise requests.exceptions.ConnectTimeout(
            service.failure, request=request
        )

    def _add(self, address: str, began: float, failure: str) -> None:
        """Count the time of a request; parallel ones count once."""
        now = time.monotonic()
        with self._lock:
            service = self._services.setdefault(address, _Service())
            service.seconds += now - max(began, service.until)
            service.until = now
            service.failure = failure

    def close(self) -> None:
        self.inner.close()


def watch(http: requests.Session, patience: float) -> None:
    """Let requests fail at once to a service that has been silent.

    :param patience: For how many seconds.
    """
    for prefix, adapter in list(http.adapters.items()):
        inner = adapter.inner if isinstance(adapter, _Guard) else adapter
        http.mount(prefix, _Guard(inner, patience))


def _describe(address: str, exc: Exception, seconds: float) -> str:
    waited = f'{round(seconds, 1):g}'
    if isinstance(exc, requests.exceptions.ConnectTimeout):
        return f'{address} accepts no connection within {waited} seconds'
    if isinstance(exc, requests.exceptions.Timeout):
        return f'{address} does not respond within {waited} seconds'
    if isinstance(exc, requests.exceptions.SSLError):
        return f'TLS with {address} fails: {exc}'
    if 'Connection refused' in str(exc):
        return f'{address} refuses connections'
    return f'the connection to {address} fails: {exc}'
