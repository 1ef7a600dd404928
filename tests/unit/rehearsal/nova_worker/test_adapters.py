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
"""Differences between releases, and replacements for missing libraries."""

import subprocess
import sys

import testtools

from gpuclient.rehearsal.nova_worker import adapters


class TestAdapter(testtools.TestCase):
    def test_groups_of_releases(self) -> None:
        for version, expected in {
            '27.5.1': adapters.Eventlet29,
            '29.4.0': adapters.Eventlet29,
            '30.3.0': adapters.Eventlet31,
            '31.3.1': adapters.Eventlet31,
            '32.2.1': adapters.Eventlet32,
            '33.0.2': adapters.Threads,
            '34.0.0': adapters.Threads,
            '35.0.0.0rc1': adapters.Threads,
        }.items():
            self.assertIs(expected, type(adapters.adapter(version)), version)


class TestCompat(testtools.TestCase):
    def test_install(self) -> None:
        """Both replacements work afterwards, in any environment."""
        script = (
            'from gpuclient.rehearsal.nova_worker import compat\n'
            'compat.install()\n'
            'import netifaces\n'
            'from oslo_utils import secretutils\n'
            'print(secretutils.md5(b"", usedforsecurity=False).hexdigest())\n'
            'for interface in netifaces.interfaces():\n'
            '    addresses = netifaces.ifaddresses(interface)\n'
            '    addresses.get(netifaces.AF_INET6)\n'
        )
        done = subprocess.run(
            [sys.executable, '-c', script],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual('d41d8cd98f00b204e9800998ecf8427e\n', done.stdout)
