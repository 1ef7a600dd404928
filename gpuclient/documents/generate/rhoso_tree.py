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

"""Generate the files of a description for RHOSO.

The folders, files and keys are those of the examples of
openstack-k8s-operators/architecture (``examples/dt/nova/nova04delta``), whose
kustomizations, or the generated ones, put the values into the custom
resources.
"""

import dataclasses
import typing

from gpuclient.documents.generate import conf_options
from gpuclient.documents.generate import creation
from gpuclient.documents.generate import next_steps
from gpuclient.documents.generate import host_files
from gpuclient.documents.generate import rhoso_host
from gpuclient.documents.generate import rhoso_kustomization
from gpuclient.documents import yaml_edit
from gpuclient.documents import yaml_merge
from gpuclient import exceptions
from gpuclient.model import configuration
from gpuclient.model import cpu
from gpuclient.model import description as description_model

CONTROL_PLANE = 'control-plane/service-values.yaml'
BARE_METAL_HOSTS = 'edpm/baremetalhosts/values.yaml'
NODE_SET = 'edpm/nodeset/values.yaml'
SERVICES = 'edpm/nodeset/nova_gpu.yaml'
DEPLOYMENT_VALUES = 'edpm/deployment/values.yaml'
DEPLOYMENT = 'edpm/deployment/openstackdataplanedeployment.yaml'

#: The OpenStackDataPlaneService that replaces ``nova``.
NOVA_SERVICE = 'nova-custom-gpu'
_LOCAL = {'config.kubernetes.io/local-config': 'true'}
_COMMENT = '# local-config: referenced, but not emitted by kustomize\n'

#: Services of a node set, in the order in which they run: bootstrap sets the
#: kernel arguments, and the initramfs is rebuilt between it and the reboot.
_SERVICES = (
    'bootstrap',
    'download-cache',
    'configure-network',
    'validate-network',
    'install-os',
    'configure-os',
    rhoso_host.SERVICE,
    'ssh-known-hosts',
    'run-os',
    'reboot-os',
    'install-certs',
    'libvirt',
    'ovn',
    'neutron-ovn',
    NOVA_SERVICE,
    'neutron-metadata',
    'telemetry',
)


@dataclasses.dataclass(frozen=True)
class _Default(yaml_merge.Merge):
    """A value that is set only where there is none."""

    value: typing.Any

    def merged(self, old: typing.Any) -> typing.Any:
        return self.value if old is None else old


@dataclasses.dataclass(frozen=True)
class ServiceList(yaml_merge.Merge):
    """The services of a node set: two are added, all others are kept."""

    #: Path of the file, for messages.
    path: str

    def merged(self, old: typing.Any) -> list[str]:
        if not isinstance(old, list) or not old:
            return list(_SERVICES)
        services = list(old)
        if NOVA_SERVICE not in services:
            custom = [
                service
                for service in services
                if isinstance(service, str)
                and service.startswith('nova-custom')
            ]
            if custom:
                raise exceptions.DocumentError(
                    f'Cannot edit {self.path}: both its service {custom[0]} '
                    f'and {NOVA_SERVICE} would configure nova-compute; add '
                    'the data sources of one to the other'
                )
            if 'nova' in services:
                services[services.index('nova')] = NOVA_SERVICE
            else:
                _insert(services, NOVA_SERVICE)
        if rhoso_host.SERVICE not in services:
            _insert(services, rhoso_host.SERVICE)
        return services


def _insert(services: list[str], name: str) -> None:
    """Insert a service before the first one that has to run after it."""
    later = _SERVICES[_SERVICES.index(name) + 1 :]
    position = next(
        (at for at, service in enumerate(services) if service in later),
        len(services),
    )
    services.insert(position, name)


