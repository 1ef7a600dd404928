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

"""Files of a rehearsal cloud that a user edits."""

import contextlib
import json
import os
import pathlib
import select
import signal
import sys
import time

import fixtures
import testtools

from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import configuration as model_configuration
from gpuclient.rehearsal import process_supervisor
from gpuclient.rehearsal import service_files
from gpuclient.rehearsal import control
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import spec_reader
from gpuclient.rehearsal import state
from gpuclient.rules import configuration as configuration_rules

USER = 'etc/nova/nova-scheduler.conf.d/10-user.conf'
TEMPLATE = 'etc/nova/nova-scheduler.conf.d/05-template.conf'
OWN = 'etc/nova/nova-scheduler.conf.d/90-rehearsal.conf'
PORTS = {
    name: 10000 + number
    for number, name in enumerate(
        ('keystone', 'placement', 'glance', 'neutron', 'nova-api-1')
    )
}


class TestEdited(testtools.TestCase):
    def setUp(self):
        super().setUp()
        directory = self.useFixture(fixtures.TempDir()).path
        self.folder = state.StateFolder('lab', os.path.join(directory, 'c'))
        self.folder.create()
        self.write()

    def write(self, document=None):
        document = document or spec.default(hosts=1, gpus=2)
        state.write_private(
            self.folder.file('spec.json'), json.dumps(document)
        )
        service_files.ServiceFiles(
            self.folder,
            PORTS,
            dict.fromkeys(('nova', 'admin', 'member'), 'x'),
            'fake:///',
        ).write(spec_reader.read(document))

    def path(self, name):
        return pathlib.Path(self.folder.file(name))

    def test_configuration_has_no_findings(self):
        contents = tree.read([self.folder.file('etc', 'nova')])
        self.assertEqual((), contents.unreadable)
        self.assertEqual((), configuration_rules.check(contents.deployment))
        kinds = {
            kind
            for process in contents.deployment.processes
            for kind in process.readers
        }
        self.assertEqual(set(model_configuration.ALL), kinds)

    def test_untouched(self):
        self.assertEqual([], service_files.edited(self.folder))
        self.write()
        self.assertEqual([], service_files.edited(self.folder))

    def test_user_files_are_kept(self):
        for name in (USER, TEMPLATE):
            self.path(name).write_text('[DEFAULT]\n')
        added = self.path(USER).with_name('20-mine.conf')
        added.write_text('[pci]\n')
        self.assertEqual([TEMPLATE, USER], service_files.edited(self.folder))
        for _start in range(2):
            self.write()
            self.assertEqual('[DEFAULT]\n', self.path(USER).read_text())
            self.assertEqual('[DEFAULT]\n', self.path(TEMPLATE).read_text())
            self.assertEqual('[pci]\n', added.read_text())
        self.assertEqual([TEMPLATE, USER], service_files.edited(self.folder))

    def test_obsolete_files_are_deleted(self):
        document = spec.default(hosts=1, gpus=2)
        document['control_plane']['scheduler'] = {'config': ''}
        self.write(document)
        self.assertFalse(self.path(TEMPLATE).exists())

    def test_other_files_are_refused(self):
        self.path(OWN).write_text('[DEFAULT]\n')
        error = self.assertRaises(exceptions.RehearsalError, self.write)
        self.assertIn(f'{OWN} was edited', str(error))
        self.path(OWN).unlink()
        self.write()
        self.assertTrue(self.path(OWN).exists())

    def test_new_spec(self):
        """A new spec would replace edited files."""
        self.folder.write(
            state.CloudRecord('lab', state.CloudProcess('supervisor'), [])
        )
        same = spec.default(hosts=1, gpus=2)
        self.path(USER).write_text('[DEFAULT]\n')
        control._check_edited(self.folder, None)
        control._check_edited(self.folder, same)
        error = self.assertRaises(
            exceptions.RehearsalError,
            control.start,
            self.folder,
            spec.default(hosts=2, gpus=2),
        )
        self.assertIn(f'were edited ({USER})', str(error))

    def test_template_of_the_scheduler(self):
        text = self.path(TEMPLATE).read_text()
        self.assertIn('PciPassthroughFilter', text)
        base = self.path('etc/nova/nova.conf').read_text()
        self.assertNotIn('enabled_filters', base)
        self.assertNotIn('log_options', base)


