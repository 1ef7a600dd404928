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

"""The ``[pci]device_spec`` option: the devices of a compute for servers.

:func:`parse` accepts and refuses as ``nova/pci/whitelist.py`` and
``nova/pci/devspec.py`` of a release do, :func:`first_match` finds the entry
that is in effect for a device, and :func:`providers` returns the resource
providers that nova-compute creates for devices
(``nova/compute/pci_placement_translator.py``).
"""

import collections.abc
import dataclasses
import json
import re
import string
import typing

from gpuclient import exceptions
from gpuclient.model import address_pattern
from gpuclient.model import alias as alias_model
from gpuclient.model import boolean
from gpuclient.model import naming
from gpuclient.model import nova_changes
from gpuclient.model import quoting
from gpuclient.model import release as release_model

ANY = '*'
_REGEX_ANY = '.*'
#: Ways to match a field that ``re`` tries in a moment.
_MOST_WAYS = 10_000
_MAXIMA = {
    'vendor_id': 0xFFFF,
    'product_id': 0xFFFF,
    'domain': 0xFFFF,
    'bus': 0xFF,
    'slot': 0x1F,
    'func': 0x7,
}
_FORMATS = {
    'vendor_id': '%04x',
    'product_id': '%04x',
    'domain': '%04x',
    'bus': '%02x',
    'slot': '%02x',
    'func': '%01x',
}
#: Keys that Nova uses; it stores any other as a tag, and ignores it.
KEYS = (
    'address',
    'devname',
    'live_migratable',
    'managed',
    'one_time_use',
    'physical_network',
    'product_id',
    'remote_managed',
    'resource_class',
    'traits',
    'trusted',
    'vendor_id',
)
#: Booleans that a release normalizes, if it has them. In an earlier release
#: they are tags like any unknown key.
_BOOLEANS = {
    'managed': nova_changes.SPEC_MANAGED,
    'live_migratable': nova_changes.SPEC_MANAGED,
    'one_time_use': nova_changes.ONE_TIME_USE,
}

Tags: typing.TypeAlias = dict[str, typing.Any]


@dataclasses.dataclass(frozen=True)
class HostDevice:
    """A PCI device of a host, as libvirt reports it to Nova."""

    #: ``0000:04:00.0``, lower case.
    address: str
    #: Four hexadecimal digits, lower case.
    vendor_id: str
    product_id: str
    #: ``type-PCI``, ``type-PF`` or ``type-VF``.
    device_type: str = 'type-PCI'
    #: Address of the PF of a VF.
    parent_address: str | None = None
    #: From its vital product data (VPD); required for remote managed devices.
    serial_number: str | None = None


@dataclasses.dataclass(frozen=True)
class HostDevices:
    """The devices and interfaces of a host that Nova looks up."""

    devices: tuple[HostDevice, ...] = ()
    #: Addresses of network interfaces, by their names.
    interfaces: collections.abc.Mapping[str, str] = dataclasses.field(
        default_factory=dict
    )

    def physical_function(self, address: str) -> HostDevice | None:
        """Return the PF at an address."""
        for device in self.devices:
            if device.address == address and device.device_type == 'type-PF':
                return device
        return None

    def vf_product_id(self, address: str) -> str | None:
        """Return the product id of the VFs of a PF."""
        for device in self.devices:
            if device.parent_address == address:
                return device.product_id
        return None


_NO_HOST = HostDevices()


