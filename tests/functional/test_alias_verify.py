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

"""``openstack gpu alias verify``: its answers, and what it leaves behind."""

import json
import pathlib
import signal
import subprocess
import sys

import sqlalchemy

from gpuclient.cloud.nova import alias_probe

from tests.functional import base
from tests.functional import proxy
from tests.functional import test_rehearsal_hosts


def rows(cloud_folder: pathlib.Path) -> dict[str, int]:
    """Return the number of rows of each table of Nova and Placement."""
    counts = {}
    for path in sorted((cloud_folder / 'db').glob('*.sqlite')):
        if path.stem.startswith(('nova', 'placement')):
            engine = sqlalchemy.create_engine(f'sqlite:///{path}')
            with engine.connect() as connection:
                for table in sqlalchemy.inspect(engine).get_table_names():
                    counts[f'{path.stem}.{table}'] = connection.execute(
                        sqlalchemy.text(f'SELECT count(*) FROM "{table}"')
                    ).scalar_one()
            engine.dispose()
    return counts


class TestVerify(base.CloudTestCase):
    def verify(self, *arguments: str, status: int = 0, **kwargs: str) -> dict:
        result = self.run_command(
            'gpu', 'alias', 'verify', *arguments, '-f', 'json', **kwargs
        )
        self.assertEqual(status, result.status, result.stderr)
        self.stderr = result.stderr
        return {row['Alias']: row for row in json.loads(result.stdout)}

    def test_as_admin(self) -> None:
        answers = self.verify('nvidia_a2', 'nosuch', status=3)
        self.assertEqual('defined', answers['nvidia_a2']['Answer'])
        self.assertRegex(
            answers['nvidia_a2']['Message'],
            'Refused as expected, after the alias was found: '
            '(Instance group|Cannot attach one or more volumes)',
        )
        self.assertEqual('not defined', answers['nosuch']['Answer'])
        self.assertIn(
            'PCI alias nosuch is not defined', answers['nosuch']['Message']
        )
        self.assertEqual('', self.stderr)

    def test_as_a_member(self) -> None:
        self.make_flavor('nvidia_pci:1')
        # Other tests have flavors for aliases that are not defined.
        unasked = 'asked_by_no_flavor'
        answers = self.verify(
            'nvidia_pci', unasked, status=1, os_cloud=base.MEMBER
        )
        self.assertEqual('defined', answers['nvidia_pci']['Answer'])
        self.assertEqual('unknown', answers[unasked]['Answer'])
        self.assertIn('os-flavor-manage:create', self.stderr)
        self.assertEqual(1, len(self.stderr.strip().splitlines()))

    def test_bad_names(self) -> None:
        for name in ('a:b', 'a,b', '', ' a', 'a\nb'):
            self.assertIn(
                'is not a valid alias name',
                self.refused('gpu', 'alias', 'verify', name),
            )
        self.refused(
            'gpu', 'alias', 'verify', 'a', '--attempts', '0', status=2
        )

    def test_other_responses_are_unknown(self) -> None:
        """No other response counts as ``defined``."""
        flavor = self.make_flavor('nvidia_a2:1')
        for answer, message in (
            (
                proxy.Answer(500, '{"computeFault": {"message": "oops"}}'),
                'oops',
            ),
            (proxy.Answer(400, '{"badRequest": {"message": "no"}}'), 'no'),
            (proxy.Answer(403, '<html>no</html>', 'text/html'), 'HTTP 403'),
            (proxy.Answer(202, '{"server": {"id": "x"}}'), 'accepted'),
        ):

            def rule(
                request: proxy.Request, answer: proxy.Answer = answer
            ) -> proxy.Answer | None:
                if request.method == 'POST' and request.path.endswith(
                    '/servers'
                ):
                    return answer
                return None

            self.through('compute', rule)
            answers = self.verify('nvidia_a2', status=1)
            self.assertEqual('unknown', answers['nvidia_a2']['Answer'])
            self.assertIn(message, self.stderr)
        self.assertTrue(flavor)


class TestVerifyReplicas(test_rehearsal_hosts.DifferingHostsTestCase):
    def test_replicas_with_different_aliases(self) -> None:
        """Two nova-api with different aliases behind a load balancer."""
        folder = pathlib.Path(self.started.cloud['directory'])
        between = self.enterContext(
            proxy.Balancer([self.port('nova-api-1'), self.port('nova-api-2')])
        )
        self.configure(
            compute_endpoint_override=f'http://127.0.0.1:{between.port}/v2.1'
        )
        before = rows(folder)
        self.assertIn('nova_cell1.instances', before)
        result = self.run_command(
            *('gpu', 'alias', 'verify', 'nvidia_a2', 'nvidia_pci'),
            *('--attempts', '20', '-f', 'json'),
        )
        self.assertEqual((3, ''), (result.status, result.stderr))
        answers = {
            (row['Alias'], row['Answer']): row['Attempts']
            for row in json.loads(result.stdout)
        }
        self.assertEqual(20, answers['nvidia_pci', 'defined'])
        self.assertEqual(
            20,
            answers['nvidia_a2', 'defined']
            + answers['nvidia_a2', 'not defined'],
        )
        self.assertGreater(answers['nvidia_a2', 'defined'], 5)
        self.assertGreater(answers['nvidia_a2', 'not defined'], 5)

        # Nothing is left behind: no server, no flavor, no allocation.
        self.assertEqual(before, rows(folder))
        self.assertEqual([], list(self.connect().compute.servers()))
        self._interrupt_and_kill()

    def flavors(self) -> list[str]:
        return [
            flavor.name
            for flavor in self.connect().compute.flavors(is_public=None)
            if flavor.name.startswith(alias_probe.PREFIX)
        ]

    def _killed(self, number: int) -> int:
        """Kill a run while nova-api keeps it waiting; return its status."""
        asked: list[proxy.Request] = []

        def rule(request: proxy.Request) -> proxy.Answer | None:
            if (
                not asked
                and request.method == 'POST'
                and request.path.endswith('/servers')
            ):
                asked.append(request)
                return proxy.HANG
            return None

        self.through('compute', rule)
        process = subprocess.Popen(
            [
                sys.executable,
                *('-m', 'openstackclient.shell', '--os-cloud', self.name),
                *('gpu', 'alias', 'verify', 'nosuch'),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A shell that runs tests in the background ignores it.
            preexec_fn=lambda: signal.signal(
                signal.SIGINT, signal.default_int_handler
            ),
        )
        base.wait_until(lambda: bool(asked), expected='nova-api is asked')
        self.assertEqual(1, len(self.flavors()))
        process.send_signal(number)
        _stdout, stderr = process.communicate(timeout=60)
        self.assertNotIn(b'Traceback', stderr)
        return process.returncode

    def _interrupt_and_kill(self) -> None:
        """Ctrl-C deletes the flavor; after a kill the next run does."""
        self._killed(signal.SIGINT)
        self.assertEqual([], self.flavors())
        self.assertEqual(-signal.SIGKILL, self._killed(signal.SIGKILL))
        self.assertEqual(1, len(self.flavors()))
        self.openstack('gpu', 'alias', 'verify', 'nvidia_pci')
        self.assertEqual([], self.flavors())

    def test_nova_api_that_did_not_start(self) -> None:
        port = self.port('nova-api-3')
        self.configure(
            compute_endpoint_override=f'http://127.0.0.1:{port}/v2.1'
        )
        message = self.refused('gpu', 'alias', 'verify', 'broken')
        self.assertIn('Unable to establish connection', message)
        self.assertEqual(1, len(message.splitlines()), message)
