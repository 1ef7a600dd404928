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

"""Rules about options: those that nobody reads, and values that Nova refuses.

Every service of Nova reads all options when it starts, to log them
(``nova/cmd/compute.py:main``, ``nova/api/openstack/wsgi_app.py``,
``cotyledon/oslo_config_glue.py``; ``log_options`` is on by default): a value
that oslo.config refuses stops it, whoever needs the option.
"""

import collections.abc
import posixpath
import re

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import nova_options
from gpuclient.model import nova_removed
from gpuclient.model import nova_schema
from gpuclient.model import oslo_values
from gpuclient.rules import finding

#: All else is something other than an option, such as a host of Ansible.
_NAME = re.compile('[a-z0-9_-]+', re.ASCII)
_COMPUTE = (configuration.COMPUTE,)
#: Sections whose values may be quoted; those of others may be secrets.
_OURS = ('compute', 'devices', 'filter_scheduler', 'pci', 'scheduler')
_READERS: dict[tuple[str, str], tuple[str, ...]] = {
    ('pci', 'alias'): (configuration.API, configuration.COMPUTE),
    ('pci', 'device_spec'): _COMPUTE,
    ('pci', 'passthrough_whitelist'): _COMPUTE,
    ('pci', 'report_in_placement'): _COMPUTE,
    ('compute', 'cpu_dedicated_set'): _COMPUTE,
    ('compute', 'cpu_shared_set'): _COMPUTE,
    ('DEFAULT', 'reserved_huge_pages'): _COMPUTE,
    ('devices', 'enabled_mdev_types'): _COMPUTE,
    ('devices', 'enabled_vgpu_types'): _COMPUTE,
    ('filter_scheduler', 'enabled_filters'): (configuration.SCHEDULER,),
}


def check(
    services: collections.abc.Sequence[deployment.Process],
) -> collections.abc.Iterator[finding.Located]:
    """Yield options that have no effect.

    A file may be read by several services: an option in it has an effect if
    one of them reads it. A nova.conf is often rendered alike for each
    service: a value that its readers have, too, is not in the wrong file.
    """
    in_effect = {
        (option.section, option.name, option.setting.text)
        for service in services
        for option in service.options
        if {*service.readers}
        & {*_READERS.get((option.section, option.name), ())}
    }
    texts: dict[configuration.Place, str] = {}
    readers: dict[configuration.Place, set[str]] = {}
    options: dict[configuration.Place, tuple[str, str]] = {}
    for service in services:
        for one in service.options:
            place = one.setting.place
            readers.setdefault(place, set()).update(service.readers)
            options[place] = one.section, one.name
            texts[place] = one.setting.text
    for service in services:
        yield from _check_removed(service)
    yield from _check_all_values(services)
    for place, (section, name) in options.items():
        if (
            _NAME.fullmatch(name)
            and not nova_options.is_known(section, name)
            and nova_removed.find(section, name) is None
        ):
            yield finding.Located(
                finding.warning(
                    'GPU312',
                    f'Nova has no option [{section}]{name} and ignores it. '
                    f'{_remedy_of_unknown(section, name)}',
                ),
                place,
            )
        wanted = _READERS.get((section, name))
        if (
            wanted is not None
            # A layer of Kolla is for all, and another may replace a value.
            and len(readers[place]) == 1
            and not readers[place] & set(wanted)
            and not (
                posixpath.basename(place.path) == 'nova.conf'
                and (section, name, texts[place]) in in_effect
            )
        ):
            (reader,) = readers[place]
            yield finding.Located(
                finding.warning(
                    'GPU313',
                    f'[{section}]{name} has no effect here: {reader} does '
                    f'not read it, only {" and ".join(wanted)}. Set it there',
                ),
                place,
            )


def _remedy_of_unknown(section: str, name: str) -> str:
    """Return what to do about an option that Nova does not have."""
    home = next(
        (
            other
            for other in nova_options.SECTIONS
            if nova_options.is_known(other, name)
        ),
        None,
    )
    if home is not None:
        return f'Move it to the section [{home}]'
    similar = nova_options.similar(section, name)
    return f'Set {similar!r} instead' if similar else 'Remove it'


