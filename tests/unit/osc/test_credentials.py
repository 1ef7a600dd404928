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

"""Credentials that do not belong to their auth_type."""

import argparse
import pathlib
import typing
import unittest.mock

import fixtures
import testtools

import openstack.config
import openstack.exceptions

from gpuclient import exceptions
from gpuclient.osc.v1 import alias
from gpuclient.osc.v1 import placement

_CLOUDS = """\
clouds:
  fixed:
    auth_type: none
    auth: {auth_url: 'http://127.0.0.1:1/v3'}
"""
_REASON = "auth_type 'none' does not support auth_url: remove auth_url"


class TestCredentials(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        path = folder / 'clouds.yaml'
        path.write_text(_CLOUDS)
        self.app: typing.Any = unittest.mock.Mock()
        self.app.options = argparse.Namespace(cloud='fixed', api_timeout=None)
        self.app.cloud_config = openstack.config.OpenStackConfig(
            config_files=[str(path)],
            vendor_files=[],
            secure_files=[],
            load_envvars=False,
        )
        self.app.prepare_to_run_command = self.prepare

    def prepare(self, _command: object) -> None:
        """Create the session, as the shell does."""
        self.app.cloud_config.get_one('fixed').get_session()

    def test_needed(self) -> None:
        shown = placement.ListPlacement(self.app, argparse.Namespace())
        error = self.assertRaises(exceptions.InvalidValue, shown.authenticate)
        self.assertIn(_REASON, str(error))

    def test_optional(self) -> None:
        shown = alias.ListAlias(self.app, argparse.Namespace())
        cloud, reason = shown.optional_connection()
        self.assertIsNone(cloud)
        self.assertIn(_REASON, reason)

    def test_other_errors_of_types(self) -> None:
        """Other errors, such as those about invalid responses."""
        self.app.prepare_to_run_command = unittest.mock.Mock(
            side_effect=TypeError('string indices must be integers')
        )
        shown = placement.ListPlacement(self.app, argparse.Namespace())
        self.assertRaises(TypeError, shown.authenticate)

    def test_no_cloud(self) -> None:
        self.app.options.cloud = None
        self.app.cloud_config = openstack.config.OpenStackConfig(
            config_files=[],
            vendor_files=[],
            secure_files=[],
            load_envvars=False,
        )
        self.app.prepare_to_run_command = unittest.mock.Mock(
            side_effect=openstack.exceptions.ConfigException(
                'Missing value auth-url required for auth plugin password'
            )
        )
        shown = placement.ListPlacement(self.app, argparse.Namespace())
        error = self.assertRaises(exceptions.InvalidValue, shown.authenticate)
        self.assertEqual(
            'No cloud is configured: set OS_CLOUD or pass --os-cloud with a '
            'cloud of clouds.yaml, or source an openrc file (Missing value '
            'auth-url required for auth plugin password)',
            str(error),
        )