@dataclasses.dataclass(frozen=True)
class AddressPattern:
    """The addresses that an entry matches."""

    #: Hexadecimal digits or ``*``; regular expressions if :attr:`regex`.
    domain: str
    bus: str
    slot: str
    func: str
    #: Whether fields are regular expressions, which Nova applies with
    #: ``re.match``: they may match a beginning.
    regex: bool = False
    #: Whether it is the address of a PF, so that its VFs match, too.
    physical_function: bool = False

    @property
    def fields(self) -> tuple[str, str, str, str]:
        return self.domain, self.bus, self.slot, self.func

    @property
    def is_single(self) -> bool:
        """Whether Nova treats it as the address of one device."""
        return all(
            character in string.hexdigits
            for field in self.fields
            for character in field
        )

    def __str__(self) -> str:
        return f'{self.domain}:{self.bus}:{self.slot}.{self.func}'

    def matches(self, device: HostDevice) -> bool:
        """Return whether a device, or its PF, matches."""
        if self.physical_function and device.parent_address:
            if self._matches(device.parent_address):
                return True
        return self._matches(device.address)

    def _matches(self, address: str) -> bool:
        pairs = zip(self.fields, _fields(address), strict=True)
        if self.regex:
            return all(re.match(pattern, field) for pattern, field in pairs)
        # The address of a PF does not contain an asterisk.
        return all(pattern in (ANY, field) for pattern, field in pairs)


def _fields(address: str) -> tuple[str, str, str, str]:
    rest, _dot, func = address.partition('.')
    domain, bus, slot = rest.split(':')
    return domain, bus, slot, func


