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

"""Kill an edit at every system call: the file is whole, old or new.

A file that the edit makes is whole, or not there.

``make test-kill``. It needs strace(1), which first writes down the system
calls that an edit makes; then the edit is run once for each of them, and
killed (SIGKILL) as that one is entered. The edits are those of the commands,
through ``documents.aliases`` and ``documents.generate``.
"""

import collections
import collections.abc
import ctypes
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import typing

from gpuclient.documents import aliases
from gpuclient.documents.generate import conf_options
from gpuclient.documents.generate import created_files
from gpuclient.documents.generate import creation
from gpuclient.model import alias as alias_model

ALIAS = alias_model.Alias('a', '10de', '20f1', 'type-PF')
LINE = f'alias = {ALIAS.render()}'
#: prctl(2): let strace attach although it is no parent.
_PR_SET_PTRACER = 0x59616D61
_ANY = ctypes.c_ulong(-1)
_CALL = re.compile(r'^(?:\d+ +)?(\w+)\(', re.M)

COMMENTS = ''.join(f'# line {number}\n' for number in range(2000))


def _add(path: str) -> None:
    """Add an alias to files."""
    documents = aliases.read(path)
    for document in documents:
        aliases.add(document, ALIAS)
    for file in documents[0].file.files:
        file.write()


def _create(path: str) -> None:
    """Write a file that is there, and one in a folder that is not."""
    files, _others = created_files.read(
        path,
        [
            creation.ConfArtifact(
                'nova.conf', (conf_options.aliases([ALIAS]),), ('nova-api',)
            ),
            creation.TextArtifact('etc/modprobe.d/x.conf', COMMENTS),
        ],
    )
    for file in files:
        file.write()


class Edit(typing.NamedTuple):
    """Files, what is given to the command, and what they become."""

    before: dict[str, str]
    after: dict[str, str]
    path: str
    link: str = ''
    run: collections.abc.Callable[[str], None] = _add


def _plus(text: str, marker: str, indent: str = '') -> str:
    return text.replace(marker, f'{marker}{indent}{LINE}\n')


_PLAIN = f'[pci]\n{COMMENTS}'
_VALUES = (
    'data:\n  nova:\n    pci:\n      conf: |\n        [pci]\n'
    f'        x = 1\n# more\n{COMMENTS}'
)
EDITS = {
    'a nova.conf': Edit(
        {'nova.conf': _PLAIN},
        {'nova.conf': _plus(_PLAIN, '[pci]\n')},
        'nova.conf',
    ),
    'a link to a nova.conf': Edit(
        {'real/nova.conf': _PLAIN},
        {'real/nova.conf': _plus(_PLAIN, '[pci]\n')},
        'nova.conf',
        'real/nova.conf',
    ),
    'values of RHOSO': Edit(
        {'values.yaml': _VALUES},
        {'values.yaml': _plus(_VALUES, '        x = 1\n', ' ' * 8)},
        'values.yaml',
    ),
    'layers of Kolla': Edit(
        {
            'kolla/config/nova/nova-api.conf': '[pci]\n',
            'kolla/config/nova/nova-compute.conf': '[pci]\n',
        },
        {
            'kolla/config/nova/nova-api.conf': _plus('[pci]\n', '[pci]\n'),
            'kolla/config/nova/nova-compute.conf': _plus('[pci]\n', '[pci]\n'),
        },
        'kolla/config',
    ),
    'what a description makes': Edit(
        {'out/nova.conf': _PLAIN},
        {
            'out/nova.conf': _plus(_PLAIN, '[pci]\n'),
            'out/etc/modprobe.d/x.conf': COMMENTS,
        },
        'out',
        run=_create,
    ),
}


def _stopped_child(edit: Edit, path: str) -> int:
    """Start an edit that waits to be continued; return its process."""
    child = os.fork()
    if child:
        os.waitpid(child, os.WUNTRACED)
        return child
    status = 1
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        edit.run(path)
        status = 0
    finally:
        os._exit(status)


def _under_strace(edit: Edit, path: str, *options: str) -> int:
    """Run an edit; return how it ended."""
    child = _stopped_child(edit, path)
    tracer = subprocess.Popen(
        ['strace', '-f', '-p', str(child), *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    line = tracer.stderr.readline()
    if 'attached' not in line:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise SystemExit(f'strace: {line.strip()}')
    os.kill(child, signal.SIGCONT)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    tracer.communicate()
    return status


def _points(edit: Edit, path: str) -> list[tuple[str, int]]:
    """Return each system call of an edit, as the Nth of its name."""
    with tempfile.NamedTemporaryFile('r') as log:
        status = _under_strace(edit, path, '-o', log.name)
        names = _CALL.findall(log.read())
    if status != 0:
        raise SystemExit(f'the edit ended with status {status}')
    seen: collections.Counter[str] = collections.Counter()
    points = []
    for name in names:
        seen[name] += 1
        points.append((name, seen[name]))
    return points


def _write(folder: pathlib.Path, edit: Edit) -> str:
    """Write the files as they are before; return the path to edit."""
    shutil.rmtree(folder)
    for path, text in edit.before.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    if edit.link:
        (folder / edit.path).symlink_to(edit.link)
    return os.fspath(folder / edit.path)


def run(name: str, edit: Edit) -> collections.Counter[str]:
    """Kill an edit everywhere; return how often a file was what it was.

    :raises SystemExit: A file was neither old nor new.
    """
    seen: collections.Counter[str] = collections.Counter()
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        for call, number in _points(edit, _write(folder, edit)):
            where = f'{name}: killed at {call} {number}'
            status = _under_strace(
                edit,
                _write(folder, edit),
                *('-o', '/dev/null'),
                *('-e', f'inject={call}:signal=KILL:when={number}'),
            )
            if status != -signal.SIGKILL:
                raise SystemExit(f'{where}, which ended with {status}')
            for path, after in edit.after.items():
                text = None
                if (folder / path).exists():
                    text = (folder / path).read_text()
                if text == after:
                    seen['new'] += 1
                elif text == edit.before.get(path):
                    seen['old'] += 1
                else:
                    raise SystemExit(
                        f'{where}: {path} is neither old nor new: '
                        f'{(text or "")[:200]!r}'
                    )
            if edit.link and not (folder / edit.path).is_symlink():
                raise SystemExit(f'{where}: the link is gone')
            seen['points'] += 1
    finally:
        shutil.rmtree(folder)
    # It was killed on both sides of the replacement.
    if not seen['points'] or not seen['old'] or not seen['new']:
        raise SystemExit(f'{name}: it was not killed where it matters: {seen}')
    return seen


def main() -> None:
    if shutil.which('strace') is None:
        raise SystemExit(
            'strace is needed: apt-get install strace, or dnf install strace'
        )
    total = 0
    for name, edit in EDITS.items():
        seen = run(name, edit)
        total += seen['points']
        sys.stdout.write(
            f'{name}: killed at {seen["points"]} system calls; files old '
            f'{seen["old"]} times, new {seen["new"]} times\n'
        )
    sys.stdout.write(f'{total} system calls, no file between old and new\n')


if __name__ == '__main__':
    main()
