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

"""Edits of nova.conf: changed lines, kept lines, refused edits."""

import codecs
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import ddt
import testtools

from gpuclient.documents import nova_conf
from gpuclient import exceptions
from gpuclient.model import nova_options
from gpuclient.model import oslo_values

OLD = '{"name": "a", "vendor_id": "10de", "product_id": "20f1"}'
NEW = '{"name": "b", "vendor_id": "10de", "product_id": "2330"}'


class DocumentTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / 'nova.conf'

    def document(self, content: str | bytes) -> nova_conf.NovaConf:
        if isinstance(content, str):
            content = content.encode()
        self.path.write_bytes(content)
        return nova_conf.NovaConf.read(self.path)

    def added(self, content: str | bytes) -> bytes:
        document = self.document(content)
        document.add('pci', 'alias', NEW)
        document.write()
        again = nova_conf.NovaConf.read(self.path)
        self.assertIn(
            NEW, [value.text for value in again.values(('pci', 'alias'))]
        )
        return self.path.read_bytes()


@ddt.ddt
class TestAdd(DocumentTestCase):
    @ddt.data(
        # After the last value of the option.
        (
            f'[pci]\nalias = {OLD}\n# end\nx = 1\n',
            f'[pci]\nalias = {OLD}\nalias = {NEW}\n# end\nx = 1\n',
        ),
        # The line is added after the last line of a value.
        (
            '[pci]\nalias = {"name": "a",\n  "vendor_id": "10de"}\nx = 1\n',
            '[pci]\nalias = {"name": "a",\n  "vendor_id": "10de"}\n'
            f'alias = {NEW}\nx = 1\n',
        ),
        # A section without the option: after its last line.
        (
            '[pci]\n# why\nreport_in_placement = True\n\n# next\n[libvirt]\n',
            '[pci]\n# why\nreport_in_placement = True\n'
            f'alias = {NEW}\n\n# next\n[libvirt]\n',
        ),
        ('[pci]\n[x]\na = b\n', f'[pci]\nalias = {NEW}\n[x]\na = b\n'),
        # No section.
        (
            '[DEFAULT]\ndebug = True\n',
            f'[DEFAULT]\ndebug = True\n\n[pci]\nalias = {NEW}\n',
        ),
        ('', f'[pci]\nalias = {NEW}\n'),
        ('# only\n\n', f'# only\n\n[pci]\nalias = {NEW}\n'),
        # Sections twice.
        (
            '[pci]\na = 1\n[x]\n[pci]\nb = 2\n[y]\n',
            f'[pci]\na = 1\n[x]\n[pci]\nb = 2\nalias = {NEW}\n[y]\n',
        ),
        (
            f'[pci]\nalias = {OLD}\n[x]\n[PCI]\nb = 2\n',
            f'[pci]\nalias = {OLD}\nalias = {NEW}\n[x]\n[PCI]\nb = 2\n',
        ),
        # Line ends.
        ('[pci]\r\na = 1\r\n', f'[pci]\r\na = 1\r\nalias = {NEW}\r\n'),
        ('[x]\r\n', f'[x]\r\n\r\n[pci]\r\nalias = {NEW}\r\n'),
        ('[pci]\na = 1', f'[pci]\na = 1\nalias = {NEW}'),
        ('[pci]', f'[pci]\nalias = {NEW}'),
    )
    @ddt.unpack
    def test_add(self, before: str, after: str) -> None:
        self.assertEqual(after.encode(), self.added(before))

    def test_byte_order_mark_is_kept(self) -> None:
        self.assertEqual(
            codecs.BOM_UTF8 + f'[pci]\nx = 1\nalias = {NEW}\n'.encode(),
            self.added(codecs.BOM_UTF8 + b'[pci]\nx = 1\n'),
        )
        self.assertTrue(nova_conf.NovaConf.read(self.path).has_mark)

    def test_value_with_line_breaks(self) -> None:
        document = self.document('[pci]\n')
        for text in ('a\nb', 'a\r[x]', '\x1b', ' a', 'a ', '"a"', "''"):
            self.assertRaises(
                exceptions.InvalidValue, document.add, 'pci', 'alias', text
            )
            self.assertFalse(document.changed)


