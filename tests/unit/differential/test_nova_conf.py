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

"""Our parsing of a configuration file, compared with oslo.config's."""

import tempfile

import hypothesis
from hypothesis import strategies
from oslo_config import cfg
import testtools

from gpuclient import exceptions
from gpuclient.documents import nova_conf
from gpuclient.model import nova_options

LINES = strategies.sampled_from(
    (
        '',
        ' ',
        '\x0c',
        '[pci]',
        '[PCI]',
        '[DEFAULT]',
        '[x] ',
        '[x',
        '[]',
        '[ pci ]',
        '# note',
        ';note = 1',
        'alias = {"name": "a"}',
        'alias={"name":',
        'alias : "b"',
        "alias = '",
        "alias = ''",
        'alias = \'"a"\'',
        "alias = ' a '",
        'alias',
        'alias =',
        ' = x',
        '= x',
        'ali as = x',
        'pci_alias = c',
        'other: a = b',
        '  "more": 1}',
        '\tmore',
        ' # indented',
        '\u2028',
        'alias = a\u2028b',
        'alias = \x85c',
    )
)
ENDS = strategies.sampled_from(('\n', '\n', '\r\n', '\r'))
DOCUMENTS = strategies.lists(
    strategies.tuples(LINES, ENDS).map(''.join), max_size=12
).map(''.join)


def of_oslo(content: str) -> list[str] | None:
    """Return the values of [pci]alias, or None if the file is refused."""
    conf = cfg.ConfigOpts()
    conf.register_opt(
        cfg.MultiStrOpt(
            'alias',
            default=[],
            deprecated_name='pci_alias',
            deprecated_group='DEFAULT',
        ),
        'pci',
    )
    with tempfile.NamedTemporaryFile('w', newline='') as stream:
        stream.write(content)
        stream.flush()
        try:
            conf(
                ['--config-file', stream.name],
                project='test',
                default_config_dirs=[],
            )
        except cfg.ConfigFileParseError:
            return None
        return list(conf.pci.alias)


def of_ours(content: str) -> list[str] | None:
    try:
        document = nova_conf.NovaConf('nova.conf', content.encode())
    except exceptions.DocumentError:
        return None
    return [value.text for value in document.values(*nova_options.ALIAS)]


class TestNovaConf(testtools.TestCase):
    @hypothesis.settings(max_examples=500, deadline=None)
    @hypothesis.given(DOCUMENTS)
    def test_read(self, content: str) -> None:
        oslo, ours = of_oslo(content), of_ours(content)
        self.assertEqual(oslo is None, ours is None, repr(content))
        # oslo.config groups values by the name of the option.
        self.assertEqual(sorted(oslo or ()), sorted(ours or ()))

    @hypothesis.settings(max_examples=300, deadline=None)
    @hypothesis.given(DOCUMENTS)
    def test_render(self, content: str) -> None:
        if of_ours(content) is None:
            return
        document = nova_conf.NovaConf('nova.conf', content.encode())
        rendered = nova_conf.render(
            (section, option, value.text)
            for section, option, value in document.options()
        )
        self.assertEqual(of_oslo(content), of_oslo(rendered), rendered)

    @hypothesis.settings(max_examples=300, deadline=None)
    @hypothesis.given(DOCUMENTS)
    def test_add(self, content: str) -> None:
        if of_ours(content) is None:
            return
        document = nova_conf.NovaConf('nova.conf', content.encode())
        document.add('pci', 'alias', '{"new": 1}')
        after = ''.join(document._lines)
        self.assertEqual(
            sorted([*(of_oslo(content) or ()), '{"new": 1}']),
            sorted(of_oslo(after) or ()),
        )
        line = 'alias = {"new": 1}'
        self.assertEqual(1, after.count(line))
        self.assertTrue(
            content.startswith(after[: after.index(line)].rstrip('\r\n[pci]'))
        )
