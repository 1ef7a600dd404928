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

import typing

import testtools

from gpuclient.cloud.placement import totals

GPU, VF = 'CUSTOM_GPU', 'CUSTOM_VF'


def summary(
    name: str, capacity: int, used: int = 0, *traits: str
) -> dict[str, typing.Any]:
    return {
        'resources': {name: {'capacity': capacity, 'used': used}},
        'traits': list(traits),
    }


def record(total: int, reserved: int = 0) -> dict[str, typing.Any]:
    return {'total': total, 'reserved': reserved}


class TestUnclear(testtools.TestCase):
    def test_whole_devices(self) -> None:
        self.assertEqual(
            set(),
            totals.unclear(
                {
                    'free': summary(GPU, 1),
                    'used': summary(GPU, 1, 1),
                    'once': summary(GPU, 0, 1, totals.ONE_TIME_USE),
                },
                {},
            ),
        )

    def test_reserved(self) -> None:
        summaries = {'a': summary(GPU, 0), 'b': summary(GPU, 1)}
        self.assertEqual({'a'}, totals.unclear(summaries, {}))
        self.assertEqual(
            set(), totals.unclear(summaries, {'a': {GPU: record(1, 1)}})
        )
        # The parent of VFs was reserved, so the other one may be, too.
        self.assertEqual(
            {'b'}, totals.unclear(summaries, {'a': {GPU: record(4, 4)}})
        )

    def test_once_beside_functions(self) -> None:
        summaries = {
            'a': summary(VF, 0, 0, totals.ONE_TIME_USE),
            'b': summary(VF, 4),
        }
        self.assertEqual({'a', 'b'}, totals.unclear(summaries, {}))

    def test_several_alike(self) -> None:
        summaries = {str(number): summary(VF, 8) for number in range(5)}
        summaries['few'] = summary(VF, 7)
        self.assertEqual({'0', 'few'}, totals.unclear(summaries, {}))
        read: totals.Inventories = {
            '0': {VF: record(8)},
            'few': {VF: record(8, 1)},
        }
        self.assertEqual(set(), totals.unclear(summaries, read))
        # The one that was read has reserved units, or no record.
        for witness in ({VF: record(9, 1)}, {}, None):
            read['0'] = witness
            self.assertEqual(
                {'1', '2', '3', '4'}, totals.unclear(summaries, read)
            )


class TestDivide(testtools.TestCase):
    def test_inferred(self) -> None:
        self.assertEqual((1, 0), totals.divide('a', GPU, 1, {}))
        self.assertEqual((1, 1), totals.divide('a', GPU, 0, {}))
        self.assertEqual((8, 0), totals.divide('a', VF, 8, {}))

    def test_read(self) -> None:
        read: totals.Inventories = {'a': {VF: record(8, 2)}, 'b': None}
        self.assertEqual((8, 2), totals.divide('a', VF, 6, read))
        self.assertEqual((None, None), totals.divide('b', VF, 6, read))
