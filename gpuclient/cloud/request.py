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

"""One HTTP request to a service, and its failure in words.

Every request of this package goes through here, so that each error says what
was asked, of which object, and what the server answered.
"""

import json
import logging
import re
import typing

from keystoneauth1 import adapter
from keystoneauth1 import discover
from keystoneauth1 import exceptions as ksa_exceptions
from openstack import exceptions as sdk_exceptions
import requests

from gpuclient import exceptions
from gpuclient.i18n import _

# keystoneauth warns of each retry; in the end there is an answer, or one error
# that says it all. Everything else it logs there is for --debug.
_LOG = logging.getLogger('gpuclient.http')
_LOG.addFilter(lambda record: record.levelno != logging.WARNING)

#: Answers that a later try may mend.
RETRIABLE = (429, 502, 503, 504)
#: How often a read is tried again.
RETRIES = 3

_ERRORS: dict[int, type[exceptions.CloudError]] = {
    401: exceptions.Forbidden,
    403: exceptions.Forbidden,
    404: exceptions.NotFound,
    406: exceptions.Unsupported,
    409: exceptions.Conflict,
}


def server_words(response: requests.Response) -> str:
    """Return the server's own explanation, on one line.

    Nova wraps it as ``{"badRequest": {"message": ...}}``, Placement as
    ``{"errors": [{"detail": ...}]}``, Keystone as ``{"error": {...}}``; a
    proxy in between sends HTML.
    """
    text = ''
    try:
        content = response.json()
    except (json.JSONDecodeError, requests.exceptions.JSONDecodeError):
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


def error(response: requests.Response, what: str) -> exceptions.CloudError:
    """Return the exception for an answer of 400 or above.

    :param what: What was asked, ``reading flavor 'gpu.1'``.
    """
    kind = _ERRORS.get(response.status_code, exceptions.CloudError)
    return kind(
        _('%(what)s failed: %(words)s')
        % {'what': what, 'words': server_words(response)},
        status=response.status_code,
    )


def send(
    service: adapter.Adapter,
    method: str,
    path: str,
    what: str,
    *,
    microversion: str | None = None,
    check: bool = True,
    **kwargs: typing.Any,
) -> requests.Response:
    """Send a request and return the answer.

    Reads are tried again after an answer of :data:`RETRIABLE` or a broken
    connection; writes are not.

    :param service: An SDK proxy, ``connection.placement``.
    :param what: What this request does, for the error message.
    :param microversion: Sent as ``OpenStack-API-Version``.
    :param check: Raise for an answer of 400 or above.
    :raises gpuclient.exceptions.CloudError: With the server's own words.
    """
    if method == 'GET':
        kwargs.setdefault('connect_retries', RETRIES)
        kwargs.setdefault('status_code_retries', RETRIES)
        kwargs.setdefault('retriable_status_codes', RETRIABLE)
    kwargs.update(microversion=microversion, raise_exc=False, logger=_LOG)
    try:
        response = _request(service, method, path, kwargs)
        if response.status_code == 401:
            # keystoneauth asks for a new token and tries again, but not where
            # another thread has just found the same token expired.
            response = _request(service, method, path, kwargs)
    except (
        ksa_exceptions.ClientException,
        sdk_exceptions.SDKException,
    ) as exc:
        kind: type[exceptions.CloudError] = exceptions.CloudError
        if isinstance(
            exc,
            ksa_exceptions.CatalogException | ksa_exceptions.ConnectionError,
        ):
            kind = exceptions.Unreachable
        raise kind(
            _('%(what)s failed: %(words)s')
            % {'what': what, 'words': ' '.join(str(exc).split())}
        ) from exc
    if check and response.status_code >= 400:
        raise error(response, what)
    return response


def _request(
    service: adapter.Adapter,
    method: str,
    path: str,
    kwargs: dict[str, typing.Any],
) -> requests.Response:
    """Send a request, and a read again whose answer broke off.

    keystoneauth leaves that to us: it tries again where a connection fails,
    not where an answer does (``keystoneauth1/session.py:_send_request``).
    """
    for _retry in range(kwargs.get('connect_retries', 0)):
        try:
            return service.request(path, method, **kwargs)
        except ksa_exceptions.UnknownConnectionError:
            continue
    return service.request(path, method, **kwargs)


def endpoint_data(
    service: adapter.Adapter, what: str
) -> discover.EndpointData | None:
    """Return what a service says of itself: its address and microversions.

    :param what: Why it is asked, for the error message.
    :raises gpuclient.exceptions.Unreachable: There is no such service, or it
        does not answer.
    """
    try:
        return service.get_endpoint_data()
    except (
        ksa_exceptions.ClientException,
        sdk_exceptions.SDKException,
    ) as exc:
        raise exceptions.Unreachable(
            _('%(what)s failed: %(words)s')
            % {'what': what, 'words': ' '.join(str(exc).split())}
        ) from exc


class _Body(dict[str, typing.Any]):
    """The object that a service answered, of which a part may be missing."""

    def __init__(
        self, content: dict[str, typing.Any], what: str, status: int
    ) -> None:
        super().__init__(content)
        self._what = what
        self._status = status

    def __missing__(self, key: str) -> typing.NoReturn:
        raise exceptions.CloudError(
            _('%(what)s failed: the answer has no %(key)r')
            % {'what': self._what, 'key': key},
            status=self._status,
        )


def get(
    service: adapter.Adapter,
    path: str,
    what: str,
    *,
    microversion: str | None = None,
    **params: typing.Any,
) -> dict[str, typing.Any]:
    """Return the JSON body of a read.

    :raises gpuclient.exceptions.CloudError: With the server's own words, or
        when the body is no JSON object. Likewise where something is looked
        up in it, ``['servers']``, that is not there.
    """
    response = send(
        service,
        'GET',
        path,
        what,
        microversion=microversion,
        params=params,
    )
    try:
        content = response.json()
    except requests.exceptions.JSONDecodeError as exc:
        raise exceptions.CloudError(
            _('%(what)s failed: the answer is not JSON') % {'what': what},
            status=response.status_code,
        ) from exc
    if not isinstance(content, dict):
        raise exceptions.CloudError(
            _('%(what)s failed: the answer is no object') % {'what': what},
            status=response.status_code,
        )
    return _Body(content, what, response.status_code)