@dataclasses.dataclass(frozen=True)
class DeviceSpec:
    """An entry of the option."""

    #: Four hexadecimal digits, lower case, or ``*``.
    vendor_id: str
    product_id: str
    #: None for an interface that does not exist on the host.
    address: AddressPattern | None
    #: Name of a network interface.
    devname: str | None
    #: All other keys, with booleans normalized as Nova does.
    tags: Tags
    #: The entry as it was written.
    written: Tags = dataclasses.field(default_factory=dict)
    #: The release of Nova that reads it.
    release: release_model.Release = dataclasses.field(
        default_factory=release_model.newest
    )

    @property
    def remote_managed(self) -> bool:
        return boolean.is_true(self.tags.get('remote_managed'))

    def matches(self, device: HostDevice) -> bool:
        """Return whether the entry matches a device."""
        return (
            self.address is not None
            and self.vendor_id in (ANY, device.vendor_id)
            and self.product_id in (ANY, device.product_id)
            and self.address.matches(device)
            and (not self.remote_managed or bool(device.serial_number))
        )

    def on(self, host: HostDevices) -> 'DeviceSpec':
        """Return the entry as it is read on a host.

        The host determines whether a single address is that of a PF.
        """
        if self.address is None:
            return self
        return dataclasses.replace(self, address=_on(self.address, host))

    def serves(
        self,
        device: HostDevice,
        alias: alias_model.Alias,
        *,
        in_placement: bool,
    ) -> bool:
        """Return whether a request by an alias matches a device.

        The entry is in effect for the device. NUMA affinity is ignored, since
        it depends on the server (``nova/pci/stats.py:
        PciDeviceStats._filter_pools``; ``nova/objects/request_spec.py``).

        :param in_placement: ``[filter_scheduler]pci_in_placement``; without
            it Nova does not compare resource classes and traits.
        """
        return self._is_requested(
            device, alias, in_placement=in_placement
        ) and self._is_in_pool_of(device, alias)

    def _is_requested(
        self,
        device: HostDevice,
        alias: alias_model.Alias,
        *,
        in_placement: bool,
    ) -> bool:
        """Return whether Placement matches the device with an alias.

        ``nova/objects/request_spec.py:RequestSpec.
        generate_request_groups_from_pci_requests``.
        """
        return not in_placement or (
            self.in_placement
            and self.has_names
            and alias.placement_class == self.resource_class(device)
            and alias.placement_traits <= self.provider_traits(device)
        )

    def _is_in_pool_of(
        self, device: HostDevice, alias: alias_model.Alias
    ) -> bool:
        """Return whether the pool of the device matches the alias.

        ``nova/pci/stats.py:PciDeviceStats._filter_pools``. Strings are
        compared without regard to case
        (``nova/pci/utils.py:pci_device_prop_match``).
        """
        live_migratable = (
            None
            if alias.live_migratable is None
            else ('false', 'true')[alias.live_migratable]
        )
        pairs = (
            (alias.vendor_id, device.vendor_id),
            (alias.product_id, device.product_id),
            (alias.capability_type, self.tags.get('capability_type')),
            (live_migratable, self.tags.get('live_migratable')),
            (alias.device_type, self.device_type(device)),
        )
        return (
            all(
                requested is None
                or (
                    isinstance(value, str)
                    and requested.lower() == value.lower()
                )
                for requested, value in pairs
            )
            # A PF must be requested as such; vDPA devices and remote managed
            # ones are for ports of Neutron.
            and (
                alias.device_type == 'type-PF'
                or self.device_type(device) != 'type-PF'
            )
            and self.device_type(device) != 'vdpa'
            and not self.remote_managed
        )

    def device_type(self, device: HostDevice) -> typing.Any:
        """Return the device type of the pool of a device.

        A tag ``dev_type`` overrides that of the device
        (``nova/pci/stats.py:PciDeviceStats._create_pool_keys_from_dev``).
        """
        return self.tags.get('dev_type', device.device_type)

    @property
    def in_placement(self) -> bool:
        """Whether its devices are reported to Placement.

        Devices with a physical network are for Neutron
        (``pci_placement_translator.py:PlacementView._add_dev``).
        """
        return not self.tags.get('physical_network')

    def resource_class(self, device: HostDevice) -> str:
        """Return the resource class of a device."""
        return naming.resource_class(
            device.vendor_id,
            device.product_id,
            self.tags.get('resource_class'),
        )

    @property
    def traits(self) -> frozenset[str]:
        """The traits of the provider, except that of one-time use."""
        traits = naming.traits(self.tags.get('traits') or '')
        if self.tags.get('live_migratable') == 'true' and self.release.has(
            nova_changes.TRAIT_LIVE_MIGRATABLE
        ):
            traits |= {'HW_PCI_LIVE_MIGRATABLE'}
        return traits | {'COMPUTE_MANAGED_PCI_DEVICE'}

    def provider_traits(self, device: HostDevice) -> frozenset[str]:
        """Return all traits of the provider of a device in Placement.

        ``pci_placement_translator.py:PciResourceProvider``.
        """
        traits = self.traits
        if self.release.has(nova_changes.OWNER_NOVA):
            traits |= {'OWNER_NOVA'}
        if self.is_one_time_use and device.device_type != 'type-VF':
            traits |= {'HW_PCI_ONE_TIME_USE'}
        return traits

    def has_key(self, key: str) -> bool:
        """Return whether the entry has a key that its release reads."""
        return key in self.tags and _is_in(self.release, key)

    @property
    def is_one_time_use(self) -> bool:
        """Whether Nova reserves a device once a server has used it."""
        return self.has_key('one_time_use') and (
            self.tags['one_time_use'] == 'true'
        )

    def check_names(self) -> None:
        """Check that Nova can derive names for Placement.

        Nova does that only if ``[pci]report_in_placement`` is true.

        :raises gpuclient.exceptions.InvalidDeviceSpec: Its resource class or
            its traits are not strings: nova-compute cannot report devices.
        """
        try:
            naming.resource_class('', '', self.tags.get('resource_class'))
            naming.traits(self.tags.get('traits') or '')
        except (AttributeError, TypeError) as exc:
            raise _unreported(exc) from exc

    @property
    def unstored_tags(self) -> tuple[str, ...]:
        """Tags that make each update of the compute fail.

        They become tags of a pool, which must be strings
        (``nova/objects/pci_device_pool.py:PciDevicePool``).
        """
        return tuple(
            key
            for key, value in self.tags.items()
            if key not in ('resource_class', 'traits', 'rp_uuid')
            and isinstance(value, list | dict)
        )

    @property
    def has_names(self) -> bool:
        """Whether Nova can derive names for Placement."""
        try:
            self.check_names()
        except exceptions.InvalidDeviceSpec:
            return False
        return True

    @property
    def unknown_keys(self) -> tuple[str, ...]:
        """Keys that Nova stores and ignores: typing errors."""
        return tuple(
            key
            for key in self.tags
            if key not in KEYS or not _is_in(self.release, key)
        )


