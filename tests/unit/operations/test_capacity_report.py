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

"""Which definitions of aliases count for new servers."""

import pathlib

import fixtures
import testtools

from gpuclient.documents import aliases as alias_documents
from gpuclient.model import flavor as flavor_model
from gpuclient.operations import capacity_report

_ALIAS = (
    '[pci]\nalias = {{"name": "a100", "vendor_id": "10de", '
    '"product_id": "20f1", "device_type": "{kind}"}}\n'
)


class TestDefinitions(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def write(self, service: str, kind: str) -> None:
        folder = self.folder / f'{service}.conf.d'
        folder.mkdir()
        (folder / '10.conf').write_text(_ALIAS.format(kind=kind))

    def read(self) -> tuple[str | None, list[str]]:
        (self.folder / 'nova.conf').write_text('[DEFAULT]\n')
        documents = alias_documents.read_all([str(self.folder)])
        return (
            capacity_report.defined(documents)['a100'].device_type,
            list(capacity_report.ambiguous(documents, ['a100', 'b'])),
        )

    def test_nova_api_decides(self) -> None:
        """nova-compute reads aliases for moves only."""
        self.write('nova-api', 'type-PF')
        self.write('nova-compute', 'type-VF')
        self.assertEqual(('type-PF', []), self.read())

    def test_nova_apis_differ(self) -> None:
        self.write('nova-api-1', 'type-PF')
        self.write('nova-api-2', 'type-VF')
        self.assertEqual(('type-VF', ['a100']), self.read())

    def test_only_nova_compute(self) -> None:
        self.write('nova-compute', 'type-VF')
        self.assertEqual(('type-VF', []), self.read())

    def test_refused(self) -> None:
        self.write('nova-compute', 'type-VF')
        (self.folder / 'nova.conf').write_text('[DEFAULT]\n')
        path = str(self.folder)
        documents = alias_documents.read_all([path])
        self.assertFalse(capacity_report.is_refused(documents, 'b'))
        self.write('nova-api', 'type-PF')
        documents = alias_documents.read_all([path])
        self.assertTrue(capacity_report.is_refused(documents, 'b'))
        self.assertFalse(capacity_report.is_refused(documents, 'a100'))

    def test_doubt(self) -> None:
        """A forecast is not exact where nova-api refuses the flavor."""
        self.write('nova-api', 'type-PF')
        (self.folder / 'nova.conf').write_text('[DEFAULT]\n')
        forecaster = capacity_report._Forecaster(
            (),
            alias_documents.read_all([str(self.folder)]),
            {},
            frozenset(),
            None,
            None,
            None,
        )
        for alias, doubts in (
            ('a100', []),
            (
                'b',
                [
                    'the files of nova-api do not define alias b, so that it '
                    'refuses the flavor (GPU707)'
                ],
            ),
        ):
            flavor = flavor_model.Flavor(
                'f', 'gpu', 1, 1, 1, True, {flavor_model.ALIASES: f'{alias}:1'}
            )
            self.assertEqual(doubts, list(forecaster._doubts(flavor)))

    def test_template(self) -> None:
        folder = self.folder / 'etc/kolla/config/nova'
        folder.mkdir(parents=True)
        path = folder / 'nova-api.conf'
        for text, is_refused in (('', True), ('alias = {{ gpus }}\n', False)):
            path.write_text(f'[pci]\n{text}')
            documents = alias_documents.read_all([str(path)])
            self.assertEqual(
                is_refused, capacity_report.is_refused(documents, 'a100')
            )
