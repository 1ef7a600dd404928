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

"""The ``local.conf`` of devstack, as its shell reads it.

``[[post-config|$NOVA_CONF]]`` sets options in the nova.conf of all services,
and ``[[post-config|$NOVA_CPU_CONF]]`` in that of nova-compute, which starts as
a copy of the former (``devstack``: ``inc/meta-config``,
``lib/nova:start_nova_compute``). ``[[local|localrc]]`` is shell, and ignored.

devstack passes each value through ``read``, and through ``eval`` in double
quotes: JSON that is written as in a nova.conf loses its quotes. ``\\\\"``
keeps them.
"""

import collections.abc
import re
import shlex

from gpuclient.documents import derived_conf
from gpuclient.documents import editable
from gpuclient.documents import nova_conf
from gpuclient.files import atomic
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import nova_options

_META = re.compile(r'\[\[([^\]|\n]+)\|([^\]\n]*)\]\]')
_PHASE = 'post-config'
#: Characters of a value that is parsed like a shell does.
_LONGEST = 65536
_ALL = '$NOVA_CONF'
_COMPUTE = '$NOVA_CPU_CONF'
#: Spellings of the name of a file.
_NAMES = {
    _ALL: _ALL,
    '${NOVA_CONF}': _ALL,
    '$NOVA_CONF_DIR/nova.conf': _ALL,
    '/etc/nova/nova.conf': _ALL,
    # devstack requires this spelling.
    _COMPUTE: _COMPUTE,
}
_OF_DEVICES = {
    *nova_options.ALIAS,
    *nova_options.DEVICE_SPEC,
    *nova_options.PCI_IN_PLACEMENT,
    *nova_options.REPORT_IN_PLACEMENT,
}


def is_local_conf(content: bytes) -> bool:
    """Return whether a file has meta sections of devstack."""
    pattern = rb'^\[\[[^\]|\n]+\|[^\]\n]*\]\]'
    return re.search(pattern, content, re.M) is not None


class LocalConf(derived_conf.DerivedFile):
    """A ``local.conf``.

    :raises gpuclient.exceptions.DocumentError: It cannot be read.
    """

    tool = 'devstack'

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path, content)
        options: dict[str, list[derived_conf.Option]] = {}
        #: Options of Nova in the file of another service: its name, and the
        #: line.
        self.misplaced: list[tuple[str, int]] = []
        for name, option in _options(atomic.decode(path, content)):
            if name in (_ALL, _COMPUTE):
                options.setdefault(name, []).append(option)
            elif 'NOVA' not in name.upper() and option[:2] in _OF_DEVICES:
                self.misplaced.append((name, option[2].line))
        self._confs = {
            name: derived_conf.DerivedConf(path, file_options)
            for name, file_options in sorted(options.items())
        }

    @property
    def confs(self) -> collections.abc.Iterable[derived_conf.DerivedConf]:
        return self._confs.values()

    def readings(self) -> collections.abc.Iterator[editable.Reading]:
        shared = [self._confs[_ALL]] if _ALL in self._confs else []
        if _COMPUTE not in self._confs:
            if shared:
                yield editable.Reading(None, tuple(shared))
            return
        compute = self._confs[_COMPUTE]
        for service in configuration.ALL if shared else ():
            if service != configuration.COMPUTE:
                yield editable.Reading(service, tuple(shared))
        yield editable.Reading(
            configuration.COMPUTE,
            (*shared, compute),
            replace=True,
            home=compute,
        )

    def ignored(self) -> collections.abc.Iterator[deployment.Unread]:
        """Yield the first option of Nova in the file of another service."""
        lines: dict[str, int] = {}
        for name, line in self.misplaced:
            lines.setdefault(name, line)
        for name, line in lines.items():
            yield deployment.Unread(
                f'[[{_PHASE}|{name}]]',
                configuration.Place(self.path, line),
                'no service of Nova reads this file',
                f'Move the options to [[{_PHASE}|{_ALL}]].',
            )

    def write_edit(
        self, _conf: derived_conf.DerivedConf, edit: derived_conf.Edit
    ) -> str:
        mark, section, option, text = edit
        written = text.replace('\\', '\\' * 4)
        # Hide it from eval.
        written = re.sub(r'(["`$])', r'\\\\\1', written)
        return f'[{section}]\n{mark}{option} = {written}\n'


def _options(
    text: str,
) -> collections.abc.Iterator[tuple[str, derived_conf.Option]]:
    """Yield the name of the file and each option (``inc/meta-config``)."""
    name: str | None = None
    section = ''
    for number, line in enumerate(text.split('\n'), 1):
        meta = _META.match(line)
        if meta is not None:
            name = _NAMES.get(meta[2], meta[2]) if meta[1] == _PHASE else None
            section = ''
            continue
        if name is None or not line or line[0] in ' \t\r':
            continue
        if re.match(r'\[.+\]', line):
            section = re.sub(r'[\[\]]', '', line.split()[0])
        elif not line.startswith('#') and '=' in line and section:
            option, _equals, value = line.partition('=')
            yield (
                name,
                (
                    section if section == 'DEFAULT' else section.lower(),
                    option.strip(),
                    _value(value.strip(), number),
                ),
            )


def _value(text: str, line: int) -> nova_conf.Value:
    """Return a value as the shell passes it on."""
    if len(text) > _LONGEST:
        return nova_conf.Value(text, line)
    # read, without -r, then eval.
    read = re.sub(r'\\(.)', r'\1', f'"{text}"')
    try:
        arguments = shlex.split(read)
    except ValueError:
        # A quote is not closed.
        arguments = [text]
    depends = '$' in read or '`' in read
    # iniset prints it without quotes.
    printed = ' '.join(arguments[0].split()) if arguments else ''
    return nova_conf.Value(nova_conf.unquoted(printed), line, depends)
