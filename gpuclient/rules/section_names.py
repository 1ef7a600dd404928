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

"""Rules about sections whose names resemble those that Nova reads.

oslo.config compares the names of sections without regard to case, except that
of ``DEFAULT``: ``[default]`` is another section, which no service reads
(``oslo_config/cfg.py:_normalize_group_name``). It does not remove blanks
inside the brackets.
"""

import collections.abc
import difflib

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import nova_schema
from gpuclient.model import quoting
from gpuclient.rules import finding

#: Sections with options about devices.
_SECTIONS = (
    'DEFAULT',
    'compute',
    'devices',
    'filter_scheduler',
    'libvirt',
    'pci',
    'quota',
    'scheduler',
)
#: How similar names of sections are, at least.
_SIMILAR = 0.85
#: Options that a message names, at most.
_MOST_NAMED = 6


def check(
    services: collections.abc.Iterable[deployment.Process],
) -> collections.abc.Iterator[finding.Located]:
    """Find options in sections that Nova does not read; one for a file."""
    sections: dict[tuple[str, str], list[configuration.Option]] = {}
    for service in services:
        for option in service.options:
            key = (option.setting.place.path, option.section)
            if _meant(option.section):
                sections.setdefault(key, []).append(option)
    for (_path, section), options in sections.items():
        meant = _meant(section)
        ignored = [
            option
            for option in options
            if nova_schema.find(meant, option.name) is not None
        ]
        if ignored:
            names = dict.fromkeys(option.name for option in ignored)
            first = min(
                ignored, key=lambda option: option.setting.place.line or 0
            )
            yield finding.Located(
                _unread(section, meant, [*names]), first.setting.place
            )


def _unread(section: str, meant: str, names: list[str]) -> finding.Finding:
    listed = ', '.join(names[:_MOST_NAMED])
    if len(names) > _MOST_NAMED:
        listed += f' and {len(names) - _MOST_NAMED} more'
    why = ', in capital letters' if section == 'default' else ''
    return finding.warning(
        'GPU312',
        f'Nova has no section [{quoting.word(section)}] and ignores its '
        f'options: {listed}. Write [{meant}]{why}',
    )


def _meant(section: str) -> str:
    """Return the section of Nova that another one resembles; empty if none."""
    if nova_schema.names(section):
        return ''
    normal = _letters(section)
    by_letters = {_letters(known): known for known in _SECTIONS}
    close = difflib.get_close_matches(normal, by_letters, 1, _SIMILAR)
    return by_letters[close[0]] if close else ''


def _letters(section: str) -> str:
    return ''.join(filter(str.isalnum, section.lower()))
