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

"""Snapshots from strangers: damaged, spoilt, or made to exhaust memory.

Each attack spoils a good file and runs a command with it: it ends with a
status, or with an error of ours on one line.
"""

import argparse
import collections.abc
import contextlib
import copy
import functools
import gzip
import io
import json
import logging
import os
import random
import tempfile
import typing
import unittest.mock
import zlib

import requests_mock

from gpuclient import exceptions
from gpuclient.osc import command
from gpuclient.osc.v1 import alias
from gpuclient.osc.v1 import capacity
from gpuclient.osc.v1 import flavor
from gpuclient.osc.v1 import placement
from gpuclient.osc.v1 import server
from gpuclient.osc.v1 import snapshot

from tests.hostile import answers

BRIEF = 60
LONG = 5000

_COMMANDS: tuple[tuple[type[command.Command], tuple[str, ...]], ...] = (
    (alias.ListAlias, ('--snapshot',)),
    (alias.ShowAlias, ('a100', '--snapshot')),
    (capacity.ListCapacity, ('--long', '--snapshot')),
    (capacity.ShowCapacity, ('gpu.1', '--project', 'p1', '--snapshot')),
    (flavor.ListFlavor, ('--long', '--snapshot')),
    (flavor.ShowFlavor, ('gpu.1', '--snapshot')),
    (placement.ListPlacement, ('--long', '--snapshot')),
    (placement.ListPlacement, ('--host', 'gpu-1', '--snapshot')),
    (placement.ShowPlacement, ('gpu-1', '--snapshot')),
    (server.ListServer, ('--long', '--all-projects', '--snapshot')),
    (server.ListServer, ('--project', 'research', '--snapshot')),
    (snapshot.ShowSnapshot, ('--long',)),
)
_FORMATS = ('table', 'json', 'value')


def _run(
    kind: type[command.Command], arguments: tuple[str, ...], live: bool = False
) -> int:
    """Run a command; return its status, with 1 for an error of ours.

    :param live: With a connection to the cloud of :mod:`.answers`.
    """
    app = unittest.mock.Mock()
    app.stdout, app.stderr = io.StringIO(), io.StringIO()
    if live:
        app.client_manager.gpu = answers.connect()
    messages = io.StringIO()
    log = logging.getLogger('hostile')
    log.propagate = False
    log.handlers = [logging.StreamHandler(messages)]
    shown = kind(app, argparse.Namespace())
    with contextlib.ExitStack() as stack:
        stack.enter_context(unittest.mock.patch.object(kind, 'log', log))
        if live:
            stack.enter_context(
                unittest.mock.patch.object(
                    kind, 'authenticate', lambda self: None
                )
            )
        parsed = shown.get_parser('x').parse_args([*arguments])
        try:
            status = shown.run(parsed)
        except exceptions.GPUError as exc:
            answers.check_printable(str(exc).replace('\n', '\x1b'), 'an error')
            status = 1
    for name, stream in (
        ('stderr', messages),
        ('stderr of the shell', app.stderr),
        ('stdout', app.stdout),
    ):
        answers.check_printable(stream.getvalue(), name)
    return status


@contextlib.contextmanager
def attacker() -> collections.abc.Iterator[
    collections.abc.Callable[[random.Random], str]
]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'cloud.snapshot')
        with requests_mock.Mocker() as mock:
            mock.register_uri(
                requests_mock.ANY,
                requests_mock.ANY,
                text=answers.Cloud(random.Random(0), 0).answer,
            )
            if _run(snapshot.SaveSnapshot, (path,), live=True):
                raise AssertionError('the cloud cannot be saved')
        for kind, arguments in _COMMANDS:
            if _run(kind, (*arguments, path)):
                raise AssertionError(f'{kind.__name__} fails as it is')
        with open(path, 'rb') as stream:
            whole = stream.read()
        with unittest.mock.patch('time.sleep'):
            yield functools.partial(_attack, whole, path)


def _attack(whole: bytes, path: str, source: random.Random) -> str:
    name, spoil = source.choice(_WAYS)
    with open(path, 'wb') as stream:
        stream.write(spoil(whole, source))
    kind, arguments = source.choice(_COMMANDS)
    status = _run(kind, (*arguments, path, '-f', source.choice(_FORMATS)))
    return f'{name}: exit {status}'


def _bits(whole: bytes, source: random.Random) -> bytes:
    content = bytearray(whole)
    for _time in range(source.choice((1, 3, 30))):
        content[source.randrange(len(content))] ^= 1 << source.randrange(8)
    return bytes(content)


def _truncated(whole: bytes, source: random.Random) -> bytes:
    return whole[: source.randrange(len(whole))]


def _text(whole: bytes, source: random.Random) -> bytes:
    """Spoil the JSON."""
    content = bytearray(gzip.decompress(whole))
    for _time in range(source.choice((1, 3))):
        at = source.randrange(len(content))
        content[at : at + source.choice((0, 1, 50))] = source.choice(
            (b'', b'[', b'{', b'"', b',', b'NaN', b'\xff', b'[' * 10**5)
        )
    return gzip.compress(content, 1)


def _bomb(_whole: bytes, source: random.Random) -> bytes:
    """Decompress to a gigabyte, or parse to as much."""
    unit = source.choice((b' ', b'[', b'{"a":', b'[0],', b'"x",'))
    start = b'{"format":"gpuclient-snapshot","version":1,"x":['
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    part = unit * (2**20 // len(unit))
    return (
        packer.compress(start)
        + b''.join(packer.compress(part) for _number in range(160))
        + packer.flush()
    )


def _value(whole: bytes, source: random.Random) -> bytes:
    """Replace parts of the header or of an answer."""
    document: typing.Any = json.loads(gzip.decompress(whole))
    cloud = answers.Cloud(source, 1)
    for _time in range(source.choice((1, 3, 10))):
        if source.random() < 0.3:
            document = cloud.mutate(document)
        elif isinstance(document, dict) and document.get('answers'):
            recorded = document['answers']
            if isinstance(recorded, list):
                at = source.randrange(len(recorded))
                recorded[at] = cloud.mutate(copy.deepcopy(recorded[at]))
    text = json.dumps(document).encode()
    return gzip.compress(text, 1)


_WAYS = (
    ('bits', _bits),
    ('truncated', _truncated),
    ('text', _text),
    ('bomb', _bomb),
    ('bits', _bits),
    ('text', _text),
    *(('value', _value) for _time in range(6)),
)
