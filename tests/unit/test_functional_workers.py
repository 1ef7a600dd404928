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

"""Each functional test is run, by one worker."""

import ast
import collections.abc
import pathlib
import re

import testtools
import yaml

_ROOT = pathlib.Path(__file__).parent.parent
_FUNCTIONAL = _ROOT / 'functional'


def _tests() -> collections.abc.Iterator[str]:
    for path in _FUNCTIONAL.rglob('test_*.py'):
        module = '.'.join(path.relative_to(_ROOT.parent).with_suffix('').parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    name = getattr(method, 'name', '')
                    if name.startswith('test_'):
                        yield f'{module}.{node.name}.{name}'


class TestWorkers(testtools.TestCase):
    def test_one_worker_for_each_test(self) -> None:
        workers = yaml.safe_load((_FUNCTIONAL / 'workers.yaml').read_text())
        tests = list(_tests())
        self.assertGreater(len(tests), 100)
        for test in tests:
            matching = [
                number
                for number, worker in enumerate(workers)
                if any(re.search(regex, test) for regex in worker['worker'])
            ]
            self.assertEqual(1, len(matching), test)
