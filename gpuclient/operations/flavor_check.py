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

"""Findings about flavors, with what the cloud tells."""

import collections.abc

from openstack import connection

from gpuclient.cloud.nova import alias_probe
from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.model import release as release_model
from gpuclient.rules import finding
from gpuclient.rules import flavor as flavor_rules

#: Classes that are known by their names: Nova's own for PCI devices, and those
#: that Blazar reserves hosts with.
_KNOWN_BY_NAME = ('CUSTOM_PCI_', 'CUSTOM_RESERVATION_')


def device_classes(
    cloud: connection.Connection,
    flavors: collections.abc.Iterable[flavor_model.Flavor],
) -> frozenset[str] | None:
    """Return the resource classes of PCI devices, where a flavor needs them.

    Placement is read only if a flavor requests a class by a name that does not
    show whether it is one of devices.

    :returns: None where the names show it, or this user may not read devices.
    """
    if all(
        name.startswith(_KNOWN_BY_NAME)
        for flavor in flavors
        for name in flavor_model.requested_classes(
            flavor.extra_specs or {}
        ).values()
    ):
        return None
    try:
        answer = placement_devices.read_devices(
            cloud.placement,
            count_hosts=lambda: hypervisors.count(cloud.compute),
        )
    except exceptions.CloudError:
        return None
    return frozenset(
        device.resource_class
        for device in answer.value
        if device.resource_class is not None
    )


def ask_nova(
    cloud: connection.Connection,
    flavors: collections.abc.Sequence[flavor_model.Flavor],
    names: collections.abc.Iterable[str],
) -> dict[str, alias_probe.Reply]:
    """Return nova-api's answer for each alias; no flavor is created.

    :param flavors: All that this user may see.
    """
    with alias_probe.Prober(
        cloud.compute, flavors, make_flavors=False
    ) as prober:
        return {
            name: reply
            for name in dict.fromkeys(names)
            for reply in prober.ask(name)
        }


def check(
    flavor: flavor_model.Flavor,
    classes: frozenset[str] | None,
    replies: collections.abc.Mapping[str, alias_probe.Reply],
    release: release_model.Release | None = None,
) -> tuple[finding.Finding, ...]:
    """Return the findings about a flavor and its aliases.

    :param classes: The resource classes of PCI devices, if known.
    :param replies: nova-api's answers, by alias.
    :param release: The release of Nova; the newest by default.
    """
    known = [
        name
        for name, reply in replies.items()
        if reply.state is alias_probe.AliasState.DEFINED
    ]
    return (
        *flavor_rules.check(flavor, classes, release),
        *(
            flavor_rules.undefined_alias(name, reply.explanation, known)
            for name in flavor.aliases or {}
            if (reply := replies.get(name)) is not None
            and reply.state is alias_probe.AliasState.NOT_DEFINED
        ),
    )


def check_without_aliases(
    cloud: connection.Connection,
    flavor: flavor_model.Flavor,
    release: release_model.Release | None = None,
) -> list[str]:
    """Return the findings about a flavor whose aliases were checked."""
    classes = device_classes(cloud, [flavor])
    return list(map(str, check(flavor, classes, {}, release)))
