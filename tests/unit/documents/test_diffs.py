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

"""A diff shows the edit, and no values of other lines."""

import random
import re

import testtools

from gpuclient.documents import diffs
from gpuclient.documents import nova_conf
from tests.hostile import run as hostile

SECRET = 'hunter2hunter2'
ALIAS = '{"name": "a", "vendor_id": "10de", "product_id": "20f1"}'


def lines(text: str) -> list[str]:
    return nova_conf.split_lines(text)


def applied(before: list[str], diff: str) -> list[str]:
    """Return lines with the edits of a diff, as patch(1) makes them."""
    after: list[str] = []
    position = 0
    for line in diff.splitlines(keepends=True)[2:]:
        match = re.match(r'@@ -(\d+)(?:,(\d+))?', line)
        if match:
            start = int(match[1]) - (match[2] != '0')
            after += before[position:start]
            position = start
        elif line.startswith('+'):
            after.append(line[1:])
        else:
            if '***' not in line and line[1:] != before[position]:
                raise AssertionError(f'{line!r} is not {before[position]!r}')
            position += 1
            if line.startswith(' '):
                after.append(line[1:])
    return after + before[position:]


class TestUnified(testtools.TestCase):
    def edited(self, text: str) -> str:
        document = nova_conf.NovaConf('nova.conf', text.encode())
        document.add('pci', 'alias', '{}')
        return document.diff()

    def test_neighbours(self) -> None:
        for text in (
            f'[placement]\npassword = {SECRET}\n[pci]\n[x]\npw = {SECRET}\n',
            f'[DEFAULT]\ntransport_url = rabbit://a:{SECRET}@b/\n\n[pci]\n',
            f'[pci]\n# {SECRET}\nalias = {ALIAS}\n# {SECRET}\n',
            f'[pci]\nalias = {ALIAS}\npassword = {SECRET}\n',
            f'[pci]\nalias = {{"name": "a", "password": "{SECRET}"}}\n',
            f'[x]\npassword = {SECRET}',
            f'[pci]\nalias = {ALIAS}\n  {SECRET}\n',
        ):
            diff = self.edited(text)
            self.assertIn('\n+alias = {}', diff)
            self.assertNotIn(SECRET, diff)

    def test_what_is_shown(self) -> None:
        text = f'[vault]\nx = 1\n[pci]\nalias = {ALIAS}\n\n[api]\nx = 1\n'
        self.assertEqual(
            '--- nova.conf\n+++ nova.conf\n@@ -3,4 +3,5 @@\n [pci]\n'
            f' alias = {ALIAS}\n+alias = {{}}\n \n [api]\n',
            self.edited(text),
        )

    def test_values_of_an_alias_that_is_removed(self) -> None:
        """A trait with an invalid name is not shown."""
        value = 'SVScLlr6HbDXkv5J2IqWJwplxZJ0C0Ki3x'
        line = f'alias = {{"name": "a", "traits": "{value},CUSTOM_FAST"}}\n'
        diff = diffs.unified('x', ['[pci]\n', line], ['[pci]\n'])
        self.assertIn('-alias = {"name": "a", "traits": "***"}\n', diff)
        line = f'alias = {ALIAS}\n'
        diff = diffs.unified('x', ['[pci]\n', line], ['[pci]\n'])
        self.assertIn(f'-alias = {ALIAS}\n', diff)

    def test_many_lines_that_are_the_same(self) -> None:
        """difflib does not match lines that are frequent in a file."""
        lines_of_others = [f'password = {SECRET}\n'] * 400
        diff = diffs.unified(
            'x',
            [*lines_of_others, '[pci]\n', *lines_of_others],
            ['[api]\n', *lines_of_others, *lines_of_others, 'alias = {}\n'],
        )
        self.assertIn('+alias = {}', diff)
        self.assertNotIn(SECRET, diff)

    def test_can_be_applied(self) -> None:
        """The line numbers are correct without the hidden lines."""
        source = random.Random(2)
        for number in range(300):
            before = source.choices(
                ['[pci]\n', '\n', 'x = 1\n', '# y\n', f'pw = {SECRET}\n'], k=14
            )
            after = list(before)
            for _time in range(source.randrange(1, 4)):
                position = source.randrange(len(after) + 1)
                after[position : position + source.randrange(2)] = [
                    f'alias = {{"name": "{number}"}}\n'
                ]
            diff = diffs.unified('nova.conf', before, after)
            self.assertEqual(after, applied(before, diff), diff)
            for line in diff.splitlines():
                if line.startswith(' '):
                    self.assertIn(line, (' [pci]', ' '), diff)


class TestAttacks(testtools.TestCase):
    def test_some(self) -> None:
        outcome = hostile.run('secrets', 1, brief=True, seconds=4)
        self.assertEqual([], outcome.failures)
        self.assertGreater(outcome.kinds.total(), 30)
