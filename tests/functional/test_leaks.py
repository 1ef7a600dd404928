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

"""``openstack gpu placement check`` on the cloud that all tests share."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import typing
import uuid

import fixtures

from tests.functional import base
from tests.functional import leak_planting
from tests.functional import proxy

HOST = 'edpm-compute-3.ctlplane.example.com'
CLASS = 'CUSTOM_GPU_H100'


class TestCheck(base.CloudTestCase):
    """Other tests use the cloud: only what this one has made is compared."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch('gpuclient.operations.leak_check.SETTLE', 0.1)
        )

    def hold(self, consumer: str) -> str:
        """Allocate a free device; return the name of its provider."""
        placement = self.connect().placement

        def allocate() -> str | None:
            for row in self.openstack(
                *('gpu', 'placement', 'list', '--host', HOST, '--free'),
                *('--long', '-f', 'json'),
            ):
                response = placement.put(
                    f'/allocations/{consumer}',
                    json={
                        'allocations': {
                            row['Provider ID']: {'resources': {CLASS: 1}}
                        },
                        'project_id': 'p',
                        'user_id': 'u',
                        'consumer_generation': None,
                        'consumer_type': 'INSTANCE',
                    },
                    microversion='1.39',
                )
                if response.status_code == 204:
                    return str(row['Provider Name'])
            return None

        name = base.wait_until(allocate, 60, 'a device is free')
        self.addCleanup(placement.delete, f'/allocations/{consumer}')
        return name

    def check(
        self, *arguments: str, status: int = 3
    ) -> list[dict[str, typing.Any]]:
        return self.openstack(
            *('gpu', 'placement', 'check', '-f', 'json', *arguments),
            status=status,
        )

    def consumers(self, *arguments: str, status: int = 3) -> set[str]:
        return {
            row['Consumer'] for row in self.check(*arguments, status=status)
        }

    def test_deleted_consumer(self) -> None:
        consumer = str(uuid.uuid4())
        name = self.hold(consumer)
        (row,) = [row for row in self.check() if row['Consumer'] == consumer]
        self.assertEqual(
            ['GPU610', 'error', HOST],
            [row['Code'], row['Severity'], row['Host']],
        )
        self.assertIn(consumer, row['Problem'])
        self.assertEqual(
            [name[-12:].lower()],
            [device['address'] for device in row['Devices']],
        )
        self.assertIn(
            consumer,
            self.consumers('--host', 'edpm-compute-3', '--code', 'GPU610'),
        )
        self.check('--host', HOST, '--fail-on', 'none', status=0)
        self.assertNotIn(
            consumer,
            self.consumers(
                '--host', 'edpm-compute-4', '--fail-on', 'none', status=0
            ),
        )
        self.assertIn(
            'use one of GPU610 to GPU622',
            self.refused('gpu', 'placement', 'check', '--code', 'GPU1'),
        )

    def test_nova_does_not_answer(self) -> None:
        """A server that cannot be looked up is not taken for deleted."""
        consumer = str(uuid.uuid4())
        self.hold(consumer)
        broken = proxy.Answer(500, json.dumps({'error': {'message': 'cell'}}))
        self.through(
            'compute',
            lambda request: broken if consumer in request.path else None,
        )
        result = self.run_command('gpu', 'placement', 'check', '-f', 'json')
        self.assertEqual(1, result.status)
        self.assertIn(f'server {consumer}: ', result.stderr)
        self.assertNotIn(consumer, result.stdout)

    def test_member(self) -> None:
        message = self.refused(
            'gpu', 'placement', 'check', os_cloud=base.MEMBER
        )
        self.assertIn('403', message)


