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

"""Flavors that request PCI devices, and what is wrong with them."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient.cloud.nova import alias_probe
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient.documents import aliases as alias_documents
from gpuclient.documents import catalogue as catalogue_documents
from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.model import release as release_model
from gpuclient.operations import device_names
from gpuclient.operations import flavor_check


@dataclasses.dataclass(frozen=True)
class CheckedFlavor:
    """A flavor, with its findings."""

    flavor: flavor_model.Flavor
    findings: tuple[str, ...]


def read(
    cloud: connection.Connection,
    *,
    alias: str | None,
    all_flavors: bool,
    ask_nova: bool,
    release: release_model.Release | None = None,
) -> list[CheckedFlavor]:
    """Return flavors, sorted by name.

    :param alias: The alias that they request, or None.
    :param all_flavors: Also those that request no devices.
    :param ask_nova: Ask nova-api for their aliases.
    :param release: The release of Nova; the newest by default.
    :raises gpuclient.exceptions.Forbidden: Extra specs are hidden.
    """
    flavors = nova_flavors.list_flavors(cloud.compute)
    if flavors and all(flavor.extra_specs is None for flavor in flavors):
        raise exceptions.Forbidden(
            'Nova does not show extra specs to this user, so it is unknown '
            'which flavors request devices (policy '
            'os_compute_api:os-flavor-extra-specs:index)'
        )
    classes = flavor_check.device_classes(cloud, flavors)
    shown = [
        flavor
        for flavor in sorted(flavors, key=lambda flavor: flavor.name)
        if (all_flavors or flavor_model.is_for_devices(flavor, classes))
        and (alias is None or alias in (flavor.aliases or {}))
    ]
    replies: dict[str, alias_probe.Reply] = {}
    if ask_nova:
        replies = flavor_check.ask_nova(
            cloud,
            flavors,
            (name for flavor in shown for name in flavor.aliases or ()),
        )
    return [
        CheckedFlavor(
            flavor,
            tuple(
                map(
                    str,
                    flavor_check.check(flavor, classes, replies, release),
                )
            ),
        )
        for flavor in shown
    ]


def read_flavor(
    cloud: connection.Connection,
    name_or_id: str,
    files: collections.abc.Iterable[str],
    release: release_model.Release | None = None,
) -> CheckedFlavor:
    """Return a flavor.

    :param files: Configuration that defines its aliases.
    :param release: The release of Nova; the newest by default.
    :raises gpuclient.exceptions.GPUError: There is no such flavor, or a file
        cannot be read.
    """
    documents = alias_documents.read_all(files)
    flavors = nova_flavors.list_flavors(cloud.compute)
    flavor = nova_flavors.find_flavor(cloud.compute, name_or_id, flavors)
    catalogue = catalogue_documents.load(None)
    definitions = [
        defined.alias
        for document in documents
        for defined in document.aliases
        if defined.alias.name in (flavor.aliases or {})
    ]
    findings = flavor_check.check(
        flavor,
        flavor_check.device_classes(cloud, [flavor]),
        flavor_check.ask_nova(cloud, flavors, flavor.aliases or ()),
        release,
    )
    of_definitions = dict.fromkeys(
        warning
        for alias in definitions
        for warning in device_names.check_alias(alias, catalogue)
    )
    return CheckedFlavor(flavor, (*map(str, findings), *of_definitions))
