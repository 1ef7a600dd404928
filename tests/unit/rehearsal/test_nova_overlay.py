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
"""Overlays of other releases of Nova, installed by pip from a folder."""

import base64
import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest.mock
import zipfile

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.model import release
from gpuclient.rehearsal import nova_overlay
from gpuclient.rehearsal import package_overlay

#: A temporary folder with an overlay, once it has been created.
COPIES: list[tempfile.TemporaryDirectory[str]] = []


def make_wheel(folder: pathlib.Path, version: str, name: str = 'nova') -> None:
    """Create a small wheel of a version of Nova."""
    info = f'{name}-{version}.dist-info'
    files = {
        f'{name}/__init__.py': f'VERSION = {version!r}\n',
        f'{name}-{version}.data/data/etc/nova/api-paste.ini': '[paste]\n',
        f'{info}/METADATA': (
            f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
        ),
        f'{info}/WHEEL': (
            'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n'
        ),
    }
    record = ''
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(
            hashlib.sha256(text.encode()).digest()
        ).rstrip(b'=')
        record += f'{path},sha256={digest.decode()},{len(text)}\n'
    files[f'{info}/RECORD'] = f'{record}{info}/RECORD,,\n'
    with zipfile.ZipFile(
        folder / f'{name}-{version}-py3-none-any.whl', 'w'
    ) as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


