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

import os
import pathlib

import ddt
import fixtures
from oslo_serialization import jsonutils
import testtools

from gpuclient.documents import tree
from gpuclient.model import repeated_keys
from gpuclient.rules import configuration


@ddt.ddt
class TestRepeatedKeys(testtools.TestCase):
    def check(self, line: str) -> list[str]:
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (folder / 'nova.conf').write_text(f'[pci]\n{line}\n')
        contents = tree.read([os.fspath(folder)])
        return [
            str(located.finding)
            for located in configuration.check(contents.deployment)
            if located.finding.code in ('GPU125', 'GPU217')
        ]

    @ddt.data(
        ('{"address": "04:00.0"}', ()),
        # The same value twice loses nothing.
        ('{"vendor_id": "10de", "vendor_id": "10de"}', ()),
        (
            '{"address": "04:00.0", "address": "05:00.0", "traits": "a"}',
            (('address', ('04:00.0',), '05:00.0'),),
        ),
        (
            '[{"a": 1, "a": 2, "a": 1, "b": [], "b": {}}]',
            (('a', (2,), 1), ('b', ([],), {})),
        ),
    )
    @ddt.unpack
    def test_find(
        self, text: str, expected: tuple[tuple[object, ...], ...]
    ) -> None:
        objects = repeated_keys.find(text)
        self.assertEqual(
            expected,
            tuple(
                (repeated.key, repeated.lost, repeated.used)
                for keys in objects
                for repeated in keys
            ),
        )
        for keys in objects:
            # Nova reads the options with this function.
            (entry,) = _entries(jsonutils.loads(text))
            for repeated in keys:
                self.assertEqual(repeated.used, entry[repeated.key])

    @ddt.data(
        (
            '{"address": "0000:04:00.0", "address": "0000:05:00.0"}',
            'It ignores "address": "0000:04:00.0": devices',
            'Write an entry for each',
        ),
        (
            '{"devname": "eth0", "physical_network": "a", '
            '"devname": "eth1", "physical_network": "b"}',
            '"devname": "eth0", "physical_network": "a": devices',
            'Write an entry for each',
        ),
        (
            '{"address": {"bus": "04$", "bus": "05$"}}',
            '"bus": "04$"',
            'Write an entry for each',
        ),
        (
            '{"vendor_id": "10de", "traits": "a", "traits": "b"}',
            'It ignores "traits": "a": these have no effect',
            'commas separate several traits',
        ),
        (
            '{"vendor_id": "10de", "product_id": "20f1", '
            '"managed": "yes", "managed": "no"}',
            'It ignores "managed": "yes": these have no effect',
            'Keep one value',
        ),
    )
    @ddt.unpack
    def test_device_spec(self, value: str, lost: str, remedy: str) -> None:
        (message,) = self.check(f'device_spec = {value}')
        self.assertIn('GPU217: The entry of device_spec has', message)
        self.assertIn(lost, message)
        self.assertIn(remedy, message)

    @ddt.data(
        (
            '"name": "a", "product_id": "1db4", "product_id": "1db5"',
            'It ignores "product_id": "1db4": the alias does not request',
        ),
        (
            '"name": "b", "name": "a", "product_id": "1db5"',
            'It ignores "name": "b": no alias is defined with this name',
        ),
        (
            '"name": "a", "product_id": "1db5", "numa_policy": "legacy", '
            '"numa_policy": "required"',
            'Keep one value',
        ),
    )
    @ddt.unpack
    def test_alias(self, keys: str, part: str) -> None:
        (message,) = self.check(f'alias = {{"vendor_id": "10de", {keys}}}')
        self.assertIn("GPU125: Alias 'a' has ", message)
        self.assertIn(part, message)

    def test_many_values(self) -> None:
        """Only some of many values are quoted."""
        pairs = ', '.join(f'"address": "{bus:02x}:00.0"' for bus in range(12))
        (message,) = self.check(f'device_spec = {{{pairs}}}')
        self.assertIn('"address": "07:00.0" and 3 more', message)

    def test_silent(self) -> None:
        self.assertEqual(
            [],
            self.check(
                'device_spec = [{"address": "04:00.0"}, {"address": '
                '"05:00.0"}]\n'
                'alias = {"name": "a", "vendor_id": "10de", "product_id": '
                '"1db5", "device_type": "type-PCI"}'
            ),
        )

    def test_secret(self) -> None:
        """Values that are no names are not shown."""
        (message,) = self.check(
            'device_spec = {"vendor_id": "10de", "x": "hunter2hunter2", '
            '"x": "y"}'
        )
        self.assertNotIn('hunter2', message)


def _entries(value: object) -> list[dict[str, object]]:
    assert isinstance(value, dict | list)
    return [value] if isinstance(value, dict) else value
