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

"""What is said of a server that failed, and of which a host fits."""

import dataclasses

import ddt
import testtools

from gpuclient.model import alias as alias_model
from gpuclient.model import failed_attempt
from gpuclient.model import server_history
from gpuclient.model import unseen
from gpuclient.operations import explanation as operation
from gpuclient.operations import server_explanation

from tests.unit.model import test_explanation
from tests.unit.operations import explanations

NO_HOST = 'No valid host was found. '
FILTERED = f'{NO_HOST}There are not enough hosts available.'
TYPE = unseen.UnseenCause(
    'GPU641', 'alias h100 requests device_type type-PF', False, ('a',)
)
NO_FILTER = unseen.UnseenCause('GPU642', 'no PciPassthroughFilter', False)
ISOLATED = unseen.UnseenCause(
    'GPU644', 'the aggregate is isolated', False, ('a',), is_likely=True
)
ARCHITECTURE = unseen.UnseenCause(
    'GPU646', 'no host is of s390x', False, ('a',), is_likely=True
)
OTHER_HOST = unseen.UnseenCause(
    'GPU646', 'its aggregate is of others', True, ('b',)
)


def history(message: str) -> server_history.History:
    return server_history.History(
        server_history.Fault(message) if message else None
    )


def explained(*causes: unseen.UnseenCause) -> operation.Explanation:
    """Return an explanation of which host a fits, and host b does not."""
    return dataclasses.replace(
        explanations.explain(
            [test_explanation.host('a', 1), test_explanation.host('b')],
            test_explanation.flavor(),
        ),
        unseen=causes,
    )


@ddt.ddt
class TestSentence(testtools.TestCase):
    def sentence(self, message: str, *causes: unseen.UnseenCause) -> str:
        recorded, related = server_explanation.relate(
            history(message), explained(*causes)
        )
        assert related is not None
        return failed_attempt.sentence(
            related.evaluation, recorded, related.unseen
        )

    def test_filters_excluded_all_hosts(self) -> None:
        start = (
            'Placement returns 1 of 2 hosts (a), but at the last attempt '
            'filters of nova-scheduler excluded all hosts that it returned '
            '(GPU650). '
        )
        for causes, expected in (
            (
                (TYPE,),
                'GPU641 is suspected: alias h100 requests device_type '
                'type-PF.',
            ),
            (
                (TYPE, ARCHITECTURE),
                'The likeliest cause is GPU646: no host is of s390x. '
                'Suspected besides: GPU641.',
            ),
            (
                # Without the filter, nova-compute refuses the server.
                (NO_FILTER, OTHER_HOST),
                'Nothing that is known excludes it: the cloud has changed '
                'since, such as a host that was freed, or the server '
                'requested a host or a scheduler hint that Nova does not '
                'show (GPU656).',
            ),
        ):
            self.assertEqual(
                start + expected, self.sentence(FILTERED, *causes)
            )

    def test_placement_returned_no_candidate(self) -> None:
        start = (
            'At the last attempt Placement returned no candidate (GPU649). '
            'It now returns 1 of 2 hosts (a). '
        )
        self.assertIn(
            f'{start}Nothing that is known excludes it: the cloud has changed',
            self.sentence(NO_HOST, ARCHITECTURE),
        )
        self.assertEqual(
            f'{start}The likeliest cause is GPU644: the aggregate is '
            f'isolated.',
            self.sentence(NO_HOST, ARCHITECTURE, ISOLATED),
        )

    def test_nova_compute_refused(self) -> None:
        self.assertEqual(
            'At the last attempt, nova-compute refused the server: the host '
            'has no free device that matches the alias ("Claim pci failed") '
            '(GPU653). Placement returns 1 of 2 hosts (a). GPU642 is '
            'suspected: no PciPassthroughFilter.',
            self.sentence(
                'Insufficient compute resources: Claim pci failed.',
                TYPE,
                NO_FILTER,
            ),
        )

    @ddt.data('', 'Build of instance x aborted')
    def test_nothing_of_the_scheduler(self, message: str) -> None:
        sentence = self.sentence(message, TYPE)
        self.assertNotIn('GPU641', sentence)
        self.assertEqual(bool(message), 'GPU657' in sentence)


class TestRelate(testtools.TestCase):
    """What is suspected because filters are known to have excluded hosts."""

    def relate(
        self, message: str, *causes: unseen.UnseenCause
    ) -> tuple[list[str], list[str]]:
        explanation = explained(*causes)
        evaluation = explanation.evaluation
        pf = alias_model.Alias(
            'h100', vendor_id='10de', product_id='2330', device_type='type-PF'
        )
        recorded, related = server_explanation.relate(
            history(message),
            dataclasses.replace(
                explanation,
                evaluation=dataclasses.replace(
                    evaluation,
                    facts=dataclasses.replace(
                        evaluation.facts, aliases={'h100': pf}
                    ),
                ),
            ),
        )
        assert related is not None
        return (
            [cause.code for cause in recorded],
            [cause.code for cause in related.unseen],
        )

    def test_types_that_no_host_shows(self) -> None:
        """The catalogue shows them, but firmware can change them."""
        self.assertEqual(
            (['GPU650', 'GPU656'], ['GPU641']), self.relate(FILTERED)
        )
        self.assertEqual((['GPU649', 'GPU656'], []), self.relate(NO_HOST))

    def test_known_already(self) -> None:
        self.assertEqual((['GPU650'], ['GPU641']), self.relate(FILTERED, TYPE))
        self.assertEqual(
            (['GPU650'], ['GPU646']), self.relate(FILTERED, ARCHITECTURE)
        )
