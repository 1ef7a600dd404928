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

"""What is wrong with flavors, as far as the cloud has to be asked for it."""

import collections.abc

from openstack import connection

from gpuclient.cloud.nova import alias_probe
from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.rules import finding
from gpuclient.rules import flavor as flavor_rules

#: Classes whose name tells what they are: those of devices without a class of
#: their own, and those that Blazar reserves hosts with.
_TELLING = ('CUSTOM_PCI_', 'CUSTOM_RESERVATION_')


def device_classes(
    cloud: connection.Connection,
    flavors: collections.abc.Iterable[flavor_model.Flavor],
) -> frozenset[str] | None:
    """Return the resource classes of PCI devices, where a flavor needs them.

    Placement is asked only if a flavor requests a class whose name does not
    tell whether it is one of devices.

    :returns: None where the name tells, or nobody may read the devices.
    """
    if all(
        name.startswith(_TELLING)
        for flavor in flavors
        for name in flavor_model.requested_classes(
            flavor.extra_specs or {}
        ).values()
    ):
        return None
    try:
        found = placement_devices.read_devices(
            cloud.placement,
            count_hosts=lambda: hypervisors.count(cloud.compute),
        )
    except exceptions.CloudError:
        return None
    return frozenset(
        device.resource_class
        for device in found.value
        if device.resource_class is not None
    )


def ask_nova(
    cloud: connection.Connection,
    flavors: collections.abc.Sequence[flavor_model.Flavor],
    names: collections.abc.Iterable[str],
) -> dict[str, alias_probe.Reply]:
    """Return what nova-api answers to each alias; no flavor is made for it.

    :param flavors: All that the user sees.
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
) -> tuple[finding.Finding, ...]:
    """Return what is wrong with a flavor, its aliases included."""
    known = [
        name
        for name, reply in replies.items()
        if reply.state is alias_probe.AliasState.DEFINED
    ]
    return (
        *flavor_rules.check(flavor, classes),
        *(
            flavor_rules.undefined_alias(name, reply.explanation, known)
            for name in flavor.aliases or {}
            if (reply := replies.get(name)) is not None
            and reply.state is alias_probe.AliasState.NOT_DEFINED
        ),
    )