def key_change(key: str) -> nova_changes.NovaChange | None:
    """Return the change that added a key; None for a key of all releases."""
    return _BOOLEANS.get(key)


def _is_in(release: release_model.Release, key: str) -> bool:
    change = key_change(key)
    return change is None or release.has(change)


def _invalid(reason: str) -> exceptions.InvalidDeviceSpec:
    # nova/exception.py:PciConfigInvalidSpec
    return exceptions.InvalidDeviceSpec(
        f'Invalid [pci]device_spec config: {reason}'
    )


def _invalid_address(address: typing.Any) -> exceptions.InvalidDeviceSpec:
    return exceptions.InvalidDeviceSpec(
        f'The PCI address {quoting.spec(str(address))} has an incorrect '
        f'format.'
    )


def _crash(exc: Exception) -> exceptions.InvalidDeviceSpec:
    """Return the error for an exception that Nova does not handle."""
    return exceptions.InvalidDeviceSpec(
        f'nova-compute ends with {type(exc).__name__}: {quoting.cut(str(exc))}'
    )


def _unreported(exc: Exception) -> exceptions.InvalidDeviceSpec:
    """Return the error for an exception that each report ends with.

    nova-compute continues to run (``nova/compute/manager.py:ComputeManager.
    _update_available_resource_for_node``).
    """
    return exceptions.InvalidDeviceSpec(f'{type(exc).__name__}: {exc}')


def parse(
    text: str,
    *,
    report_in_placement: bool = True,
    host: HostDevices = _NO_HOST,
    release: release_model.Release | None = None,
) -> tuple[DeviceSpec, ...]:
    """Return the entries of a value of the option.

    :param report_in_placement: ``[pci]report_in_placement`` of the compute.
    :param host: The devices of the host; without them no address is that of a
        PF, so VFs match by their own addresses only.
    :param release: The release of Nova that reads them; the newest by
        default.
    :raises gpuclient.exceptions.InvalidDeviceSpec: nova-compute would not
        start, with the same message.
    """
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise _invalid(f"Invalid entry: '{quoting.spec(text)}'") from exc
    if isinstance(entries, dict):
        entries = [entries]
    elif not isinstance(entries, list):
        raise _invalid(
            f"Invalid entry: '{quoting.spec(text)}'; Expecting list or dict"
        )
    release = release or release_model.newest()
    specs = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise _invalid(
                f"Invalid entry: '{quoting.spec(str(entry))}'; Expecting dict"
            )
        try:
            specs.append(
                _parse_entry(entry, report_in_placement, host, release)
            )
        except (
            *(AttributeError, TypeError),
            # From re.compile().
            *(OverflowError, RecursionError),
        ) as exc:
            raise _crash(exc) from exc
    return tuple(specs)


def parse_all(
    texts: collections.abc.Iterable[str],
    *,
    report_in_placement: bool = True,
    host: HostDevices = _NO_HOST,
    release: release_model.Release | None = None,
) -> tuple[DeviceSpec, ...]:
    """Return the entries of all values of a compute, in order.

    :raises gpuclient.exceptions.InvalidDeviceSpec: See :func:`parse`.
    """
    return tuple(
        spec
        for text in texts
        for spec in parse(
            text,
            report_in_placement=report_in_placement,
            host=host,
            release=release,
        )
    )


def first_match(
    specs: collections.abc.Iterable[DeviceSpec], device: HostDevice
) -> DeviceSpec | None:
    """Return the entry in effect for a device: the first that matches."""
    return next((spec for spec in specs if spec.matches(device)), None)