def create(wanted: description_model.Description) -> creation.Creation:
    """Return the files, and the next steps.

    :raises gpuclient.exceptions.InvalidData: Nova would refuse it.
    """
    warnings = creation.check(wanted)
    artifacts: list[creation.Artifact] = [
        _control_plane(wanted),
        _node_set(wanted),
        _services(wanted),
        _deployment_values(),
        _deployment(wanted),
    ]
    if wanted.hosts[0].bare_metal is not None:
        artifacts.insert(1, _bare_metal_hosts(wanted))
    artifacts += rhoso_kustomization.create(wanted)
    return creation.Creation(
        tuple(artifacts),
        tuple(next_steps.of_rhoso(wanted)),
        warnings,
        creation.providers(wanted),
        {
            rhoso_kustomization.CONTROL_PLANE_KUSTOMIZATION: (
                next_steps.OF_OWN_CONTROL_PLANE
            )
        },
    )


def _values(
    name: str, data: dict[str, typing.Any]
) -> yaml_merge.KubernetesObject:
    return yaml_merge.KubernetesObject(
        'v1',
        'ConfigMap',
        name,
        {'data': data},
        {'annotations': _LOCAL},
        _COMMENT,
        alone=True,
    )


def _control_plane(
    wanted: description_model.Description,
) -> creation.YamlArtifact:
    def config(service: str, keys: str) -> dict[str, typing.Any]:
        return {
            'customServiceConfig': conf_options.ConfMerge(
                f'{CONTROL_PLANE}, data.nova.{keys}.customServiceConfig',
                creation.control_options(wanted, service),
            )
        }

    conductor = 'conductorServiceTemplate'
    nova: dict[str, typing.Any] = {
        'apiServiceTemplate': config(configuration.API, 'apiServiceTemplate'),
        **{
            cell: {
                conductor: config(
                    configuration.CONDUCTOR, f'{cell}.{conductor}'
                )
            }
            for cell in wanted.rhoso.cells
        },
        'schedulerServiceTemplate': config(
            configuration.SCHEDULER, 'schedulerServiceTemplate'
        ),
    }
    return creation.YamlArtifact(
        CONTROL_PLANE,
        (_values('service-values', {'nova': nova}),),
        (configuration.API, configuration.CONDUCTOR, configuration.SCHEDULER),
    )


def _bare_metal_hosts(
    wanted: description_model.Description,
) -> creation.YamlArtifact:
    data: dict[str, typing.Any] = {'metal3_inspection': _Default('disabled')}
    for host in wanted.hosts:
        machine = host.bare_metal
        if machine is None:
            continue
        entry: dict[str, typing.Any] = {
            'online': machine.online,
            'labels': _labels(wanted, host),
            'bmc': {
                'address': machine.bmc_address,
                'credentialsName': machine.credentials_name,
                'disableCertificateVerification': (
                    machine.disable_certificate_verification
                ),
            },
            'bootMACAddress': machine.boot_mac_address,
        }
        if machine.root_device_hints:
            entry['rootDeviceHints'] = machine.root_device_hints
        if machine.preprovisioning_network_data is not None:
            entry['preprovisioningNetworkData'] = {
                'nmstate': yaml_edit.dump(machine.preprovisioning_network_data)
            }
        data[host.name] = entry
    return creation.YamlArtifact(
        BARE_METAL_HOSTS, (_values('baremetalhost-values', data),)
    )


def _labels(
    wanted: description_model.Description, host: description_model.ComputeHost
) -> dict[str, typing.Any]:
    """Return the labels by which the node set selects the host."""
    return {
        **{
            key: _stated(wanted, 'labels', value)
            for key, value in wanted.rhoso.labels.items()
        },
        **host.labels,
        'nodeName': host.name,
    }


