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

"""The playbook that gathers bundles of hosts and checks them."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import fixtures
import testtools

from gpuclient.host import bundle
from tests.examples import run


class TestPlaybook(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.playbook = self.folder / 'check-hosts.yaml'
        shutil.copy(run.EXAMPLES / 'check-hosts.yaml', self.playbook)
        self.inventory = self.folder / 'inventory'
        self.inventory.write_text(
            '[compute]\n'
            'compute-0 ansible_connection=local\n'
            'compute-1 ansible_connection=local\n'
            '[all:vars]\n'
            f'ansible_python_interpreter={sys.executable}\n'
        )

    def run_playbook(self, **variables: object) -> tuple[int, str]:
        done = subprocess.run(
            [
                'ansible-playbook',
                *('--inventory', os.fspath(self.inventory)),
                *('--extra-vars', json.dumps(
                    {'ansible_become': False, **variables}
                )),
                os.fspath(self.playbook),
            ],
            env=run.environment(),
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def test_gathers_and_checks(self) -> None:
        status, output = self.run_playbook(
            check_arguments=['--fail-on', 'none']
        )
        self.assertEqual(0, status, output)
        for name in ('compute-0', 'compute-1'):
            path = self.folder / 'bundles' / f'{name}.tar'
            host = bundle.read(os.fspath(path), initramfs=False)
            self.assertTrue(host.kernel)
            self.assertEqual(0o700, path.parent.stat().st_mode & 0o777)
        self.assertIn('failed=0', output)
        # Nothing is left on the hosts.
        self.assertEqual([], list(pathlib.Path('/tmp').glob('gpu-bundle-*')))

    def test_findings(self) -> None:
        """A host that is not ready fails the play, and is shown."""
        config = self.folder / 'nova.conf'
        config.write_text('[pci]\ndevice_spec = {"address": "0000:ff:1f.7"}\n')
        status, output = self.run_playbook(
            check_arguments=[
                *('--config', os.fspath(config), '--fail-on', 'warning')
            ]
        )
        self.assertEqual(2, status, output)
        self.assertIn('A host is not ready for GPU passthrough', output)
        self.assertIn('"Code": "GPU', output)
