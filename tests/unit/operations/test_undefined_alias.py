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

"""Flavors whose alias the files do not define."""

import pathlib
import typing

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.model import release
from gpuclient.operations import explanation

ALIAS = 'alias = {"name": "a100", "vendor_id": "10de", "product_id": "20f1"}\n'
FLAVOR = flavor_model.Flavor(
    'f', 'gpu', 1, 1, 1, True, {flavor_model.ALIASES: 'a10:1'}
)


class TestUndefinedAlias(testtools.TestCase):
    def refusal(self, content: str, **request: typing.Any) -> str:
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        path = folder / 'nova.conf'
        path.write_text(content)
        return self.refusal_of(path, **request)

    def refusal_of(self, path: pathlib.Path, **request: typing.Any) -> str:
        cloud: typing.Any = None
        reader = explanation.Reader(
            cloud,
            explanation.Request(files=(str(path),), **request),
            release.newest(),
        )
        return reader.demand(
            FLAVOR, None, reader.defined, volume_backed=False
        ).refusal

    def test_other_aliases(self) -> None:
        """nova-api refuses each request, as it does for a bad count."""
        self.assertIn(
            'it returns HTTP 400 "PCI alias a10 is not defined" (GPU707)',
            self.refusal(f'[pci]\n{ALIAS}'),
        )

    def test_files_without_aliases(self) -> None:
        """They may be those of another service."""
        error = self.assertRaises(
            exceptions.NotFound, self.refusal, '[DEFAULT]\ndebug = true\n'
        )
        self.assertIn('pass the file that defines it', str(error))

    def test_files_of_nova_api(self) -> None:
        """Neither nova-compute nor servers that have booted count."""
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (folder / 'nova.conf').write_text('[DEFAULT]\n')
        a10 = f'[pci]\n{ALIAS.replace("a100", "a10")}'
        for service, content in (
            ('nova-api', '[pci]\n'),
            ('nova-compute', a10),
        ):
            (folder / f'{service}.conf.d').mkdir()
            (folder / f'{service}.conf.d' / '1.conf').write_text(content)
        self.assertIn(
            "the files of nova-api do not define alias 'a10', so that it "
            'returns HTTP 400 "PCI alias a10 is not defined" (GPU707)',
            self.refusal_of(folder),
        )

    def test_existing_server(self) -> None:
        """nova-api has accepted its request."""
        self.assertRaises(
            exceptions.NotFound,
            self.refusal,
            f'[pci]\n{ALIAS}',
            of_server=True,
        )

    def test_defined(self) -> None:
        self.assertEqual(
            '', self.refusal(f'[pci]\n{ALIAS.replace("a100", "a10")}')
        )


class TestNotes(testtools.TestCase):
    def test_misspelled_key(self) -> None:
        flavor = flavor_model.Flavor(
            'f', 'gpu', 1, 1, 1, True, {'pci_passtrough:alias': 'a10:1'}
        )
        (note,) = explanation._unread(flavor)
        self.assertIn('pci_passtrough:alias requests no device', note)
        self.assertIn('(GPU705)', note)
        self.assertEqual([], list(explanation._unread(FLAVOR)))