def resolve(
    service: deployment.Process,
    section: str,
    setting: configuration.Setting,
) -> str | None:
    """Return a value with its references to other options replaced.

    :returns: None where it is not known: a template makes it, or it refers
        to what is not written down.
    """
    if setting.depends:
        return None
    try:
        return oslo_values.substitute(setting.text, section, _lookup(service))
    except oslo_values.BadReferenceError:
        return None


def _lookup(service: deployment.Process) -> oslo_values.Lookup:
    def last(section: str, name: str) -> str | None:
        setting = service.last(section, name)
        return None if setting is None or setting.depends else setting.text

    return last


def _check_removed(
    service: deployment.Process,
) -> collections.abc.Iterator[finding.Located]:
    """Yield options that Nova has removed.

    A configuration for several releases sets the old option and the new one.
    """
    for option in service.options:
        removed = nova_removed.find(option.section, option.name)
        if removed is None:
            continue
        remedy = removed.advice or 'remove it'
        if removed.replacement is not None:
            section, name = removed.replacement
            if service.last(section, name) is not None:
                continue
            remedy = f'set [{section}]{name} instead'
        yield finding.Located(
            finding.warning(
                'GPU329',
                f'Nova {removed.release} removed '
                f'[{option.section}]{option.name}: it is ignored; {remedy}',
            ),
            option.setting.place,
        )


def _check_all_values(
    services: collections.abc.Sequence[deployment.Process],
) -> collections.abc.Iterator[finding.Located]:
    """Yield values that oslo.config refuses, each once for all its readers."""
    refused: dict[
        tuple[configuration.Place, str, str, str], dict[str, None]
    ] = {}
    for service in services:
        for option, reason in _refused_values(service):
            key = (option.setting.place, option.section, option.name, reason)
            refused.setdefault(key, {}).update(dict.fromkeys(service.readers))
    for (place, section, name, reason), readers in refused.items():
        named = ' and '.join(readers)
        yield finding.Located(
            finding.error(
                'GPU331',
                f'Value of [{section}]{name} is not valid: {reason}: {named} '
                f'{"does" if len(readers) == 1 else "do"} not start',
            ),
            place,
        )


def _refused_values(
    service: deployment.Process,
) -> collections.abc.Iterator[tuple[configuration.Option, str]]:
    """Yield values that oslo.config refuses, and why.

    ``oslo_config/cfg.py:ConfigOpts._do_get`` substitutes references in a
    value, then converts it; of an option with one value only the last is
    read.
    """
    counts: dict[tuple[str, str, int], configuration.Option] = {}
    for number, option in enumerate(service.options):
        kind = nova_schema.find(option.section, option.name)
        if kind is None or option.setting.depends:
            continue
        # Of several values all count; of one, the last.
        at = number if kind.kind == nova_schema.MULTI else 0
        counts[option.section, option.name, at] = option
    for option in counts.values():
        reason = _refusal_of(service, option)
        if reason:
            yield option, reason


def _refusal_of(
    service: deployment.Process, option: configuration.Option
) -> str:
    kind = nova_schema.find(option.section, option.name)
    try:
        text = oslo_values.substitute(
            option.setting.text, option.section, _lookup(service)
        )
    except oslo_values.BadReferenceError as exc:
        return str(exc)
    if text is None or kind is None:
        return ''
    return _refusal(option, text, kind)


def _refusal(
    option: configuration.Option, text: str, kind: nova_schema.Type
) -> str:
    """Return why oslo.config refuses a text; empty where it does not."""
    try:
        if kind.kind == nova_schema.BOOLEAN:
            oslo_values.boolean(text)
        elif kind.kind in (nova_schema.INTEGER, nova_schema.FLOAT):
            oslo_values.number(text, kind)
    except ValueError as exc:
        if option.section in _OURS or option.name.startswith('reserved_'):
            return str(exc)
        return 'it is not of the type of the option'
    return ''
