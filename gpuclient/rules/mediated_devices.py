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

"""Rules about mediated devices on cards that are passed through.

``[devices]enabled_mdev_types`` needs the vendor's driver on the card,
passthrough binds the card to vfio-pci.
"""

import collections.abc

from gpuclient import exceptions
from gpuclient.model import catalogue as catalogue_model
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import device_spec
from gpuclient.model import pci
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import finding
from gpuclient.rules import kernel_arguments as kernel_rules


def check(
    service: deployment.Process,
    specs: collections.abc.Sequence[device_spec_rules.SpecEntry],
    catalogue: catalogue_model.Catalogue,
) -> collections.abc.Iterator[finding.Located]:
    """Find cards that are passed through and have mediated devices.

    :param specs: Of the service.
    """
    setting = service.last(
        'devices', 'enabled_mdev_types', 'enabled_vgpu_types'
    )
    if setting is None or not setting.is_known:
        return
    passed_through = [
        entry for entry in specs if kernel_rules.is_passed_through(entry.spec)
    ]
    types = [name.strip() for name in setting.text.split(',') if name.strip()]
    if not types:
        return
    of_types = [*_addresses(service, types)]
    for mdev_type, addresses in of_types:
        yield from _check_addresses(mdev_type, addresses, passed_through)
    if of_types:
        return
    for entry in passed_through:
        models = catalogue.by_ids(entry.spec.vendor_id, entry.spec.product_id)
        if models:
            yield finding.Located(
                finding.warning(
                    'GPU314',
                    f'[devices]enabled_mdev_types may create mediated '
                    f'devices on {models[0].name}, which '
                    f'{entry.setting.place} passes through: a card cannot be '
                    f'used for both. Remove it, or list the cards for '
                    f'mediated devices in [mdev_{types[0]}]device_addresses',
                ),
                setting.place,
            )
            return


def _addresses(
    service: deployment.Process, types: collections.abc.Iterable[str]
) -> collections.abc.Iterator[tuple[str, configuration.Setting]]:
    """Yield ``device_addresses`` of the types of mediated devices."""
    for mdev_type in types:
        for section in (f'mdev_{mdev_type}', f'vgpu_{mdev_type}'):
            addresses = service.last(section.lower(), 'device_addresses')
            if addresses is not None:
                yield mdev_type, addresses


def _check_addresses(
    mdev_type: str,
    addresses: configuration.Setting,
    passed_through: collections.abc.Sequence[device_spec_rules.SpecEntry],
) -> collections.abc.Iterator[finding.Located]:
    for text in addresses.text.split(','):
        address = text.strip()
        for entry in passed_through:
            if _has_address(entry.spec, address):
                yield finding.Located(
                    finding.error(
                        'GPU314',
                        f'[mdev_{mdev_type}]device_addresses has {address}, '
                        f'which {entry.setting.place} passes through: a card '
                        f'cannot be used for both. Remove one of them',
                    ),
                    addresses.place,
                )


def _has_address(spec: device_spec.DeviceSpec, address: str) -> bool:
    """Return whether an entry is for an address alone."""
    pattern = spec.address
    if pattern is None or pattern.regex or device_spec.ANY in pattern.fields:
        return False
    domain, bus, slot, function = pattern.fields
    try:
        return pci.parse_address(address) == pci.parse_address(
            f'{domain:0>4}:{bus:0>2}:{slot:0>2}.{function}'
        )
    except exceptions.InvalidAddress:
        return False
