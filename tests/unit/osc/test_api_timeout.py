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

"""How long a command waits: --timeout, api_timeout, and neither."""

import argparse
import typing
import unittest.mock

from keystoneauth1 import session
import testtools

from gpuclient.cloud import request
from gpuclient import exceptions
from gpuclient.osc.v1 import placement


class TestTimeout(testtools.TestCase):
    def authenticate(
        self, timeout: float | None, of_cloud: object = None
    ) -> tuple[float, argparse.Namespace]:
        """Return the timeout of the token, and the options of the shell."""
        app: typing.Any = unittest.mock.Mock()
        app.options = argparse.Namespace(cloud=None, api_timeout=None)
        app.cloud_config.get_one.return_value.config = {
            'api_timeout': of_cloud
        }
        app.client_manager.gpu.session = session.Session()
        waits: list[float] = []
        app.prepare_to_run_command = lambda _command: waits.append(
            app.options.api_timeout
        )
        shown = placement.ListPlacement(app, argparse.Namespace())
        shown._timeout = timeout
        shown.authenticate()
        patience, _end = request._PATIENCE[app.client_manager.gpu.session]
        self.assertEqual(waits, [patience.read])
        return waits[0], app.options

    def test_timeout_set_by_the_user_takes_precedence(self) -> None:
        self.assertEqual(2, self.authenticate(2.0, 7)[0])
        self.assertEqual(7, self.authenticate(None, '7')[0])
        self.assertEqual(60, self.authenticate(None)[0])

    def test_timeout_is_reset_after_the_command(self) -> None:
        """An interactive shell has one set of options for all commands."""
        _seconds, options = self.authenticate(2.0)
        self.assertIsNone(options.api_timeout)

    def test_invalid_timeout(self) -> None:
        for value in ('soon', -1, 0, '0', float('nan'), [1], '\x1b[2J'):
            error = self.assertRaises(
                exceptions.InvalidValue, self.authenticate, None, value
            )
            self.assertIn('api_timeout of the cloud', str(error))
            self.assertTrue(str(error).isprintable())
