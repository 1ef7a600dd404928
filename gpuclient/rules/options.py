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

"""Rules about options that are ignored, and values that Nova refuses.

Every service of Nova reads all options when it starts, to log them
(``nova/cmd/compute.py:main``, ``nova/api/openstack/wsgi_app.py``,
``cotyledon/oslo_config_glue.py``; ``log_options`` is on by default): a value
that oslo.config refuses stops it, whether it uses the option or not.
"""

import collections.abc
import dataclasses
import posixpath
import re

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import nova_options
from gpuclient.model import nova_removed
from gpuclient.model import nova_schema
from gpuclient.model import oslo_values
from gpuclient.model import release as release_model
from gpuclient.rules import finding

#: Other names are no options, such as hosts of Ansible.
_NAME = re.compile('[a-z0-9_-]+', re.ASCII)
#: What a value is not, where the message does not quote it.
_WRONG_TYPES = {
    nova_schema.BOOLEAN: 'it is not a boolean',
    nova_schema.FLOAT: 'it is not a number',
    nova_schema.INTEGER: 'it is not an integer',
}
#: oslo.config has comments on lines of their own only.
_COMMENT = re.compile(r'\s[#;]')
_Findings = collections.abc.Iterator[finding.Located]
_COMPUTE = (configuration.COMPUTE,)
#: Sections whose values a message may quote; others may have secrets.
_WITHOUT_SECRETS = (
    'compute',
    'devices',
    'filter_scheduler',
    'pci',
    'scheduler',
)
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
    release: release_model.Release | None = None,
) -> _Findings:
    """Find options that have no effect, and values that Nova refuses."""
    release = release or release_model.newest()
    options = _by_place(services)
    for service in services:
        yield from _check_removed(service, release)
    yield from _check_all_values(services, release)
    in_effect = _in_effect(services)
    for place, option in options.items():
        yield from _check_known(option.section, option.name, place, release)
        yield from _check_readers(option, place, in_effect)


@dataclasses.dataclass(frozen=True)
class _ReadOption:
    """An option of a file, and all services that read the file."""

    section: str
    name: str
    text: str
    readers: set[str]


def _by_place(
    services: collections.abc.Iterable[deployment.Process],
) -> dict[configuration.Place, _ReadOption]:
    """Return the options of all files; several services may read a file."""
    options: dict[configuration.Place, _ReadOption] = {}
    for service in services:
        for option in service.options:
            place = option.setting.place
            before = options.get(place)
            options[place] = _ReadOption(
                option.section,
                option.name,
                option.setting.text,
                {*(before.readers if before else ()), *service.readers},
            )
    return options


def _in_effect(
    services: collections.abc.Iterable[deployment.Process],
) -> frozenset[tuple[str, str, str]]:
    """Return section, name and value of options that a service uses."""
    return frozenset(
        (option.section, option.name, option.setting.text)
        for service in services
        for option in service.options
        if {*service.readers}
        & {*_READERS.get((option.section, option.name), ())}
    )


def _check_known(
    section: str,
    name: str,
    place: configuration.Place,
    release: release_model.Release,
) -> _Findings:
    first = nova_options.ADDED.get((section, name), 0)
    if first > release.number:
        yield finding.Located(
            finding.warning(
                'GPU312',
                f'Nova {release.number} has no option [{section}]{name} and '
                f'ignores it: it is new in Nova {first}. Remove it',
            ),
            place,
        )
        return
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


