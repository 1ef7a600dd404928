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

import testtools

from gpuclient.model import capacity
from gpuclient.model import explanation
from gpuclient.model import explanation_text
from gpuclient.model import flavor as flavor_model
from gpuclient.model import host_filters
from gpuclient.model import image as image_model
from gpuclient.model import release as release_model
from gpuclient.model import scheduler_filters
from gpuclient.model import scheduler_options
from gpuclient.model import unseen

from tests.unit.model import test_explanation

Options = scheduler_options.SchedulerOptions


def options(*filters: str) -> Options:
    """Return the options of a nova-scheduler whose files are known."""
    return Options(
        isolates_aggregates=False,
        limits_tenants=False,
        filters=frozenset(
            (*scheduler_filters.DEFAULT, scheduler_filters.PCI, *filters)
        ),
        sets_filters=True,
        pci_in_placement=True,
    )


def explain(
    hosts: list[capacity.HostCapacity],
    flavor: flavor_model.Flavor,
    known: Options,
    *,
    image: image_model.Image | None = None,
    project: str | None = None,
    release: release_model.Release | None = None,
) -> tuple[str, list[tuple[str, bool]]]:
    """Return the sentence of an explanation, and the codes of its causes."""
    verdicts = host_filters.judge_all(
        hosts,
        host_filters.Server(
            flavor, image, release or release_model.newest(), project
        ),
        known,
    )
    plain = test_explanation.evaluate(
        hosts, flavor, image=image, options=known
    )
    evaluation = explanation.Evaluation(
        plain.wanted,
        plain.facts,
        (*plain.conditions, *host_filters.conditions(verdicts)),
    )
    causes = unseen.find(
        evaluation, explanation.Restrictions(project), known, (), verdicts
    )
    return explanation_text.cause(evaluation, causes), [
        (cause.code, cause.proved) for cause in causes
    ]


def group(host: str, **metadata: str) -> capacity.Aggregate:
    return capacity.Aggregate('group', frozenset({host}), metadata)


class TestFilters(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.host = test_explanation.host('a', 1)
        self.scoped = test_explanation.flavor(
            **{'aggregate_instance_extra_specs:gpu': 'true'}
        )

    def test_enabled(self) -> None:
        self.assertEqual(
            (
                'No host fits: Placement returns 1 host, but nova-scheduler '
                'filters it out (a: none of its aggregates sets gpu, which '
                'the flavor requests by aggregate_instance_extra_specs:gpu = '
                'true).',
                [('GPU646', True)],
            ),
            explain(
                [self.host],
                self.scoped,
                options('AggregateInstanceExtraSpecsFilter'),
            ),
        )

    def test_not_enabled(self) -> None:
        self.assertEqual(
            ('It fits on 1 of 1 host: a.', []),
            explain([self.host], self.scoped, options()),
        )

    def test_matching_aggregate(self) -> None:
        host = test_explanation.host(
            'a', 1, aggregates=(group('a', gpu='true'),)
        )
        for known in (options('AggregateInstanceExtraSpecsFilter'), Options()):
            self.assertEqual(
                ('It fits on 1 of 1 host: a.', []),
                explain([host], self.scoped, known),
            )

    def test_not_known_whether_it_is_enabled(self) -> None:
        sentence, causes = explain([self.host], self.scoped, Options())
        self.assertEqual([('GPU646', False)], causes)
        self.assertStartsWith(
            'Placement returns 1 of 1 host (a), but Nova probably excludes it '
            '(GPU646): if nova-scheduler has '
            'AggregateInstanceExtraSpecsFilter, it excludes hosts',
            sentence,
        )
        # Some host is left.
        other = test_explanation.host(
            'b', 1, aggregates=(group('b', gpu='true'),)
        )
        sentence, _causes = explain([self.host, other], self.scoped, Options())
        self.assertEqual(
            'It fits on 2 of 2 hosts: a, b. Nova probably excludes a '
            '(GPU646).',
            sentence,
        )

    def assertStartsWith(self, expected: str, text: str) -> None:
        self.assertEqual(expected, text[: len(expected)])

    def test_own_property(self) -> None:
        """group_policy is for Placement; the filter refuses it, too."""
        flavor = test_explanation.flavor(group_policy='none')
        self.assertEqual([], explain([self.host], flavor, Options())[1])
        self.assertEqual(
            [('GPU646', True)],
            explain(
                [self.host],
                flavor,
                options('AggregateInstanceExtraSpecsFilter'),
            )[1],
        )

    def test_image(self) -> None:
        host = test_explanation.host(
            'a', 1, aggregates=(group('a', os_distro='windows'),)
        )
        image = image_model.Image('id', 'lin', {'os_distro': 'ubuntu'})
        known = options('AggregateImagePropertiesIsolation')
        flavor = test_explanation.flavor()
        sentence, causes = explain([host], flavor, known, image=image)
        self.assertEqual([('GPU646', True)], causes)
        self.assertIn(
            'a: its aggregates set os_distro = windows, and the image has '
            'os_distro = ubuntu',
            sentence,
        )
        self.assertEqual(
            ('It fits on 1 of 1 host: a.', []), explain([host], flavor, known)
        )

    def test_capabilities(self) -> None:
        """A capability that no host has refuses every host."""
        host = test_explanation.host('a', 1, state={'hypervisor_type': 'QEMU'})
        for key, expected in (
            ('capabilities:gpu_type', [('GPU646', True)]),
            ('gpu_type', []),
        ):
            flavor = test_explanation.flavor(**{key: 'a100'})
            self.assertEqual(expected, explain([host], flavor, options())[1])

    def test_own_filters(self) -> None:
        """A filter of another project is not examined."""
        self.assertEqual(
            'It fits on 1 of 1 host: a. Not examined: OurFilter (GPU646).',
            explain(
                [self.host], test_explanation.flavor(), options('OurFilter')
            )[0],
        )

    def test_projects(self) -> None:
        """All aggregates of a host count, and since Nova 30 suffixes."""
        host = test_explanation.host(
            'a',
            1,
            aggregates=(
                group('a', filter_tenant_id='theirs'),
                group('a', filter_tenant_id2='mine'),
            ),
        )
        known = options('AggregateMultiTenancyIsolation')
        flavor = test_explanation.flavor()
        self.assertEqual(
            'It fits on 1 of 1 host: a.',
            explain([host], flavor, known, project='mine')[0],
        )
        for project, release in (('mine', '2024.1'), ('other', '2026.2')):
            self.assertStartsWith(
                'No host fits',
                explain(
                    [host],
                    flavor,
                    known,
                    project=project,
                    release=release_model.parse(release),
                )[0],
            )
        self.assertStartsWith(
            'It fits on 1 of 1 host: a. Not examined: '
            'AggregateMultiTenancyIsolation',
            explain([host], flavor, known)[0],
        )
