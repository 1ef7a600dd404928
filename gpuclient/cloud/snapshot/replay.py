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

"""A connection whose requests are answered from a snapshot.

It sends nothing: keystoneauth and the SDK run as they are, above a transport
that looks answers up.
"""

import collections
import dataclasses
from http import client as http_client
import io
import json
import typing
import urllib.parse

from keystoneauth1 import access
from keystoneauth1 import discover
from keystoneauth1 import identity
from keystoneauth1 import plugin
from keystoneauth1 import session
from openstack import connection
import requests
from requests import adapters
from urllib3 import response as urllib3_response

from gpuclient.cloud import request
from gpuclient.cloud.snapshot import content
from gpuclient.cloud.snapshot import derivation
from gpuclient.cloud.snapshot import exchange
from gpuclient import exceptions

#: Suffix of the hosts of services; no host can have it (RFC 6761).
_DOMAIN = '.snapshot.invalid'
_TOKEN = 'snapshot'  # noqa: S105
#: A token must not expire.
_EXPIRES = '9999-12-31T00:00:00.000000Z'


def connect(snapshot: content.Snapshot, name: str) -> connection.Connection:
    """Return a connection that answers from a snapshot.

    :param name: The name of its file, for messages.
    """
    http = requests.Session()
    http.trust_env = False
    transport = _Transport(snapshot, name)
    for scheme in ('http://', 'https://'):
        http.mount(scheme, transport)
    kind = _Fixed if snapshot.service_types is None else _Scoped
    ksa_session = session.Session(auth=kind(snapshot), session=http)
    request.set_patience(ksa_session, request.Patience())
    return connection.Connection(
        session=ksa_session, region_name=snapshot.region
    )


def is_replayed(cloud: connection.Connection) -> bool:
    """Return whether answers come from a snapshot."""
    return isinstance(cloud.session.auth, _Fixed | _Scoped)


def _endpoint(
    snapshot: content.Snapshot, service_type: str | None
) -> discover.EndpointData | None:
    service = snapshot.services.get(service_type or '')
    if service is None:
        return None
    url = f'http://{service_type}{_DOMAIN}'
    return discover.EndpointData(
        catalog_url=url,
        service_url=url,
        service_type=service_type,
        interface='public',
        region_name=snapshot.region,
        api_version=service.version,
        min_microversion=service.min_microversion,
        max_microversion=service.max_microversion,
        status='CURRENT',
    )


class _Fixed(plugin.BaseAuthPlugin):
    """The endpoints of a snapshot, as with a fixed token."""

    def __init__(self, snapshot: content.Snapshot) -> None:
        super().__init__()
        self._snapshot = snapshot

    def get_token(self, session: session.Session) -> str:
        return _TOKEN

    def get_endpoint(
        self,
        session: session.Session,
        *,
        service_type: str | None = None,
        **_options: typing.Any,
    ) -> str | None:
        data = _endpoint(self._snapshot, service_type)
        return None if data is None else data.url

    def get_api_major_version(
        self,
        session: session.Session,
        *,
        service_type: str | None = None,
        **_options: typing.Any,
    ) -> tuple[int | float, ...] | None:
        data = _endpoint(self._snapshot, service_type)
        return None if data is None else data.api_version

    def get_endpoint_data(
        self,
        session: session.Session,
        *,
        service_type: str | None = None,
        **_options: typing.Any,
    ) -> discover.EndpointData | None:
        return _endpoint(self._snapshot, service_type)


class _Scoped(identity.BaseIdentityPlugin):
    """The same with a catalog and the project of the user."""

    def __init__(self, snapshot: content.Snapshot) -> None:
        super().__init__()
        self._snapshot = snapshot

    def get_endpoint_data(
        self,
        session: session.Session,
        *,
        service_type: str | None = None,
        **_options: typing.Any,
    ) -> discover.EndpointData | None:
        return _endpoint(self._snapshot, service_type)

    def get_auth_ref(self, session: session.Session) -> access.AccessInfo:
        token: dict[str, typing.Any] = {
            'expires_at': _EXPIRES,
            'issued_at': _EXPIRES,
            'methods': [],
            'catalog': [
                {'id': name, 'type': name, 'name': name, 'endpoints': []}
                for name in self._snapshot.service_types or ()
            ],
        }
        if self._snapshot.project is not None:
            project_id, name = self._snapshot.project
            token['project'] = {'id': project_id, 'name': name, 'domain': {}}
        return access.AccessInfoV3({'token': token}, _TOKEN)


class _Transport(adapters.HTTPAdapter):
    """Looks up answers instead of sending requests."""

    def __init__(self, snapshot: content.Snapshot, name: str) -> None:
        super().__init__()
        self._snapshot = snapshot
        self._name = name
        #: Attempts at each request with a subject so far.
        self._attempts: collections.Counter[exchange.Question] = (
            collections.Counter()
        )

    def send(
        self, request: requests.PreparedRequest, *_args: object, **_kw: object
    ) -> requests.Response:
        question = _question(request)
        answer = self._answer(question)
        if answer is None:
            answer = derivation.derive(self._snapshot, question)
        if answer is None:
            raise exceptions.NotRecorded(
                f'Snapshot {self._name} has no answer to "{question}". '
                f'{_remedy(question)}'
            )
        body = b'' if answer.body is None else json.dumps(answer.body).encode()
        return self.build_response(
            request,
            urllib3_response.HTTPResponse(
                body=io.BytesIO(body),
                headers={'Content-Type': 'application/json', **answer.headers},
                status=answer.status,
                reason=answer.reason
                or http_client.responses.get(answer.status),
                preload_content=False,
            ),
        )

    def _answer(self, question: exchange.Question) -> exchange.Answer | None:
        """Return a recorded answer, the next one if there are several."""
        answers = self._snapshot.answers
        if not question.subject:
            return answers.get(question)
        attempt = dataclasses.replace(
            question, attempt=self._attempts[question]
        )
        if attempt not in answers:
            attempt = question
        self._attempts[question] = attempt.attempt + 1
        return answers.get(attempt)


def _question(prepared: requests.PreparedRequest) -> exchange.Question:
    url = urllib.parse.urlsplit(prepared.url or '')
    service = (url.hostname or '').removesuffix(_DOMAIN)
    microversion = str(prepared.headers.get('OpenStack-API-Version', ''))
    body = prepared.body or None
    return exchange.question(
        service,
        prepared.method or '',
        f'{url.path}?{url.query}',
        microversion=microversion.rpartition(' ')[2],
        body=json.loads(body) if isinstance(body, bytes | str) else None,
    )


#: By service and first part of a path: the kinds that record it with --for.
_KINDS = {
    ('compute', 'servers'): 'server',
    ('identity', 'users'): 'user',
    ('image', 'images'): 'image',
}


def _remedy(question: exchange.Question) -> str:
    """Return how to record the answer to a request."""
    kind = _KINDS.get((question.service, question.path.split('/')[1]))
    if kind is not None:
        return (
            f'It is recorded with "openstack gpu snapshot save --for '
            f'{kind}=NAME"'
        )
    return (
        'Record the cloud again with this version of the client: "openstack '
        'gpu snapshot save"'
    )
