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

import collections.abc
import os
import pathlib

import ddt
import fixtures
import testtools

from gpuclient.documents import tree
from gpuclient.rules import configuration


def _alias(ids: str, name: str = 'gpu') -> str:
    vendor, product = ids.split(':')
    return (
        f'alias = {{"name": "{name}", "vendor_id": "{vendor}", "product_id": '
        f'"{product}", "device_type": "type-PCI"}}\n'
    )


_GPU, _AUDIO = _alias('10de:1b80'), _alias('10de:10f0')
_ANY = 'device_spec = {"vendor_id": "10de"}\n'


@ddt.ddt
class TestFunctions(testtools.TestCase):
    def check(
        self,
        text: str,
        names: collections.abc.Callable[[str, str], str | None] | None = None,
    ) -> list[str]:
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        path = folder / 'nova.conf'
        path.write_text(f'[pci]\n{text}')
        contents = tree.read([os.fspath(path)])
        return [
            f'{located.place.line} {located.finding}'
            for located in configuration.check(
                contents.deployment, names=names
            )
            if located.finding.code == 'GPU126'
        ]

    @ddt.data(
        ('', _GPU + _AUDIO, 3),
        ('', _AUDIO + _GPU, 2),
        (_ANY, _GPU + _AUDIO, 4),
        ('device_spec = {"address": "04:00.*"}\n', _GPU + _AUDIO, 4),
        ('', _GPU + _alias('10de:1b81') + _AUDIO, 4),
    )
    @ddt.unpack
    def test_audio(self, specs: str, aliases: str, line: int) -> None:
        (message,) = self.check(specs + aliases)
        self.assertEqual(
            f"{line} GPU126: Alias 'gpu' requests 10de:1b80 or 10de:10f0, "
            f'which is the audio function of a GPU: a server can get the '
            f'audio function without a GPU. Remove the line with 10de:10f0; '
            f'the audio function needs no alias',
            message,
        )

    def test_names(self) -> None:
        """Databases of PCI ids have more functions than the catalogue."""
        names = {
            '1ad8': 'TU104 USB 3.1 Host Controller',
            '10e9': 'High Definition Audio Controller',
        }
        lines = _ANY + _GPU + _alias('10de:1ad8', 'gpu') + _alias('10de:10e9')
        self.assertEqual([], self.check(lines))
        usb, audio = self.check(
            lines, lambda _vendor, product: names.get(product)
        )
        self.assertIn('which is the USB function of a GPU', usb)
        self.assertIn('10de:10e9, which is the audio function', audio)

    @ddt.data(
        _GPU,
        _AUDIO,
        # Two GPUs as alternatives.
        _GPU + _alias('10de:1b81'),
        # A flavor can request both functions.
        _GPU + _alias('10de:10f0', 'gpu-audio'),
        # Not available to servers.
        'device_spec = {"vendor_id": "10de", "product_id": "1b80"}\n'
        + _GPU
        + _AUDIO,
        _alias('8086:1520') + _alias('8086:154d'),
    )
    def test_silent(self, text: str) -> None:
        self.assertEqual([], self.check(text))