def _node_set(wanted: description_model.Description) -> creation.YamlArtifact:
    first = wanted.hosts[0]
    rhoso = wanted.rhoso
    data: dict[str, typing.Any] = {
        'preProvisioned': first.bare_metal is None,
    }
    networks = {
        host.name: {
            'networkData': yaml_edit.dump(host.bare_metal.network_data)
        }
        for host in wanted.hosts
        if host.bare_metal is not None
        and host.bare_metal.network_data is not None
    }
    if networks:
        data['baremetalHostsNetworkData'] = networks
    if first.bare_metal is not None:
        data['baremetalSetTemplate'] = _bare_metal_template(wanted)
    data['nodeset'] = {
        'ansible': {
            'ansibleUser': _stated(wanted, 'cloud_user', rhoso.cloud_user),
            'ansiblePort': _Default(22),
            'ansibleVars': _variables(wanted),
        },
        'networks': _stated(wanted, 'networks', _networks(wanted)),
        'nodes': {host.name: _node(wanted, host) for host in wanted.hosts},
        'services': ServiceList(NODE_SET),
    }
    data['nova'] = _nova_values(wanted)
    return creation.YamlArtifact(
        NODE_SET,
        (_values('edpm-nodeset-values', data),),
        (configuration.COMPUTE,),
    )


def _bare_metal_template(
    wanted: description_model.Description,
) -> dict[str, typing.Any]:
    rhoso = wanted.rhoso
    password_secret = {
        'name': rhoso.password_secret,
        'namespace': rhoso.namespace,
    }
    return {
        'ctlplaneInterface': rhoso.ctlplane_interface,
        'cloudUserName': _stated(wanted, 'cloud_user', rhoso.cloud_user),
        'deploymentSSHSecret': _stated(
            wanted, 'ssh_key_secret', rhoso.ssh_key_secret
        ),
        'bmhNamespace': _stated(wanted, 'namespace', rhoso.namespace),
        'bmhLabelSelector': _stated(wanted, 'labels', rhoso.labels),
        'passwordSecret': _stated(wanted, 'password_secret', password_secret),
    }


def _nova_values(
    wanted: description_model.Description,
) -> dict[str, typing.Any]:
    """Return the nova.conf files of the computes, as values."""
    first = wanted.hosts[0]
    return {
        name: {
            'conf': conf_options.ConfMerge(
                f'{NODE_SET}, data.nova.{name}.conf', options
            )
        }
        for name, options in (
            ('compute', creation.compute_options(first)),
            ('pci', creation.pci_options(wanted, first)),
        )
        if options
    }


def _stated(
    wanted: description_model.Description, key: str, value: typing.Any
) -> typing.Any:
    """Return a value, as a default if the description does not state it."""
    return value if key in wanted.rhoso.stated else _Default(value)


def _variables(wanted: description_model.Description) -> dict[str, typing.Any]:
    first = wanted.hosts[0]
    ready = rhoso_host.variables(creation.passthrough(wanted, first))
    arguments = ready['edpm_kernel_args'].split(' ')
    if first.cpu_vendor == host_files.AMD:
        # The kernel ignores it, but it explains to readers, and to "gpu config
        # check", why intel_iommu=on is missing.
        arguments.append('amd_iommu=on')
    variables: dict[str, typing.Any] = {
        'edpm_kernel_args': creation.KernelArguments(tuple(arguments)),
        'edpm_reboot_strategy': _stated(
            wanted, 'reboot_strategy', wanted.rhoso.reboot_strategy
        ),
    }
    if first.dedicated is not None:
        variables['edpm_tuned_profile'] = _stated(
            wanted, 'tuned_profile', wanted.rhoso.tuned_profile
        )
        variables['edpm_tuned_isolated_cores'] = _CPUs(first.dedicated)
    return {**variables, **wanted.rhoso.ansible_vars}


@dataclasses.dataclass(frozen=True)
class _CPUs(yaml_merge.Merge):
    """CPUs; another spelling of the same CPUs is kept."""

    cpus: frozenset[int]

    def merged(self, old: typing.Any) -> str:
        if isinstance(old, str):
            try:
                if cpu.parse_tuned(old) == self.cpus:
                    return old
            except exceptions.InvalidValue:
                pass
        return cpu.render(self.cpus)


def _networks(
    wanted: description_model.Description,
) -> list[dict[str, typing.Any]]:
    return [
        {
            **({'defaultRoute': True} if network.default_route else {}),
            'name': network.name,
            'subnetName': network.subnet_name,
        }
        for network in wanted.rhoso.networks
    ]


