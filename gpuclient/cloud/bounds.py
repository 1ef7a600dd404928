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


"""Bounds for the answers of services.

An answer may be neither endless nor endlessly slow, its ``Retry-After`` is
bounded, and it may not redirect to another server: keystoneauth sends the
token wherever an answer redirects to (``session.py:_send_request``).

The time for headers and for the sizes of chunks is not bounded in total:
http.client reads them and has no deadline. The read timeout applies to each
piece that arrives, of at most 64 KiB a line and 100 headers.
"""

import collections.abc
import time
import typing
import urllib.parse

import requests
from urllib3 import exceptions as urllib3_exceptions

from gpuclient import exceptions

#: Bytes of an answer, decompressed.
LARGEST = 256 * 2**20
#: The same of the answer of a failed request.
_LARGEST_ERROR = 2**20
#: Bytes a second; a faster answer may take as long as it needs.
_SLOWEST = 10 * 2**10
_PART = 2**16
#: The longest pause before a retry, in seconds.
_LONGEST_PAUSE = 8.0

Hook: typing.TypeAlias = collections.abc.Callable[..., None]


def hooks(seconds: float, until: float | None = None) -> dict[str, list[Hook]]:
    """Return hooks that requests calls with each answer, before it is read.

    :param seconds: How long an answer may take beyond what a slow line needs.
    :param until: Deadline for the whole answer, a time of time.monotonic().
    """

    def read_all(
        response: requests.Response, *_arguments: object, **_options: object
    ) -> None:
        _read(response, seconds, until)

    return {'response': [_bound_pause, _refuse_redirect, read_all]}


def _bound_pause(
    response: requests.Response, *_arguments: object, **_options: object
) -> None:
    """Ignore a ``Retry-After`` of days, or of less than 0.

    keystoneauth sleeps for as long as it says.
    """
    pause = response.headers.get('Retry-After', '')
    if pause and not (
        pause.isascii() and pause.isdecimal() and int(pause) <= _LONGEST_PAUSE
    ):
        response.headers['Retry-After'] = 'later'


def _refuse_redirect(
    response: requests.Response, *_arguments: object, **_options: object
) -> None:
    """Refuse a redirection to another server.

    :raises gpuclient.exceptions.CloudError: The answer redirects to one.
    """
    location = response.headers.get('Location')
    if location is None or not 300 <= response.status_code < 400:
        return
    if not _is_same_server(response.url, location):
        response.close()
        raise exceptions.CloudError(
            f'The service at {address(response.url)} redirects to '
            f'{address(location)} (HTTP {response.status_code}). The token '
            'is not sent to another server: correct the endpoint in the '
            'Keystone catalog',
            status=response.status_code,
        )


def _is_same_server(url: str, location: str) -> bool:
    """Return whether a redirection stays on a server, or adds TLS."""
    try:
        old = urllib.parse.urlsplit(url)
        new = urllib.parse.urlsplit(location)
        old_port, new_port = _port(old), _port(new)
    except ValueError:
        return False
    if not new.netloc and not new.scheme:
        return True
    if old.hostname != new.hostname:
        return False
    if (old.scheme, new.scheme) == ('http', 'https'):
        return True
    return (old.scheme, old_port) == (new.scheme, new_port)


def _port(parts: urllib.parse.SplitResult) -> int | None:
    return parts.port or {'http': 80, 'https': 443}.get(parts.scheme)


def address(url: str) -> str:
    """Return scheme, host and port of a URL, without user and path."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return '?'
    return f'{parts.scheme}://{parts.netloc.rpartition("@")[2]}'


def _read(
    response: requests.Response, seconds: float, until: float | None
) -> None:
    """Read an answer, with bounds of size and time.

    :raises requests.exceptions.RequestException: It is interrupted, or takes
        too long.
    :raises gpuclient.exceptions.CloudError: It is too large.
    """
    is_error = response.status_code >= 400
    largest = _LARGEST_ERROR if is_error else LARGEST
    began = time.monotonic()
    content = bytearray()
    for part in _parts(response):
        content += part
        if len(content) > largest:
            response.close()
            if is_error:
                # The status is enough.
                content.clear()
                break
            raise exceptions.CloudError(
                f'The response of {address(response.url)} is larger than '
                f'{largest // 2**20} MiB',
                status=response.status_code,
            )
        now = time.monotonic()
        if now - began > seconds + len(content) / _SLOWEST or (
            until is not None and now > until
        ):
            response.close()
            raise requests.exceptions.ReadTimeout(response.url)
    # requests has no public way to set the content.
    state: typing.Any = response
    state._content = bytes(content)
    state._content_consumed = True


def _parts(response: requests.Response) -> collections.abc.Iterator[bytes]:
    """Yield the content as it arrives."""
    # read() would wait until a part is full.
    read = getattr(response.raw, 'read1', response.raw.read)
    try:
        while part := read(_PART, decode_content=True):
            yield part
    except urllib3_exceptions.ReadTimeoutError as exc:
        raise requests.exceptions.ReadTimeout(exc) from exc
    except urllib3_exceptions.DecodeError as exc:
        raise requests.exceptions.ContentDecodingError(exc) from exc
    except (urllib3_exceptions.HTTPError, OSError) as exc:
        raise requests.exceptions.ChunkedEncodingError(exc) from exc