class TestOverlay(testtools.TestCase):
    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        while COPIES:
            COPIES.pop().cleanup()

    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.wheels = self.directory / 'wheels'
        self.wheels.mkdir()
        for name in list(os.environ):
            if name.startswith('PIP_'):
                self.useFixture(fixtures.EnvironmentVariable(name))
        for name, value in {
            'PIP_CONFIG_FILE': os.devnull,
            'PIP_NO_INDEX': '1',
            'PIP_FIND_LINKS': os.fspath(self.wheels),
            'XDG_CACHE_HOME': os.fspath(self.directory / 'cache'),
        }.items():
            self.useFixture(fixtures.EnvironmentVariable(name, value))
        self.cache = self.directory / 'cache' / 'gpuclient' / 'nova'
        self.progress = []

    def prepare(self, text='2025.1'):
        return nova_overlay.prepare(release.parse(text), self.progress.append)

    def refused(self, text='2025.1'):
        error = self.assertRaises(
            exceptions.RehearsalError, self.prepare, text
        )
        return str(error)

    def make(self):
        make_wheel(self.wheels, '31.3.1')
        return self.prepare()

    def copy(self):
        """Copy an overlay of another test to the cache."""
        if not COPIES:
            made = tempfile.TemporaryDirectory()
            COPIES.append(made)
            shutil.copytree(self.make().path, f'{made.name}/31.3.1')
            shutil.rmtree(self.cache)
        self.cache.mkdir(mode=0o700, parents=True)
        self.cache.parent.chmod(0o700)
        path = self.cache / '31.3.1'
        shutil.copytree(f'{COPIES[0].name}/31.3.1', path)
        return path

    def test_installed_release(self):
        for text in ('34', '2026.2', nova_overlay.installed()):
            self.assertIsNone(self.prepare(text))
        self.assertFalse(self.cache.exists())

    def test_other_version_of_the_installed_series(self):
        self.assertFalse(
            nova_overlay.is_version_of('34.0.0', release.parse('34.9.9'))
        )
        self.assertTrue(
            nova_overlay.is_version_of('34.9.9', release.parse('34'))
        )

    def test_nova_is_not_installed(self):
        self.enterContext(
            unittest.mock.patch.object(
                nova_overlay.importlib.metadata,
                'version',
                side_effect=nova_overlay.importlib.metadata.PackageNotFoundError,
            )
        )
        self.assertEqual(
            "Nova is not installed: pip install 'python-gpuclient[rehearsal]'",
            self.refused(),
        )

    def test_install(self):
        overlay = self.make()
        self.assertEqual('31.3.1', overlay.version)
        self.assertEqual(self.cache / '31.3.1', overlay.path)
        self.assertEqual(
            '[paste]\n',
            pathlib.Path(overlay.file('etc/nova/api-paste.ini')).read_text(),
        )
        self.assertEqual(
            f'installing Nova 31.3.1 in {overlay.path} (70 MB, once)',
            self.progress[0],
        )
        self.assertIn('pip: Successfully installed nova-31.3.1', self.progress)
        # No other user can read or write it, with any umask.
        self.assertEqual(0o700, overlay.path.stat().st_mode & 0o777)
        self.assertEqual(
            0o600, (overlay.path / 'nova/__init__.py').stat().st_mode & 0o777
        )
        done = subprocess.run(
            [sys.executable, '-P', '-c', 'import nova; print(nova.VERSION)'],
            env={**os.environ, 'PYTHONPATH': os.fspath(overlay.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual('31.3.1\n', done.stdout)

    def test_offline_once_it_is_there(self):
        self.make()
        for wheel in self.wheels.iterdir():
            wheel.unlink()
        self.progress.clear()
        self.assertEqual('31.3.1', self.prepare().version)
        self.assertEqual([], self.progress)

    def test_pip_settings_that_conflict_with_target(self):
        for name in ('PIP_USER', 'PIP_REQUIRE_VIRTUALENV'):
            self.useFixture(fixtures.EnvironmentVariable(name, '1'))
        self.assertEqual('31.3.1', self.make().version)

    def test_no_such_version(self):
        make_wheel(self.wheels, '31.3.1')
        make_wheel(self.wheels, '31.0.0')
        self.assertEqual(
            'Cannot install Nova 31.7.0: No matching distribution found for '
            'nova==31.7.0. The package index has no such version; of Nova 31 '
            'it has 31.0.0, 31.3.1',
            self.refused('31.7.0'),
        )
        self.assertEqual(
            'Cannot install Nova 30.3.0: No matching distribution found for '
            'nova==30.3.0. The package index has no such version; it has none '
            'of Nova 30',
            self.refused('30'),
        )
        # Nothing is left behind.
        self.assertEqual(
            ['30.3.0.lock', '31.7.0.lock'], sorted(os.listdir(self.cache))
        )

    def test_no_network_and_no_overlay(self):
        for name, value in {
            'PIP_NO_INDEX': '0',
            'PIP_INDEX_URL': 'http://127.0.0.1:9/simple',
            'PIP_RETRIES': '0',
        }.items():
            self.useFixture(fixtures.EnvironmentVariable(name, value))
        self.assertEqual(
            'Cannot install Nova 31.3.1: No matching distribution found for '
            'nova==31.3.1. pip reached no package index that has Nova: check '
            'the network and the settings of pip (python -m pip config list)',
            self.refused(),
        )

    def test_pip_fails_otherwise(self):
        (self.wheels / 'nova-31.3.1-py3-none-any.whl').write_text('no zip')
        self.assertThat(
            self.refused(),
            testtools.matchers.MatchesRegex(
                r'Cannot install Nova 31\.3\.1: .*(invalid|zip).*\. See '
                r'"python -m pip config list" for the settings of pip'
            ),
        )

    def test_no_pip(self):
        self.enterContext(
            unittest.mock.patch.object(
                package_overlay.importlib.util, 'find_spec', return_value=None
            )
        )
        self.assertEqual(
            'Cannot install Nova 31.3.1: this environment has no pip. Install '
            f'it: {sys.executable} -m ensurepip',
            self.refused(),
        )

    def test_cache_that_cannot_be_created(self):
        (self.directory / 'cache').write_text('')
        self.assertEqual(
            f'Cannot create the cache folder {self.cache}: Not a directory',
            self.refused(),
        )

    def test_older_libraries(self):
        """They are installed with Nova, for one version of Python."""
        make_wheel(self.wheels, '27.5.1')
        self.enterContext(
            unittest.mock.patch.dict(nova_overlay._LIBRARIES, {27: ('tool',)})
        )
        make_wheel(self.wheels, '1.0', 'tool')
        overlay = self.prepare('rhoso-18')
        self.assertTrue((overlay.path / 'tool/__init__.py').exists())
        self.assertEqual(
            'rhoso-18: Nova 27 as it was released, without changes that the '
            'product has added',
            self.progress[0],
        )
        (overlay.path / 'tool/__init__.py').unlink()
        self.assertIn('tool/__init__.py is missing', self.refused('27'))
        (overlay.path / 'tool/__init__.py').write_text("VERSION = '1.0'\n")
        self.assertEqual(overlay, self.prepare('27'))
        with unittest.mock.patch.object(
            nova_overlay.sys, 'version_info', (3, 10, 1)
        ):
            self.assertIn('or of another Python', self.refused('27'))

    def test_python_too_new(self):
        """The release is refused before anything is installed."""
        self.enterContext(
            unittest.mock.patch.object(
                nova_overlay.sys, 'version_info', (3, 13, 1)
            )
        )
        self.assertEqual(
            'Nova 30.3.0 runs with Python 3.11 or older, and this is Python '
            '3.13: it imports modules that Python 3.12 has removed. Install '
            'python-gpuclient with Python 3.11, or choose Nova 31 or later',
            self.refused('2024.2'),
        )
        self.assertFalse(self.cache.exists())
        nova_overlay.check_supported(release.parse('31'))

    # -- an overlay that cannot be used --------------------------------------

    def unusable(self, reason):
        self.assertEqual(
            f'Cannot use Nova 31.3.1 in {self.cache}/31.3.1: {reason}. Delete '
            'this folder; the next start installs it again',
            self.refused(),
        )

    def test_missing_file(self):
        (self.copy() / 'nova/__init__.py').unlink()
        self.unusable('nova/__init__.py is missing')

    def test_changed_file(self):
        (self.copy() / 'nova/__init__.py').write_text('')
        self.unusable('nova/__init__.py has changed')

    def test_link(self):
        path = self.copy() / 'nova/__init__.py'
        path.rename(self.directory / 'other.py')
        path.symlink_to(self.directory / 'other.py')
        self.unusable('nova/__init__.py is not a regular file')

    def test_writable_file(self):
        (self.copy() / 'nova/__init__.py').chmod(0o666)
        self.unusable('other users can write to nova/__init__.py')

    def test_writable_folder_in_it(self):
        (self.copy() / 'nova').chmod(0o777)
        self.unusable('other users can write to nova')

    def test_link_to_a_folder(self):
        path = self.copy() / 'nova'
        path.rename(self.directory / 'other')
        path.symlink_to(self.directory / 'other')
        self.unusable('nova is not a directory')

    def test_file_of_another_user(self):
        self.copy()
        status = os.lstat
        other = os.geteuid() + 1

        def lstat(path, *args, **kwargs):
            result = status(path, *args, **kwargs)
            if os.fspath(path).endswith('nova/__init__.py'):
                values = list(result)
                values[4] = other
                return os.stat_result(values)
            return result

        with unittest.mock.patch.object(os, 'lstat', lstat):
            self.unusable('nova/__init__.py belongs to another user')

    def test_writable_folder(self):
        self.copy().chmod(0o777)
        self.assertEqual(
            f'Cannot trust the folder {self.cache}/31.3.1: everybody can '
            'replace files in it; choose a folder that only you can write '
            'to',
            self.refused(),
        )

    def test_foreign_folder(self):
        (self.cache / '31.3.1').mkdir(parents=True)
        for folder in (self.cache, *self.cache.parents[:2]):
            folder.chmod(0o700)
        self.unusable('it has no overlay.json')

    def test_file_in_place_of_the_folder(self):
        self.cache.mkdir(parents=True)
        (self.cache / '31.3.1').write_text('')
        self.unusable('Not a directory')

    def test_other_mark(self):
        (self.copy() / 'overlay.json').write_text('{}')
        self.unusable(
            'overlay.json is that of another version, or of another Python'
        )
        (self.cache / '31.3.1' / 'overlay.json').write_text('{')
        self.assertIn('Cannot use Nova 31.3.1', self.refused())

    def test_no_record(self):
        (self.copy() / 'nova-31.3.1.dist-info' / 'RECORD').unlink()
        self.unusable('No such file or directory')
        record = self.cache / '31.3.1' / 'nova-31.3.1.dist-info' / 'RECORD'
        record.write_text('')
        self.unusable('nova-31.3.1.dist-info/RECORD is empty')

    # -- two starts at once --------------------------------------------------

    def test_two_at_once(self):
        """The second start waits, and uses the overlay of the first."""
        make_wheel(self.wheels, '31.3.1')
        waiting = threading.Event()
        installing = threading.Event()
        installs = []
        install = package_overlay._install

        def slow(*args):
            installs.append(args)
            installing.set()
            waiting.wait()
            install(*args)

        def second(line):
            if line.startswith('waiting'):
                waiting.set()

        with unittest.mock.patch.object(package_overlay, '_install', slow):
            first = threading.Thread(target=self.prepare)
            first.start()
            installing.wait()
            overlay = nova_overlay.prepare(release.parse('2025.1'), second)
            first.join()
        self.assertEqual('31.3.1', overlay.version)
        self.assertTrue(waiting.is_set())
        self.assertEqual(1, len(installs))

    def test_what_a_killed_command_left(self):
        leftover = self.cache / '.building-31.3.1-abcdefgh'
        leftover.mkdir(parents=True)
        self.make()
        self.assertFalse(leftover.exists())

    def test_lock_is_held_while_pip_runs(self):
        """So a killed command does not release the lock."""
        make_wheel(self.wheels, '31.3.1')
        states = []

        def say(_line):
            with open(self.cache / '31.3.1.lock') as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    states.append('free')
                except BlockingIOError:
                    states.append('held')

        nova_overlay.prepare(release.parse('2025.1'), say)
        self.assertEqual({'held'}, set(states))

    def test_lock_that_is_a_link(self):
        self.cache.mkdir(parents=True)
        (self.cache / '31.3.1.lock').symlink_to('/tmp/other')
        with contextlib.suppress(FileExistsError):
            self.assertIn('it is a symbolic link', self.refused())
