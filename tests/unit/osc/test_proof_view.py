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

"""The text of a proof."""

import testtools

from gpuclient.operations import proof
from gpuclient.osc import proof_view


class TestRequest(testtools.TestCase):
    def show(self, state: proof.State, reason: str) -> str:
        trial = proof.Trial('', state, reason, 'gpu-3')
        text = proof_view.show(
            proof.Proof('34.0.0', trial, (), ('device type of 1 device',))
        )
        return ' '.join(text.split())

    def test_selected(self) -> None:
        for reason, expected in (
            ('', '* proved: this request: gpu-3 is selected The'),
            (
                'assumed: device type of its devices',
                '* proved: this request: gpu-3 is selected (assumed: device '
                'type of its devices) The',
            ),
        ):
            self.assertIn(expected, self.show(proof.State.PROVED, reason))

    def test_inconclusive(self) -> None:
        text = self.show(proof.State.INCONCLUSIVE, 'the server failed')
        self.assertIn(
            '* inconclusive: this request: gpu-3 is selected, but the server '
            'failed The rehearsal cloud does not have: device type of 1 '
            'device.',
            text,
        )
        self.assertNotIn('proved', text)
