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

"""Rules about services that node sets of RHOSO need and do not deploy.

A custom service may do anything, so a node set or a deployment with an unknown
one is not checked. Pre-provisioned nodes may have been prepared before.
"""

import collections.abc

from gpuclient.model import catalogue as catalogue_model
from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import kernel
from gpuclient.rules import device_spec as device_spec_rules
from gpuclient.rules import finding
from gpuclient.rules import kernel_arguments as kernel_rules

_BIND = 'vfio-pci-bind'
_REBOOT = 'reboot-os'
_NOVA = 'nova'
_CUSTOM_NOVA = 'nova-custom'
#: Services of the operator (``openstack-operator``: ``config/services``), and
#: of the documentation of RHOSO.
_KNOWN = {
    *('redhat', 'bootstrap', 'download-cache', 'configure-network'),
    *('validate-network', 'install-os', 'configure-os', 'ssh-known-hosts'),
    *('run-os', _REBOOT, 'install-certs', 'ovn', 'libvirt', _NOVA, _BIND),
    *('neutron-metadata', 'neutron-ovn', 'neutron-sriov', 'neutron-dhcp'),
    *('ovn-bgp-agent', 'frr', 'ceph-client', 'ceph-hci-pre', 'swift'),
    *('telemetry', 'telemetry-power-monitoring', 'logging', 'fips-status'),
    *('configure-ovs-dpdk', 'instanceha-monitoring', 'cleanup'),
    *('update', 'update-services', 'update-system'),
}
#: The default services of a node set
#: (``openstack-operator``: ``openstackdataplanenodeset_types.go``).
_DEFAULT = {_REBOOT, _NOVA}
#: Drivers that bind to a card before vfio-pci does.
_RIVALS = ('nouveau', 'nvidia', 'amdgpu', 'radeon')
_VENDORS = ('10de', '1002')

_Findings = collections.abc.Iterator[finding.Located]


def check(
    node_set: deployment.NodeSet,
    data_plane: deployment.DataPlane,
    specs: collections.abc.Sequence[device_spec_rules.SpecEntry],
    catalogue: catalogue_model.Catalogue,
) -> _Findings:
    """Find services that hosts with GPUs for passthrough need.

    :param specs: The device specs of the hosts.
    """
    names = _deployed(node_set, data_plane)
    if names is None:
        return
    place = node_set.place
    if node_set.services:
        place = node_set.services[0].place
    yield from _check_nova(node_set, data_plane, names, place)
    if node_set.pre_provisioned:
        return
    arguments = node_set.settings[0].kernel_arguments
    if arguments is not None and not arguments.is_known:
        return
    line = kernel.parse('' if arguments is None else arguments.text)
    if (
        _BIND not in names
        and any(_is_gpu(entry, catalogue) for entry in specs)
        and not _is_blacklisted(line)
    ):
        yield finding.Located(
            finding.warning(
                'GPU322',
                f'The node set does not deploy {_BIND!r}: the driver of the '
                f'GPU is loaded before vfio-pci, and the card stays bound to '
                f'it. Add {_BIND} before {_REBOOT}, or blacklist the driver '
                f'in edpm_kernel_args',
            ),
            place,
        )
    if arguments is not None and line.arguments and _REBOOT not in names:
        yield finding.Located(
            finding.warning(
                'GPU323',
                f'The node set does not deploy {_REBOOT!r}: hosts run without '
                f'edpm_kernel_args ({arguments.place}) until they are '
                f'rebooted. Add {_REBOOT} after bootstrap',
            ),
            place,
        )


def _deployed(
    node_set: deployment.NodeSet, data_plane: deployment.DataPlane
) -> set[str] | None:
    """Return the types of the deployed services; None if unknown."""
    settings = (*(node_set.services or ()), *data_plane.overrides)
    if node_set.services is None and node_set.partial:
        return None
    if not all(setting.is_known for setting in settings):
        return None
    types = {service.name: service.type for service in data_plane.services}
    names = {setting.text for setting in settings}
    if node_set.services is None:
        names |= _DEFAULT
    deployed = set()
    for name in names:
        kind = types.get(name, name)
        if kind not in _KNOWN and not kind.startswith(_CUSTOM_NOVA):
            return None
        deployed |= {name, kind}
    return deployed


def _check_nova(
    node_set: deployment.NodeSet,
    data_plane: deployment.DataPlane,
    names: set[str],
    place: configuration.Place,
) -> _Findings:
    """Find configuration of a node set that no service mounts.

    Kustomize puts ``nova.pci.conf`` into a ConfigMap that the service
    ``nova`` does not mount (``architecture``: ``dt/nova/nova04delta/edpm``).
    """
    mounted = [service.process for service in data_plane.services]
    own = [
        compute
        for compute in node_set.computes
        if compute.device_specs
        and not any(compute is process for process in mounted)
    ]
    custom = [
        name
        for name in names
        if name.startswith(_CUSTOM_NOVA)
        or (name == _NOVA and _is_replaced(data_plane, names))
    ]
    if own and not custom:
        yield finding.Located(
            finding.warning(
                'GPU324',
                'The node set deploys no service that mounts the '
                f'configuration of nova-compute ({own[0].place}): '
                + (
                    f'{_NOVA!r} does not mount it'
                    if _NOVA in names
                    else 'no nova-compute is started'
                )
                + '. Add nova-custom-gpu, an OpenStackDataPlaneService of the '
                'type nova with the ConfigMap in its dataSources',
            ),
            place,
        )


def _is_replaced(data_plane: deployment.DataPlane, names: set[str]) -> bool:
    """Return whether a service of another name is of the type nova."""
    return any(
        service.name in names
        and service.type == _NOVA
        and (service.name != _NOVA or service.config_maps)
        for service in data_plane.services
    )


def _is_gpu(
    entry: device_spec_rules.SpecEntry, catalogue: catalogue_model.Catalogue
) -> bool:
    spec = entry.spec
    return kernel_rules.is_passed_through(spec) and (
        spec.vendor_id in _VENDORS
        or bool(catalogue.by_ids(spec.vendor_id, spec.product_id))
    )


def _is_blacklisted(line: kernel.CommandLine) -> bool:
    """Return whether the command line blacklists a driver of the card."""
    listed = {
        name
        for key in (
            'modprobe.blacklist',
            'module_blacklist',
            'rd.driver.blacklist',
        )
        for value in line.values(key)
        if value
        for name in value.split(',')
    }
    return bool(listed & set(_RIVALS))


def check_machine(machine: configuration.Machine) -> _Findings:
    """Find fields of a machine that the operator needs."""
    for field, consequence in machine.missing:
        yield finding.Located(
            finding.error(
                'GPU325',
                f'Bare metal host {machine.name!r} has no {field}: '
                f'{consequence}. Add it',
            ),
            machine.place,
        )
