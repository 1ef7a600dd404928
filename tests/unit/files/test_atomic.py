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

"""A file has its old or its new content, whatever ends the edit."""

import collections
import collections.abc
import contextlib
import errno
import io
import os
import pathlib
import select
import shutil
import signal
import stat
import sys
import tempfile
import typing
import unittest.mock

import testtools

from gpuclient.documents import nova_conf
from gpuclient import exceptions
from gpuclient.files import atomic

OLD = '[pci]\n' + ''.join(f'# line {number}\n' for number in range(5000))
#: Audit events that Python raises before system calls.
EVENTS = ('open', 'os.', 'tempfile.', 'fcntl.')
NOBODY = 65534


def in_child(function: collections.abc.Callable[[], typing.Any]) -> int:
    """Run a function in its own process; return its exit status."""
    child = os.fork()
    if not child:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def as_user(function: collections.abc.Callable[[], typing.Any]) -> None:
    """Run a function without root privileges, which this process drops."""
    if not os.geteuid():
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    function()


class AtomicTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / 'nova.conf'
        self.path.write_text(OLD)

    def lock_folder(self) -> None:
        """Let only root write to the folder."""
        self.folder.chmod(0o555)
        self.addCleanup(self.folder.chmod, 0o755)

    def killed_at_every_step(
        self,
        function: collections.abc.Callable[[], typing.Any],
        old: str | None,
    ) -> list[str | None]:
        """Return the content of the file after a kill at each step, and none.

        :param old: Its content before; None if it did not exist.
        """
        contents: list[str | None] = []
        while True:
            self.path.unlink(missing_ok=True)
            if old is not None:
                self.path.write_text(old)
            left = [len(contents)]

            def die(
                event: str, _arguments: object, left: list[int] = left
            ) -> None:
                if event.startswith(EVENTS):
                    left[0] -= 1
                    if left[0] == -1:
                        os.kill(os.getpid(), signal.SIGKILL)

            def run(
                hook: collections.abc.Callable[..., None] = die,
            ) -> None:
                sys.addaudithook(hook)
                function()

            status = in_child(run)
            contents.append(
                self.path.read_text() if self.path.exists() else None
            )
            if not status:
                return contents
            self.assertEqual(-signal.SIGKILL, status, f'step {len(contents)}')

    def assertRefused(
        self,
        message: str,
        function: collections.abc.Callable[[], typing.Any],
    ) -> None:
        """Assert that a user gets this error, and nothing is changed."""

        def refused() -> None:
            try:
                function()
            except exceptions.DocumentError as exc:
                assert message in str(exc), exc
            else:
                raise AssertionError('it was written')

        before = sorted(os.listdir(self.folder))
        self.assertEqual(0, in_child(lambda: as_user(refused)))
        self.assertEqual(OLD, self.path.read_text())
        self.assertEqual(before, sorted(os.listdir(self.folder)))


