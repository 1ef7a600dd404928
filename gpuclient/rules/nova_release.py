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

"""Rules that follow from the release of Nova alone.

What differs is in :mod:`gpuclient.model.nova_changes`.
"""

import collections.abc
import contextlib
import dataclasses

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import naming
from gpuclient.model import nova_changes
from gpuclient.model import nova_options
from gpuclient.model import oslo_values
from gpuclient.model import quoting
from gpuclient.model import release as release_model
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import finding

_Findings = collections.abc.Iterator[finding.Located]
_UNIFIED_LIMITS = 'nova.quota.UnifiedLimitsDriver'


def refused_aliases(
    reason: str,
    services: collections.abc.Iterable[str],
    release: release_model.Release,
    *,
    newest_accepts: bool = False,
) -> finding.Finding:
    """Return the finding of aliases that Nova refuses.

    :param reason: The message of Nova.
    :param services: The services that read them.
    :param newest_accepts: Whether the newest release accepts them.
    """
    if release.has(nova_changes.ALIASES_READ_AT_START):
        return finding.not_started('GPU301', ' and '.join(services), reason)
    # nova/pci/request.py:get_pci_requests_from_flavor
    message = (
        f'nova-api of release {release.number} starts, but returns HTTP 400 '
        f'to each request for a server whose flavor requests any alias: '
        f'{reason}'
    )
    if newest_accepts:
        message += '. A later release accepts it'
    if release.product and newest_accepts:
        # Changes that a product adds to its Nova are not known.
        return finding.warning(
            'GPU301',
            f'{message} (unless {release.product} has added it to its Nova '
            f'{release.number})',
        )
    return finding.error('GPU301', message)


def check_alias(
    alias: alias_model.Alias,
    *,
    pci_in_placement: bool | None,
    release: release_model.Release,
) -> collections.abc.Iterator[finding.Finding]:
    """Find an alias without ids that a release accepts.

    ``nova/pci/request.py:_validate_required_ids``

    :param pci_in_placement: None if it is not known.
    """
    if release.has(nova_changes.ALIASES_CHECKED_TOGETHER) or alias.has_ids:
        return
    if pci_in_placement is not False and alias.resource_class is not None:
        return
    missing = [
        key
        for key in ('vendor_id', 'product_id')
        if getattr(alias, key) is None
    ]
    start = (
        f'Alias {alias.name!r} has no {" and no ".join(missing)}, and Nova '
        f'{release.number} accepts it: '
    )
    remedy = (
        f'Set {" and ".join(missing)}, without which later releases (Nova '
        f'{nova_changes.ALIASES_CHECKED_TOGETHER.versions}) do not start'
    )
    if pci_in_placement:
        # nova/objects/request_spec.py:RequestSpec._rc_from_request
        requested = naming.resource_class(
            alias.vendor_id, alias.product_id, None
        )
        yield finding.error(
            'GPU123',
            f'{start}with pci_in_placement it requests resource class '
            f'{requested}, which no device has, so that servers that request '
            f'the alias are not scheduled. {remedy}',
        )
        return
    yield finding.warning(
        'GPU123',
        f'{start}the alias matches {_devices(alias)}, so servers can get '
        f'another device than the one that is meant. {remedy}',
    )


def _devices(alias: alias_model.Alias) -> str:
    """Return which devices an alias without one of the ids matches."""
    kind = f'{alias.device_type} device' if alias.device_type else 'device'
    if alias.vendor_id:
        return f'every {kind} of vendor {quoting.word(alias.vendor_id)}'
    if alias.product_id:
        return f'every {kind} of product {quoting.word(alias.product_id)}'
    return f'every {kind} that device_spec matches'


def check_values(
    entries: collections.abc.Sequence[alias_rules.AliasEntry],
    *,
    pci_in_placement: bool,
) -> _Findings:
    """Find aliases of several values that a service starts with.

    :param entries: Those of one service, which Nova accepts together.
    """
    by_name: dict[str, list[alias_rules.AliasEntry]] = {}
    for entry in entries:
        by_name.setdefault(entry.alias.name, []).append(entry)
    for name, several in by_name.items():
        if alias_model.can_be_requested(
            [entry.alias for entry in several], pci_in_placement
        ):
            continue
        places = ', '.join(
            dict.fromkeys(str(entry.setting.place) for entry in several[:-1])
        )
        yield finding.Located(
            finding.error(
                'GPU124',
                f'Alias {name!r} is defined {len(several)} times (also in '
                f'{places}), and pci_in_placement is True: nova-api returns '
                f'HTTP 500 to each request for a server with it (ValueError: '
                f'PCI tracking in placement does not support multiple specs '
                f'per PCI request). Remove all but one',
            ),
            several[-1].setting.place,
        )


