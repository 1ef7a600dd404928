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
"""Nova's own code, run on device trees: [pci]device_spec, pools, Placement.

Nova reads the host's sysfs while it parses the option; here it reads
a host that both sides have.
"""

import collections.abc
import contextlib
import dataclasses
import json
import logging
import typing
import unittest.mock

import jsonschema
import nova.conf
from nova import exception as nova_exception
from nova import objects
from nova.compute import pci_placement_translator as translator
from nova.pci import devspec
from nova.pci import request as nova_request
from nova.pci import stats as nova_stats
from nova.pci import whitelist
from nova import version
import os_traits

from gpuclient.model import device_spec
from gpuclient.model import nova_changes
from gpuclient.model import release

#: The release of the installed Nova, which both sides use.
RELEASE = release.parse(version.version_string())

objects.register_all()
# Nova logs that each file of sysfs does not exist.
logging.getLogger('nova').addHandler(logging.NullHandler())

#: Nova checks its schema with each alias, which takes twenty times as
#: long as all else. It is always the same; here it is checked once.
VALIDATOR = jsonschema.validators.validator_for(nova_request._ALIAS_SCHEMA)
VALIDATOR.check_schema(nova_request._ALIAS_SCHEMA)
_REQUEST = '9a1f0c5e-4f1b-4c39-8d0a-6f2f5b7f1a11'
#: Nova up to 30 reads the aliases with each request, and does not cache them.
READER = (
    'get_alias_from_config'
    if hasattr(nova_request, 'get_alias_from_config')
    else '_get_alias_from_config'
)
#: Exceptions that Nova does not handle.
CRASHES = (AttributeError, TypeError, ValueError)


@contextlib.contextmanager
def on(host: device_spec.HostDevices) -> collections.abc.Iterator[None]:
    """Make Nova read a host instead of sysfs.

    The lookup of product IDs is not replaced: Linux has no file ``product``.
    """

    def is_physical_function(*fields: str) -> bool:
        address = '{}:{}:{}.{}'.format(*fields)
        return host.physical_function(address) is not None

    def get_function_by_ifname(name: typing.Any) -> tuple[str | None, bool]:
        address = host.interfaces.get(f'{name}')
        if address is None:
            return None, False
        return address, host.physical_function(address) is not None

    with contextlib.ExitStack() as stack:
        for name, function in (
            ('is_physical_function', is_physical_function),
            ('get_function_by_ifname', get_function_by_ifname),
            ('get_vf_product_id_by_pf_addr', host.vf_product_id),
        ):
            stack.enter_context(
                unittest.mock.patch.object(devspec.utils, name, function)
            )
        yield


@contextlib.contextmanager
def options(
    *, report: bool = False, in_placement: bool = False
) -> collections.abc.Iterator[typing.Any]:
    """Set the options that Nova reads."""
    conf = nova.conf.CONF
    values = [('report_in_placement', 'pci', report)]
    if RELEASE.has(nova_changes.PCI_IN_PLACEMENT):
        values.append(('pci_in_placement', 'filter_scheduler', in_placement))
    for name, section, value in values:
        conf.set_override(name, value, section)
    try:
        yield conf
    finally:
        for name, section, _value in values:
            conf.clear_override(name, section)


def effective(in_placement: bool) -> bool:
    """Return what ``pci_in_placement`` is for a release that may lack it."""
    return in_placement and RELEASE.has(nova_changes.PCI_IN_PLACEMENT)


def aliases(texts: list[str], in_placement: bool) -> dict[str, typing.Any]:
    """Return the aliases that Nova reads in values of ``[pci]alias``.

    :raises nova.exception.PciInvalidAlias: It refuses them.
    """
    with options(in_placement=in_placement) as conf:
        # Other tests cover the substitution of $name.
        escaped = [text.replace('$', '$$') for text in texts]
        conf.set_override('alias', escaped, 'pci')
        read = getattr(nova_request, READER)
        forget = getattr(read, 'cache_clear', lambda: None)
        forget()
        try:
            with unittest.mock.patch.object(VALIDATOR, 'check_schema'):
                return dict(read())
        finally:
            conf.clear_override('alias', 'pci')
            forget()


def record(device: device_spec.HostDevice) -> objects.PciDevice:
    """Return a device as nova-compute stores it."""
    return objects.PciDevice(
        address=device.address,
        vendor_id=device.vendor_id,
        product_id=device.product_id,
        dev_type=device.device_type,
        parent_addr=device.parent_address,
        numa_node=None,
        status='available',
        instance_uuid=None,
        extra_info=(
            {
                'capabilities': json.dumps(
                    {'vpd': {'card_serial_number': device.serial_number}}
                )
            }
            if device.serial_number
            else {}
        ),
    )