class TestReplace(AtomicTestCase):
    def add(self, text: str) -> None:
        document = nova_conf.NovaConf.read(self.path)
        document.add('pci', 'alias', text)
        document.write()

    def test_killed_at_every_step(self) -> None:
        new = OLD.replace('[pci]\n', '[pci]\nalias = {}\n', 1)
        contents = self.killed_at_every_step(lambda: self.add('{}'), OLD)
        # Kills came before and after the file was replaced.
        self.assertGreater(len(contents), 10)
        self.assertEqual(OLD, contents[0])
        self.assertEqual(new, contents[-1])
        self.assertEqual({OLD, new}, set(contents))

    def test_extended_attributes_are_kept(self) -> None:
        attributes = {}
        for name in ('user.note', 'security.note', 'trusted.note'):
            # Some file systems do not have all; some users may not set them.
            with contextlib.suppress(OSError):
                os.setxattr(self.path, name, b'keep me')
                attributes[name] = b'keep me'
        os.chmod(self.path, 0o4750)
        self.add('{}')
        self.assertEqual(0o4750, stat.S_IMODE(self.path.stat().st_mode))
        self.assertEqual(
            attributes,
            {
                name: os.getxattr(self.path, name)
                for name in os.listxattr(self.path)
                if name.endswith('.note')
            },
        )

    def test_extended_attribute_cannot_be_kept(self) -> None:
        label = b'system_u:object_r:nova_etc_t:s0'
        inode = self.path.stat().st_ino
        others = b''

        def get(descriptor: int, _name: str) -> bytes:
            return label if os.fstat(descriptor).st_ino == inode else others

        def refuse(*_arguments: object) -> None:
            raise PermissionError(errno.EPERM, 'Operation not permitted')

        for name, function in (
            ('listxattr', lambda path: ['security.ima', 'security.selinux']),
            ('getxattr', get),
            ('setxattr', refuse),
        ):
            self.enterContext(
                unittest.mock.patch.object(os, name, function, create=True)
            )
        error = self.assertRaises(exceptions.UnsafeEdit, self.add, '{}')
        self.assertIn('attribute security.selinux cannot be kept', str(error))
        self.assertIn('+alias = {}', error.patch)
        self.assertEqual(OLD, self.path.read_text())
        self.assertEqual(['nova.conf'], os.listdir(self.folder))
        # The new file has the same label from its folder.
        others = label
        self.add('{}')
        self.assertNotEqual(OLD, self.path.read_text())

    def test_read_only_folder(self) -> None:
        self.path.chmod(0o666)
        self.lock_folder()
        self.assertRefused('its folder is read-only', lambda: self.add('{}'))

    def test_owner_cannot_be_kept(self) -> None:
        def refuse(*_arguments: object) -> None:
            raise PermissionError(errno.EPERM, 'Operation not permitted')

        # The file has a group that some users could not set.
        real = os.fstat
        inode = self.path.stat().st_ino

        def status_of(descriptor: int) -> os.stat_result:
            status = real(descriptor)
            if status.st_ino != inode:
                return status
            return os.stat_result([*status[:5], 123456, *status[6:]])

        self.enterContext(unittest.mock.patch.object(os, 'fstat', status_of))
        self.enterContext(unittest.mock.patch.object(os, 'fchown', refuse))
        error = self.assertRaises(exceptions.UnsafeEdit, self.add, '{}')
        self.assertIn(
            'its owner cannot be kept: Operation not permitted', str(error)
        )
        self.assertIn('+alias = {}', error.patch)
        self.assertEqual(OLD, self.path.read_text())

    def test_no_space(self) -> None:
        """A write that fails half way leaves nothing behind."""

        def edit() -> None:
            import resource

            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
            try:
                self.add('{}')
            except exceptions.DocumentError as exc:
                assert 'Cannot write' in str(exc), exc
            else:
                raise AssertionError('it was written')

        self.assertEqual(0, in_child(edit))
        self.assertEqual(OLD, self.path.read_text())
        self.assertEqual(['nova.conf'], os.listdir(self.folder))

    def test_concurrent_editors_lose_no_line(self) -> None:
        """No edit is lost: it is in the file, or it was refused."""
        self.path.write_text('[pci]\n')
        written = self.folder / 'written'

        def edit(name: str) -> None:
            for number in range(40):
                text = f'{{"name": "{name}-{number}"}}'
                try:
                    self.add(text)
                except exceptions.DocumentChanged:
                    continue
                with open(written, 'a') as stream:
                    stream.write(f'{text}\n')

        children = []
        for name in ('a', 'b', 'c'):
            child = os.fork()
            if not child:
                status = 1
                try:
                    edit(name)
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        for child in children:
            self.assertEqual(0, os.waitpid(child, 0)[1])
        lines = written.read_text().splitlines()
        document = nova_conf.NovaConf.read(self.path)
        there = [value.text for value in document.values(('pci', 'alias'))]
        self.assertEqual(sorted(lines), sorted(there))
        self.assertGreater(len(lines), 10)