class TestReplaceAndRemove(DocumentTestCase):
    def test_replace(self) -> None:
        document = self.document(
            '[pci]\nalias :  {"a":\n    "b"}\r\n# note\nalias=x'
        )
        document.replace(document.values(*nova_options.ALIAS)[0], '{}')
        document.replace(document.values(*nova_options.ALIAS)[1], 'y')
        document.write()
        self.assertEqual(
            b'[pci]\nalias :  {}\r\n# note\nalias=y', self.path.read_bytes()
        )

    def test_remove(self) -> None:
        document = self.document('[pci]\nalias = {"a":\n  1}\n# note\nx = 1\n')
        document.remove(document.values(('pci', 'alias'))[0])
        self.assertTrue(document.changed)
        document.write()
        self.assertEqual(b'[pci]\n# note\nx = 1\n', self.path.read_bytes())

    def test_nothing_to_write(self) -> None:
        document = self.document('[pci]\n')
        os.chmod(self.path, 0o444)
        self.assertFalse(document.changed)
        self.assertEqual('', document.diff())
        document.write()


class TestRead(DocumentTestCase):
    def test_values_with_their_lines(self) -> None:
        document = self.document(
            '[DEFAULT]\npci_alias = old\n[PCI]\nalias = "quoted"\n'
            'Alias = no\n[pci]\nalias = a\n  b\n\n# alias = c\n'
        )
        self.assertEqual(
            (
                nova_conf.Value('old', 2),
                nova_conf.Value('quoted', 4),
                nova_conf.Value('a\nb', 7),
            ),
            document.values(*nova_options.ALIAS),
        )

    def test_boolean(self) -> None:
        document = self.document(
            '[filter_scheduler]\npci_in_placement = no\n'
            'pci_in_placement = True\n[a]\nb = maybe\n'
        )

        def read(*names: tuple[str, str]) -> bool | None:
            values = document.values(*names)
            return (
                oslo_values.boolean_or_none(values[-1].text)
                if values
                else None
            )

        self.assertIs(True, read(*nova_options.PCI_IN_PLACEMENT))
        self.assertIsNone(read(('a', 'b')))
        self.assertIsNone(read(('a', 'c')))


