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

"""Values that tables show in another format than JSON."""

import testtools

from gpuclient.osc import columns


class TestColumns(testtools.TestCase):
    def test_what_is_not_known(self) -> None:
        self.assertEqual('unknown', columns.KnownColumn(None).human_readable())
        self.assertEqual('0', columns.KnownColumn(0).human_readable())
        self.assertEqual('False', columns.KnownColumn(False).human_readable())
        self.assertIsNone(columns.KnownColumn(None).machine_readable())

    def test_limits_are_counted_in_hosts(self) -> None:
        limits = {'a100': 2, 'PCPU': 1, 'nova-api refuses it': 0}
        column = columns.LimitsColumn(limits)
        self.assertEqual(
            'a100 (2 hosts)\nPCPU (1 host)\nnova-api refuses it',
            column.human_readable(),
        )
        self.assertEqual(limits, column.machine_readable())
        self.assertEqual(
            'unknown', columns.LimitsColumn(None).human_readable()
        )

    def test_consumers(self) -> None:
        server = {'id': 'x', 'name': None, 'type': 'INSTANCE'}
        for record, expected in (
            ({**server, 'name': 'web'}, 'web'),
            (server, 'x'),
            (
                {**server, 'orphaned': True},
                'x (orphaned: Nova has no such server)',
            ),
            ({**server, 'type': 'MIGRATION'}, 'x (migration)'),
        ):
            self.assertEqual(
                expected, columns.NamedColumn([record]).human_readable()
            )

    def test_compute_without_devices(self) -> None:
        column = columns.NoDeviceColumn(None)
        self.assertEqual('reports no device', column.human_readable())
        self.assertIsNone(column.machine_readable())
