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

"""What prepares a host: ``openstack gpu host config ...``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

if typing.TYPE_CHECKING:
    from gpuclient.model import host as host_model

with lazy_imports.deferred():
    from gpuclient.documents import device_specs
    from gpuclient.documents.generate import created_files
    from gpuclient.documents.generate import creation
    from gpuclient.documents.generate import host_files
    from gpuclient.documents.generate import rhoso_host
    from gpuclient import exceptions
    from gpuclient.host import bundle
    from gpuclient.host import reader
    from gpuclient.model import pci
    from gpuclient.operations import configuration_edits
    from gpuclient.osc import columns
    from gpuclient.osc import config_files
    from gpuclient.osc import options
    from gpuclient.rules import device_selection
    from gpuclient.rules import host_remedy


#: Of /proc/cpuinfo.
_CPU_VENDORS: dict[str | None, str] = {
    'GenuineIntel': 'intel',
    'AuthenticAMD': 'amd',
    'HygonGenuine': 'amd',
    'ARM': 'arm',
}


class CreateHostConfig(command.ShowOne):
    _description = """\
Create the files that prepare a host for GPU passthrough

Shows the kernel arguments, the files of modprobe.d, modules-load.d and the
initramfs, the settings of tuned, the commands to run, the device specs for
nova-compute, and how to undo it all. The cards are told to vfio-pci by their
ids, or by their addresses where the host keeps others with the same ids. The
other functions of a card, its audio, go with it.

Nothing is run. Files are written below --output, which is / for this host, and
are the same each time.