def _parse_entry(
    entry: Tags,
    report_in_placement: bool,
    host: HostDevices,
    release: release_model.Release,
) -> DeviceSpec:
    # In the order of nova/pci/devspec.py:PciDeviceSpec._init_dev_details.
    tags = dict(entry)
    vendor_id = tags.pop('vendor_id', ANY)
    product_id = tags.pop('product_id', ANY)
    devname = tags.pop('devname', None)
    address = tags.pop('address', None)
    vendor_id = _hexadecimal('vendor_id', vendor_id.strip())
    product_id = _hexadecimal('product_id', product_id)
    if address and devname:
        raise exceptions.InvalidDeviceSpec(
            'Invalid PCI Whitelist: The PCI whitelist can specify devname or '
            'address, but not both'
        )
    pattern = (
        _of_interface(devname, host)
        if devname
        else _parse_address(address or '*:*:*.*', host)
    )
    for tag in _BOOLEANS:
        if tags.get(tag) is not None and _is_in(release, tag):
            tags[tag] = _normal_boolean(tag, tags[tag])
    spec = DeviceSpec(
        vendor_id,
        product_id,
        pattern,
        devname or None,
        tags,
        entry,
        release,
    )
    if spec.is_one_time_use and not report_in_placement:
        raise _invalid(
            'one_time_use=true requires pci.report_in_placement to be enabled'
        )
    if spec.remote_managed:
        _check_remote_managed(spec, host)
    return spec


def _hexadecimal(name: str, value: str) -> str:
    """Return a number, normalized as Nova does, or ``*``.

    As Python's int(), Nova accepts signs, underscores, blanks and ``0x``.
    """
    if value == ANY:
        return value
    try:
        number = int(value, 16)
    except ValueError as exc:
        raise _invalid(
            f"property {name} ('{quoting.spec(value)}') does not parse as a "
            f'hex number.'
        ) from exc
    if number > _MAXIMA[name]:
        raise _invalid(
            f'property {name} ({quoting.choice(value)}) is greater than the '
            f'maximum allowable value ({_MAXIMA[name]:X}).'
        )
    return _FORMATS[name] % number


def _of_interface(
    devname: typing.Any, host: HostDevices
) -> AddressPattern | None:
    # Nova uses any value in a path.
    address = host.interfaces.get(str(devname))
    if not address:
        return None
    if host.physical_function(address) is not None:
        return dataclasses.replace(
            _parse_glob(address), physical_function=True
        )
    return _parse_address(address, host)


def _parse_address(address: typing.Any, host: HostDevices) -> AddressPattern:
    if isinstance(address, str):
        pattern = _parse_glob(address)
    elif isinstance(address, dict):
        pattern = _parse_regex(address)
    else:
        raise _invalid_address(address)
    return _on(pattern, host)


def _on(address: AddressPattern, host: HostDevices) -> AddressPattern:
    return dataclasses.replace(
        address,
        physical_function=address.is_single
        and host.physical_function(str(address)) is not None,
    )


def _parse_glob(address: str) -> AddressPattern:
    """Read ``[[domain:]bus:]slot[.func]``, each ``*`` or hexadecimal."""
    fields = dict.fromkeys(('domain', 'bus', 'slot', 'func'), ANY)
    rest, _dot, func = address.partition('.')
    if func:
        fields['func'] = _hexadecimal('func', func.strip())
    if rest:
        parts = rest.split(':')
        if len(parts) > 3:
            raise _invalid_address(address)
        parts = [ANY] * (3 - len(parts)) + parts
        for name, part in zip(('domain', 'bus', 'slot'), parts, strict=True):
            fields[name] = _hexadecimal(name, part.strip() or ANY)
    return AddressPattern(
        fields['domain'], fields['bus'], fields['slot'], fields['func']
    )