@ddt.ddt
class TestRefused(DocumentTestCase):
    def refused(self, function: object, *arguments: object) -> str:
        error = self.assertRaises(
            exceptions.DocumentError, function, *arguments
        )
        self.assertIn(str(self.path), str(error))
        self.assertNotIn('\n', str(error))
        return str(error)

    @ddt.data(
        ('a = 1\n', 'line 1: Section must be started before assignment'),
        ('[pci\n', 'line 1: Invalid section (must end with ])'),
        ('[pci] # x\n', 'line 1: Invalid section (must end with ])'),
        ('[]\n', 'line 1: Empty section name'),
        ('[pci]\n\n}\n', "line 3: No ':' or '=' found in assignment: '}'"),
        ('[pci]\n= 1\n', 'line 2: Key cannot be empty'),
        ('[pci]\n  x\n', 'line 2: Unexpected continuation line'),
        (b'[pci]\n\xff\n', 'it is not UTF-8 (byte 6)'),
    )
    @ddt.unpack
    def test_content(self, content: str | bytes, message: str) -> None:
        self.assertIn(message, self.refused(self.document, content))

    @ddt.data(
        'password = hunter2\n',
        '[database]\nconnection\n  = mysql://nova:hunter2@db\nhunter2\n',
        '[database]\n  mysql://nova:hunter2@db\n',
        '[database]\n= hunter2\n',
        '[database] password = hunter2\n',
        '[database password = hunter2\n',
    )
    def test_no_value_is_shown(self, content: str) -> None:
        """Any value may be a secret."""
        self.assertNotIn('hunter2', self.refused(self.document, content))

    def test_missing(self) -> None:
        self.assertIn(
            'No such file',
            self.refused(nova_conf.NovaConf.read, self.path),
        )

    def test_directory(self) -> None:
        self.path.mkdir()
        self.assertIn(
            'not a regular file',
            self.refused(nova_conf.NovaConf.read, self.path),
        )

    def test_link_to_itself(self) -> None:
        self.path.symlink_to(self.path)
        self.assertIn(
            'Too many levels of symbolic links',
            self.refused(nova_conf.NovaConf.read, self.path),
        )

    def edited(self) -> nova_conf.NovaConf:
        document = self.document('[pci]\n')
        document.add('pci', 'alias', NEW)
        return document

    def unsafe(self, document: nova_conf.NovaConf) -> str:
        for function in (document.check_writable, document.write):
            error = self.assertRaises(exceptions.UnsafeEdit, function)
            self.assertIn(f'+alias = {NEW}\n', error.patch)
            self.assertIn(str(self.path), str(error))
        self.assertEqual(b'[pci]\n', self.path.read_bytes())
        self.assertEqual(
            [], [name for name in os.listdir(self.folder) if '.conf.' in name]
        )
        return str(error)

    def test_read_only(self) -> None:
        document = self.edited()
        os.chmod(self.path, 0o444)
        self.assertIn('read-only', self.unsafe(document))

    def test_hard_links(self) -> None:
        document = self.edited()
        os.link(self.path, self.folder / 'other')
        self.assertIn('2 hard links', self.unsafe(document))

    def test_bind_mount(self) -> None:
        self.path.write_bytes(b'[pci]\n')
        source = self.folder / 'source of the mount'
        source.write_bytes(b'[pci]\n')
        target = self.folder / 'mounted here.conf'
        target.touch()
        script = (
            'import sys\n'
            'from gpuclient import exceptions\n'
            'from gpuclient.documents import nova_conf\n'
            'document = nova_conf.NovaConf.read(sys.argv[1])\n'
            'document.add("pci", "alias", "{}")\n'
            'try:\n'
            '    document.write()\n'
            'except exceptions.UnsafeEdit as exc:\n'
            '    print(exc, exc.patch)\n'
        )
        done = subprocess.run(
            [
                'unshare',
                '--user',
                '--map-root-user',
                '--mount',
                'sh',
                '-c',
                'mount --bind "$0" "$1" && exec "$2" -c "$3" "$1"',
                source,
                target,
                sys.executable,
                script,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((0, ''), (done.returncode, done.stderr))
        self.assertIn('it is a mount point', done.stdout)
        self.assertIn('+alias = {}', done.stdout)
        self.assertEqual(b'[pci]\n', source.read_bytes())

    def test_changed_since_read(self) -> None:
        document = self.edited()
        self.path.write_bytes(b'[pci]\n# mine\n')
        error = self.assertRaises(exceptions.DocumentChanged, document.write)
        self.assertIn('changed after it was read', str(error))
        self.assertEqual(b'[pci]\n# mine\n', self.path.read_bytes())


class TestWrite(DocumentTestCase):
    def test_owner_and_mode_are_kept(self) -> None:
        document = self.document('[pci]\n')
        os.chmod(self.path, 0o640)
        if os.geteuid() == 0:
            os.chown(self.path, 42, 43)
        before = self.path.stat()
        document.add('pci', 'alias', NEW)
        document.write()
        after = self.path.stat()
        self.assertNotEqual(before.st_ino, after.st_ino)
        self.assertEqual(
            (before.st_mode, before.st_uid, before.st_gid),
            (after.st_mode, after.st_uid, after.st_gid),
        )

    def test_symbolic_link_is_kept(self) -> None:
        real = self.folder / 'real.conf'
        real.write_bytes(b'[pci]\n')
        self.path.symlink_to('real.conf')
        document = nova_conf.NovaConf.read(self.path)
        document.add('pci', 'alias', NEW)
        document.write()
        self.assertEqual('real.conf', os.readlink(self.path))
        self.assertEqual(f'[pci]\nalias = {NEW}\n'.encode(), real.read_bytes())

    def test_twice(self) -> None:
        document = self.document('[pci]\n')
        for name in 'ab':
            document.add('pci', 'alias', name)
            document.write()
        self.assertEqual(
            b'[pci]\nalias = a\nalias = b\n', self.path.read_bytes()
        )

    def test_diff(self) -> None:
        document = self.document('[pci]\nx = 1')
        document.add('pci', 'alias', 'a')
        self.assertEqual(
            f'--- {self.path}\n+++ {self.path}\n@@ -1,2 +1,3 @@\n [pci]\n'
            '-x = ***\n\\ No newline at end of file\n'
            '+x = ***\n+alias = a\n\\ No newline at end of file\n',
            document.diff(),
        )