class TestSet(base.CloudTestCase):
    """On one device of a host that few tests use."""

    HOST = 'edpm-compute-2.ctlplane.example.com'
    DEVICE = f'{HOST}_0000:82:00.0'

    def setUp(self) -> None:
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.useFixture(
            fixtures.EnvironmentVariable('XDG_STATE_HOME', self.folder)
        )
        self.addCleanup(
            self.run_command,
            *('gpu', 'placement', 'set', self.DEVICE, '--release', '--force'),
        )

    def set(self, *arguments: str, status: int = 0) -> dict[str, typing.Any]:
        rows: list[dict[str, typing.Any]] = json.loads(
            self.run_set(*arguments, status=status).stdout
        )
        return rows[0]

    def run_set(self, *arguments: str, status: int = 0) -> base.Result:
        result = self.run_command(
            *('gpu', 'placement', 'set', self.DEVICE, '-f', 'json'),
            *arguments,
        )
        self.assertEqual(status, result.status, result)
        return result

    def ledger(self, *arguments: str) -> list[dict[str, typing.Any]]:
        return self.openstack(
            *('gpu', 'placement', 'ledger', 'list', '-f', 'json'),
            *arguments,
        )

    def test_reserve_and_clear(self) -> None:
        row = self.set('--reserve')
        self.assertEqual((4, 'done'), (row['Reserved'], row['Result']))
        self.assertEqual('unchanged', self.set('--reserve')['Result'])
        failing = (sys.executable, '-c', 'print("busy"); exit(5)')
        row = self.set('--release', '--run', *failing, status=1)
        self.assertEqual(5, row['Status'])
        self.assertIn('the device stays reserved', row['Result'])
        clearing = (
            sys.executable,
            '-c',
            'import os, sys; print(sys.argv[1:], os.environ["GPU_ADDRESS"])',
            '{host}',
            '$(id)',
            '--fix',
        )
        row = self.set('--release', '--run', *clearing)
        self.assertEqual(
            (0, 0, 'done'), (row['Reserved'], row['Status'], row['Result'])
        )
        lines = self.ledger('--long', '--device', '0000:82:00.0')
        self.assertEqual(
            (
                'reserved reserved sanitizing failed '
                'sanitizing sanitizing available'
            ),
            ' '.join(line['State'] for line in lines),
        )
        self.assertEqual('busy\n', lines[3]['Output'])
        output = f"['{self.HOST}', '$(id)', '--fix'] 0000:82:00.0\n"
        self.assertEqual(output, lines[5]['Output'])
        self.assertEqual(
            hashlib.sha256(output.encode()).hexdigest(), lines[5]['SHA256']
        )
        self.assertEqual([], self.ledger('--host', 'other'))

    def test_device_in_use(self) -> None:
        flavor = self.make_flavor('nvidia_vf:1')
        server = self.boot(flavor)
        (holding,) = [
            row['Provider Name']
            for row in self.openstack(
                *('gpu', 'placement', 'list', '--host', self.HOST),
                *('--long', '-f', 'json'),
            )
            if server.id in [holder['id'] for holder in row['Servers']]
        ]
        self.DEVICE = holding
        error = self.run_set('--release', '--run', 'true', status=1).stderr
        self.assertIn('is in use', error)
        self.ledger('--observe')
        (line,) = [
            line
            for line in self.ledger('--long')
            if line['Provider Name'] == holding
        ]
        self.assertEqual('in use', line['State'])
        self.assertIn(
            server.name, [holder['name'] for holder in line['Servers']]
        )
        # Other servers may come and go.
        count = len(self.ledger())
        self.ledger('--observe')
        self.assertLessEqual(count, len(self.ledger()))

    def test_older_cloud(self) -> None:
        """Up to Placement 13, a device in use is not reserved."""
        flavor = self.make_flavor('nvidia_vf:1')
        server = self.boot(flavor)
        (self.DEVICE,) = [
            row['Provider Name']
            for row in self.openstack(
                *('gpu', 'placement', 'list', '--host', self.HOST),
                *('--long', '-f', 'json'),
            )
            if server.id in [holder['id'] for holder in row['Servers']]
        ]
        self.useFixture(
            fixtures.MonkeyPatch(
                'gpuclient.cloud.nova.version.newest', lambda compute: '2.100'
            )
        )
        error = self.run_set('--reserve', status=1).stderr
        self.assertIn('pass --force', error)
        self.assertEqual(4, self.set('--reserve', '--force')['Reserved'])

    def test_bad_arguments(self) -> None:
        for arguments, message in (
            ((self.DEVICE,), 'one of the arguments'),
            ((self.DEVICE, '--reserve', '--run', 'true'), '--run takes'),
            ((self.DEVICE, '--release', '--run'), '--run takes'),
            (('0000:99:00.0', '--reserve'), 'has no PCI device'),
            ((self.HOST, '--reserve'), 'is a host: name its devices'),
            (('0000:04:00.0', '--reserve'), 'devices have the address'),
        ):
            result = self.run_command('gpu', 'placement', 'set', *arguments)
            self.assertIn(result.status, (1, 2))
            self.assertIn(message, result.stderr)


