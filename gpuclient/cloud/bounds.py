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


"""What a service may do to whoever asks it.

It may neither send without end, nor so slowly that there is none, nor ask for
a pause of days, nor send a request on to others: keystoneauth sends the token
to wherever an answer redirects to (``session.py:_send_request``).

Not bounded in total: headers, and the lines with the sizes of chunks. They are
read by http.client, which has no place for a clock: the read timeout counts
for each piece that arrives, of 64 KiB a line and 100 headers at most.
"""

import collections.abc
import time
import typing
import urllib.parse

import requests
from urllib3 import exceptions as urllib3_exceptions

from gpuclient import exceptions

#: Bytes of an answer, unpacked.
LARGEST = 256 * 2**20
#: The same of one that says what failed.
_LARGEST_ERROR = 2**20
#: Bytes in a second; one that is faster may take as long as it needs.
_SLOWEST = 10 * 2**10
_PART = 2**16
#: The longest pause before a next try, in seconds, whatever a service asks.
_LONGEST_PAUSE = 8.0

Hook: typing.TypeAlias = collections.abc.Callable[..., None]


def hooks(seconds: float, until: float | None = None) -> dict[str, list[Hook]]:
    """Return what requests calls with each answer, before it is read.

    :param seconds: How long an answer may take beyond what a slow line needs.
    :param until: When it has to be there at all, a time of time.monotonic().
    """

    def read_all(
        response: requests.Response, *_arguments: object, **_options: object
    ) -> None:
        _read(response, seconds, until)

    return {'response': [_bound_pause, _stay, read_all]}


def _bound_pause(
    response: requests.Response, *_arguments: object, **_options: object
) -> None:
    """Keep a service from asking for a pause of days, or of less than none.

    keystoneauth sleeps for what ``Retry-After`` says.
    """
    asked = response.headers.get('Retry-After', '')
    if asked and not (
        asked.isascii() and asked.isdecimal() and int(asked) <= _LONGEST_PAUSE
    ):
        response.headers['Retry-After'] = 'later'


def _stay(
    response: requests.Response, *_arguments: object, **_options: object
) -> None:
    """Refuse to be sent on to another server.

    :raises gpuclient.exceptions.CloudError: It does so.
    """
    location = response.headers.get('Location')
    if location is None or not 300 <= response.status_code < 400:
        return
    if not _is_same_server(response.url, location):
        response.close()
        raise exceptions.CloudError(
            (
                f'The service at {_address(response.url)} sends to another '
                'server (HTTP '
                f'{response.status_code}), which does not get the token: the '
                'catalog of '
                'Keystone has to name the address where the service is. It '
                f'sends to {_address(location)}'
            ),
            status=response.status_code,
        )


def _is_same_server(here: str, there: str) -> bool:
    """Return whether an address is on the same server, maybe with TLS."""
    try:
        old, new = urllib.parse.urlsplit(here), urllib.parse.urlsplit(there)
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


def _address(url: str) -> str:
    """Return where an address is, without users, passwords and paths."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return '?'
    return f'{parts.scheme}://{parts.netloc.rpartition("@")[2]}'


def _read(
    response: requests.Response, seconds: float, until: float | None
) -> None:
    """Read an answer, within bounds of size and time.

    :raises requests.exceptions.RequestException: It broke off, or takes too
        long.
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
                # What the status says is what counts.
                content.clear()
                break
            raise exceptions.CloudError(
                f'The answer of {_address(response.url)} is larger than '
                f'{largest // 2**20} MiB',
                status=response.status_code,
            )
        now = time.monotonic()
        if now - began > seconds + len(content) / _SLOWEST or (
            until is not None and now > until
        ):
            response.close()
            raise requests.exceptions.ReadTimeout(response.url)
    # There is no other way to hand it back.
    state: typing.Any = response
    state._content = bytes(content)
    state._content_consumed = True


def _parts(response: requests.Response) -> collections.abc.Iterator[bytes]:
    """Yield what arrives, as it arrives."""
    # requests waits until a part is full.
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