def _parse_regex(address: Tags) -> AddressPattern:
    """Read an object of regular expressions, a field each."""
    fields = {
        name: address.get(key, _REGEX_ANY)
        for name, key in (
            ('domain', 'domain'),
            ('bus', 'bus'),
            ('slot', 'slot'),
            ('func', 'function'),
        )
    }
    try:
        for pattern in fields.values():
            re.compile(pattern)
    except re.error as exc:
        raise _invalid_address(address) from exc
    for pattern in fields.values():
        if address_pattern.ways(pattern) > _MOST_WAYS:
            raise _invalid(
                f'The regular expression {quoting.word(pattern)!r} of an '
                f'address has too many ways to match a few characters: '
                f'nova-compute may hang. Write it without repeated groups'
            )
    return AddressPattern(**fields, regex=True)


def _normal_boolean(tag: str, value: typing.Any) -> str:
    try:
        return 'true' if boolean.parse(value) else 'false'
    except ValueError as exc:
        raise _invalid(
            f"Cannot parse tag '{tag}': {quoting.cut(str(exc))}"
        ) from exc


def _check_remote_managed(spec: DeviceSpec, host: HostDevices) -> None:
    """Refuse PFs, whose representors cannot be set up."""
    if spec.address is None:
        raise exceptions.InvalidDeviceSpec(
            'Invalid PCI Whitelist: A device specified as "remote_managed" '
            'is not actually present on the host'
        )
    if not spec.address.physical_function:
        return
    if spec.devname is None:
        # Nova looks in sysfs for the name of a Python object, since these
        # classes have no __str__ (PciAddressGlobSpec, PciAddressRegexSpec).
        raise exceptions.InvalidDeviceSpec(
            f'PCI device {spec.address} not found: remote_managed requires '
            f'addresses of VFs, or a devname, not the address of their PF'
        )
    # Nova reads the file "product" of the device in sysfs, which Linux does
    # not have (nova/pci/utils.py:get_pci_ids_by_pci_addr).
    raise exceptions.InvalidDeviceSpec(f'PCI device {spec.address} not found')


@dataclasses.dataclass(frozen=True)
class Provider:
    """A resource provider that nova-compute creates for devices."""

    #: ``<hypervisor hostname>_<ADDRESS>``.
    name: str
    resource_class: str
    total: int
    traits: frozenset[str]
    devices: tuple[HostDevice, ...]


def providers(
    hypervisor_hostname: str,
    specs: collections.abc.Sequence[DeviceSpec],
    devices: collections.abc.Iterable[HostDevice],
) -> tuple[Provider, ...]:
    """Return the providers that nova-compute reports, sorted by name.

    A type-PCI or type-PF device is a provider of its own; VFs are units of
    the provider of their PF.

    :raises gpuclient.exceptions.InvalidDeviceSpec: nova-compute refuses to
        report them, with the same message
        (``pci_placement_translator.py:PciResourceProvider``).
    """
    for spec in specs:
        check_devname(spec)
    by_name: dict[str, Provider] = {}
    for device in devices:
        spec_of_device = first_match(specs, device)
        if spec_of_device is None or not spec_of_device.in_placement:
            continue
        try:
            _add(by_name, hypervisor_hostname, spec_of_device, device)
        except (AttributeError, TypeError) as exc:
            # A resource class or traits that are not strings.
            raise _unreported(exc) from exc
    return tuple(by_name[name] for name in sorted(by_name))


def check_devname(spec: DeviceSpec) -> None:
    """Check that an entry does not name an interface.

    :raises gpuclient.exceptions.InvalidDeviceSpec: It does, so that
        nova-compute does not start with ``[pci]report_in_placement``
        (``pci_placement_translator.py:ensure_no_dev_spec_with_devname``).
    """
    if spec.devname:
        raise _report(
            'Invalid [pci]device_spec configuration. PCI Placement '
            "reporting does not support 'devname' based device "
            f'specification but we got {quoting.spec(str(spec.written))}. '
            'Please use PCI address in the configuration instead.'
        )


