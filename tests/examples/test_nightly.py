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

"""The nightly job that gives projects what a file says."""

import json
import os
import pathlib
import subprocess

from tests.examples import run
from tests.functional import base

_LIMIT = 'class:CUSTOM_PCI_10DE_20F1'
_SPEC = run.ROOT / 'tests' / 'functional' / 'unified_limits.yaml'


class TestNightly(base.CommonCloudTestCase):
    name = 'nightly'
    arguments = ('--spec', os.fspath(_SPEC))

    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.started.cloud['directory']).parent
        self.file = self.folder / 'projects.yaml'

    def run_job(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                os.fspath(run.EXAMPLES / 'nightly-projects.sh'),
                os.fspath(self.file),
                os.fspath(self.folder / 'log'),
            ],
            env={**run.environment(), 'OS_CLOUD': str(self.os_cloud)},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_job(self) -> None:
        cloud = self.connect()
        project = cloud.identity.create_project(name='research')
        self.openstack(
            *('gpu', 'flavor', 'create', 'gpu.a100.1', '--vcpus', '2'),
            *('--ram', '1024', '--disk', '1', '--alias', 'nvidia_a100:1'),
        )
        self.file.write_text(
            'projects:\n'
            '- name: research\n'
            '  flavors: [gpu.a100.1]\n'
            f'  limits: {{{_LIMIT}: 2}}\n'
        )
        done = self.run_job()
        self.assertEqual(0, done.returncode, done.stderr)
        shown = self.openstack(
            'gpu', 'project', 'show', project.id, '-f', 'json'
        )
        self.assertEqual(['gpu.a100.1'], shown['flavors'])
        # The next night nothing changes.
        done = self.run_job()
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(
            shown,
            self.openstack('gpu', 'project', 'show', project.id, '-f', 'json'),
        )
        reports = list((self.folder / 'log').glob('*-over-limit.json'))
        self.assertEqual(2, len(reports))
        for report in reports:
            self.assertEqual([], json.loads(report.read_text()))
        self._exceed()
        self.file.write_text('projects:\n- name: missing\n')
        self.assertEqual(1, self.run_job().returncode)

    def _exceed(self) -> None:
        """The limit of another project is below what it uses."""
        (demo,) = self.connect().identity.projects(name='demo')
        self.openstack(
            *('gpu', 'project', 'set', 'demo', '--flavor', 'gpu.a100.1'),
            *('--limit', 'nvidia_a100=1', '--limit', 'servers=8'),
            *('-f', 'json'),
        )
        (image,) = self.connect().image.images(name='blank')
        compute = self.connect(f'{self.os_cloud}-member').compute
        server = compute.create_server(
            name='server',
            flavor_id=self.connect().compute.find_flavor('gpu.a100.1').id,
            image_id=image.id,
            networks='none',
        )
        self.wait_for_server(server.id, 'ACTIVE')
        self.openstack(
            *('gpu', 'project', 'set', 'demo', '--limit', 'nvidia_a100=0'),
            *('--force', '-f', 'json'),
        )
        done = self.run_job()
        self.assertEqual(3, done.returncode, done.stderr)
        # The job prints who it is.
        (row,) = json.loads(done.stderr)
        self.assertEqual(
            [demo.id, 0, 1],
            [row[key] for key in ('Project ID', 'Limit', 'Used')],
        )