class TestWrite(AtomicTestCase):
    """Output, which replaces any existing file."""

    def write(self) -> None:
        atomic.write(os.fspath(self.path), b'new')

    def test_killed_at_every_step(self) -> None:
        contents = self.killed_at_every_step(self.write, OLD)
        self.assertGreater(len(contents), 10)
        self.assertEqual({OLD, 'new'}, set(contents))
        self.assertEqual('new', contents[-1])

    def test_killed_before_there_is_a_file(self) -> None:
        contents = self.killed_at_every_step(self.write, None)
        self.assertEqual({None, 'new'}, set(contents))

    def test_mode_and_links_stay(self) -> None:
        self.path.chmod(0o640)
        link = self.folder / 'link'
        link.symlink_to('nova.conf')
        atomic.write(os.fspath(link), b'new')
        self.assertEqual('new', self.path.read_text())
        self.assertEqual(0o640, stat.S_IMODE(self.path.stat().st_mode))
        self.assertTrue(link.is_symlink())

    def test_a_pipe(self) -> None:
        pipe = self.folder / 'pipe'
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        atomic.write(os.fspath(pipe), b'new')
        self.assertEqual(b'new', os.read(reader, 100))
        self.assertTrue(pipe.is_fifo())

    def test_a_folder(self) -> None:
        error = self.assertRaises(
            exceptions.DocumentError, atomic.write, os.fspath(self.folder), b''
        )
        self.assertIn('Is a directory', str(error))

    def test_read_only_folder(self) -> None:
        self.lock_folder()
        other = os.fspath(self.folder / 'other')
        self.assertRefused(
            'Permission denied', lambda: atomic.write(other, b'new')
        )


class TestCreate(AtomicTestCase):
    def test_killed_at_every_step(self) -> None:
        """A kill leaves no hard link, with which edits would be refused."""

        def create() -> None:
            atomic.create(os.fspath(self.path), b'new')

        contents = self.killed_at_every_step(create, None)
        self.assertEqual({None, 'new'}, set(contents))
        self.assertEqual(['nova.conf'], os.listdir(self.folder))
        self.assertEqual(1, self.path.stat().st_nlink)

    def test_system_errors_are_reported(self) -> None:
        error = self.assertRaises(
            exceptions.DocumentError,
            atomic.create,
            os.fspath(self.folder / ('x' * 300)),
            b'',
        )
        self.assertRegex(str(error), '^Cannot write .*: File name too long$')
        self.assertEqual(['nova.conf'], os.listdir(self.folder))


class _Never(io.RawIOBase):
    """A regular file without data at the moment, such as ``/proc/kmsg``."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> None:
        return None


class TestReadStream(testtools.TestCase):
    """A stream that another process has made non-blocking."""

    def test_a_pipe(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        parts = [b'[pci]\n', b'alias = 1\n', b'']
        select_ = select.select

        def answer(*arguments: typing.Any) -> typing.Any:
            part = parts.pop(0)
            os.write(writing, part)
            if not part:
                os.close(writing)
            return select_(*arguments)

        with (
            open(reading, 'rb') as stream,
            unittest.mock.patch.object(select, 'select', answer),
        ):
            self.assertEqual(
                b'[pci]\nalias = 1\n', atomic.read_stream('<stdin>', stream)
            )
        self.assertEqual([], parts)

    def test_a_regular_file_without_end(self) -> None:
        with tempfile.TemporaryFile() as file:
            stream: typing.Any = io.BufferedReader(_Never(file.fileno()))
            error = self.assertRaises(
                exceptions.DocumentError,
                atomic.read_stream,
                '/proc/kmsg',
                stream,
            )
        self.assertIn('Cannot read /proc/kmsg: ', str(error))