def split_providers(
    specs: collections.abc.Sequence[DeviceSpec],
    devices: collections.abc.Iterable[HostDevice],
) -> tuple[str, ...]:
    """Return the PFs whose VFs are in several pools, by their addresses.

    With pci_in_placement Nova assigns no device of a host that has one, in
    releases that compare pools
    (``nova/pci/stats.py:PciDeviceStats._assert_one_pool_per_rp_uuid``): VFs of
    a PF are one resource provider, and pools differ if any tags of their
    entries do (``_create_pool_keys_from_dev``).
    """
    pools: dict[str, list[Tags]] = {}
    for device in devices:
        spec = first_match(specs, device)
        if (
            spec is None
            or not spec.in_placement
            or not spec.release.has(nova_changes.ONE_POOL_OF_PROVIDER)
        ):
            continue
        pool = {
            'vendor_id': device.vendor_id,
            'product_id': device.product_id,
            'dev_type': device.device_type,
            **spec.tags,
        }
        for tag in ('resource_class', 'traits', 'rp_uuid'):
            pool.pop(tag, None)
        if pool.get('remote_managed') is None and (
            device.device_type != 'type-PCI'
        ):
            pool['remote_managed'] = 'false'
        known = pools.setdefault(device.parent_address or device.address, [])
        if pool not in known:
            known.append(pool)
    return tuple(
        address for address, several in pools.items() if len(several) > 1
    )


def _report(reason: str) -> exceptions.InvalidDeviceSpec:
    # nova/exception.py:PlacementPciException
    return exceptions.InvalidDeviceSpec(
        f'Failed to gather or report PCI resources to Placement: {reason}'
    )


def _add(
    by_name: dict[str, Provider],
    hypervisor_hostname: str,
    spec: DeviceSpec,
    device: HostDevice,
) -> None:
    is_function = device.device_type == 'type-VF'
    address = device.parent_address if is_function else device.address
    if address is None:
        raise _report(f'{device.address} is a VF without a PF')
    name = f'{hypervisor_hostname}_{address.upper()}'
    present = by_name.get(name)
    if present is not None:
        # The checks are in the order of Nova.
        _check_not_related(present, device)
    resource_class = spec.resource_class(device)
    if present is not None and resource_class != present.resource_class:
        raise exceptions.InvalidDeviceSpec(
            f'VFs from the same PF cannot be configured with different '
            f"'resource_class' values in [pci]device_spec. We got "
            f'{resource_class} for {device.address} and '
            f'{present.resource_class} for {_addresses(present)}.'
        )
    traits = spec.traits
    if present is not None and traits != present.traits:
        raise exceptions.InvalidDeviceSpec(
            f'VFs from the same PF cannot be configured with different set '
            f"of 'traits' in [pci]device_spec. We got "
            f'{",".join(sorted(traits))} for {device.address} and '
            f'{",".join(sorted(present.traits))} for {_addresses(present)}.'
        )
    if is_function:
        _check_no_one_time_use(spec, name)
    elif spec.is_one_time_use:
        traits |= {'HW_PCI_ONE_TIME_USE'}
    devices = (*(present.devices if present else ()), device)
    by_name[name] = Provider(
        name, resource_class, len(devices), traits, devices
    )


def _addresses(provider: Provider) -> str:
    return ','.join(device.address for device in provider.devices)


def _check_not_related(present: Provider, device: HostDevice) -> None:
    """Refuse a PF together with its VFs."""
    if any(
        other.device_type != 'type-VF' for other in (*present.devices, device)
    ):
        raise exceptions.InvalidDeviceSpec(
            f'Configuring both {device.address} and {_addresses(present)} in '
            f'[pci]device_spec is not supported. Either the parent PF or its '
            f'children VFs can be configured.'
        )


def _check_no_one_time_use(spec: DeviceSpec, name: str) -> None:
    if spec.has_key('one_time_use'):
        raise _report(
            'Only type-PCI and type-PF devices may set one_time_use and '
            f'{name} does not qualify'
        )
