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

import argparse
import contextlib
import io
import types

import testtools

from gpuclient.osc.v1 import capacity


class TestTimeout(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        app = types.SimpleNamespace(
            stdout=io.StringIO(),
            stderr=io.StringIO(),
            options=argparse.Namespace(),
        )
        command = capacity.ListCapacity(app, argparse.Namespace())
        self.parser = command.get_parser('gpu capacity list')

    def test_seconds(self) -> None:
        self.assertEqual(
            0.5, self.parser.parse_args(['--timeout', '0.5']).timeout
        )

    def test_no_seconds(self) -> None:
        for value in ('abc', '0', '-1', 'inf', 'nan', '', '\u0663'):
            stderr = io.StringIO()
            with contextlib.redirect_stderr(stderr):
                self.assertRaises(
                    SystemExit, self.parser.parse_args, [f'--timeout={value}']
                )
            self.assertIn(
                f'{value!r} is not a number of seconds greater than 0',
                stderr.getvalue(),
            )
