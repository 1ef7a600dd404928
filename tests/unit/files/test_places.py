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

"""Files are written to the given path, even if others can write there."""

import collections.abc
import fcntl
import json
import os
import pathlib
import shutil
import stat
import struct
import tempfile
import unittest.mock

import testtools

from gpuclient.documents import nova_conf
from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.files import places
from gpuclient.osc import sarif

OLD = '[pci]\n'
THEIRS = 4242


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Return an ACL in the format of the kernel (``posix_acl_xattr.h``)."""
    return struct.pack('<I', 2) + b''.join(
        struct.pack('<HHI', tag, permissions, number & 0xFFFFFFFF)
        for tag, permissions, number in entries
    )


#: u::rwx, u:4242:r-x, g::r-x, m::r-x, o::---
DEFAULT_ACL = acl(
    (1, 7, -1), (2, 5, THEIRS), (4, 5, -1), (0x10, 5, -1), (0x20, 0, -1)
)


class PlacesTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.system = self.folder / 'system'
        self.system.mkdir()
        self.victim = self.system / 'shadow.conf'
        self.victim.write_text(OLD)
        self.victim.chmod(0o600)
        self.theirs = self.folder / 'theirs'
        self.theirs.mkdir()
        self.path = self.theirs / 'nova.conf'
        #: Owners by inode, instead of the real ones.
        self.owners: dict[int, int] = {}
        for name in ('stat', 'fstat'):
            self.enterContext(
                unittest.mock.patch.object(
                    os, name, self._with_owner(getattr(os, name))
                )
            )

    def _with_owner(
        self, real: collections.abc.Callable[..., os.stat_result]
    ) -> collections.abc.Callable[..., os.stat_result]:
        """Return stat() with simulated owners, because only root can chown."""

        def status(*arguments: object, **how: object) -> os.stat_result:
            status = real(*arguments, **how)
            owner = self.owners.get(status.st_ino)
            if owner is None:
                return status
            return os.stat_result([*status[:4], owner, *status[5:]])

        return status

    def give(self, path: pathlib.Path) -> None:
        """Let another user own a file, a folder or a link."""
        self.owners[path.lstat().st_ino] = THEIRS

    def edit(self, path: pathlib.Path) -> None:
        document = nova_conf.NovaConf.read(path)
        document.add('pci', 'alias', '{}')
        document.write()

    def assertKept(self) -> None:
        self.assertEqual(OLD, self.victim.read_text())
        self.assertEqual(0o600, stat.S_IMODE(self.victim.stat().st_mode))
        self.assertEqual(['shadow.conf'], os.listdir(self.system))


class TestLinks(PlacesTestCase):
    def test_of_somebody_else(self) -> None:
        self.give(self.theirs)
        self.path.symlink_to(self.victim)
        for write in (
            lambda: self.edit(self.path),
            lambda: atomic.write(os.fspath(self.path), b'x'),
            lambda: sarif.write(os.fspath(self.path), [], {}),
        ):
            error = self.assertRaises(exceptions.UnsafeEdit, write)
            self.assertRegex(
                str(error),
                r'user 4242 could have created the link nova\.conf, which '
                r'leads to a file of another user; pass the file itself',
            )
            self.assertKept()

    def test_to_a_file_that_is_not_there(self) -> None:
        self.give(self.theirs)
        self.path.symlink_to(self.system / 'new')
        for write in (atomic.write, atomic.create):
            self.assertRaises(
                exceptions.UnsafeEdit, write, os.fspath(self.path), b'x'
            )
            self.assertKept()

    def test_of_a_folder(self) -> None:
        self.give(self.theirs)
        (self.theirs / 'conf').symlink_to(self.system)
        for name in ('shadow.conf', 'new', 'new/deeper'):
            path = os.fspath(self.theirs / 'conf' / name)
            self.assertRaises(exceptions.UnsafeEdit, atomic.write, path, b'x')
            self.assertKept()

    def test_to_what_is_theirs(self) -> None:
        other = self.folder / 'other'
        other.mkdir()
        (other / 'nova.conf').write_text(OLD)
        for path in (self.theirs, other, other / 'nova.conf'):
            self.give(path)
        self.path.symlink_to('../other/nova.conf')
        with unittest.mock.patch.object(os, 'fchown'):
            self.edit(self.path)
        self.assertIn('alias', (other / 'nova.conf').read_text())
        self.assertTrue(self.path.is_symlink())

    def test_of_a_folder_that_all_can_write_in(self) -> None:
        self.theirs.chmod(0o777)
        self.path.symlink_to(self.victim)
        error = self.assertRaises(exceptions.UnsafeEdit, self.edit, self.path)
        self.assertIn('everybody could have created the link', str(error))
        self.assertKept()

    def test_of_a_group(self) -> None:
        self.theirs.chmod(0o775)
        self.path.symlink_to(self.victim)
        with unittest.mock.patch.object(
            places, '_is_private', return_value=False
        ):
            error = self.assertRaises(
                exceptions.UnsafeEdit, self.edit, self.path
            )
        self.assertIn('group ', str(error))
        self.assertKept()

    def test_of_a_sticky_folder(self) -> None:
        self.theirs.chmod(0o1777)
        self.path.symlink_to(self.victim)
        self.give(self.path)
        self.assertRaises(exceptions.UnsafeEdit, self.edit, self.path)
        self.assertKept()
        # A link of this user is followed.
        self.owners.clear()
        self.edit(self.path)
        self.assertIn('alias', self.victim.read_text())

    def test_ours(self) -> None:
        self.path.symlink_to('../system/../system/shadow.conf')
        self.edit(self.path)
        self.assertIn('alias', self.victim.read_text())
        self.assertTrue(self.path.is_symlink())

    def test_around(self) -> None:
        self.path.symlink_to('nova.conf')
        error = self.assertRaises(
            exceptions.DocumentError, atomic.write, os.fspath(self.path), b''
        )
        self.assertIn('Too many levels of symbolic links', str(error))


class TestSwaps(PlacesTestCase):
    """The file is replaced between the read and the write."""

    def test_another_file(self) -> None:
        self.path.write_text(OLD)
        document = nova_conf.NovaConf.read(self.path)
        document.add('pci', 'alias', '{}')
        rename = os.replace

        check = atomic._check_unchanged

        def swap(*arguments: object) -> None:
            check(*arguments)
            # Another file with the same content, after the last read.
            (self.theirs / 'other').write_text(OLD)
            rename(self.theirs / 'other', self.path)

        with unittest.mock.patch.object(atomic, '_check_unchanged', swap):
            document.write()
        # The other file is replaced in its folder; nothing of it is kept.
        self.assertIn('alias', self.path.read_text())
        self.assertEqual(['nova.conf'], os.listdir(self.theirs))

    def test_a_link_when_attributes_are_copied(self) -> None:
        self.path.write_text(OLD)
        self.path.chmod(0o666)
        copy = atomic._copy_attributes

        def swap(*arguments: object) -> None:
            (temporary,) = self.theirs.glob('.nova.conf.*')
            temporary.unlink()
            temporary.symlink_to(self.victim)
            copy(*arguments)

        document = nova_conf.NovaConf.read(self.path)
        document.add('pci', 'alias', '{}')
        with unittest.mock.patch.object(atomic, '_copy_attributes', swap):
            error = self.assertRaises(
                exceptions.DocumentChanged, document.write
            )
        self.assertIn('changed after it was read', str(error))
        self.assertKept()
        self.assertEqual(OLD, self.path.read_text())

    def test_a_renamed_folder(self) -> None:
        self.path.write_text(OLD)
        self.path.chmod(0o666)
        with atomic.replacement(
            os.fspath(self.path), OLD.encode(), b'new'
        ) as commit:
            self.theirs.rename(self.folder / 'moved')
            self.theirs.symlink_to(self.system)
            (self.system / 'nova.conf').write_text(OLD)
            commit()
        self.assertEqual(OLD, (self.system / 'nova.conf').read_text())
        self.assertEqual('new', (self.folder / 'moved/nova.conf').read_text())

    def test_a_device(self) -> None:
        self.path.symlink_to('/dev/null')
        opened: list[object] = []
        real = os.open

        def note(path: object, *arguments: object, **how: object) -> int:
            opened.append(path)
            return real(path, *arguments, **how)

        with unittest.mock.patch.object(os, 'open', note):
            error = self.assertRaises(
                exceptions.DocumentError, atomic.read, os.fspath(self.path)
            )
        self.assertIn('it is not a regular file', str(error))
        self.assertEqual([], opened)


class TestStickyFolders(PlacesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.theirs.chmod(0o1777)

    def test_a_file_of_somebody_else(self) -> None:
        self.path.write_text('')
        self.give(self.path)
        error = self.assertRaises(
            exceptions.UnsafeEdit,
            sarif.write,
            os.fspath(self.path),
            [],
            {},
        )
        self.assertIn('another user created it in a folder', str(error))
        self.assertEqual('', self.path.read_text())

    def test_a_pipe_of_somebody_else(self) -> None:
        os.mkfifo(self.path)
        self.give(self.path)
        self.assertRaises(
            exceptions.UnsafeEdit, atomic.write, os.fspath(self.path), b'x'
        )

    def test_a_pipe_without_a_reader(self) -> None:
        os.mkfifo(self.path)
        error = self.assertRaises(
            exceptions.DocumentError, atomic.write, os.fspath(self.path), b'x'
        )
        self.assertIn('No such device or address', str(error))

    def test_ours(self) -> None:
        sarif.write(os.fspath(self.path), (), {})
        sarif.write(os.fspath(self.path), (), {})
        log = json.loads(self.path.read_text())
        self.assertEqual([], log['runs'][0]['results'])


class TestSharedFolders(PlacesTestCase):
    def test_said(self) -> None:
        path = os.fspath(self.path)
        self.assertEqual([], atomic.warnings(path))
        self.theirs.chmod(0o1777)
        self.assertEqual([], atomic.warnings(path))
        self.theirs.chmod(0o777)
        (warning,) = atomic.warnings(path)
        self.assertRegex(warning, f'^Every user .* can replace {path}, ')
        self.assertIn('chmod o-w', warning)


class TestDefaultACL(PlacesTestCase):
    """The default ACL of a folder adds no readers to a file."""

    def setUp(self) -> None:
        super().setUp()
        self.path.write_text(OLD)
        self.path.chmod(0o640)
        os.setxattr(self.theirs, 'system.posix_acl_default', DEFAULT_ACL)

    def test_a_file_without_one(self) -> None:
        self.edit(self.path)
        self.assertIn('alias', self.path.read_text())
        self.assertNotIn('system.posix_acl_access', os.listxattr(self.path))
        self.assertEqual(0o640, stat.S_IMODE(self.path.stat().st_mode))

    def test_a_file_with_one(self) -> None:
        own = acl(
            (1, 6, -1), (2, 4, 77), (4, 4, -1), (0x10, 4, -1), (0x20, 0, -1)
        )
        os.setxattr(self.path, 'system.posix_acl_access', own)
        self.edit(self.path)
        self.assertEqual(
            own, os.getxattr(self.path, 'system.posix_acl_access')
        )


class TestLeftovers(PlacesTestCase):
    def test_a_second_name_of_a_killed_run(self) -> None:
        self.path.write_text(OLD)
        os.link(self.path, self.theirs / '.nova.conf.abc_4567')
        self.edit(self.path)
        self.assertIn('alias', self.path.read_text())
        self.assertEqual(['nova.conf'], os.listdir(self.theirs))

    def test_a_second_name_of_somebody(self) -> None:
        self.path.write_text(OLD)
        os.link(self.path, self.theirs / '.nova.conf.bak')
        error = self.assertRaises(exceptions.UnsafeEdit, self.edit, self.path)
        self.assertIn('it has 2 hard links', str(error))

    def test_a_folder_that_stays_locked(self) -> None:
        self.path.write_text(OLD)
        descriptor = os.open(self.theirs, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with unittest.mock.patch.object(atomic, '_LONGEST_LOCK', 0):
            error = self.assertRaises(
                exceptions.DocumentError, self.edit, self.path
            )
        self.assertIn('another process has locked its folder', str(error))
        self.assertEqual(OLD, self.path.read_text())


class TestNoNamedFiles(PlacesTestCase):
    """File systems that do not support files without a name."""

    def test_create(self) -> None:
        real = os.open

        def without(
            path: str, flags: int, *arguments: object, **how: object
        ) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, 'Operation not supported')
            return real(path, flags, *arguments, **how)

        with unittest.mock.patch.object(os, 'open', without):
            atomic.create(os.fspath(self.path), b'new')
        self.assertEqual('new', self.path.read_text())
        self.assertEqual(['nova.conf'], os.listdir(self.theirs))


class TestOwnStreams(testtools.TestCase):
    def test_by_descriptor(self) -> None:
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        atomic.write(f'/dev/fd/{writer}', b'new')
        self.assertEqual(b'new', os.read(reader, 10))
        self.assertFalse(places.is_own_stream('/dev/fd/3/../x'))