class TestRepair(base.CommonCloudTestCase):
    """On a cloud of its own, because a leak takes devices from all."""

    name = 'leaks'
    #: A repair that waits for nova-compute takes a minute.
    timeout = 400

    def setUp(self) -> None:
        folder = tempfile.mkdtemp(prefix='gpu-')
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        path = os.path.join(folder, 'spec.yaml')
        with open(path, 'w', encoding='utf-8') as stream:
            stream.write(leak_planting.spec({'g0': 7, 'g1': 7}))
        self.arguments = ('--spec', path)
        super().setUp()
        self.useFixture(fixtures.EnvironmentVariable('XDG_STATE_HOME', folder))
        self.os_cloud = self.name
        self.cloud = leak_planting.Cloud(self.connect())
        self.planter = leak_planting.Planter(self.cloud, random.Random(1))
        self.addCleanup(self.clear)
        self.folder = folder

    def clear(self) -> None:
        """Delete what a test has left."""
        self.cloud.clear()

    def check(self, *arguments: str, status: int = 0) -> list[dict]:
        result = self.run_command(
            *('gpu', 'placement', 'check', '-f', 'json', '--yes'),
            *('--reserved-days', '0', *arguments),
        )
        self.assertEqual(
            status, result.status, f'{result.stdout}\n{result.stderr}'
        )
        self.stderr = result.stderr
        return json.loads(result.stdout)

    def undo(self, status: int = 0) -> list[dict]:
        """Take the last changes back."""
        return self.check('--undo', self.stderr.split()[-1], status=status)

    def test_all_kinds(self) -> None:
        """Every kind at once: found, repaired, and taken back."""
        (moved,) = self.cloud.boot_all('a2:1', 1)
        self.planter.migrations = [self.cloud.migrate(moved)]
        # The move may have left a leak.
        self.cloud.correct(moved)
        self.planter.servers = self.cloud.boot_all('a2:1', 8)
        self.assertEqual([], self.check())
        # nova-compute repairs a shortage at its next update: see below.
        planted = [kind() for kind in self.planter.kinds[:-1]]
        self.assertNotIn(None, planted)
        before = self.cloud.state()
        rows = self.check(status=3)
        found = leak_planting.subjects(rows)
        self.assertEqual(
            [], [leak for leak in planted if leak not in found], rows
        )
        # The second consumer of a card is a deleted server.
        self.assertEqual(
            ['GPU610'],
            [leak.code for leak in found if leak not in planted],
        )
        with self.cloud.updates(['g0', 'g1']):
            rows = self.check('--fix', status=3)
        results = {row['Code']: row['Result'] for row in rows}
        # Nova raises the total of this device at any update of the host.
        self.assertIsNone(results.pop('GPU621', None))
        self.assertEqual(
            {
                'GPU610': 'done',
                'GPU611': 'done',
                'GPU612': 'done',
                'GPU615': 'done',
                'GPU616': None,
                'GPU617': None,
                'GPU618': None,
                'GPU619': None,
                'GPU620': 'done',
                'GPU622': None,
            },
            results,
        )
        journal = self.stderr.split()[-1]
        left = {row['Code'] for row in self.check(status=3)}
        self.assertEqual(
            {'GPU616', 'GPU617', 'GPU618', 'GPU619', 'GPU622'}, left
        )
        real = self.cloud.real_devices()
        # nova-manage has to give this one its allocations.
        (unaccounted,) = [
            leak.subject for leak in planted if leak.code == 'GPU616'
        ]
        del real[unaccounted]
        self.assertEqual(real, self.cloud.held_devices())
        rows = self.check('--undo', journal)
        self.assertEqual({'done'}, {row['Result'] for row in rows})
        after = self.cloud.state()
        for consumer in set(before['allocations']):
            self.assertEqual(
                before['allocations'][consumer],
                after['allocations'].get(consumer),
                consumer,
            )

    def test_shortage(self) -> None:
        """It is found unless nova-compute updates Placement meanwhile."""
        self.planter.servers = self.cloud.boot_all('a2:1', 3)
        for _attempt in range(3):
            planted = self.planter.shortage()
            rows = self.check('--fail-on', 'none')
            if rows:
                break
        self.assertEqual([planted], leak_planting.subjects(rows))
        self.assertEqual([None], [row['Repair'] for row in rows])
        # nova-compute repairs it.
        with self.cloud.updates(['g0', 'g1']):
            base.wait_until(
                lambda: not self.check('--fail-on', 'none') or None,
                120,
                'nova-compute has added the device',
            )

    def test_cold_migration(self) -> None:
        """The leak that Nova itself makes, of a server that moves.

        Whether a move leaves one depends on which device nova-compute claims.
        """
        (server,) = self.cloud.boot_all('a2:1', 1)
        for _move in range(12):
            self.cloud.migrate(server)
            if self.cloud.held_devices() != self.cloud.real_devices():
                break
        else:
            self.fail('Nova has left no leak')
        (row,) = self.check(status=3)
        self.assertEqual(
            ['GPU612', server, 'renew'],
            [row['Code'], row['Consumer'], row['Repair']],
        )
        with self.cloud.updates(['g0', 'g1']):
            (row,) = self.check('--fix')
        self.assertEqual('done', row['Result'])
        self.assertEqual(self.cloud.real_devices(), self.cloud.held_devices())
        self.assertEqual([], self.check())

    def test_requests(self) -> None:
        """A check without findings costs few requests."""
        self.cloud.boot_all('a2:1', 3)
        with contextlib.ExitStack() as stack:
            url = self.connect().session.get_endpoint(
                service_type='compute', interface='public'
            )
            compute = stack.enter_context(proxy.Proxy(url))
            placement = self.through('placement')
            self.configure(compute_endpoint_override=compute.url)
            self.assertEqual([], self.check())
        # Versions, compute nodes and servers.
        self.assertEqual(
            {'GET'}, {request.method for request in compute.requests}
        )
        self.assertLessEqual(len(compute.requests), 4, compute.paths())
        # Besides those of "placement list" the providers of Cyborg.
        paths = placement.paths()
        self.assertLessEqual(len(paths), 12, paths)

    def plant_quickly(self) -> list[leak_planting.Planted]:
        """Plant leaks whose repair does not wait for nova-compute."""
        self.planter.servers = self.cloud.boot_all('a2:1', 2)
        planted = [
            self.planter.deleted_consumer(),
            self.planter.wrong_host(),
            self.planter.removed_host(),
        ]
        self.assertNotIn(None, planted)
        return [leak for leak in planted if leak]

    def test_plan(self) -> None:
        """A plan is applied later, unless the cloud has changed."""
        (_deleted, wrong, _removed) = self.plant_quickly()
        before = self.cloud.state()
        path = os.path.join(self.folder, 'plan.json')
        rows = self.check('--plan', path, status=3)
        self.assertEqual({'remove', 'delete'}, {row['Repair'] for row in rows})
        self.assertEqual(before, self.cloud.state())
        # A write of the same allocations is enough of a change.
        self.cloud.allocate(
            wrong.subject, self.cloud.units(wrong.subject), 'INSTANCE'
        )
        changed = self.cloud.state()
        self.check_refused('has changed since', '--apply', path)
        self.assertEqual(changed, self.cloud.state())
        self.check_refused('exists and is not replaced', '--plan', path)
        os.remove(path)
        self.check('--plan', path, status=3)
        rows = self.check('--apply', path)
        self.assertEqual(
            [('remove', 'done')] * 2 + [('delete', 'done')] * 2,
            [(row['Action'], row['Result']) for row in rows],
        )
        journal = self.stderr.split()[-1]
        self.assertEqual([], self.check())
        self.check_refused('has changed since', '--apply', path)
        rows = self.check('--undo', journal)
        self.assertEqual({'done'}, {row['Result'] for row in rows})
        self.assertEqual(changed, self.cloud.state())
        # Again: everything is as before already.
        rows = self.check('--undo', journal, status=3)
        self.assertEqual(
            {'skipped: it is as before already'},
            {row['Result'] for row in rows if row['Consumer']},
        )

    def check_refused(self, message: str, *arguments: str) -> None:
        error = self.refused(
            *('gpu', 'placement', 'check', '--yes', *arguments)
        )
        self.assertIn(message, error)

    def test_bad_files(self) -> None:
        self.plant_quickly()
        path = os.path.join(self.folder, 'plan.json')
        self.check('--plan', path, status=3)
        with open(path, encoding='utf-8') as stream:
            text = stream.read()
        plan = json.loads(text)
        before = self.cloud.state()
        other = text
        for step in plan['steps']:
            for provider in step.get('before', {}).get('allocations', {}):
                other = other.replace(provider, str(uuid.uuid4()))
        for content, message in (
            (text[:100], 'is not JSON, or incomplete'),
            ('[]', 'must be a mapping'),
            ('{}', 'format is missing'),
            (text.replace('-plan"', '-journal"'), 'format: must be one of'),
            (text.replace('"version": 1', '"version": 2'), 'version: is 2'),
            (
                text.replace('"remove"', '"rm -r"'),
                'steps[0].action: must be one of',
            ),
            (
                text.replace('"consumer": "', '"consumer": "../'),
                'steps[0].consumer: invalid value',
            ),
            (
                text.replace('"expected"', '"x": 1, "expected"'),
                "unknown key 'x'",
            ),
            (other, 'is of another cloud'),
        ):
            with open(path, 'w', encoding='utf-8') as stream:
                stream.write(content)
            self.check_refused(message, '--apply', path)
        self.assertEqual(before, self.cloud.state())
        self.check_refused('No such file', '--undo', f'{path}.none')
        self.check_refused('format: must be one of', '--undo', path)

    def test_question(self) -> None:
        """Without a terminal nothing is written, unless --yes is passed."""
        self.plant_quickly()
        before = self.cloud.state()
        error = self.refused('gpu', 'placement', 'check', '--fix')
        self.assertIn('pass --yes', error)
        self.assertEqual(before, self.cloud.state())

    def run_killed(
        self, number: int | None, *arguments: str, late: bool = False
    ) -> leak_planting.KilledRun:
        url = self.connect().session.get_endpoint(
            service_type='placement', interface='public'
        )
        return leak_planting.run_killed(
            url,
            (
                *('--os-cloud', self.name, 'gpu', 'placement', 'check'),
                *('--yes', '-f', 'json', '--reserved-days', '0'),
                *arguments,
            ),
            number,
            late=late,
        )

    def test_killed_at_each_request(self) -> None:
        """A run that was killed can be run again, with the same result."""
        self.plant_quickly()
        planted = self.cloud.state()
        whole = self.run_killed(None, '--fix')
        self.assertEqual(0, whole.status, whole)
        repaired = self.cloud.state()
        self.check('--undo', whole.journal)
        self.assertEqual(planted, self.cloud.state())
        self.undo_all()
        for number in range(whole.first_write - 2, len(whole.requests)):
            late = number % 2 == 1
            killed = self.run_killed(number, '--fix', late=late)
            self.assertEqual(-signal.SIGKILL, killed.status, killed)
            self.check('--fix')
            self.assertEqual(repaired, self.cloud.state(), (number, late))
            self.undo_all()
            self.assertEqual(planted, self.cloud.state(), (number, late))

    def test_killed_and_undone(self) -> None:
        """The journal of a killed run can be named in any way."""
        self.plant_quickly()
        planted = self.cloud.state()
        whole = self.run_killed(None, '--fix')
        self.undo_all()
        killed = self.run_killed(whole.first_write + 1, '--fix', late=True)
        self.assertEqual(-signal.SIGKILL, killed.status, killed)
        folder = os.path.join(self.folder, 'gpuclient', 'placement-journals')
        (name,) = (
            name for name in os.listdir(folder) if name.endswith('.json')
        )
        self.check(status=3)
        self.assertIn('A repair was interrupted: finish it', self.stderr)
        self.assertIn(f'--undo {folder}/{name}', self.stderr)
        self.check('--undo', os.path.join(folder, '.', name))
        self.assertEqual(planted, self.cloud.state())
        self.check(status=3)
        self.assertNotIn('interrupted', self.stderr)

    def undo_all(self) -> None:
        """Take all journals back, the last one first."""
        folder = os.path.join(self.folder, 'gpuclient', 'placement-journals')
        for name in sorted(os.listdir(folder), reverse=True):
            if name.endswith('.json'):
                # As a table, as people see it.
                result = self.run_command(
                    *('gpu', 'placement', 'check', '--yes', '--undo'),
                    os.path.join(folder, name),
                )
                self.assertIn(result.status, (0, 3), result)
        shutil.rmtree(folder)
