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

"""Hosts with broken files: they are checked, and the broken files reported.

``GPUCLIENT_FUZZ`` sets the number of bundles, for long runs.
"""

import os
import pathlib
import random

import fixtures
import testtools

from gpuclient import exceptions
from gpuclient.host import bundle
from gpuclient.host import collect
from gpuclient.model import host as host_model
from gpuclient.rules import host as host_rules
from gpuclient.rules import check_result
from tests.unit.host import trees

COUNT = int(os.environ.get('GPUCLIENT_FUZZ', '200'))
#: Garbage in these files is reported. Of other files only a part is read, or
#: any content is valid.
_EXACT = ('sys/bus/pci/', 'sys/devices/', 'proc/sys/')
#: Files of every host and device, whose absence is reported.
_ALWAYS = (
    'class',
    'vendor',
    'device',
    'resource',
    'cmdline',
    'cpuinfo',
    'osrelease',
    'online',
)


class TestMutations(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def check(self, path: pathlib.Path) -> host_model.Host:
        """Check a bundle; every result is complete."""
        host = bundle.read(os.fspath(path))
        results = host_rules.check(host)
        self.assertTrue(results)
        named = {
            result.evidence for result in results if result.code == 'GPU460'
        }
        self.assertEqual(
            {
                f'could not be read, and is not checked: {failure}'
                for failure in host.unreadable
            },
            named,
        )
        for result in results:
            self.assertEqual(
                result.result is check_result.Result.PASS,
                result.code is None,
                result,
            )
            self.assertTrue(result.evidence, result)
            self.assertNotIn('\n', result.evidence)
        return host

    def test_mutated_bundles(self) -> None:
        """Missing, garbage, permission denied, cut short."""
        chance = random.Random(4)
        done = dict.fromkeys(('missing', 'garbage', 'denied', 'short'), 0)
        named = 0
        for number in range(COUNT):
            tree = chance.choice(trees.ALL)().collected()
            path = chance.choice(sorted(tree.files))
            kind = list(done)[number % 4]
            done[kind] += 1
            must = self.mutate(tree, path, kind, chance)
            file = self.folder / f'{number}.tar'
            file.write_bytes(collect.pack(tree))
            host = self.check(file)
            sources = [failure.source for failure in host.unreadable]
            image = host.initramfs
            if image is not None and image.reason is not None:
                sources.append(f'/{path}')
            if must:
                self.assertIn(f'/{path}', sources, (kind, path))
                named += 1
        self.assertEqual(COUNT, sum(done.values()))
        self.assertGreater(named, COUNT // 3)

    def mutate(
        self,
        tree: collect.CollectedFiles,
        path: str,
        kind: str,
        chance: random.Random,
    ) -> bool:
        """Break a file; return whether that has to be reported."""
        content = tree.files[path]
        if kind == 'missing':
            del tree.files[path]
            return path.rpartition('/')[2] in _ALWAYS
        if kind == 'denied':
            del tree.files[path]
            tree.unreadable[path] = 'Permission denied'
            return True
        exact = path.startswith(_EXACT) and not path.endswith(
            ('/config', '/reset')
        )
        if kind == 'garbage':
            tree.files[path] = chance.randbytes(chance.randrange(1, 5000)) + (
                b'\xff\x00'
            )
            return exact
        # Like a read that ended at the end of a page, or before.
        tree.files[path] = (
            (content * 4096)[:4096]
            if chance.random() < (0.2)
            else content[: chance.randrange(len(content) + 1)]
        )
        return False

    def test_damaged_archives(self) -> None:
        chance = random.Random(5)
        whole = collect.pack(trees.a100().collected())
        path = self.folder / 'x.tar'
        refused = 0
        for number in range(COUNT):
            content = bytearray(whole)
            if number % 2:
                del content[chance.randrange(len(content)) :]
            for _flip in range(chance.randrange(1, 20)):
                if content:
                    at = chance.randrange(len(content))
                    content[at] = chance.randrange(256)
            path.write_bytes(content)
            try:
                self.check(path)
            except exceptions.HostError as exc:
                refused += 1
                self.assertNotIn('\n', str(exc))
        self.assertGreater(refused, COUNT // 4)
