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

"""Devices that compute hosts are expected to report to Placement."""

import collections.abc

from gpuclient.documents import catalogue as catalogue_documents
from gpuclient.documents.generate import created_files
from gpuclient.documents.generate import creation
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import device_spec
from gpuclient.model import expectation


def read(
    paths: collections.abc.Iterable[str], host: str | None
) -> list[expectation.Expectation]:
    """Return the devices that compute hosts are expected to report.

    :param paths: Descriptions for "config create", or files and folders of
        configuration.
    :param host: The host of configuration that does not name it.
    :raises gpuclient.exceptions.GPUError: A file cannot be read, or hosts
        report no devices with it.
    """
    return [expected for path in paths for expected in _read(path, host)]


def _read(
    path: str, host: str | None
) -> collections.abc.Iterator[expectation.Expectation]:
    configuration_tree = tree.read([path])
    known = configuration_tree.deployment
    if not known.processes and not configuration_tree.unread:
        description = created_files.read_description(
            path, catalogue_documents.load(None)
        )
        if not description.report_in_placement:
            raise exceptions.InvalidValue(
                f'{path} has "report_in_placement: false", so nova-compute '
                f'reports no devices to Placement'
            )
        yield from expectation.of_providers(
            creation.providers(description), path
        )
        return
    for file in configuration_tree.unreadable:
        raise exceptions.DocumentError(tree.unreadable_message(file))
    computes = [
        process
        for process in known.of_kind(configuration.COMPUTE)
        if process.device_specs
    ]
    if not computes:
        raise exceptions.NotFound(
            f'{path} has no [pci]device_spec for nova-compute'
        )
    for compute in computes:
        if not compute.report_in_placement:
            raise exceptions.InvalidValue(
                f'{compute.place} does not set [pci]report_in_placement to '
                'True, so nova-compute reports no devices to Placement'
            )
        specs = tuple(_specs(compute))
        for name in _hosts(known, compute, host):
            yield from expectation.of_specs(name, specs)


def _hosts(
    known: deployment.Deployment,
    compute: deployment.Process,
    host: str | None,
) -> tuple[str, ...]:
    if compute.host is not None:
        return (compute.host,)
    node_set = known.node_set_of(compute)
    names = tuple(node.name for node in node_set.nodes) if node_set else ()
    if names:
        return names
    setting = compute.last('DEFAULT', 'host')
    if setting is not None and setting.is_known:
        return (setting.text,)
    if host is None:
        raise exceptions.InvalidValue(
            f'{compute.place} does not name its host: pass --host'
        )
    return (host,)


def _specs(
    compute: deployment.Process,
) -> collections.abc.Iterator[tuple[device_spec.DeviceSpec, str]]:
    for setting in compute.device_specs:
        if setting.depends:
            continue
        try:
            specs = device_spec.parse(setting.text)
        except exceptions.InvalidDeviceSpec as exc:
            raise exceptions.InvalidDeviceSpec(
                f'{setting.place}: {exc}'
            ) from exc
        for spec in specs:
            yield spec, str(setting.place)
