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

"""The last error in the log of a service."""

import os
import pathlib

import fixtures
import testtools

from gpuclient.rehearsal import service_log


class TestLastError(testtools.TestCase):
    def error(self, text, before=''):
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, 'log')
        pathlib.Path(path).write_text(before + text)
        return service_log.last_error(path, len(before))

    def line(self, level, text, name='nova.service'):
        return f'2026-01-01 00:00:00.000 12 {level} {name} [-] {text}\n'

    def test_last_of_several(self):
        self.assertEqual(
            'second',
            self.error(
                self.line('ERROR', 'first')
                + self.line('CRITICAL', 'second')
                + self.line('INFO', 'stopping')
            ),
        )

    def test_traceback_of_a_log(self):
        self.assertEqual(
            'nova.exception.X: words',
            self.error(
                self.line('ERROR', 'Unhandled error: X')
                + self.line('ERROR', 'Traceback (most recent call last):')
                + self.line('ERROR', '  File "x", line 1, in y')
                + self.line('ERROR', 'nova.exception.X: words')
                + self.line('ERROR', '')
            ),
        )

    def test_traceback_of_python(self):
        self.assertEqual(
            'ValueError: words',
            self.error(
                'Traceback (most recent call last):\n'
                '  File "x", line 1, in y\n    y()\n'
                'ValueError: words\n'
                'a line of somebody else\n'
            ),
        )

    def test_no_error(self):
        self.assertEqual('', self.error(self.line('INFO', 'stopping')))
        self.assertEqual('', service_log.last_error('/no-such-file', 0))

    def test_error_of_an_earlier_start(self):
        self.assertEqual(
            '',
            self.error(
                self.line('INFO', 'stopping'), self.line('ERROR', 'old')
            ),
        )
