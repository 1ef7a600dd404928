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

import ast
import pathlib
import re

import testtools

import gpuclient
from gpuclient.rules import finding

ROOT = pathlib.Path(gpuclient.__file__).parent
PAGE = ROOT.parent / 'doc' / 'source' / 'user' / 'findings.rst'


class TestStricter(testtools.TestCase):
    def test_says_so(self) -> None:
        error = finding.stricter('GPU101', 'No')
        self.assertEqual('GPU101: No (stricter than Nova)', str(error))
        self.assertIs(finding.Severity.ERROR, error.severity)

    def test_only_listed_codes_are_stricter(self) -> None:
        self.assertRaises(ValueError, finding.stricter, 'GPU301', 'No')

    def test_every_listed_code_is_used(self) -> None:
        used = {
            node.args[0].value
            for path in ROOT.rglob('*.py')
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
            and ast.unparse(node.func) == 'finding.stricter'
            and isinstance(node.args[0], ast.Constant)
        }
        self.assertEqual(finding.STRICTER_THAN_NOVA, used)

    def test_the_list_is_documented(self) -> None:
        (section,) = re.findall(
            r'^Stricter than Nova\n=+\n(.*?)^\.\. _GPU101:',
            PAGE.read_text(),
            re.MULTILINE | re.DOTALL,
        )
        self.assertEqual(
            finding.STRICTER_THAN_NOVA,
            set(re.findall(r':ref:`(GPU\d{3})`', section)),
        )
