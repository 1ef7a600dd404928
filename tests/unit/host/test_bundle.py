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

"""Bundles: their content, what is left out, and what is refused."""

import gzip
import io
import os
import pathlib
import resource
import stat
import subprocess
import sys
import tarfile

import fixtures
import testtools
import vermin

from gpuclient import exceptions
from gpuclient.host import bundle
from gpuclient.host import collect
from gpuclient.host import reader
from tests.unit.host import trees

SECRETS = {
    'proc/cmdline': 'root=UUID=1 rd.luks.key=/hunter2 rd.iscsi.password='
    'hunter2 netroot=iscsi:hunter2:hunter2@10.0.0.1::3260:: '
    'inst.ks=http://a:hunter2@h/ks?token=hunter2 api_token="hunter2 x" '
    'systemd.machine_id=0123456789abcdef0123456789abcdef '
    'ifname=eth0:52:54:00:68:75:6e BOOTIF=01-52-54-00-68-75-6e '
    "foo.key=hunter2 psk='hunter2' iommu.passthrough=1 iommu=pt\n",
    'etc/default/grub': 'GRUB_PASSWORD=hunter2\nGRUB_CMDLINE_LINUX="quiet '
    'luks_password=\\"hunter2 hunter2\\" b"\n',
    'etc/modprobe.d/x.conf': '# hunter2\noptions x secret=hunter2 a=b\n'
    'hunter2 x y\n',
    'etc/os-release': 'ID=debian\nBUILD_ID=hunter2\n',
    'etc/shadow': 'root:hunter2\n',
}


class TestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def refused(self, path: pathlib.Path) -> str:
        message = str(
            self.assertRaises(
                exceptions.HostError, bundle.read, os.fspath(path)
            )
        )
        self.assertNotIn('\n', message)
        self.assertIn(f'The bundle {path} cannot be read: ', message)
        return message.partition('cannot be read: ')[2]


