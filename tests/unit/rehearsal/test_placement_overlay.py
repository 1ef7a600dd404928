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
"""Overlays of other releases of Placement."""

import importlib.metadata
import os
import pathlib
import subprocess
import sys
import unittest.mock

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.rehearsal import overlays
from gpuclient.rehearsal import placement_overlay
from tests.unit.rehearsal import test_nova_overlay

_PROGRAM = """
import pathlib, sys
from gpuclient.rehearsal import placement_overlay
placement_overlay.PlacementOverlay('13.0.1', pathlib.Path(sys.argv[1])
    ).activate()
import openstack_placement
from oslo_config import cfg
from oslo_policy import policy
policy.Enforcer(cfg.CONF)
print(openstack_placement.VERSION, cfg.CONF.oslo_policy.enforce_scope)
"""


class TestPlacementOverlay(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        for name in list(os.environ):
            if name.startswith('PIP_'):
                self.useFixture(fixtures.EnvironmentVariable(name))
        for name, value in {
            'PIP_CONFIG_FILE': os.devnull,
            'PIP_NO_INDEX': '1',
            'PIP_FIND_LINKS': os.fspath(self.directory),
            'XDG_CACHE_HOME': os.fspath(self.directory / 'cache'),
        }.items():
            self.useFixture(fixtures.EnvironmentVariable(name, value))
        self.cache = self.directory / 'cache' / 'gpuclient' / 'placement'

    def _refused(self, version):
        error = self.assertRaises(
            exceptions.RehearsalError, placement_overlay.prepare, version
        )
        return str(error)

    def test_installed(self):
        version = importlib.metadata.version('openstack-placement')
        self.assertIsNone(placement_overlay.prepare(version))
        self.assertTrue(placement_overlay.is_version_of('13.0.0', '13.0.1'))
        self.assertFalse(placement_overlay.is_version_of('13.0.1', '13.0.0'))
        self.assertFalse(placement_overlay.is_version_of('12.0.2', '13.0.1'))
        self.assertEqual(
            ['nova', 'openstack-placement'], list(overlays.Overlays().versions)
        )

    def test_install(self):
        """A process imports it, and Placement finds the removed option."""
        test_nova_overlay.make_wheel(
            self.directory, '13.0.1', 'openstack_placement'
        )
        progress = []
        overlay = placement_overlay.prepare('13.0.1', progress.append)
        self.assertEqual(self.cache / '13.0.1', overlay.path)
        self.assertEqual(
            f'installing Placement 13.0.1 in {overlay.path} (3 MB, once)',
            progress[0],
        )
        packages = overlays.Overlays(placement=overlay)
        self.assertEqual(packages, overlays.loads(packages.dumps()))
        self.assertEqual('13.0.1', packages.versions['openstack-placement'])
        done = subprocess.run(
            [sys.executable, '-P', '-c', _PROGRAM, os.fspath(overlay.path)],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual('13.0.1 True\n', done.stdout, done.stderr)

    def test_too_old(self):
        self.assertEqual(
            'Placement 9.0.0 is too old for this environment: choose '
            'Placement 10.0.1 or later',
            self._refused('9.0.0'),
        )
        self.assertFalse(self.cache.exists())

    def test_no_such_version(self):
        self.assertEqual(
            'Cannot install Placement 13.7.0: No matching distribution found '
            'for openstack-placement==13.7.0. pip reached no package index '
            'that has Placement: check the network and the settings of pip '
            '(python -m pip config list)',
            self._refused('13.7.0'),
        )

    def test_placement_is_not_installed(self):
        self.enterContext(
            unittest.mock.patch.object(
                importlib.metadata,
                'version',
                side_effect=importlib.metadata.PackageNotFoundError,
            )
        )
        self.assertEqual(
            'Placement is not installed: pip install '
            "'python-gpuclient[rehearsal]'",
            self._refused('13.0.1'),
        )
