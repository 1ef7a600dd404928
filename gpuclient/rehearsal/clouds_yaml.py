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

"""Entries of a rehearsal cloud in the user's own clouds.yaml.

The file is the user's: comments, order and the other entries stay, a name
that is not ours is not touched, and the file is whole at every moment.
"""

import collections.abc
import io
import os
import typing

import platformdirs

from gpuclient.documents import atomic
from gpuclient import exceptions
from gpuclient.i18n import _

#: Times that a change starts anew because somebody else wrote the file.
_ATTEMPTS = 5

Entries: typing.TypeAlias = collections.abc.Mapping[str, typing.Any]


def path() -> str:
    """Return the file that ``openstack`` reads for this user."""
    named = os.environ.get('OS_CLIENT_CONFIG_FILE')
    if named:
        return os.path.abspath(named)
    return os.fspath(
        platformdirs.user_config_path('openstack') / 'clouds.yaml'
    )


def check(
    file: str,
    names: collections.abc.Iterable[str],
    ours: collections.abc.Container[str],
) -> None:
    """Refuse a file to which entries cannot be added.

    :param ours: Names of entries there that are ours already.
    :raises RehearsalError: A name is somebody else's, the file is no
        clouds.yaml, or what edits it is not installed.
    """
    _document, clouds, _text = _read(file)
    for name in names:
        if name in clouds and name not in ours:
            raise exceptions.RehearsalError(
                _(
                    'Cloud %(name)s in %(path)s is not ours: choose another '
                    'name for the rehearsal cloud'
                )
                % {'name': name, 'path': file}
            )


def add(file: str, entries: Entries, ours: typing.Container[str]) -> None:
    """Add entries, or replace those that are ours.

    :raises RehearsalError: As :func:`check`.
    """

    def change(clouds: typing.Any) -> None:
        clouds.update(entries)

    check(file, entries, ours)
    _edit(file, change, set(entries))


def remove(file: str, names: collections.abc.Iterable[str]) -> None:
    """Remove entries; those that are not there are no error.

    :raises RehearsalError: The file cannot be read or written.
    """
    gone = set(names)

    def change(clouds: typing.Any) -> None:
        for name in gone:
            clouds.pop(name, None)

    if os.path.exists(file):
        _edit(file, change, gone)


def _edit(
    file: str,
    change: collections.abc.Callable[[typing.Any], None],
    touched: set[str],
) -> None:
    for _attempt in range(_ATTEMPTS):
        document, clouds, old = _read(file)
        before = {
            name: value
            for name, value in clouds.items()
            if name not in touched
        }
        change(clouds)
        document['clouds'] = clouds
        new = _dump(document)
        _document, after, _text = _parse(file, new)
        if {
            name: value for name, value in after.items() if name not in touched
        } != before:
            raise exceptions.RehearsalError(
                _('%(path)s cannot be changed without harm; nothing was done')
                % {'path': file}
            )
        if new == old or _replace(file, old, new):
            return
    raise exceptions.RehearsalError(
        _('%(path)s changes all the time; try again') % {'path': file}
    )


def _yaml() -> typing.Any:
    try:
        from ruamel import yaml
    except ImportError as exc:
        raise exceptions.RehearsalError(
            _(
                'To register a cloud needs ruamel.yaml: '
                "pip install 'python-gpuclient[rehearsal]'"
            )
        ) from exc
    parser = yaml.YAML()
    parser.preserve_quotes = True
    parser.width = 4096
    return parser


def _read(file: str) -> tuple[typing.Any, typing.Any, str]:
    """Return the document, its clouds, and its text."""
    try:
        with open(file, encoding='utf-8', newline='') as stream:
            text = stream.read()
    except FileNotFoundError:
        text = ''
    except (OSError, UnicodeDecodeError) as exc:
        raise exceptions.RehearsalError(
            _('Cannot read %(path)s: %(reason)s')
            % {'path': file, 'reason': exc}
        ) from exc
    return _parse(file, text)


def _parse(file: str, text: str) -> tuple[typing.Any, typing.Any, str]:
    parser = _yaml()
    try:
        document = parser.load(text)
    except Exception as exc:
        raise exceptions.RehearsalError(
            _('Cannot read %(path)s: %(reason)s')
            % {'path': file, 'reason': ' '.join(str(exc).split())}
        ) from exc
    if document is None:
        document = {}
    clouds = document.get('clouds') if isinstance(document, dict) else None
    if clouds is None and isinstance(document, dict):
        clouds = {}
    if not isinstance(clouds, dict):
        raise exceptions.RehearsalError(
            _('%(path)s is no clouds.yaml: it has no mapping "clouds"')
            % {'path': file}
        )
    return document, clouds, text


def _dump(document: typing.Any) -> str:
    parser = _yaml()
    clouds = document['clouds']
    # Keep the indentation that the file has.
    column = getattr(getattr(clouds, 'lc', None), 'col', None)
    if column:
        parser.indent(mapping=column, sequence=column + 2, offset=column)
    stream = io.StringIO()
    parser.dump(document, stream)
    return stream.getvalue()


def _replace(file: str, old: str, new: str) -> bool:
    """Write a file unless it changed; say whether it was written."""
    try:
        if not os.path.exists(file):
            os.makedirs(
                os.path.dirname(os.path.realpath(file)),
                mode=0o700,
                exist_ok=True,
            )
            # Made here, so that nobody else ever sees the passwords.
            os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
        atomic.replace(file, old.encode(), new.encode())
    except exceptions.DocumentChanged:
        return False
    except exceptions.DocumentError as exc:
        raise exceptions.RehearsalError(str(exc)) from exc
    except OSError as exc:
        raise exceptions.RehearsalError(
            _('Cannot write %(path)s: %(reason)s')
            % {'path': file, 'reason': exc.strerror}
        ) from exc
    return True
