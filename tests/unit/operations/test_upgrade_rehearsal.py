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

"""Rehearsals with two releases, compared."""

import testtools

from gpuclient.config_rehearsal import report as reporting
from gpuclient.model import release as release_model
from gpuclient.operations import upgrade_rehearsal


def rehearsed(
    release: str, *rows: reporting.Row
) -> upgrade_rehearsal.Rehearsed:
    return upgrade_rehearsal.Rehearsed(release_model.parse(release), rows)


STARTED = reporting.Row('service', 'gpu-0', 'nova-compute', 'started')
REFUSED = reporting.Row(
    'service', 'gpu-0', 'nova-compute', 'refused', detail='No.', bad=True
)
SKIPPED = reporting.Row('service', 'gpu-0', 'nova-compute', reporting.SKIPPED)


class TestCompare(testtools.TestCase):
    def compare(
        self, before: reporting.Row, after: reporting.Row
    ) -> list[tuple[str, str, str]]:
        return [
            (str(effect.effect), effect.release.series, effect.message)
            for effect in upgrade_rehearsal.compare(
                rehearsed('2024.1', before), rehearsed('2026.1', after)
            )
        ]

    def test_service_that_does_not_start_any_more(self) -> None:
        self.assertEqual(
            [
                (
                    'breaks',
                    '2026.1',
                    'Nova 33: service nova-compute on gpu-0 does not start: '
                    'No. Nova 29: it starts',
                )
            ],
            self.compare(STARTED, REFUSED),
        )

    def test_devices_follow_from_nova_compute(self) -> None:
        reported = reporting.Row('device', 'gpu-0', '01:00.0', 'reported')
        missing = reporting.Row(
            'device', 'gpu-0', '01:00.0', 'missing', detail='No.', bad=True
        )

        def compare(*rows: reporting.Row) -> list[str]:
            return [
                effect.message
                for effect in upgrade_rehearsal.compare(
                    rehearsed('2024.1', STARTED, reported),
                    rehearsed('2026.1', *rows),
                )
            ]

        self.assertEqual(1, len(compare(REFUSED, missing)))
        self.assertEqual(
            [
                'Nova 33: device 01:00.0 on gpu-0 is not reported to '
                'Placement: No. Nova 29: it is reported to Placement'
            ],
            compare(STARTED, missing),
        )

    def test_service_that_starts_at_last(self) -> None:
        ((effect, release, message),) = self.compare(REFUSED, STARTED)
        self.assertEqual(('possible', '2026.1'), (effect, release))
        self.assertTrue(message.startswith('Nova 29: service'), message)

    def test_equal(self) -> None:
        for row in (STARTED, REFUSED):
            self.assertEqual([], self.compare(row, row))

    def test_not_reached(self) -> None:
        """Servers are not booted if nova-api does not start."""
        self.assertEqual([], self.compare(SKIPPED, REFUSED))
        self.assertEqual([], self.compare(REFUSED, SKIPPED))

    def test_alias_that_is_refused(self) -> None:
        """Its servers are booted in the other rehearsal only."""
        refused = reporting.Row(
            'alias', None, 'gpu', 'refused', detail='No.', bad=True
        )
        boots = reporting.Row('alias', None, 'gpu:1', 'boots')
        self.assertEqual(
            [
                (
                    'possible',
                    '2026.1',
                    'Nova 29: alias gpu is refused: No. Nova 33: it boots',
                )
            ],
            self.compare(refused, boots),
        )
        self.assertEqual(
            ['breaks'],
            [effect for effect, *_rest in self.compare(boots, refused)],
        )