def _check_readers(
    option: _ReadOption,
    place: configuration.Place,
    in_effect: collections.abc.Container[tuple[str, str, str]],
) -> _Findings:
    """Check that a service that reads a file uses an option in it.

    Deployment tools often render the same nova.conf for each service: an
    option that another service uses with the same value is in no wrong file.
    """
    users = _READERS.get((option.section, option.name))
    if (
        users is None
        # All services read a layer of Kolla; another may replace a value.
        or len(option.readers) != 1
        or option.readers & set(users)
        or (
            posixpath.basename(place.path) == 'nova.conf'
            and (option.section, option.name, option.text) in in_effect
        )
    ):
        return
    (reader,) = option.readers
    yield finding.Located(
        finding.warning(
            'GPU313',
            f'[{option.section}]{option.name} has no effect in the '
            f'configuration of {reader}: only {" and ".join(users)} '
            f'{"uses" if len(users) == 1 else "use"} it. '
            f'Set it there',
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
    if similar is None:
        return 'Remove it'
    for names in (nova_options.ALIAS, nova_options.DEVICE_SPEC):
        if (section, similar) in names:
            # Not a deprecated name of it.
            similar = names[0][1]
    return f'Set {similar!r} instead'


def resolve(
    service: deployment.Process,
    section: str,
    setting: configuration.Setting,
) -> str | None:
    """Return a value with its references to other options replaced.

    :returns: None if unknown: a template sets it, or it refers to an option
        that is not set.
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
    service: deployment.Process, release: release_model.Release
) -> _Findings:
    """Find options that Nova has removed.

    Configuration for several releases may set the old and the new option.
    """
    for option in service.options:
        removed = nova_removed.find(option.section, option.name)
        if removed is None or removed.release > release.number:
            continue
        remedy = removed.advice or 'Remove it'
        if removed.replacement is not None:
            section, name = removed.replacement
            if service.last(section, name) is not None:
                continue
            remedy = f'Set [{section}]{name} instead'
        yield finding.Located(
            finding.warning(
                'GPU329',
                f'[{option.section}]{option.name} was removed in Nova '
                f'{removed.release} and is ignored. {_sentence(remedy)}',
            ),
            option.setting.place,
        )


def _sentence(text: str) -> str:
    return f'{text[0].upper()}{text[1:]}'


def _check_all_values(
    services: collections.abc.Sequence[deployment.Process],
    release: release_model.Release,
) -> _Findings:
    """Find values that oslo.config refuses, once for all readers."""
    refused: dict[tuple[configuration.Option, str, str], dict[str, None]] = {}
    for service in services:
        for option, reason in _refused_values(service, release):
            remedy = _remedy_of_value(option.setting.text)
            key = (option, reason, remedy)
            refused.setdefault(key, {}).update(dict.fromkeys(service.readers))
    for (option, reason, remedy), readers in refused.items():
        yield finding.Located(
            finding.error(
                'GPU331',
                f'The value of [{option.section}]{option.name} is invalid '
                f'({reason}): {" and ".join(readers)} '
                f'{"does" if len(readers) == 1 else "do"} not start. '
                f'{remedy}',
            ),
            option.setting.place,
        )


def _remedy_of_value(text: str) -> str:
    if _COMMENT.search(text) is None:
        return 'Correct it'
    return (
        'For oslo.config a comment after a value is part of it: put the '
        'comment on a line of its own'
    )


def _refused_values(
    service: deployment.Process, release: release_model.Release
) -> collections.abc.Iterator[tuple[configuration.Option, str]]:
    """Yield options with values that oslo.config refuses, and why.

    ``oslo_config/cfg.py:ConfigOpts._do_get`` substitutes references in a
    value, then converts it; of an option with one value only the last is
    read.
    """
    effective: dict[tuple[str, str, int], configuration.Option] = {}
    for number, option in enumerate(service.options):
        kind = nova_schema.find(option.section, option.name)
        if (
            kind is None
            or option.setting.depends
            or not kind.holds_in(release.number)
        ):
            continue
        # An option with several values has them all; others the last one.
        position = number if kind.kind == nova_schema.MULTI else 0
        effective[option.section, option.name, position] = option
    for option in effective.values():
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
    """Return why oslo.config refuses a text; empty if it does not."""
    try:
        oslo_values.check(text, kind)
    except oslo_values.InvalidValueError as exc:
        return str(exc)
    except ValueError as exc:
        if option.section in _WITHOUT_SECRETS or option.name.startswith(
            'reserved_'
        ):
            return str(exc)
        return _WRONG_TYPES.get(kind.kind, 'an item has the wrong type')
    return ''
