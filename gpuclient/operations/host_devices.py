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

"""The PCI devices of hosts, with the names of their models."""

import collections.abc
import dataclasses
import typing

from gpuclient.documents import pci_ids
from gpuclient import exceptions
from gpuclient.host import bundle
from gpuclient.host import reader
from gpuclient.model import catalogue
from gpuclient.model import host as host_model
from gpuclient.model import partial_result
from gpuclient.model import pci

Report: typing.TypeAlias = collections.abc.Callable[
    [collections.abc.Iterable[partial_result.Failure]], None
]


def read_hosts(
    bundles: collections.abc.Sequence[str],
    report: Report,
    *,
    initramfs: bool,
) -> collections.abc.Iterator[host_model.Host]:
    """Yield the hosts of bundles, or this machine.

    :param report: Called with a bundle that cannot be read.
    :param initramfs: Read the initramfs, too.
    :raises gpuclient.exceptions.HostError: The only host cannot be read.
    """
    if not bundles:
        yield reader.read(initramfs=initramfs)
    for path in bundles:
        try:
            yield bundle.read(path, initramfs=initramfs)
        except exceptions.HostError as exc:
            if len(bundles) == 1:
                raise
            report([partial_result.Failure(path, str(exc))])


def select(
    host: host_model.Host,
    addresses: collections.abc.Container[pci.Address],
    *,
    all_devices: bool,
) -> list[host_model.PciDevice]:
    """Return devices of a host: its GPUs, if none is named.

    :param all_devices: All PCI devices.
    """
    return [
        device
        for device in host.devices
        if all_devices
        or (device.address in addresses if addresses else device.is_gpu)
    ]


@dataclasses.dataclass
class ModelNames:
    """Names of devices, from the catalogue or the database of PCI ids."""

    models: catalogue.Catalogue
    _names: pci_ids.Names | None = None

    def of(self, device: host_model.PciDevice) -> str | None:
        models = self.models.by_ids(
            device.vendor_id, device.product_id, device.subsystem
        )
        if models:
            return ' / '.join(model.name for model in models)
        if device.vendor_id is None or device.product_id is None:
            return None
        if self._names is None:
            # Some megabytes, read only if a device needs it.
            self._names = pci_ids.load() or pci_ids.Names('', {}, {})
        name = self._names.device(device.vendor_id, device.product_id)
        vendor = self._names.vendor(device.vendor_id)
        return f'{vendor} {name}' if name is not None else vendor
