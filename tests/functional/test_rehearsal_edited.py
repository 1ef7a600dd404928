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

"""Files of a rehearsal cloud that are edited while it runs."""

import pathlib

from tests.functional import base

FILTERS = (
    '[filter_scheduler]\nenabled_filters = ComputeFilter,PciPassthroughFilter'
)


class TestEdited(base.OwnCloudTestCase):
    def restart(self, *arguments, status=0):
        result = self.run_command(
            *('gpu', 'rehearsal', 'restart', 'edited', '-f', 'json'),
            *arguments,
        )
        self.assertEqual(status, result.status, result.stderr)
        return result

    def state_of(self, name):
        cloud = self.openstack(
            *('gpu', 'rehearsal', 'show', 'edited', '-f', 'json')
        )
        return next(
            service for service in cloud['services'] if service['name'] == name
        )

    def test_edit_and_restart(self):
        cloud = self.start('edited')
        folder = pathlib.Path(cloud['directory'])
        (row,) = self.openstack('gpu', 'rehearsal', 'list', '-f', 'json')
        self.assertEqual(
            ('edited', 'ready', 1, 0),
            tuple(row.values())[:4],
        )

        # A cloud that runs has no findings.
        check = ('gpu', 'config', 'check', str(folder / 'etc/nova'))
        self.assertEqual([], self.openstack(*check, '-f', 'json'))

        # Restart one service with an edited file.
        before = self.state_of('nova-scheduler')
        drop_ins = folder / 'etc/nova/nova-scheduler.conf.d'
        edited = drop_ins / '20-mine.conf'
        edited.write_text(f'{FILTERS},RetryFilter\n')
        result = self.restart('--service', 'nova-scheduler', status=1)
        message = 'Scheduler Host Filter RetryFilter could not be found'
        self.assertIn(message, result.stderr)
        refused = self.state_of('nova-scheduler')
        self.assertEqual('refused', refused['state'])
        self.assertIn(message, refused['message'])
        rows = self.openstack(*check, '-f', 'json', status=3)
        self.assertEqual(['GPU326'], [row['Code'] for row in rows])

        edited.write_text(f'{FILTERS}\n')
        self.restart('--service', 'nova-scheduler')
        after = self.state_of('nova-scheduler')
        self.assertEqual(('ready', ''), (after['state'], after['message']))
        self.assertNotEqual(before['pid'], after['pid'])

        # nova-api listens on the same port, which is in the catalog.
        port = self.state_of('nova-api-1')['port']
        self.restart('--service', 'nova-api-1')
        self.assertEqual(port, self.state_of('nova-api-1')['port'])
        self.assertEqual([], self.openstack('server', 'list', '-f', 'json'))
        result = self.restart(
            *('--service', 'nova-compute', '--host', 'nobody'), status=1
        )
        self.assertIn('has no service nova-compute on nobody', result.stderr)

        # The file is kept over a stop and a start; another edit is refused.
        self.run_command('gpu', 'rehearsal', 'stop', 'edited')
        self.run_command('gpu', 'rehearsal', 'start', 'edited')
        self.assertEqual(f'{FILTERS}\n', edited.read_text())
        self.run_command('gpu', 'rehearsal', 'stop', 'edited')
        (drop_ins / '90-rehearsal.conf').write_text('[DEFAULT]\n')
        result = self.run_command('gpu', 'rehearsal', 'start', 'edited')
        self.assertEqual(1, result.status)
        self.assertIn('90-rehearsal.conf was edited', result.stderr)
