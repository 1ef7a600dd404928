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
"""Files that cannot be read are not skipped silently."""

import contextlib
import collections.abc
import os
import pathlib
import shutil
import tempfile

import testtools

from gpuclient.documents.deployers import kolla
from gpuclient.documents import tree
from gpuclient import exceptions

NOVA = '[pci]\nalias = {"name": "a"}\n'


@contextlib.contextmanager
def as_somebody() -> collections.abc.Iterator[None]:
    """Run without root privileges, which allow all reads."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if user == 0:
            os.seteuid(user)


class TestPartial(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.folder.chmod(0o755)
        (self.folder / 'nova.conf').write_text(NOVA)

    def lock(self, path: pathlib.Path) -> None:
        mode = path.stat().st_mode & 0o777
        path.chmod(0)
        self.addCleanup(path.chmod, mode)

    def unreadable(self) -> dict[str, str]:
        with as_somebody():
            unreadable = tree.read([str(self.folder)]).unreadable
        return {
            os.path.relpath(path, self.folder): reason
            for path, reason, _line in unreadable
        }

    def test_all_can_be_read(self) -> None:
        (self.folder / 'more').mkdir()
        self.assertEqual({}, self.unreadable())

    def test_a_folder(self) -> None:
        inner = self.folder / 'more'
        inner.mkdir()
        (inner / 'nova-compute.conf').write_text(NOVA)
        self.lock(inner)
        reasons = self.unreadable()
        self.assertEqual(['more'], list(reasons))
        self.assertIn('Permission denied', reasons['more'])

    def test_unreadable_file_of_unknown_services(self) -> None:
        path = self.folder / '50-gpu.conf'
        path.write_text(NOVA)
        self.lock(path)
        self.assertEqual(['50-gpu.conf'], list(self.unreadable()))

    def test_path_is_too_long(self) -> None:
        folder = os.open('.', os.O_RDONLY)
        self.addCleanup(os.close, folder)
        self.addCleanup(os.fchdir, folder)
        os.chdir(self.folder)
        for _number in range(22):
            os.mkdir('x' * 200)
            os.chdir('x' * 200)
        os.fchdir(folder)
        (reason,) = self.unreadable().values()
        self.assertIn('File name too long', reason)

    def test_a_layer_of_kolla(self) -> None:
        host = self.folder / 'nova' / 'gpu-1'
        host.mkdir(parents=True)
        (host / 'nova.conf').write_text(NOVA)
        self.assertEqual(
            2, len(kolla.CustomConfiguration(str(self.folder)).files)
        )
        for folder in (host, host.parent):
            self.lock(folder)
            with as_somebody():
                error = self.assertRaises(
                    exceptions.DocumentError,
                    kolla.CustomConfiguration,
                    str(self.folder),
                )
            self.assertEqual(
                f'Cannot read {folder}: Permission denied', str(error)
            )
            folder.chmod(0o755)
