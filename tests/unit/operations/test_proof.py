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

"""What a decision of nova-scheduler proves of an explanation."""

import dataclasses
import typing

import testtools

from gpuclient.model import capacity
from gpuclient.model import passthrough_filter
from gpuclient.model import unseen
from gpuclient.operations import proof

from tests.unit.model import test_explanation
from tests.unit.operations import explanations

host = test_explanation.host


TYPE = unseen.UnseenCause(
    'GPU641', 'alias h100 requests device_type type-PF', False, ('a',)
)
NUMA = unseen.UnseenCause('GPU645', 'Nova matches hw:numa_nodes', False)


def decision(
    selected: str | None = None,
    candidates: tuple[str, ...] = (),
    error: str = 'NoValidHost: No valid host was found',
    **filters: list[str],
) -> dict[str, typing.Any]:
    return {
        'selected': selected,
        'error': '' if selected else error,
        'candidates': list(candidates),
        'requests': len(candidates),
        'filters': [
            {'filter': name, 'left': [], 'removed': removed}
            for name, removed in filters.items()
        ],
        'log': ['INFO nova.filters Filter X returned 0 hosts'],
    }


class TestJudge(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.explained = explanations.explain(
            [host('a', 2, used=1, reserved=1), host('b', 2, used=2)],
            test_explanation.flavor(),
        )
        self.trials = proof.ProofTrials(self.explained)

    def assert_request(
        self, state: proof.State, part: str, record: dict[str, typing.Any]
    ) -> None:
        trial = self.trials.judge_request(record)
        self.assertEqual(state, trial.state, trial.reason)
        self.assertIn(part, trial.reason)

    def test_the_request_fails_for_the_same_reason(self) -> None:
        self.assert_request(proof.State.PROVED, '', decision())

    def test_it_fails_for_another_reason(self) -> None:
        self.assert_request(
            proof.State.REFUTED,
            'Placement returns a, and the explanation expects no host',
            decision(None, ('a',), PciPassthroughFilter=['a']),
        )
        self.assert_request(
            proof.State.REFUTED,
            'nova-scheduler fails: OperationalError: x',
            decision(error='OperationalError: x'),
        )

    def test_it_does_not_fail(self) -> None:
        self.assert_request(
            proof.State.REFUTED, 'Placement returns a', decision('a', ('a',))
        )

    def test_a_request_that_fits(self) -> None:
        self.trials = proof.ProofTrials(
            explanations.explain([host('a', 2)], test_explanation.flavor())
        )
        self.assertEqual(1, len(self.trials.trials))
        self.assert_request(proof.State.PROVED, '', decision('a', ('a',)))
        self.assert_request(
            proof.State.REFUTED,
            'selects no host, and the explanation expects a',
            decision(None, ('a',), NUMATopologyFilter=['a']),
        )

    def of_server(
        self, code: str, *causes: unseen.UnseenCause
    ) -> proof.ProofTrials:
        """Return the trials of a server that failed, and now fits."""
        return proof.ProofTrials(
            dataclasses.replace(
                explanations.explain(
                    [host('a', 2)], test_explanation.flavor()
                ),
                unseen=causes,
            ),
            (unseen.UnseenCause(code, 'nova-compute refused it', True),),
        )

    def test_the_server_failed_after_candidates(self) -> None:
        """The rehearsal shows that it is not Placement."""
        self.trials = self.of_server('GPU650', TYPE, NUMA)
        self.assert_request(
            proof.State.INCONCLUSIVE,
            'filters excluded all hosts that Placement returned (GPU650): the '
            'rehearsal does not show this failure, so that the likely cause '
            'is something that it does not have (suspected: GPU641, alias '
            'h100 requests device_type type-PF; GPU645, Nova matches '
            'hw:numa_nodes)',
            decision('a', ('a',)),
        )
        for name in (
            'device type of 2 devices on a (type-PCI is assumed, which alias '
            'h100 matches; a host bundle shows it)',
            'what GPU641 suspects: alias h100 requests device_type type-PF',
            'what GPU645 suspects: Nova matches hw:numa_nodes',
        ):
            self.assertIn(name, self.trials.missing())
        self.trials = self.of_server('GPU650')
        self.assert_request(
            proof.State.INCONCLUSIVE,
            'something that it does not have, unless the cloud has changed '
            'since',
            decision('a', ('a',)),
        )

    def test_nova_compute_refused_the_server(self) -> None:
        self.trials = self.of_server('GPU653')
        self.assert_request(
            proof.State.INCONCLUSIVE,
            'nova-compute refused it (GPU653)',
            decision('a', ('a',)),
        )
        self.assertIn(
            'nova-compute, which refused the server', self.trials.missing()
        )

    def test_placement_returned_no_candidate(self) -> None:
        """The cloud has changed since: Placement was asked again."""
        self.trials = self.of_server('GPU649')
        self.assert_request(
            proof.State.PROVED,
            'assumed: device type of its devices',
            decision('a', ('a',)),
        )

    def test_a_host_that_is_probably_excluded(self) -> None:
        self.trials = proof.ProofTrials(
            self.of_server(
                'GPU650', dataclasses.replace(TYPE, is_likely=True)
            ).explained
        )
        self.assert_request(
            proof.State.INCONCLUSIVE,
            'the rehearsal does not have what probably excludes it (GPU641: ',
            decision('a', ('a',)),
        )

    def test_known_devices(self) -> None:
        card = host('a', 1)
        facts = passthrough_filter.DeviceFacts(('10de', '2330'), 'type-PCI')
        self.trials = proof.ProofTrials(
            explanations.explain(
                [card],
                test_explanation.flavor(),
                devices={card.devices[0].uuid: facts},
            )
        )
        trial = self.trials.judge_request(decision('a', ('a',)))
        self.assertEqual((proof.State.PROVED, ''), (trial.state, trial.reason))
        self.assertNotIn('device type', ' '.join(self.trials.missing()))

    def test_suggestions(self) -> None:
        first, *others = self.explained.suggestions
        self.assertIn('release', first.text)
        records = [
            decision('a', ('a',)),
            *(decision(None) for _other in others),
        ]
        trials = list(self.trials.judge_suggestions(records))
        self.assertEqual(
            [proof.State.PROVED, proof.State.REFUTED],
            [trial.state for trial in trials[:2]],
        )
        self.assertIn('selects no host, not', trials[1].reason)

    def test_traits_to_require(self) -> None:
        """They are set in the flavor that is tried, and fit other hosts."""
        group = capacity.Aggregate(
            'gpu', frozenset({'a', 'b'}), {'trait:CUSTOM_T': 'required'}, id=7
        )
        traits = ('CUSTOM_T',)
        explained = explanations.explain(
            [
                host('a', 2, traits=traits, aggregates=(group,)),
                host('b', 2, traits=traits, aggregates=(group,)),
                host('c', 2, used=2, aggregates=(group,)),
            ],
            test_explanation.flavor(),
            options=test_explanation.Options(isolates_aggregates=True),
        )
        first = explained.suggestions[0]
        self.assertEqual(
            'a, b: require trait CUSTOM_T in the flavor ("openstack flavor '
            'set --property trait:CUSTOM_T=required")',
            first.text,
        )
        self.assertEqual(('a', 'b'), first.hosts)
        self.assertEqual(
            1,
            sum('require' in other.text for other in explained.suggestions),
        )
        _request, trial, *_others = proof.ProofTrials(explained).trials
        self.assertEqual(
            'required',
            trial['request']['flavor']['extra_specs']['trait:CUSTOM_T'],
        )

    def test_traits_to_set(self) -> None:
        explained = explanations.explain(
            [host('a', 2), host('b')],
            test_explanation.flavor(**{'trait:CUSTOM_T': 'required'}),
            with_trait={'CUSTOM_T': None},
        )
        self.assertEqual(
            'a: set trait CUSTOM_T on its resource provider, beside its other '
            'traits ("openstack resource provider trait set" replaces them '
            'all)',
            explained.suggestions[0].text,
        )
        request, trial, *_others = proof.ProofTrials(explained).trials
        self.assertEqual(
            [[], ['CUSTOM_T']],
            [each['providers'][0]['traits'] for each in (request, trial)],
        )

    def test_amounts_lowered_together(self) -> None:
        wanted = test_explanation.flavor(
            **{'resources:VCPU': '500', 'resources:MEMORY_MB': '200000'}
        )
        explained = explanations.explain([host('a', 2)], wanted)
        lowered = explained.suggestions[0]
        self.assertEqual(
            'request at most 64 VCPU and 65536 MiB memory', lowered.text
        )
        self.assertEqual(
            [('200000 MiB memory', 65536)],
            [(condition.name, amount) for condition, amount in lowered.others],
        )
        _request, trial, *_others = proof.ProofTrials(explained).trials
        specs = trial['request']['flavor']['extra_specs']
        self.assertEqual(
            ('64', '65536'),
            (specs['resources:VCPU'], specs['resources:MEMORY_MB']),
        )

    def test_the_whole(self) -> None:
        failed = self.trials.judge_request(decision())
        trials = tuple(
            self.trials.judge_suggestions(
                [decision(None)] * len(self.explained.suggestions)
            )
        )
        for suggestions, state in (
            ((), proof.State.PROVED),
            (trials, proof.State.REFUTED),
        ):
            self.assertEqual(
                state, proof.Proof('34.0.0', failed, suggestions, ()).state
            )

    def test_requests_that_do_not_reach_the_scheduler(self) -> None:
        refused = explanations.explain(
            [host('a', 2)],
            test_explanation.flavor(),
            options=test_explanation.Options(pci_in_placement=False),
        )
        shown = proof.prove(refused, self.fail)
        self.assertEqual(proof.State.NOT_TRIED, shown.state)
        self.assertIn('pci_in_placement', shown.request.reason)
