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

"""Rules about extra specs that Nova stores, but cannot schedule or boot."""

import collections.abc

from gpuclient.model import boot_validation
from gpuclient.model import demand
from gpuclient.model import flavor as flavor_model
from gpuclient.model import release as release_model
from gpuclient.rules import finding


def check(
    flavor: flavor_model.Flavor,
    device_classes: collections.abc.Container[str] | None = None,
    release: release_model.Release | None = None,
) -> tuple[finding.Finding, ...]:
    """Return what is wrong with the extra specs of a flavor.

    :param device_classes: The resource classes that PCI devices have in
        Placement; None if unknown.
    """
    return (
        *_requests(flavor.extra_specs or {}),
        *unread_properties(flavor.extra_specs or {}),
        *_classes(flavor.extra_specs or {}, device_classes),
        *_refusal(flavor, release or release_model.newest()),
        *_ignored(flavor, release or release_model.newest()),
    )


def undefined_alias(
    name: str, reply: str, others: collections.abc.Iterable[str] = ()
) -> finding.Finding:
    """Return the finding of an alias that nova-api does not know.

    :param reply: The error message of nova-api.
    :param others: Names of aliases that it knows, as far as known.
    """
    alike = sorted(
        other for other in others if other.casefold() == name.casefold()
    )
    remedy = (
        f'Request {alike[0]!r}: names of aliases are case-sensitive'
        if alike
        else 'Define it with "openstack gpu alias create" and restart '
        'nova-api, or request another alias'
    )
    return finding.error(
        'GPU707',
        f'Alias {name!r} is not defined in nova-api ({reply}): servers that '
        f'request it cannot be created. {remedy}',
    )


def _requests(
    extra_specs: collections.abc.Mapping[str, str],
) -> collections.abc.Iterator[finding.Finding]:
    """``nova/pci/request.py:_translate_alias_to_requests``"""
    if flavor_model.ALIASES not in extra_specs:
        return
    requests, broken = flavor_model.read_aliases(
        extra_specs[flavor_model.ALIASES]
    )
    for name, count in requests.items():
        if not count:
            yield finding.error(
                'GPU701',
                f'The flavor requests 0 devices of alias {name!r}: servers '
                f'boot without a device. Set a count above zero, or unset '
                f'the alias',
            )
    for part in broken:
        yield finding.error(
            'GPU702',
            f'{part!r} in {flavor_model.ALIASES} is not NAME:COUNT: every '
            f'request to create a server fails with HTTP 500. Set it to '
            f'NAME:COUNT, or unset it',
        )


def unread_properties(
    extra_specs: collections.abc.Mapping[str, str],
) -> collections.abc.Iterator[finding.Finding]:
    """Find properties that look as if they requested devices."""
    for key in flavor_model.misspelled_requests(extra_specs):
        yield finding.warning(
            'GPU705',
            f'{key} requests no device: servers boot without one. It is '
            f'probably a misspelling of {flavor_model.ALIASES}: set that, and '
            f'unset {key}',
        )
    for key in sorted(extra_specs):
        if key.startswith('pci_passthrough:') and key != flavor_model.ALIASES:
            yield finding.warning(
                'GPU705',
                f'Nova ignores {key}'
                + (
                    ''
                    if flavor_model.ALIASES in extra_specs
                    else ': servers boot without a device'
                )
                + f'. Only {flavor_model.ALIASES} requests devices: set that, '
                f'and unset {key}',
            )


def _classes(
    extra_specs: collections.abc.Mapping[str, str],
    device_classes: collections.abc.Container[str] | None,
) -> collections.abc.Iterator[finding.Finding]:
    resources = flavor_model.device_resources(extra_specs, device_classes)
    if not resources:
        return
    keys = ', '.join(sorted(resources))
    if any(flavor_model.requested_aliases(extra_specs).values()):
        # nova/scheduler/utils.py:ResourceRequest adds both up.
        yield finding.error(
            'GPU703',
            f'The flavor requests devices twice, by alias and by {keys}: '
            f'Nova allocates devices for both, and attaches only those of the '
            f'alias. Servers may not be scheduled. Unset {keys}',
        )
    else:
        # nova/objects/request_spec.py: these are allocated in Placement, but
        # never attached.
        yield finding.warning(
            'GPU704',
            f'{keys} allocates devices in Placement, but does not attach '
            f'them to the server. Request them with {flavor_model.ALIASES}',
        )


def _ignored(
    flavor: flavor_model.Flavor, release: release_model.Release
) -> collections.abc.Iterator[finding.Finding]:
    """Find extra specs that only later releases read."""
    ignored = boot_validation.ignored_specs(flavor.extra_specs or {}, release)
    for key, change in sorted(ignored.items()):
        yield finding.warning(
            'GPU709',
            f'Nova {release.number} ignores {key}: Nova {change.versions} and '
            f'later read it. Unset it, or upgrade Nova',
        )


def _refusal(
    flavor: flavor_model.Flavor, release: release_model.Release
) -> collections.abc.Iterator[finding.Finding]:
    """``nova/virt/hardware.py:numa_get_constraints`` and its like"""
    refusal = boot_validation.validate(flavor, release).refusal
    if refusal is not None:
        if not refusal.by_alias:
            make = finding.warning if refusal.by_image else finding.error
            yield make('GPU706', f'No server can be created: {refusal}')
        return
    reason = demand.refused_by_placement(flavor)
    if reason:
        yield finding.error('GPU708', f'No server can be scheduled: {reason}')
