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

import dataclasses

import testtools

from gpuclient.cloud.nova import server_details
from gpuclient.model import inventory
from gpuclient.model import server_history
from gpuclient.model import unseen
from gpuclient.operations import server_explanation
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


class TestServer(testtools.TestCase):
    """The text of a server that failed, and of which a host fits."""

    def setUp(self) -> None:
        super().setUp()
        suspected = unseen.UnseenCause(
            'GPU641', 'alias h100 requests device_type type-PF', False, ('a',)
        )
        history = server_history.History(
            server_history.Fault(
                'No valid host was found. There are not enough hosts '
                'available.'
            )
        )
        causes, explained = server_explanation.relate(
            history,
            dataclasses.replace(
                explanations.explain(
                    [
                        test_explanation.host('a', 1),
                        test_explanation.host('b'),
                    ],
                    test_explanation.flavor(),
                ),
                unseen=(suspected,),
            ),
        )
        self.explained = server_explanation.ServerExplanation(
            server_details.ServerDetails(
                inventory.Server(
                    'uuid', 'train-1', 'ERROR', 'project', 'user', None, None
                ),
                None,
                history.fault,
                image_id='image',
                image_properties={},
                zone=None,
                launched=False,
                groups=(),
            ),
            history,
            causes,
            (),
            explained,
        )

    def test_headline(self) -> None:
        sentence = explanation_view.server_record(self.explained)['cause']
        self.assertEqual(
            "Server 'train-1' (ERROR) has no host. Placement returns 1 of 2 "
            'hosts (a), but at the last attempt filters of nova-scheduler '
            'excluded all hosts that it returned (GPU650). GPU641 is '
            'suspected: alias h100 requests device_type type-PF.',
            sentence,
        )
        text = explanation_view.show_server(self.explained)
        headline, *_tables = text.split('\n\n')
        self.assertEqual(sentence, ' '.join(headline.split()))

    def test_what_nova_recorded_is_not_unseen_by_placement(self) -> None:
        text = explanation_view.show_server(self.explained)
        recorded = text.index('\nWhat Nova recorded:\n')
        hidden = text.index('\nWhat Placement cannot see:\n')
        self.assertLess(recorded, text.index('\nGPU650  '))
        self.assertLess(text.index('\nGPU650  '), hidden)
        self.assertLess(hidden, text.index('\nGPU641  '))
        self.assertNotIn('What the server holds', text)
        # The object has them in one list.
        self.assertEqual(
            ['GPU650', 'GPU641'],
            [
                cause['code']
                for cause in explanation_view.server_record(self.explained)[
                    'unseen'
                ]
            ],
        )