class TestRestart(testtools.TestCase):
    def setUp(self):
        super().setUp()
        directory = self.useFixture(fixtures.TempDir()).path
        self.folder = state.StateFolder('lab', os.path.join(directory, 'c'))
        self.folder.create()
        self.folder.write(
            state.CloudRecord(
                'lab',
                state.CloudProcess('supervisor'),
                [
                    state.CloudProcess('keystone'),
                    state.CloudProcess('nova-scheduler', 'controller'),
                    state.CloudProcess('nova-compute', 'a'),
                    state.CloudProcess('nova-compute', 'b'),
                ],
            )
        )

    def refused(self, name, host=None):
        return str(
            self.assertRaises(
                exceptions.RehearsalError,
                control._service,
                control.RehearsalCloud(self.folder, self.folder.read(), True),
                name,
                host,
            )
        )

    def test_service(self):
        cloud = control.RehearsalCloud(self.folder, self.folder.read(), True)
        service = control._service(cloud, 'nova-compute', 'b')
        self.assertEqual('b', service.host)
        service = control._service(cloud, 'nova-scheduler', None)
        self.assertEqual('controller', service.host)

    def test_no_service(self):
        self.assertIn('Several hosts run', self.refused('nova-compute'))
        self.assertIn(
            'The cloud has no service nova-compute on c; its services of '
            'Nova: nova-scheduler on controller, nova-compute on a',
            self.refused('nova-compute', 'c'),
        )
        self.assertIn('has no service keystone', self.refused('keystone'))

    def test_processes(self):
        """A service is restarted with the current content of its file."""
        folder = self.folder
        text = pathlib.Path(folder.file('text'))
        text.write_text('first')
        os.makedirs(folder.file('log'))

        def job(ready):
            content = text.read_text()
            if content == 'bad':
                raise ValueError('bad text')
            ready()
            while True:
                signal.pause()

        class Cloud(process_supervisor.ProcessSupervisor):
            def start_services(self):
                self.record.services = folder.read().services[1:2]
                self.start_service('nova-scheduler', job)
                self.wait_until_started(time.monotonic() + 60)

        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                os.setsid()
                assert folder.lock() is not None
                progress = os.open(os.devnull, os.O_WRONLY)
                output = os.open(
                    folder.file('out'), os.O_WRONLY | os.O_CREAT, 0o600
                )
                os.dup2(output, 1)
                os.dup2(output, 2)
                sys.stdout = sys.stderr = os.fdopen(output, 'w')
                Cloud(folder, progress).run()
            os._exit(0)
        self.addCleanup(os.waitpid, pid, 0)
        self.addCleanup(os.kill, pid, signal.SIGTERM)
        first = self.when_ready()
        self.assertEqual(state.READY, first.state)
        for content, expected, message in (
            ('second', state.READY, ''),
            ('bad', state.REFUSED, 'bad text'),
            ('third', state.READY, ''),
        ):
            text.write_text(content)
            cloud = control.restart(folder, 'nova-scheduler', None)
            (after,) = cloud.record.services
            self.assertEqual((expected, message), (after.state, after.message))
        self.assertNotEqual(first.pid, after.pid)
        self.assertFalse(state.lives(first))

    def when_ready(self):
        """Return the service once the supervisor waits."""
        while True:
            record = self.folder.read()
            if record.supervisor.state == state.READY:
                return record.services[0]
            select.select([], [], [], 0.02)

    def test_stopped(self):
        error = self.assertRaises(
            exceptions.RehearsalError,
            control.restart,
            self.folder,
            'nova-scheduler',
            None,
        )
        self.assertIn('is not running', str(error))

    def test_list(self):
        directory = self.useFixture(fixtures.TempDir()).path
        self.useFixture(
            fixtures.EnvironmentVariable('XDG_STATE_HOME', directory)
        )
        self.assertEqual([], list(control.list_all()))
        for name in ('b', 'a'):
            folder = state.StateFolder(name)
            folder.create()
            if name == 'a':
                folder.write(
                    state.CloudRecord(
                        name, state.CloudProcess('supervisor'), []
                    )
                )
        self.assertEqual(['a'], [cloud.name for cloud in control.list_all()])
