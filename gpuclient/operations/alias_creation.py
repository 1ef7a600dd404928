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

"""Checks of an alias before it is written: Nova's rules, and the cloud."""

import dataclasses

from openstack import connection

from gpuclient.cloud.nova import alias_probe
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient.cloud import usage
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import inventory
from gpuclient.model import release as release_model
from gpuclient.operations import alias_inventory
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import finding
from gpuclient.rules import nova_release


#: Return the alias of a value that is to be written.
parse = nova_release.parse_alias


def validate(
    alias: alias_model.Alias,
    pci_in_placement: bool,
    release: release_model.Release | None = None,
) -> list[str]:
    """Return warnings about an alias.

    :param release: The release of Nova that reads it; the newest by default.
    :raises gpuclient.exceptions.InvalidAlias: Nova refuses it, or no device
        can match it.
    """
    release = release or release_model.newest()
    warnings = validate_change(alias)
    warnings += map(
        str,
        nova_release.check_alias(
            alias, pci_in_placement=pci_in_placement, release=release
        ),
    )
    try:
        alias_model.merge([alias.render()], pci_in_placement, release)
    except exceptions.InvalidAlias as exc:
        if pci_in_placement:
            raise _without_ids(exc) from exc
        # Valid for services that set pci_in_placement, or for none.
        try:
            alias_model.merge([alias.render()], True, release)
        except exceptions.InvalidAlias:
            raise _without_ids(exc) from exc
        warnings.append(str(alias_rules.needs_pci_in_placement(alias)))
    return warnings


def validate_change(alias: alias_model.Alias) -> list[str]:
    """Return warnings about an alias that documents have accepted.

    :raises gpuclient.exceptions.InvalidAlias: No device can match it.
    """
    findings = alias_rules.check(alias)
    errors = finding.errors(findings)
    if errors:
        raise exceptions.InvalidAlias('; '.join(map(str, errors)))
    return [str(warning) for warning in finding.warnings(findings)]


def _without_ids(exc: exceptions.InvalidAlias) -> exceptions.InvalidAlias:
    return exceptions.InvalidAlias(
        f'{exc} Specify --model, or --vendor-id and --product-id, or '
        '--resource-class with --pci-in-placement'
    )


@dataclasses.dataclass
class CloudCheck:
    """The state of a cloud as to an alias; None where it is not known."""

    #: ``ok``, or why Placement's part is missing or incomplete.
    placement: str = 'ok'
    #: nova-api's answer, and its message or why it was not asked.
    nova_api: str = alias_inventory.SKIPPED
    nova_api_message: str | None = None
    total: int | None = None
    used: int | None = None
    free: int | None = None
    hosts: list[str] | None = None
    warnings: list[str] = dataclasses.field(default_factory=list)


def skipped(reason: str) -> CloudCheck:
    """Return the check of a cloud that there is not.

    :param reason: Why there is none.
    """
    return CloudCheck(
        placement=f'{alias_inventory.SKIPPED}: {reason}',
        nova_api_message=reason,
    )


def check_cloud(
    cloud: connection.Connection,
    alias: alias_model.Alias,
    *,
    required: bool,
    make_flavors: bool,
) -> CloudCheck:
    """Look for devices that an alias matches, and ask nova-api for its name.

    :param required: Raise where a service does not answer.
    :param make_flavors: Create a temporary flavor where none requests the
        alias.
    :raises gpuclient.exceptions.CloudError: A service does not answer.
    """
    check = CloudCheck()
    try:
        _count_devices(cloud, alias, check, required=required)
    except exceptions.CloudError as exc:
        if required:
            raise
        check.placement = f'{alias_inventory.SKIPPED}: {exc}'
    try:
        _ask_nova(cloud, alias, check, make_flavors=make_flavors)
    except exceptions.CloudError as exc:
        if required:
            raise
        check.nova_api_message = str(exc)
    return check


def _count_devices(
    cloud: connection.Connection,
    alias: alias_model.Alias,
    check: CloudCheck,
    *,
    required: bool,
) -> None:
    answer = placement_devices.read_devices(
        cloud.placement,
        resource_class=alias.placement_class,
        count_hosts=lambda: hypervisors.count(cloud.compute),
    )
    if required and answer.failures:
        raise exceptions.CloudError(str(answer.failures[0]))
    devices = inventory.of_alias(answer.value, alias)
    totals = inventory.totals(devices)
    check.total, check.used, check.free = (
        totals.total,
        totals.used,
        totals.free,
    )
    check.hosts = sorted({device.host for device in devices})
    if answer.failures:
        check.placement = f'incomplete: {answer.failures[0]}'
    elif not devices:
        check.warnings.append(str(alias_rules.matches_nothing(alias)))


def _ask_nova(
    cloud: connection.Connection,
    alias: alias_model.Alias,
    check: CloudCheck,
    *,
    make_flavors: bool,
) -> None:
    flavors = nova_flavors.list_flavors(cloud.compute)
    with alias_probe.Prober(
        cloud.compute, flavors, make_flavors=make_flavors
    ) as prober:
        (reply,) = prober.ask(alias.name)
    check.warnings += map(str, prober.failures)
    check.nova_api, check.nova_api_message = str(reply.state), reply.message
    if reply.state is alias_probe.AliasState.DEFINED:
        check.warnings += _other_classes(cloud, alias)


def _other_classes(
    cloud: connection.Connection, alias: alias_model.Alias
) -> list[str]:
    """Return a warning if servers got other devices by this name."""
    try:
        use = usage.read_usage(cloud).value
    except exceptions.CloudError:
        return []
    classes, servers = inventory.alias_classes(
        alias.name, use.servers, use.devices
    )
    if not classes or alias.placement_class in classes:
        return []
    names = [server.name for server in servers]
    return [str(alias_rules.other_class(alias, classes, names))]