class TestBundle(TestCase):
    def test_write_and_read(self) -> None:
        for make in trees.ALL:
            root = make().write(self.folder / make.__name__)
            tree = bundle.collect_from(os.fspath(root))
            path = self.folder / f'{make.__name__}.tar'
            size = bundle.write(os.fspath(path), tree)
            self.assertEqual(size, path.stat().st_size)
            self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
            expected = reader.read(os.fspath(root))
            self.assertEqual(expected, bundle.read(os.fspath(path)))
            packed = self.folder / f'{make.__name__}.tar.gz'
            packed.write_bytes(gzip.compress(path.read_bytes()))
            self.assertEqual(expected, bundle.read(os.fspath(packed)))
            # A bundle that was unpacked with tar.
            unpacked = root / 'again'
            unpacked.mkdir()
            subprocess.run(
                ('tar', '-xf', os.fspath(path), '-C', os.fspath(unpacked)),
                check=True,
            )
            self.assertEqual(expected, bundle.read(os.fspath(unpacked)))

    def test_script_creates_the_same_bundle(self) -> None:
        """The bytes do not depend on the time or the order of files."""
        script = self.folder / 'script.py'
        script.write_text(bundle.script())
        tree = trees.a100()
        for path, content in SECRETS.items():
            tree.text(path, content)
        tree.files[f'boot/initramfs-{tree.release}.img'] = b'garbage'
        root = tree.write(self.folder / 'host')
        done = subprocess.run(
            [sys.executable, '-I', '-', '--root', root],
            input=script.read_bytes(),
            capture_output=True,
            check=True,
        )
        tree = bundle.collect_from(os.fspath(root))
        self.assertEqual(collect.pack(tree), done.stdout)
        self.assertIn(b'it is not a cpio archive', done.stderr)

    def test_script_runs_on_old_hosts(self) -> None:
        """RHEL 8 has Python 3.6."""
        script = bundle.script()
        self.assertNotIn('gpuclient import', script)
        # No version of Python 2 runs it.
        self.assertEqual([None, (3, 6)], vermin.detect(script))

    def test_no_secret_is_packed(self) -> None:
        tree = trees.a100()
        for path, content in SECRETS.items():
            tree.text(path, content)
        root = tree.write(self.folder / 'host')
        packed = collect.pack(collect.collect(os.fspath(root)))
        for secret in (
            b'hunter2',
            b'0123456789abcdef0123456789abcdef',
            b'52:54:00',
            b'52-54-00',
            b'serial',
            trees.SERIAL,
        ):
            self.assertNotIn(secret, packed)
        for kept in (
            b'root=*** rd.luks.key=*** ',
            b'netroot=*** inst.ks=*** api_token=*** ',
            b'iommu.passthrough=1 iommu=pt',
            b'options x secret=*** a=***',
            b'"quiet luks_password=*** ***"',
        ):
            self.assertIn(kept, packed)

    def test_lines_of_modprobe(self) -> None:
        """They are masked when the host is read, and again in a bundle."""
        tree = trees.a100()
        tree.text(
            'etc/modprobe.d/x.conf',
            'options vfio-pci ids=10de:20f1 password=hunter2\n'
            'option vfio-pci ids=10de:20f1 password=hunter2\n'
            'hunter2\nhunter2 vfio-pci\npassword hunter2\n'
            'echo "options vfio-pci" > hunter2\n',
        )
        root = tree.write(self.folder / 'host')
        path = self.folder / 'x.tar'
        collected = bundle.collect_from(os.fspath(root))
        bundle.write(os.fspath(path), collected)
        self.assertNotIn(b'hunter2', path.read_bytes())
        self.assertEqual(collected.files, bundle.unpack(os.fspath(path)).files)
        self.assertEqual(
            reader.read(os.fspath(root)), bundle.read(os.fspath(path))
        )

    def test_secrets_in_handmade_bundles(self) -> None:
        path = self.folder / 'x.tar'
        make(
            path,
            *whole(),
            file('proc/cmdline', b'password=hunter2'),
            file('etc/shadow', b'root'),
        )
        host = bundle.read(os.fspath(path))
        self.assertEqual('password=***', host.kernel_arguments)
        self.assertNotIn('etc/shadow', bundle.unpack(os.fspath(path)).files)

    def test_unreadable_files(self) -> None:
        tree = trees.a100().collected()
        tree.unreadable['proc/cmdline'] = 'Permission denied'
        del tree.files['proc/cmdline']
        path = self.folder / 'x.tar'
        bundle.write(os.fspath(path), tree)
        self.assertEqual(
            ['/proc/cmdline: Permission denied'],
            list(map(str, bundle.read(os.fspath(path)).unreadable)),
        )

    def test_names(self) -> None:
        for name, expected in (
            ('compute-0.example', 'compute-0.example.tar'),
            ('../a b', '_a_b.tar'),
            ('..', 'host.tar'),
        ):
            host = trees.Tree(name).host()
            self.assertEqual(expected, bundle.default_name(host))
        path = self.folder / 'compute-7.tar'
        make(path, *whole())
        self.assertEqual('compute-7', bundle.read(os.fspath(path)).name)

    def test_not_written(self) -> None:
        path = self.folder / 'x.tar'
        path.touch()
        for wrong, reason in (
            (path, 'File exists'),
            (self.folder / 'a/b.tar', 'No such file or directory'),
        ):
            exc = self.assertRaises(
                exceptions.HostError,
                bundle.write,
                os.fspath(wrong),
                collect.CollectedFiles(),
            )
            self.assertEqual(
                f'The bundle {wrong} cannot be written: {reason}', str(exc)
            )
        self.assertRaises(
            exceptions.HostError, bundle.collect_from, '/nowhere'
        )

    def test_full_disk(self) -> None:
        """No incomplete bundle is left behind."""
        path = self.folder / 'x.tar'
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
        try:
            exc = self.assertRaises(
                exceptions.HostError,
                bundle.write,
                os.fspath(path),
                collect.CollectedFiles(),
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.assertIn('cannot be written: File too large', str(exc))
        self.assertFalse(path.exists())


Member = tuple[tarfile.TarInfo, bytes]


def file(name: str, content: bytes = b'', **values: object) -> Member:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in values.items():
        setattr(member, key, value)
    return member, content


def link(name: str, target: str) -> Member:
    return file(name, type=tarfile.SYMTYPE, linkname=target)


def whole() -> list[Member]:
    return [file(collect.MANIFEST, b'{"format": 1, "unreadable": {}}')]


def make(path: pathlib.Path, *members: Member) -> pathlib.Path:
    with tarfile.open(path, 'w') as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return path


class TestHostile(TestCase):
    def hostile(self, *members: Member) -> str:
        return self.refused(make(self.folder / 'x.tar', *whole(), *members))

    def test_members(self) -> None:
        for reason, members in (
            ('not a valid path', [file('../etc/passwd')]),
            ('not a valid path', [file('sys/../../x')]),
            ('not a valid path', [file('/etc/modules')]),
            ('not a valid path', [file('etc/a\nb')]),
            ('not a valid path', [file('etc/\x1b[2J')]),
            ('twice', [file('etc/modules'), file('etc/modules')]),
            ('twice', [file('etc/modules'), file('./etc//modules')]),
            ('twice', whole()),
            ('points out', [link('sys/a', '/etc/passwd')]),
            ('points out', [link('sys/a', '../../x')]),
            ('points out', [link('sys/a', '')]),
            ('is not a file', [file('a', type=tarfile.LNKTYPE, linkname='b')]),
            ('is not a file', [file('a', type=tarfile.CHRTYPE)]),
            ('is not a file', [file('a', type=tarfile.BLKTYPE)]),
            ('is not a file', [file('a', type=tarfile.FIFOTYPE)]),
            ('is not a file', [file('a', type=tarfile.GNUTYPE_SPARSE)]),
        ):
            self.assertIn(reason, self.hostile(*members), members)

    def test_links_within(self) -> None:
        folder = 'sys/bus/pci/devices/0000:04:00.0/'
        path = make(
            self.folder / 'x.tar',
            *whole(),
            link(f'{folder}driver', '../../drivers/nvidia'),
            link('etc/modules', 'passwd'),
        )
        tree = bundle.unpack(os.fspath(path))
        self.assertEqual({f'{folder}driver': 'nvidia'}, tree.links)
        self.assertEqual({}, tree.files)

    def test_sparse(self) -> None:
        """GNU tar and pax headers describe terabytes in one block."""
        member, _content = file('etc/modules')
        member.pax_headers = {
            'GNU.sparse.major': '1',
            'GNU.sparse.minor': '0',
            'GNU.sparse.realsize': str(1 << 40),
            'GNU.sparse.name': 'etc/modules',
        }
        body = b'1\n0\n512\n'.ljust(512, b'\0') + b'a' * 512
        member.size = len(body)
        path = self.folder / 'x.tar'
        with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(member, io.BytesIO(body))
        self.assertIn('is not a file', self.refused(path))

    def test_bombs(self) -> None:
        path = self.folder / 'x.tar.gz'
        for name, limit, content, reason in (
            ('LARGEST_BUNDLE', 1 << 16, gzip.compress(bytes(1 << 17)),
             'large'),
            ('LARGEST_BUNDLE', 1 << 16, bytes(1 << 17), 'large'),
            ('LARGEST_MEMBER', 10, tar(file('a', b'a' * 11)), 'too large'),
            ('MOST_MEMBERS', 2, tar(*map(file, 'abc')), 'too many'),
        ):  # fmt: skip
            path.write_bytes(content)
            with fixtures.MonkeyPatch(f'gpuclient.host.bundle.{name}', limit):
                self.assertIn(reason, self.refused(path))
        self.assertEqual(256 << 20, bundle.LARGEST_BUNDLE)

    def test_not_a_bundle(self) -> None:
        path = self.folder / 'x.tar'
        good = tar(*whole())
        for content, reason in (
            (b'', 'empty'),
            (b'hello', 'truncated'),
            (b'\x1f\x8b', 'truncated'),
            (gzip.compress(good)[:-9], 'truncated'),
            (b'\x1f\x8b' + b'\xff' * 20, 'Error -3'),
            (tar(), 'not a bundle'),
            (tar(file('etc/modules')), 'not a bundle'),
            (tar(file('etc/modules', b'a' * 600))[:700], 'data'),
            (manifest(b'[]'), 'its format is not 1'),
            (manifest(b'{"format": 2}'), 'its format is not 1'),
            (manifest(b'{"format": 1}'), 'no valid list'),
            (
                manifest(b'{"format": 1, "unreadable": {"\\u001b[2J": ""}}'),
                'no valid list',
            ),
            (manifest(b'\xff'), 'decode'),
            (manifest(b'[' * 100000), 'format'),
        ):
            path.write_bytes(content)
            self.assertIn(reason, self.refused(path), content[:20])
        self.assertIn(
            'No such file', self.refused(self.folder / 'nowhere.tar')
        )


def tar(*members: Member) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode='w') as archive:
        for member, content in members:
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def manifest(content: bytes) -> bytes:
    return tar(file(collect.MANIFEST, content))
