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

"""Nova's own unit tests, replayed.

They run from the installed package (``replay.py``), and their input to
Nova's code is passed to ours, too: their tables are Nova's own list of corner
cases.
"""

import json
import subprocess
import sys
import typing

import testtools

from gpuclient.documents import device_specs
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import device_spec


class TestReplay(testtools.TestCase):
    records: typing.ClassVar[dict[str, typing.Any]]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        done = subprocess.run(
            [sys.executable, '-m', 'tests.unit.differential.replay'],
            capture_output=True,
            text=True,
            check=True,
        )
        cls.records = json.loads(done.stdout)

    def test_nova_passed(self) -> None:
        self.assertGreater(self.records['tests'], 100)

    def test_device_specs(self) -> None:
        verdicts = {'accepted': 0, 'refused': 0}
        for entry, report, nova_says in self.records['specs']:
            if 'remote_managed' in entry:
                # Nova's tests mock a host that is only defined there.
                continue
            ours: dict[str, typing.Any]
            try:
                (spec,) = device_spec.parse(
                    device_specs.render(entry), report_in_placement=report
                )
            except exceptions.InvalidDeviceSpec as exc:
                ours = {'refused': str(exc)}
            else:
                ours = {
                    'accepted': [spec.vendor_id, spec.product_id, spec.tags]
                }
            self.assertEqual(nova_says, ours, entry)
            verdicts[next(iter(ours))] += 1
        self.assertGreater(verdicts['accepted'], 40)
        self.assertGreater(verdicts['refused'], 10)

    def test_aliases(self) -> None:
        verdicts = {'accepted': 0, 'refused': 0}
        for texts, in_placement, nova_says in self.records['aliases']:
            ours: dict[str, typing.Any]
            try:
                by_name = alias_model.merge(texts, in_placement)
            except exceptions.InvalidAlias as exc:
                ours = {'refused': str(exc)}
            else:
                ours = {
                    'accepted': {
                        name: len(specs) for name, specs in by_name.items()
                    }
                }
            self.assertEqual(nova_says, ours, texts)
            verdicts[next(iter(ours))] += 1
        self.assertGreater(verdicts['accepted'], 10)
        self.assertGreater(verdicts['refused'], 5)