Example::

    openstack gpu host config create --device 0000:04:00.0 \\
        --isolated-cores 2-11 --output /tmp/compute-0"""

    use_of_cloud = command.CloudUse.UNUSED

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'bundle',
            metavar='<bundle>',
            nargs='?',
            help=(
                'Bundle of the host, or folder with its files (default: this '
                'machine)'
            ),
        )
        options.add_devices(
            parser, 'Device that goes to guests (repeat for several)'
        )
        parser.add_argument(
            '--id',
            metavar='<vendor:product>',
            dest='ids',
            action='append',
            default=[],
            help=(
                'Ids of devices that all go to guests (repeat for several; '
                'with --system and --cpu-vendor no host is read, so name the '
                'ids of audio functions, too)'
            ),
        )
        parser.add_argument(
            '--system',
            metavar='<system>',
            choices=('debian', 'rhel', 'rhoso'),
            help=(
                'What the host runs: debian (Debian, Ubuntu), rhel (RHEL and '
                'its like), or rhoso for a node of Red Hat OpenStack Services '
                'on OpenShift (default: debian or rhel, as the host says)'
            ),
        )
        parser.add_argument(
            '--cpu-vendor',
            metavar='<vendor>',
            choices=('intel', 'amd', 'arm'),
            help=(
                'Vendor of the CPUs: intel, amd, arm (default: as the host '
                'has)'
            ),
        )
        parser.add_argument(
            '--kernel-argument',
            metavar='<argument>',
            dest='arguments',
            action='append',
            default=[],
            help=(
                'Another kernel argument, such as hugepages=64 (repeat for '
                'several)'
            ),
        )
        parser.add_argument(
            '--isolated-cores',
            metavar='<cpus>',
            help='CPUs that tuned takes away from the host: 2-11,14',
        )
        parser.add_argument(
            '--tuned-profile',
            metavar='<profile>',
            help='Profile of tuned (default: cpu-partitioning-powersave)',
        )
        parser.add_argument(
            '--output',
            metavar='<folder>',
            help='Folder to write the files below (default: show them)',
        )
        options.add_dry_run(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[typing.Any, ...]]:
        if not parsed_args.devices and not parsed_args.ids:
            raise exceptions.InvalidValue(
                'Say which cards go to guests, with --device or --id: '
                '"openstack gpu host show" lists those of a host'
            )
        host = _host(parsed_args)
        system = parsed_args.system or _system(host)
        wanted, specs = _wanted(parsed_args, host)
        preparation = host_files.prepare(
            wanted, system, dracut=_dracut(host, system)
        )
        files, steps, undo = (
            (
                rhoso_host.files(wanted),
                rhoso_host.STEPS,
                rhoso_host.UNDO_STEPS,
            )
            if system == host_files.RHOSO
            else (preparation.files, preparation.commands, preparation.undo)
        )
        dry_run = parsed_args.dry_run or parsed_args.output is None
        edits: list[configuration_edits.Edit[typing.Any]] = [
            configuration_edits.Edit(file, [], [], [])
            for file in _files(parsed_args.output, files)
        ]
        config_files.write(self, edits, dry_run=dry_run)
        return (
            (
                'system',
                'kernel_arguments',
                'files',
                'commands',
                'undo',
                'device_specs',
            ),
            (
                system,
                ' '.join(preparation.kernel_arguments),
                config_files.present(edits, dry_run),
                columns.ListColumn(list(steps)),
                columns.ListColumn(list(undo)),
                columns.ListColumn(
                    [
                        f'device_spec = {device_specs.render(spec)}'
                        for spec in specs
                    ]
                ),
            ),
        )


def _files(
    folder: str | None, files: tuple[host_files.HostFile, ...]
) -> list[created_files.CreatedFile]:
    """Return the files below a folder, or as they are on a new host."""
    artifacts = [
        creation.TextArtifact(
            file.path.lstrip('/'),
            file.content,
            mode=file.mode,
            settings=file.settings,
        )
        for file in files
    ]
    if folder is not None:
        found, _kept = created_files.read(folder, artifacts)
        return list(found)
    return [
        created_files.CreatedFile(file.path, None, artifact)
        for file, artifact in zip(files, artifacts, strict=True)
    ]


def _host(parsed_args: argparse.Namespace) -> host_model.Host | None:
    """Read the host; None where the options say it all."""
    if parsed_args.bundle is not None:
        return bundle.read(parsed_args.bundle, initramfs=False)
    if parsed_args.devices or not (
        parsed_args.system and parsed_args.cpu_vendor
    ):
        return reader.read(initramfs=False)
    return None


def _system(host: host_model.Host | None) -> str:
    system = None if host is None else host_remedy.system(host)
    if system is None:
        raise exceptions.InvalidValue(
            'The host does not say that it is one of those that this '
            'prepares, with its boot loader: give --system, and change '
            'kernel arguments as "openstack gpu host check" says'
        )
    return system


def _dracut(host: host_model.Host | None, system: str) -> bool | None:
    """Whether dracut makes the initramfs; None: as usual for the system."""
    if host is None or system != host_files.DEBIAN:
        return None
    return host_remedy.uses_dracut(host)


def _cpu_vendor(host: host_model.Host | None) -> str:
    vendor = None if host is None else host.cpu_vendor
    if vendor not in _CPU_VENDORS:
        raise exceptions.InvalidValue(
            f'The host says that its CPUs are of {vendor}, which is not '
            'Intel, AMD or Arm: give --cpu-vendor'
        )
    return _CPU_VENDORS[vendor]


def _wanted(
    parsed_args: argparse.Namespace, host: host_model.Host | None
) -> tuple[host_files.Passthrough, list[dict[str, typing.Any]]]:
    """Return what to prepare, and the device specs for the cards."""
    ids = tuple(text.lower() for text in parsed_args.ids)
    addresses = [pci.parse_address(text) for text in parsed_args.devices]
    given = {
        'cpu_vendor': parsed_args.cpu_vendor or _cpu_vendor(host),
        'arguments': tuple(parsed_args.arguments),
        'isolated_cores': parsed_args.isolated_cores,
        'tuned_profile': parsed_args.tuned_profile or host_files.TUNED_PROFILE,
    }
    if host is None:
        wanted = host_files.Passthrough(ids=ids, **given)
        return wanted, [
            dict(zip(('vendor_id', 'product_id'), one.split(':'), strict=True))
            for one in wanted.ids
        ]
    choice = device_selection.choose(host, addresses, ids)
    return host_files.Passthrough(
        ids=choice.ids,
        addresses=tuple(device.address for device in choice.by_address),
        vendor_ids=choice.vendor_ids,
        rivals=choice.rivals,
        # A card that the host keeps needs the driver of its vendor.
        blacklist=() if choice.keeps_vendor else None,
        vfio_is_builtin='vfio_pci' in (host.builtin_modules or ()),
        **given,
    ), [
        {
            'address': str(device.address),
            'vendor_id': device.vendor_id,
            'product_id': device.product_id,
        }
        for device in choice.devices
    ]
