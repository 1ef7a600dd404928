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

"""The content of a snapshot, and its file format.

A file is gzip of one JSON object. It may come from a stranger: its size, its
depth and the number of its values are bounded before it is parsed, and its
fields are validated like those of the answers of a service.
"""

import collections.abc
import dataclasses
import datetime
import gzip
import json
import typing
import zlib

from gpuclient.cloud import schema
from gpuclient.cloud.snapshot import exchange
from gpuclient import exceptions

FORMAT = 'gpuclient-snapshot'
#: Changes whenever an older client would misread a file.
VERSION = 1
#: Bytes, decompressed.
LARGEST = 128 * 2**20
#: Values in all answers; parsed, each takes some hundred bytes of memory.
MOST = 4_000_000
#: Levels of objects and lists.
DEEPEST = 24

_MICROVERSION = schema.Optional([int])
_SHAPE: dict[str, schema.Shape] = {
    'created': str,
    'client': str,
    'cloud': schema.Optional(str),
    'region': schema.Optional(str),
    'project': schema.Optional({'id': str, 'name': str}),
    'service_types': schema.Optional([str]),
    'names_hidden': bool,
    'services': schema.Map(
        {
            'version': [int],
            'min_microversion': _MICROVERSION,
            'max_microversion': _MICROVERSION,
        }
    ),
    'answers': [
        {
            'service': str,
            'method': str,
            'path': str,
            'query': [[str]],
            'microversion': str,
            'subject': str,
            'attempt': int,
            'status': int,
            'headers': schema.Optional(schema.Map(str)),
            'reason': schema.Optional(str),
        }
    ],
}

