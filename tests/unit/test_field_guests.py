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

"""Logs of public reports have the expected causes (``tests/field``)."""

import collections
import pathlib

import ddt
import testtools
import yaml

from gpuclient.model import catalogue
from gpuclient.model import guest_log
from gpuclient.rules import guest
from gpuclient.rules import guest_result

PATH = pathlib.Path(__file__).parents[1] / 'field' / 'guests.yaml'
CASES = {case['id']: case for case in yaml.safe_load(PATH.read_text())}
#: The log says nothing about a GPU, so that the command fails.
NOTHING = 'nothing'


def check(text: str) -> tuple[guest_result.GuestResult, ...]:
    return guest.check(guest_log.read([text.encode()]), catalogue.builtin())


@ddt.ddt
class TestGuests(testtools.TestCase):
    @ddt.data(*sorted(CASES))
    def test_case(self, name: str) -> None:
        case = CASES[name]
        results = check(case['log'])
        if case['expected'] == NOTHING:
            self.assertEqual((), results, case['source'])
            return
        self.assertNotEqual((), results, case['source'])
        self.assertEqual(
            sorted(case['expected']),
            sorted(
                f'{result.result} {result.code} {result.device or "-"}'
                for result in results
                if result.severity
            ),
            f'{case["why"]} {case["source"]}',
        )

    def test_verdicts(self) -> None:
        """A cause is named where the report confirms it, and only there."""
        for case in CASES.values():
            sure = case['expected'] != NOTHING and not any(
                text.startswith('UNKNOWN') for text in case['expected']
            )
            self.assertEqual(
                'right' if sure else 'unknown', case['verdict'], case['id']
            )

    def test_table(self) -> None:
        """The numbers that the documentation gives."""
        counts = collections.Counter(
            case['verdict'] for case in CASES.values()
        )
        self.assertEqual({'right': 41, 'unknown': 22}, dict(counts))
        sources = {case['source'] for case in CASES.values()}
        self.assertGreaterEqual(len(sources), 60)
