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

"""Prepare a host for passthrough: from its state to files and commands."""

import dataclasses
import functools

from gpuclient.documents import device_specs
from gpuclient.documents.generate import created_files
from gpuclient.documents.generate import creation
from gpuclient.documents.generate import host_files
from gpuclient.documents.generate import rhoso_host
from gpuclient import exceptions
from gpuclient.host import bundle
from gpuclient.host import reader
from gpuclient.model import cpu
from gpuclient.model import host as host_model
from gpuclient.model import pci
from gpuclient.rules import device_selection
from gpuclient.rules import host_remedy

#: What ``--system`` and ``--cpu-vendor`` take.
SYSTEMS = ('debian', 'rhel', 'rhoso')
CPU_VENDORS = tuple(vendor.value for vendor in cpu.Vendor)


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user wants; None is what the host tells."""

    #: Path of a bundle; None for this machine.
    bundle: str | None
    #: PCI addresses.
    devices: tuple[str, ...]
    #: ``vendor:product``.
    ids: tuple[str, ...]
    system: str | None
    cpu_vendor: str | None
    #: More kernel arguments.
    arguments: tuple[str, ...]
    isolated_cores: str | None
    tuned_profile: str | None


@dataclasses.dataclass(frozen=True)
class PreparedHost:
    """Files and commands that prepare a host, and how to undo them."""

    system: str
    kernel_arguments: tuple[str, ...]
    files: tuple[host_files.HostFile, ...]
    commands: tuple[str, ...]
    undo: tuple[str, ...]
    #: Lines for nova-compute.
    device_specs: tuple[str, ...]


def prepare(request: Request) -> PreparedHost:
    """Return what prepares a host.

    :raises gpuclient.exceptions.GPUError: The host cannot be read, or a value
        is neither given nor known from the host.
    """
    if not request.devices and not request.ids:
        raise exceptions.InvalidValue(
            'Specify the cards for guests with --device or --id; "openstack '
            'gpu host show" lists the cards of a host'
        )
    host = _read_host(request)
    system = request.system or _system(host)
    passthrough, specs = _passthrough(request, host)
    prepared = host_files.prepare(
        passthrough, system, dracut=_uses_dracut(host, system)
    )
    is_rhoso = system == host_files.RHOSO
    return PreparedHost(
        system,
        prepared.kernel_arguments,
        rhoso_host.files(passthrough) if is_rhoso else prepared.files,
        rhoso_host.STEPS if is_rhoso else prepared.commands,
        rhoso_host.UNDO_STEPS if is_rhoso else prepared.undo,
        tuple(f'device_spec = {device_specs.render(spec)}' for spec in specs),
    )


def files(
    preparation: PreparedHost, folder: str | None
) -> list[created_files.CreatedFile]:
    """Return the files below a folder, or as they are on a new host."""
    artifacts = [
        creation.TextArtifact(
            file.path.lstrip('/'),
            file.content,
            mode=file.mode,
            settings=file.settings,
        )
        for file in preparation.files
    ]
    if folder is not None:
        read, _kept = created_files.read(folder, artifacts)
        return list(read)
    return [
        created_files.CreatedFile(file.path, None, artifact)
        for file, artifact in zip(preparation.files, artifacts, strict=True)
    ]


def _read_host(request: Request) -> host_model.Host | None:
    """Read the host; None where the request has all that is needed."""
    if request.bundle is not None:
        return bundle.read(request.bundle, initramfs=False)
    if request.devices or not (request.system and request.cpu_vendor):
        return reader.read(initramfs=False)
    return None


def _system(host: host_model.Host | None) -> str:
    system = None if host is None else host_remedy.system(host)
    if system is None:
        raise exceptions.InvalidValue(
            'The distribution or boot loader of the host is not supported. '
            'Pass --system, and set the kernel arguments as "openstack gpu '
            'host check" advises'
        )
    return system


def _uses_dracut(host: host_model.Host | None, system: str) -> bool | None:
    """Whether dracut builds the initramfs; None: the default of the system."""
    if host is None or system != host_files.DEBIAN:
        return None
    return host_remedy.uses_dracut(host)


def _cpu_vendor(host: host_model.Host | None) -> str:
    vendor = None if host is None else host.cpu_vendor
    if vendor is None:
        vendor_id = None if host is None else host.cpu_vendor_id
        raise exceptions.InvalidValue(
            f'CPU vendor {vendor_id} of the host is not Intel, AMD or Arm: '
            f'pass --cpu-vendor'
        )
    return vendor.value


def _passthrough(
    request: Request, host: host_model.Host | None
) -> tuple[host_files.Passthrough, list[dict[str, str | None]]]:
    """Return what to prepare, and the device specs of the cards."""
    ids = tuple(text.lower() for text in request.ids)
    addresses = [pci.parse_address(text) for text in request.devices]
    passthrough = functools.partial(
        host_files.Passthrough,
        cpu_vendor=request.cpu_vendor or _cpu_vendor(host),
        arguments=request.arguments,
        isolated_cores=request.isolated_cores,
        tuned_profile=request.tuned_profile or host_files.TUNED_PROFILE,
    )
    if host is None:
        by_ids = passthrough(ids=ids)
        return by_ids, [
            dict(
                zip(('vendor_id', 'product_id'), text.split(':'), strict=True)
            )
            for text in by_ids.ids
        ]
    selection = device_selection.select(host, addresses, ids)
    return passthrough(
        ids=selection.ids,
        addresses=tuple(device.address for device in selection.by_address),
        vendor_ids=selection.vendor_ids,
        rivals=selection.rivals,
        # A card that the host keeps needs the driver of its vendor.
        blacklist=() if selection.keeps_vendor else None,
        vfio_is_builtin='vfio_pci' in (host.builtin_modules or ()),
    ), [
        {
            'address': str(device.address),
            'vendor_id': device.vendor_id,
            'product_id': device.product_id,
        }
        for device in selection.devices
    ]