def from_libvirt(device: device_spec.HostDevice) -> dict[str, typing.Any]:
    """Return a device as the libvirt driver reports it."""
    return {
        'address': device.address,
        'vendor_id': device.vendor_id,
        'product_id': device.product_id,
        'dev_type': device.device_type,
        'parent_addr': device.parent_address,
        'capabilities': {'vpd': {'card_serial_number': device.serial_number}},
    }


def first_matches(
    specs: whitelist.Whitelist,
    devices: collections.abc.Iterable[device_spec.HostDevice],
) -> list[int | None]:
    """Return the number of the entry that Nova matches with each device."""
    matches = []
    for device in devices:
        match = assigned(specs, device)
        matches.append(None if match is None else specs.specs.index(match))
    return matches


def assigned(
    specs: whitelist.Whitelist, device: device_spec.HostDevice
) -> devspec.PciDeviceSpec | None:
    """Return the entry that Nova matches with a device.

    ``device_assignable`` returns it in Nova 31 and later; before, only whether
    there is one.
    """
    fields = from_libvirt(device)
    match = specs.device_assignable(fields)
    if isinstance(match, bool):
        return next((spec for spec in specs.specs if spec.match(fields)), None)
    return match


def view(
    specs: whitelist.Whitelist,
    records: collections.abc.Iterable[objects.PciDevice],
) -> translator.PlacementView:
    """Return what nova-compute reports to Placement.

    :raises nova.exception.PlacementPciException: nova-compute ends.
    """
    placement_view = translator.PlacementView('host', [])
    translator.ensure_no_dev_spec_with_devname(specs.specs)
    for device in records:
        spec = specs.get_devspec(device)
        if spec is not None:
            placement_view.process_dev(device, spec)
    return placement_view


@dataclasses.dataclass
class Compute:
    """A compute host of Nova's own code, with the devices that it has."""

    specs: whitelist.Whitelist
    records: list[objects.PciDevice]
    report: bool
    providers: dict[str, translator.PciResourceProvider] = dataclasses.field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        self.stats = nova_stats.PciDeviceStats(
            objects.NUMATopology(), dev_filter=self.specs
        )
        for device in self.records:
            self.stats.add_device(device)
        if self.report:
            self.providers = dict(view(self.specs, self.records).rps)
            for name, provider in self.providers.items():
                for device in provider.devs:
                    # Any unique text can be a UUID.
                    device.extra_info['rp_uuid'] = name
            if RELEASE.has(nova_changes.PCI_IN_PLACEMENT):
                self.stats.populate_pools_metadata_from_assigned_devices()
        # As the scheduler has it.
        self.scheduled = nova_stats.PciDeviceStats(
            objects.NUMATopology(),
            self.stats.to_device_pools_obj(),
            dev_filter=whitelist.Whitelist(),
        )

    def serves(self, specs: list[dict[str, str]], in_placement: bool) -> bool:
        """Return whether the host has a device for an alias."""
        request = objects.InstancePCIRequest(
            count=1,
            spec=specs,
            alias_name='alias',
            numa_policy='legacy',
            request_id=_REQUEST,
        )
        if not in_placement:
            return self.scheduled.support_requests([request], None)
        asked = objects.RequestSpec(
            requested_resources=[],
            pci_requests=objects.InstancePCIRequests(requests=[request]),
        )
        with options(in_placement=True):
            try:
                asked.generate_request_groups_from_pci_requests()
            except ValueError:
                # Up to 31.3.0, an alias with several values causes HTTP 500.
                return False
        (group,) = asked.requested_resources
        return any(
            self.scheduled.support_requests(
                [request], {group.requester_id: [name]}
            )
            for name, provider in self.providers.items()
            # The request that is sent to Placement.
            if group.resources.keys() == {provider.resource_class}
            and group.required_traits <= provider.traits | _traits_of_all()
        )


def _traits_of_all() -> set[str]:
    """Return traits that ``update_provider_tree_for_pci`` adds."""
    if RELEASE.has(nova_changes.OWNER_NOVA):
        return {os_traits.OWNER_NOVA}
    return set()


def compute(
    texts: list[str],
    devices: collections.abc.Sequence[device_spec.HostDevice],
    interfaces: dict[str, str],
    report: bool,
) -> Compute | Exception:
    """Return a compute host, or the error with which nova-compute fails.

    The caller has to use :func:`on` with the host.
    """
    with options(report=report):
        try:
            specs = whitelist.Whitelist(texts)
            records = [
                record(device)
                for device in devices
                if assigned(specs, device) is not None
            ]
            return Compute(specs, records, report)
        except (nova_exception.NovaException, *CRASHES) as exc:
            return exc
