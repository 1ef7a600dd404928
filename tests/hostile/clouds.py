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

"""The user's clouds.yaml, with entries put in and taken out again.

Either nothing is done, or all is there with them, and every byte is as it was
without them.
"""

import collections.abc
import contextlib
import pathlib
import random
import tempfile

import yaml

from gpuclient import exceptions
from gpuclient.documents import clouds_yaml

BRIEF = 300
LONG = 30_000

_ENTRIES = {
    'zz-lab': {'auth': {'password': '08', 'auth_url': 'http://x:1/v3'}},
    'zz-lab-member': {'auth': {}, 'verify': False},
}
_VALUES = (
    *(1, None, True, 'a: b', '#x', '', 'two\nlines\n', '\u00e9', [], {}),
    *(['a', 'b'], {'c': {'d': 'e'}}, 'x' * 90, '08', 'yes', {'': 1}),
)
_COMMENTS = ('', '# mine', '  # indented', '#', '', ' ')


def _data(source: random.Random) -> dict[str, object]:
    names = source.sample(['a', 'prod', 'b-1', '2', 'clouds', '*'], k=5)
    clouds = {
        name: {
            key: source.choice(_VALUES)
            for key in source.sample(['auth', 'region', 'x', 'y z'], k=2)
        }
        for name in names[: source.randrange(4)]
    }
    data: dict[str, object] = {}
    if source.random() < 0.3:
        data['cache'] = source.choice(_VALUES)
    if source.random() < 0.9:
        data['clouds'] = source.choice((clouds, clouds, clouds, None))
    if source.random() < 0.4:
        data['client'] = source.choice(_VALUES)
    return data


def _text(source: random.Random) -> str:
    data = _data(source)
    text = yaml.dump(
        data or None,
        default_flow_style=source.choice((False, False, None, True)),
        indent=source.choice((2, 2, 4, 7)),
        width=source.choice((20, 80)),
        sort_keys=False,
        allow_unicode=source.random() < 0.5,
        explicit_start=source.random() < 0.2,
        explicit_end=source.random() < 0.1,
        default_style=source.choice((None, None, '"', "'")),
    )
    lines = text.splitlines()
    for _time in range(source.randrange(4)):
        lines.insert(
            source.randrange(len(lines) + 1), source.choice(_COMMENTS)
        )
    if lines and source.random() < 0.3:
        number = source.randrange(len(lines))
        lines[number] += source.choice(('  # mine', '   ', '\t'))
    ending = source.choice(('\n', '\n', '\r\n'))
    text = ending.join(lines)
    text += source.choice((ending, ending, ''))
    return source.choice(('', '', '', '\ufeff')) + text


def _loaded(text: str) -> dict[str, object] | None:
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return None
    return data if isinstance(data, dict) or data is None else None


def attack(source: random.Random) -> str:
    text = _text(source)
    before = _loaded(text)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, 'clouds.yaml')
        path.write_bytes(text.encode())
        name = str(path)
        try:
            clouds_yaml.add(name, _ENTRIES, ())
        except exceptions.RehearsalError:
            if path.read_bytes() != text.encode():
                raise AssertionError(f'{text!r} was changed') from None
            return 'refused'
        added = path.read_bytes().decode()
        after = _loaded(added)
        expected = {
            **((before or {}).get('clouds') or {}),  # type: ignore[dict-item]
            **_ENTRIES,
        }
        if after is None or after.get('clouds') != expected:
            raise AssertionError(f'{text!r} became {added!r}')
        # As a second run does.
        clouds_yaml.add(name, _ENTRIES, list(_ENTRIES))
        clouds_yaml.remove(name, list(_ENTRIES))
        if path.read_bytes() != text.encode():
            raise AssertionError(
                f'{text!r} became {added!r} and then '
                f'{path.read_bytes().decode()!r}'
            )
    return 'changed and restored'


@contextlib.contextmanager
def attacker() -> collections.abc.Iterator[
    collections.abc.Callable[[random.Random], str]
]:
    yield attack
