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

"""The text of an explanation."""

import testtools

from gpuclient.osc import explanation_view

from tests.unit.model import test_explanation
from tests.unit.operations import explanations


class TestSmallerRequests(testtools.TestCase):
    def show(self, aliases: str, cards: int) -> str:
        return explanation_view.show(
            explanations.explain(
                [
                    explanations.with_ids(test_explanation.host(name, cards))
                    for name in ('a', 'b.example')
                ],
                test_explanation.flavor(aliases),
            )
        )

    def test_too_many(self) -> None:
        self.assertIn(
            '\nWhat fits in place of it, any one of these:\n'
            '* request at most 2 x h100: 2 hosts (a, b)\n',
            self.show('h100:3', 2),
        )

    def test_none(self) -> None:
        self.assertNotIn('in place of it', self.show('h100:1', 0))