Version: typing.TypeAlias = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Service:
    """Versions of a service."""

    version: Version
    min_microversion: Version | None = None
    max_microversion: Version | None = None


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Answers of a cloud."""

    created: datetime.datetime
    #: Version of the client that recorded it.
    client: str
    #: Name in clouds.yaml; None if it is unknown or hidden.
    cloud: str | None
    region: str | None
    #: ID and name of the project of the user, if there was one.
    project: tuple[str, str] | None
    #: Types of the services in the catalog; None if there is no catalog.
    service_types: tuple[str, ...] | None
    names_hidden: bool
    #: By service type.
    services: dict[str, Service]
    answers: dict[exchange.Question, exchange.Answer]
    #: What :mod:`.derivation` has derived, by its name.
    derived: dict[str, typing.Any] = dataclasses.field(
        default_factory=dict, init=False, compare=False, repr=False
    )


def render(snapshot: Snapshot) -> bytes:
    """Return a snapshot as a file.

    :raises gpuclient.exceptions.SnapshotError: It is too large to be read.
    """
    document = {
        'format': FORMAT,
        'version': VERSION,
        'created': snapshot.created.isoformat(timespec='seconds'),
        'client': snapshot.client,
        'cloud': snapshot.cloud,
        'region': snapshot.region,
        'project': snapshot.project
        and dict(zip(('id', 'name'), snapshot.project, strict=True)),
        'service_types': snapshot.service_types,
        'names_hidden': snapshot.names_hidden,
        'services': {
            name: dataclasses.asdict(service)
            for name, service in sorted(snapshot.services.items())
        },
        'answers': [
            {
                **dataclasses.asdict(question),
                'status': answer.status,
                'body': answer.body,
                **({'headers': answer.headers} if answer.headers else {}),
                **({'reason': answer.reason} if answer.reason else {}),
            }
            for question, answer in snapshot.answers.items()
        ],
    }
    text = json.dumps(document, ensure_ascii=False, separators=(',', ':'))
    content = text.encode('utf-8', 'backslashreplace')
    fault = _find_excess(content)
    if fault:
        raise exceptions.SnapshotError(
            f'This cloud is too large for a snapshot: {fault}'
        )
    # Without the time, so that equal answers are equal files.
    return gzip.compress(content, 6, mtime=0)


def parse(content: bytes) -> Snapshot:
    """Return the snapshot of a file.

    :raises gpuclient.exceptions.SnapshotError: It is none; without the name of
        the file.
    """
    document = _load(_decompress(content))
    if not isinstance(document, dict) or document.get('format') != FORMAT:
        raise exceptions.SnapshotError('it is not a snapshot of a cloud')
    version = document.get('version')
    if version != VERSION or isinstance(version, bool):
        raise exceptions.SnapshotError(
            f'it has version {json.dumps(version)[:40]} of the format, and '
            f'this client reads version {VERSION}'
        )
    fault = schema.find_fault(document, _SHAPE)
    if fault:
        raise exceptions.SnapshotError(fault)
    project = document.get('project')
    types = document.get('service_types')
    return Snapshot(
        created=_time(document['created']),
        client=document['client'],
        cloud=document.get('cloud'),
        region=document.get('region'),
        project=project and (project['id'], project['name']),
        service_types=None if types is None else tuple(types),
        names_hidden=document['names_hidden'],
        services={
            name: Service(*map(_version, _versions(record)))
            for name, record in document['services'].items()
        },
        answers=_answers(document['answers']),
    )


def _decompress(content: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(content, LARGEST + 1)
    except zlib.error as exc:
        raise exceptions.SnapshotError(
            f'it is not a snapshot of a cloud ({exc})'
        ) from exc
    if len(unpacked) > LARGEST:
        raise exceptions.SnapshotError(
            f'it is larger than {LARGEST // 2**20} MiB, decompressed'
        )
    if not unpacker.eof:
        raise exceptions.SnapshotError('it is truncated')
    if unpacker.unused_data:
        raise exceptions.SnapshotError('it has data after its end')
    return unpacked


def _find_excess(content: bytes) -> str:
    """Return what exceeds a bound; empty if nothing does."""
    if len(content) > LARGEST:
        return f'more than {LARGEST // 2**20} MiB'
    # Each value but the first follows one of these; those in texts count, too.
    if sum(map(content.count, (b',', b'[', b'{'))) > MOST:
        return f'more than {MOST} values'
    return ''


def _load(content: bytes) -> typing.Any:
    fault = _find_excess(content)
    if fault:
        raise exceptions.SnapshotError(f'it has {fault}')
    try:
        document = json.loads(
            content,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
        )
    except RecursionError as exc:
        raise exceptions.SnapshotError('it is nested too deeply') from exc
    except ValueError as exc:
        raise exceptions.SnapshotError(f'it is not JSON: {exc}') from exc
    if _is_too_deep(document):
        raise exceptions.SnapshotError('it is nested too deeply')
    return document


def _is_too_deep(document: typing.Any) -> bool:
    level = [document] if isinstance(document, dict | list) else []
    for _depth in range(DEEPEST):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
    return bool(level)


def _object(
    pairs: list[tuple[str, typing.Any]],
) -> dict[str, typing.Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError('an object has a key twice')
    return record


def _refuse_constant(constant: str) -> typing.NoReturn:
    raise ValueError(f'{constant} is no number')


def _time(text: str) -> datetime.datetime:
    try:
        created = datetime.datetime.fromisoformat(text)
        if created.tzinfo is None:
            raise exceptions.SnapshotError(f'{text[:40]!r} has no time zone')
        return created.astimezone(datetime.UTC)
    except (ValueError, OverflowError) as exc:
        raise exceptions.SnapshotError(f'{text[:40]!r} is not a time') from exc


def _versions(
    record: dict[str, typing.Any],
) -> collections.abc.Iterator[list[int] | None]:
    yield record['version']
    yield record.get('min_microversion')
    yield record.get('max_microversion')


def _version(numbers: list[int] | None) -> typing.Any:
    return None if numbers is None else tuple(numbers)


def _answers(
    records: list[dict[str, typing.Any]],
) -> dict[exchange.Question, exchange.Answer]:
    answers = {}
    for record in records:
        if any(len(pair) != 2 for pair in record['query']):
            raise exceptions.SnapshotError('a query is not a list of pairs')
        question = exchange.Question(
            record['service'],
            record['method'],
            record['path'],
            tuple(sorted((key, value) for key, value in record['query'])),
            record['microversion'],
            record['subject'],
            record['attempt'],
        )
        if question in answers:
            raise exceptions.SnapshotError(f'it has {question} twice')
        if not 200 <= record['status'] < 600:
            raise exceptions.SnapshotError(
                f'{question} has the status {record["status"]}'
            )
        answers[question] = exchange.Answer(
            record['status'],
            record.get('body'),
            {
                name: value
                for name, value in (record.get('headers') or {}).items()
                if name in exchange.HEADERS
            },
            record.get('reason') or '',
        )
    return answers
