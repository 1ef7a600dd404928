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

"""Signs of leaks in the use of devices, without reading each consumer.

Counts show whether the allocations of all consumers have to be read, which
costs a request for each: :mod:`gpuclient.rules.placement_leaks` finds the
leaks in them.
"""

import collections
import collections.abc

from gpuclient.model import cloud_state
from gpuclient.model import flavor as flavor_model
from gpuclient.model import inventory
from gpuclient.model import leak_evidence


def signs(state: cloud_state.CloudState) -> frozenset[str]:
    """Return the hosts whose use of devices is not that of their servers."""
    known = {node.name for node in state.nodes or ()}
    held: collections.Counter[str] = collections.Counter()
    hosts = set()
    for device in state.devices:
        held[device.host] += device.used or 0
        if device.host not in known or _is_held_back(device):
            hosts.add(device.host)
    requested: collections.Counter[str] = collections.Counter()
    for server in state.servers or ():
        if server.host is not None:
            requested[server.host] += _requested(
                server, state.device_classes or ()
            )
    return frozenset(
        hosts | {host for host in held if held[host] != requested[host]}
    )


def _is_held_back(device: inventory.Device) -> bool:
    """Return whether a device is reserved, but not by one-time use."""
    return bool(device.reserved) and not (
        device.used and leak_evidence.ONE_TIME_USE in device.traits
    )


def _requested(
    server: inventory.Server, classes: collections.abc.Container[str]
) -> int:
    """Return the number of devices that the flavor of a server requests."""
    specs = server.extra_specs or {}
    amounts = flavor_model.device_resources(specs, classes)
    return sum(inventory.requested_aliases(specs).values()) + sum(
        flavor_model.parse_amount(amount) or 0 for amount in amounts.values()
    )
