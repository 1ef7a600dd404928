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

"""Templates: the values of lines that are known before rendering."""

import ddt
import testtools

from gpuclient.documents import jinja
from gpuclient.documents import nova_conf
from gpuclient import exceptions

ALIAS = ('pci', 'alias')


def conf(text: str) -> nova_conf.NovaConf:
    return nova_conf.NovaConf('x.conf', text.encode(), template=True)


@ddt.ddt
class TestRead(testtools.TestCase):
    @ddt.data(
        ('a = 1\n', [('a = 1', False, True)]),
        ('a = {{ b }}\n', [('a = {{ b }}', True, True)]),
        ('{{ b }}\n', [('#', True, True)]),
        ('{# a\nb #} c\n', [('#', False, True), (' c', False, False)]),
        (
            '{% if a %}\nb\n{% else %}\nc\n{% endif %}\nd\n',
            [
                ('#', True, True),
                ('b', True, False),
                ('#', True, False),
                ('c', True, False),
                ('#', True, False),
                ('d', False, True),
            ],
        ),
        (
            '{% raw %}\na = {{ b }}\n{% endraw %}\nc\n',
            [
                ('#', False, True),
                ('a = {{ b }}', False, True),
                ('#', False, True),
                ('c', False, True),
            ],
        ),
        (
            'a = {%- raw -%}{% if %}{% endraw %}\n',
            [('a = {% if %}', False, True)],
        ),
        (
            '{% set a = 1 %}\nb\n{% set c %}\nd\n{% endset %}\ne',
            [
                ('#', True, True),
                ('b', False, True),
                ('#', True, True),
                ('d', True, False),
                ('#', True, False),
                ('e', False, True),
            ],
        ),
        # Jinja refuses an unclosed expression; here it is text.
        ('a = {{ b\nc', [('a = {{ b', False, True), ('c', False, True)]),
        ('{% raw %}\n{{ a }}', [('#', False, True), ('{{ a }}', False, True)]),
        ('{% endif %}a', [('a', True, True)]),
    )
    @ddt.unpack
    def test_lines(
        self, text: str, expected: list[tuple[str, bool, bool]]
    ) -> None:
        self.assertEqual(
            expected,
            [
                (line.text, line.depends, line.open)
                for line in jinja.read(nova_conf.split_lines(text))
            ],
        )

    def test_rendered_twice(self) -> None:
        """Kolla renders the text that Kayobe leaves unchanged."""
        lines = nova_conf.split_lines(
            '{% raw %}\n{% if a %}\nb = {{ c }}\n{% endif %}\n'
            '{% endraw %}\nd = 1\n'
        )
        self.assertEqual(
            [
                ('#', False),
                ('#', True),
                ('b = {{ c }}', True),
                ('#', True),
                ('#', False),
                ('d = 1', False),
            ],
            [
                (line.text, line.depends)
                for line in jinja.read(lines, twice=True)
            ],
        )

    def test_conditions_of_kolla_in_kayobe(self) -> None:
        document = nova_conf.NovaConf(
            'etc/kayobe/kolla/config/nova.conf',
            b'{% raw %}\n[compute]\n{% if a %}\n'
            b'cpu_dedicated_set={{ b }}\n{% endif %}\n{% endraw %}\n',
            template=True,
        )
        (value,) = document.values(('compute', 'cpu_dedicated_set'))
        self.assertTrue(value.depends)

    def test_of_kayobe(self) -> None:
        """A condition around a section, as in repositories of StackHPC."""
        document = conf(
            '{% if kolla_enable_ironic|bool %}\n[DEFAULT]\n'
            "host = {{ kolla_host | mandatory('You must set a name.') }}\n"
            '{% endif %}\n[pci]\nalias = {% raw %}{"name": "{{"}{% endraw %}\n'
        )
        (host,) = document.values(('DEFAULT', 'host'))
        self.assertTrue(host.depends)
        self.assertEqual(
            (nova_conf.Value('{"name": "{{"}', 6),), document.values(ALIAS)
        )

    def test_plain_files_are_no_templates(self) -> None:
        error = self.assertRaises(
            exceptions.DocumentError,
            nova_conf.NovaConf,
            'x.conf',
            b'[pci]\n{% if a %}\n',
        )
        self.assertIn("No ':' or '=' found", str(error))


@ddt.ddt
class TestEdit(testtools.TestCase):
    @ddt.data(
        ('[pci]\nalias = a\n{% if x %}\n[x]\n{% endif %}\n', 'alias = a\n'),
        ('{% raw %}\n[pci]\nx = 1\n{% endraw %}\n', 'x = 1\n'),
        ('{# [x] #}\n[pci]\n', '[pci]\n'),
    )
    @ddt.unpack
    def test_add(self, text: str, after: str) -> None:
        document = conf(text)
        document.add(*ALIAS, 'new')
        self.assertEqual('', document.obstacle())
        self.assertEqual(
            text.replace(after, f'{after}alias = new\n'), document.text
        )

    @ddt.data(
        '[pci]\n{% if x %}\nalias = a\n{% endif %}\n',
        '[pci]\n{% for x in y %}alias = a\n{% endfor %}\n',
        '[pci]\nalias = {{ x }}\n',
        '[pci]\nalias = {% raw %}a{% endraw %}\n',
    )
    def test_refused(self, text: str) -> None:
        for edit in (
            lambda document, value: document.replace(value, 'new'),
            lambda document, value: document.remove(value),
        ):
            document = conf(text)
            edit(document, *document.values(ALIAS))
            self.assertIn('is part of a template', document.obstacle())
            error = self.assertRaises(
                exceptions.UnsafeEdit, document.check_possible
            )
            self.assertIn('\n-', error.patch)

    def test_add_within_a_condition_is_refused(self) -> None:
        document = conf('{% if x %}\n[pci]\na = 1\n{% endif %}\n')
        document.add(*ALIAS, 'new')
        self.assertIn('line 3 is part of a template', document.obstacle())

    def test_a_value_that_is_a_template(self) -> None:
        for text in ('{{ x }}', '{% raw %}', 'a{#'):
            error = self.assertRaises(
                exceptions.InvalidValue, conf('[pci]\n').add, *ALIAS, text
            )
            self.assertIn('Jinja would change the value', str(error))
