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

"""Processes and their options; deployments and their compute hosts."""

import testtools

from gpuclient.model import configuration
from gpuclient.model import deployment

API, COMPUTE = configuration.API, configuration.COMPUTE


def source(path: str, *options: tuple[str, str, str]) -> deployment.Source:
    return deployment.Source(
        configuration.Place(path),
        tuple(
            configuration.Option(
                section,
                name,
                configuration.Setting(text, configuration.Place(path, line)),
            )
            for line, (section, name, text) in enumerate(options, 1)
        ),
    )


def process(
    kind: str, *sources: deployment.Source, host: str | None = None
) -> deployment.Process:
    place = sources[-1].place if sources else configuration.Place('x')
    return deployment.Process((kind,), place, sources, host)


class TestProcess(testtools.TestCase):
    def test_old_and_new_names(self) -> None:
        """The oldest name comes first within a file; then the next file."""
        service = process(
            COMPUTE,
            source(
                'a',
                ('pci', 'device_spec', '1'),
                ('pci', 'passthrough_whitelist', '2'),
                ('DEFAULT', 'pci_passthrough_whitelist', '3'),
                ('pci', 'device_spec', '4'),
            ),
            source(
                'b',
                ('DEFAULT', 'pci_passthrough_whitelist', '5'),
                ('pci', 'passthrough_whitelist', '6'),
            ),
        )
        self.assertEqual(
            ['3', '2', '1', '4', '5', '6'],
            [spec.text for spec in service.device_specs],
        )

    def test_one_value(self) -> None:
        """The last file counts, and within it the newest name."""
        service = process(
            COMPUTE,
            source('a', ('pci', 'report_in_placement', 'no')),
            source(
                'b',
                ('pci', 'report_in_placement', 'maybe'),
                ('pci', 'report_in_placement', 'yes'),
                ('libvirt', 'cpu_models', 'new'),
                ('libvirt', 'cpu_model', 'old'),
            ),
        )
        self.assertIs(True, service.report_in_placement)
        self.assertIsNone(service.pci_in_placement)
        last = service.last('libvirt', 'cpu_models', 'cpu_model')
        assert last is not None
        self.assertEqual('new', last.text)

    def test_readers(self) -> None:
        shared = source('a', ('pci', 'alias', '{}'))
        self.assertEqual(
            {configuration.Place('a', 1): {API, COMPUTE}},
            deployment.readers(
                [process(API, shared), process(COMPUTE, shared)]
            ),
        )


class TestComputesOn(testtools.TestCase):
    def hosts(
        self, host: str, *computes: deployment.Process
    ) -> list[str | None]:
        cloud = deployment.Deployment((process(API), *computes))
        return [compute.host for compute in cloud.computes_on(host)]

    def test_only_compute_host_matches_any_name(self) -> None:
        self.assertEqual(['a'], self.hosts('b', process(COMPUTE, host='a')))

    def test_by_name(self) -> None:
        computes = [process(COMPUTE, host=name) for name in 'abc']
        self.assertEqual(['b'], self.hosts('b', *computes))
        self.assertEqual(['b'], self.hosts('b.example.com', *computes))
        self.assertEqual([], self.hosts('d', *computes))
        computes.append(process(COMPUTE, host='e.example.com'))
        self.assertEqual(['e.example.com'], self.hosts('e', *computes))
        self.assertEqual([], self.hosts('e.example.org', *computes))

    def test_host_option_overrides_the_folder(self) -> None:
        computes = (
            process(COMPUTE, source('x', ('DEFAULT', 'host', 'b')), host='a'),
            process(COMPUTE, host='c'),
        )
        self.assertEqual(['a'], self.hosts('b', *computes))
        self.assertEqual([], self.hosts('a', *computes))

    def test_host_is_unknown(self) -> None:
        computes = [process(COMPUTE) for _number in range(2)]
        self.assertEqual([None, None], self.hosts('a', *computes))