def _node(
    wanted: description_model.Description, host: description_model.ComputeHost
) -> dict[str, typing.Any]:
    node: dict[str, typing.Any] = {'hostName': host.name}
    if host.bare_metal is not None:
        node['bmhLabelSelector'] = {'nodeName': host.name}
        if host.bare_metal.network_data is not None:
            node['networkData'] = {
                'name': f'{host.name}-network-data',
                'namespace': wanted.rhoso.namespace,
            }
    if host.fixed_ips:
        node['networks'] = [
            {
                **network,
                **(
                    {'fixedIP': host.fixed_ips[network['name']]}
                    if network['name'] in host.fixed_ips
                    else {}
                ),
            }
            for network in _networks(wanted)
        ]
    return node


def _services(wanted: description_model.Description) -> creation.YamlArtifact:
    maps = tuple(rhoso_kustomization.maps(wanted).values())
    namespace = {'namespace': wanted.rhoso.namespace}
    config_maps = (
        yaml_merge.KubernetesObject(
            'v1',
            'ConfigMap',
            name,
            # kustomize replaces it by the value of the node set.
            {'data': {file: _Default('_replaced_')}},
            namespace,
        )
        for name, file in maps
    )
    nova_service = yaml_merge.KubernetesObject(
        rhoso_kustomization.DATA_PLANE,
        'OpenStackDataPlaneService',
        NOVA_SERVICE,
        {'spec': _nova_service_spec(wanted, [name for name, _file in maps])},
        namespace,
    )
    playbook = rhoso_host.playbook(
        creation.passthrough(wanted, wanted.hosts[0])
    )
    host_service = yaml_merge.KubernetesObject(
        rhoso_kustomization.DATA_PLANE,
        'OpenStackDataPlaneService',
        rhoso_host.SERVICE,
        {'spec': {'playbookContents': playbook}},
        namespace,
    )
    return creation.YamlArtifact(
        SERVICES,
        (*config_maps, nova_service, host_service),
        (configuration.COMPUTE,),
    )


def _nova_service_spec(
    wanted: description_model.Description, config_maps: list[str]
) -> dict[str, typing.Any]:
    cell = wanted.rhoso.cells[-1]
    sources = (
        *({'configMapRef': {'name': name}} for name in config_maps),
        {'secretRef': {'name': f'nova-{cell}-compute-config'}},
        {'secretRef': {'name': 'nova-migration-ssh-key'}},
    )
    certificates = {
        'default': {
            'contents': ['dnsnames', 'ips'],
            'networks': ['ctlplane'],
            'issuer': 'osp-rootca-issuer-internal',
        }
    }
    return {
        'edpmServiceType': 'nova',
        'dataSources': _Items(sources),
        'playbook': 'osp.edpm.nova',
        'tlsCerts': _Default(certificates),
        'caCerts': _Default('combined-ca-bundle'),
        'containerImageFields': _Default(['NovaComputeImage']),
    }


@dataclasses.dataclass(frozen=True)
class _Items(yaml_merge.Merge):
    """Items that a list must contain; other items are kept."""

    items: tuple[typing.Any, ...]

    def merged(self, old: typing.Any) -> list[typing.Any]:
        present = list(old) if isinstance(old, list) else []
        missing = [item for item in self.items if item not in present]
        return [*present, *missing]


def _deployment_values() -> creation.YamlArtifact:
    return creation.YamlArtifact(
        DEPLOYMENT_VALUES, (_values('edpm-deployment-values', {}),)
    )


def _deployment(
    wanted: description_model.Description,
) -> creation.YamlArtifact:
    return creation.YamlArtifact(
        DEPLOYMENT,
        (
            yaml_merge.KubernetesObject(
                rhoso_kustomization.DATA_PLANE,
                'OpenStackDataPlaneDeployment',
                wanted.rhoso.deployment,
                {'spec': {'nodeSets': _Items((wanted.rhoso.node_set,))}},
                {'namespace': wanted.rhoso.namespace},
            ),
        ),
    )