def read_by(
    tree: deployment.Deployment, release: release_model.Release
) -> deployment.Deployment:
    """Return a deployment without options of devices that a release lacks."""
    if release.has(nova_changes.PCI_IN_PLACEMENT):
        return tree
    read: dict[int, deployment.Process] = {}

    def reduced(process: deployment.Process) -> deployment.Process:
        # Rules compare processes by identity.
        if id(process) not in read:
            read[id(process)] = dataclasses.replace(
                process,
                sources=tuple(
                    dataclasses.replace(
                        source,
                        options=tuple(
                            option
                            for option in source.options
                            if not _is_pci_in_placement(option)
                        ),
                    )
                    for source in process.sources
                ),
            )
        return read[id(process)]

    node_sets = tuple(
        dataclasses.replace(
            node_set, computes=tuple(map(reduced, node_set.computes))
        )
        for node_set in tree.data_plane.node_sets
    )
    return dataclasses.replace(
        tree,
        processes=tuple(map(reduced, tree.processes)),
        data_plane=dataclasses.replace(tree.data_plane, node_sets=node_sets),
    )


def _is_pci_in_placement(option: configuration.Option) -> bool:
    return (option.section, option.name) in nova_options.PCI_IN_PLACEMENT


def check_limits(
    services: collections.abc.Iterable[deployment.Process],
    aliases: collections.abc.Collection[alias_rules.AliasEntry],
    release: release_model.Release,
) -> _Findings:
    """Find unified limits that do not count devices, or that fail.

    ``nova/scheduler/utils.py:request_spec_for_limits``
    """
    for service in services:
        driver = service.last('quota', 'driver')
        if driver is None or driver.text.strip() != _UNIFIED_LIMITS:
            continue
        yield from _check_limit_endpoint(service, release)
        if (
            not aliases
            or not service.is_read_by(configuration.API)
            or release.has(nova_changes.LIMITS_COUNT_ALIASES)
        ):
            continue
        yield finding.Located(
            finding.warning(
                'GPU801',
                f'Unified limits of Nova {release.number} do not count '
                f'devices that flavors request by alias: a project can use '
                f'all of them, whatever its limit. Give access to these '
                f'flavors to chosen projects only; Nova '
                f'{nova_changes.LIMITS_COUNT_ALIASES.versions} counts them, '
                f'with pci_in_placement',
            ),
            driver.place,
        )


def _check_limit_endpoint(
    service: deployment.Process, release: release_model.Release
) -> _Findings:
    """Find an endpoint that only oslo.limit finds.

    ``nova/limit/utils.py:_endpoint``, ``_identity_client``
    """
    if service.is_read_by(configuration.API):
        reader = configuration.API
        effect = (
            'a request that is over a limit of 0, or over one that is not '
            'set, returns HTTP 500'
        )
    elif service.is_read_by(configuration.CONDUCTOR) and _is_recounted(
        service
    ):
        reader = configuration.CONDUCTOR
        effect = (
            'when it counts a new server that requests a resource without a '
            'limit ([quota]recheck_quota), it fails, and the server stays in '
            'BUILD'
        )
    else:
        return
    name = service.last('oslo_limit', 'endpoint_service_type') or service.last(
        'oslo_limit', 'endpoint_service_name'
    )
    if (
        name is None
        or service.last('oslo_limit', 'endpoint_id') is not None
        or not release.has(nova_changes.UNSET_LIMITS_IGNORED)
        or release.has(nova_changes.LIMIT_ENDPOINT_BY_NAME)
    ):
        return
    yield finding.Located(
        finding.warning(
            'GPU811',
            f'{reader} of release {release.number} reads only '
            f'[oslo_limit]endpoint_id, which is not set: {effect}. Set '
            f'endpoint_id to the ID of the endpoint of Nova',
        ),
        name.place,
    )


def _is_recounted(service: deployment.Process) -> bool:
    """Return whether nova-conductor counts limits after nova-api.

    ``nova/conductor/manager.py:ComputeTaskManager._recheck_quota``
    """
    setting = service.last('quota', 'recheck_quota')
    return setting is None or (
        oslo_values.boolean_or_none(setting.text) is not False
    )


def parse_alias(
    text: str, release: release_model.Release
) -> alias_model.Alias:
    """Return the alias of a value that is to be written.

    :raises gpuclient.exceptions.InvalidAlias: Nova refuses it. If a later
        release accepts it, or the product may, the message says so.
    """
    try:
        return alias_model.parse(text, release)
    except exceptions.InvalidAlias as exc:
        accepting = _first_accepting(text, release)
        if accepting is not None and release.product:
            exc.add(
                f'That is Nova {release.number} as it was released. If '
                f'{release.product} accepts it, pass a later --release, such '
                f'as {release_model.newest().series}'
            )
        elif accepting is not None:
            exc.add(
                f'That is release {release}; {accepting} is the first that '
                f'accepts it'
            )
        raise


def _first_accepting(
    text: str, release: release_model.Release
) -> release_model.Release | None:
    """Return the first release after another that accepts an alias."""
    for later in release_model.releases():
        if later.number <= release.number:
            continue
        with contextlib.suppress(exceptions.InvalidAlias):
            alias_model.parse(text, later)
            return later
    return None


def is_accepted_by_newest(text: str) -> bool:
    """Return whether the newest release accepts a value of an alias."""
    try:
        alias_model.parse(text)
    except exceptions.InvalidAlias:
        return False
    return True
