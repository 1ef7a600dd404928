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
    """Find cards that are to be passed through and divided as well.

    :param specs: Of the service.
    """
    setting = service.last(
        'devices', 'enabled_mdev_types', 'enabled_vgpu_types'
    )
    if setting is None or not setting.is_known:
        return
    given = [one for one in specs if kernel_rules.is_passed_through(one.spec)]
    types = [one.strip() for one in setting.text.split(',') if one.strip()]
    if not types:
        return
    own = False
    for name in types:
        for section in (f'mdev_{name}', f'vgpu_{name}'):
            addresses = service.last(section.lower(), 'device_addresses')
            if addresses is None:
                continue
            own = True
            for address in addresses.text.split(','):
                for one in given:
                    if _names(one.spec, address.strip()):
                        yield finding.Located(
                            finding.error(
                                'GPU314',
                                f'{address.strip()} is to be divided into '
                                f'{name}, and {one.setting.place} passes it '
                                f'through: it cannot be both',
                            ),
                            addresses.place,
                        )
    if own:
        return
    for one in given:
        models = catalogue.by_ids(one.spec.vendor_id, one.spec.product_id)
        if models:
            yield finding.Located(
                finding.warning(
                    'GPU314',
                    f'[devices]enabled_mdev_types is for cards that are '
                    f'divided, and {one.setting.place} passes '
                    f'{models[0].name} through: leave it out, or name the '
                    f'divided cards in [mdev_{types[0]}]device_addresses',
                ),
                setting.place,
            )
            return


def _names(spec: device_spec.DeviceSpec, address: str) -> bool:
    """Return whether an entry names the very address."""
    found = spec.address
    if found is None or found.regex or device_spec.ANY in found.fields:
        return False
    domain, bus, slot, function = found.fields
    try:
        return pci.parse_address(address) == pci.parse_address(
            f'{domain:0>4}:{bus:0>2}:{slot:0>2}.{function}'
        )
    except exceptions.InvalidAddress:
        return False
