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

"""The examples for CI: pre-commit, and a job with SARIF."""

import json
import os
import pathlib
import subprocess
import typing

import fixtures
import testtools
import yaml

from tests.examples import run

GOOD = '[pci]\nalias = {"name": "a", "vendor_id": "10de", "product_id": "20f1", "device_type": "type-PF"}\n'  # noqa: E501
BAD = "[pci]\nalias = {'name': 'a'}\n"
HOOK = 'gpu-config-check'


class TestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def run_program(
        self, *command: str, **options: typing.Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=run.environment(),
            capture_output=True,
            text=True,
            check=False,
            **options,
        )

    def write(self, content: str) -> None:
        (self.folder / 'nova.conf').write_text(content)


class TestJob(TestCase):
    def test_check(self) -> None:
        """The step of the job, as the runner would run it."""
        job = yaml.safe_load(
            (run.EXAMPLES / 'ci-config-check.yaml').read_text()
        )
        steps = {
            step.get('name'): step for step in job['jobs']['check']['steps']
        }
        command = steps['Check']['run']
        for content, status, codes in ((GOOD, 0, 0), (BAD, 3, 1)):
            self.write(content)
            done = self.run_program('bash', '-e', '-c', command)
            self.assertEqual(status, done.returncode, done.stderr)
            report = json.loads((self.folder / 'gpu.sarif').read_text())
            results = report['runs'][0]['results']
            self.assertEqual(
                codes,
                len([row for row in results if row['level'] == 'error']),
            )
        upload = steps['Show the findings in the pull request']
        self.assertEqual('gpu.sarif', upload['with']['sarif_file'])
        # Findings fail the step before.
        self.assertEqual('always()', upload['if'])


class TestPreCommit(TestCase):
    def test_hook(self) -> None:
        """pre-commit installs this repository and runs its hook."""
        for command in (
            ('git', 'init', '--quiet'),
            ('git', 'config', 'user.email', 'a@example.com'),
            ('git', 'config', 'user.name', 'a'),
        ):
            self.assertEqual(0, self.run_program(*command).returncode)
        for content, status, phrase in (
            (GOOD, 0, 'Passed'),
            (BAD, 1, 'GPU302'),
        ):
            self.write(content)
            self.run_program('git', 'add', 'nova.conf')
            done = self.run_program(
                *('pre-commit', 'try-repo', os.fspath(run.ROOT), HOOK),
                *('--ref', 'HEAD', '--all-files', '--verbose'),
            )
            self.assertEqual(status, done.returncode, done.stdout)
            if phrase == 'Passed':
                self.assertIn(phrase, done.stdout)
            else:
                self.assertRegex(done.stdout, 'error.*GPU\\d{3}')

    def test_example(self) -> None:
        """The example names the hook, and options that the command has."""
        example = yaml.safe_load(
            (run.EXAMPLES / 'pre-commit-config.yaml').read_text()
        )
        (hook,) = example['repos'][0]['hooks']
        (definition,) = yaml.safe_load(
            (run.ROOT / '.pre-commit-hooks.yaml').read_text()
        )
        self.assertEqual(definition['id'], hook['id'])
        self.write(GOOD)
        done = self.run_program(*definition['entry'].split(), *hook['args'])
        self.assertEqual(0, done.returncode, done.stderr)
