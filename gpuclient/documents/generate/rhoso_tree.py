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

"""A description as the files of RHOSO.

The folders, files and keys are those of the examples of
openstack-k8s-operators/architecture (``examples/dt/nova/nova04delta``), whose
kustomizations, or ours, carry the values into the custom resources.
"""

import collections.abc
import dataclasses
import typing

from gpuclient.documents.generate import conf_options
from gpuclient.documents.generate import creation
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

#: The OpenStackDataPlaneService that takes the place of ``nova``.
NOVA_SERVICE = 'nova-custom-gpu'
_LOCAL = {'config.kubernetes.io/local-config': 'true'}
_COMMENT = '# local-config: referenced, but not emitted by kustomize\n'

#: Services of a node set, in the order in which they run. The kernel
#: arguments are set by bootstrap, and the initramfs is made after it and
#: before the reboot.
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


#: Sets ``customServiceConfig`` of Nova and nothing else of the control plane.
_APPLY_PART = (
    f'kustomize build {creation.OUTPUT}/control-plane | '
    f'oc apply --server-side -f -'
)
_CONFLICT = (
    'If oc reports a conflict with another manager of a customServiceConfig: '
    'add the lines that it has there to '
    f'{creation.OUTPUT}/control-plane/service-values.yaml, and apply again '
    'with --force-conflicts'
)
#: Where the kustomization is that of a whole control plane.
_APPLY_WHOLE = (
    f'kustomize build {creation.OUTPUT}/control-plane | oc apply -f -'
)


@dataclasses.dataclass(frozen=True)
class _Default(yaml_merge.Merge):
    """A value for where there is none."""

    value: typing.Any

    def merged(self, old: typing.Any) -> typing.Any:
        return self.value if old is None else old


@dataclasses.dataclass(frozen=True)
class ServiceList(yaml_merge.Merge):
    """The services of a node set: ours in their places, others as they are."""

    #: For messages.
    path: str

    def merged(self, old: typing.Any) -> list[str]:
        if not isinstance(old, list) or not old:
            return list(_SERVICES)
        found = list(old)
        if NOVA_SERVICE not in found:
            other = [
                one
                for one in found
                if isinstance(one, str) and one.startswith('nova-custom')
            ]
            if other:
                raise exceptions.DocumentError(
                    f'Cannot edit {self.path}: service {other[0]} is there, '
                    f'and {NOVA_SERVICE} would configure nova-compute, too; '
                    'add '
                    'the data sources of one to the other'
                )
            if 'nova' in found:
                found[found.index('nova')] = NOVA_SERVICE
            else:
                _insert(found, NOVA_SERVICE)
        if rhoso_host.SERVICE not in found:
            _insert(found, rhoso_host.SERVICE)
        return found


def _insert(found: list[str], name: str) -> None:
    """Put a service before the first that runs after it."""
    later = _SERVICES[_SERVICES.index(name) + 1 :]
    found.insert(
        next(
            (at for at, other in enumerate(found) if other in later),
            len(found),
        ),
        name,
    )


def create(wanted: description_model.Description) -> creation.Creation:
    """Return the files, and what is left to do.

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
        tuple(_next_steps(wanted)),
        warnings,
        creation.providers(wanted),
        {
            rhoso_kustomization.CONTROL_PLANE_KUSTOMIZATION: {
                _APPLY_PART: _APPLY_WHOLE,
                _CONFLICT: '',
            }
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
        found = host.bare_metal
        if found is None:
            continue
        entry: dict[str, typing.Any] = {
            'online': found.online,
            'labels': _labels(wanted, host),
            'bmc': {
                'address': found.bmc_address,
                'credentialsName': found.credentials_name,
                'disableCertificateVerification': (
                    found.disable_certificate_verification
                ),
            },
            'bootMACAddress': found.boot_mac_address,
        }
        if found.root_device_hints:
            entry['rootDeviceHints'] = found.root_device_hints
        if found.preprovisioning_network_data is not None:
            entry['preprovisioningNetworkData'] = {
                'nmstate': yaml_edit.dump(found.preprovisioning_network_data)
            }
        data[host.name] = entry
    return creation.YamlArtifact(
        BARE_METAL_HOSTS, (_values('baremetalhost-values', data),)
    )


def _labels(
    wanted: description_model.Description, host: description_model.ComputeHost
) -> dict[str, typing.Any]:
    """Return labels that the selectors of the node set find the host by."""
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
        data['baremetalSetTemplate'] = {
            'ctlplaneInterface': rhoso.ctlplane_interface,
            'cloudUserName': _stated(wanted, 'cloud_user', rhoso.cloud_user),
            'deploymentSSHSecret': _stated(
                wanted, 'ssh_key_secret', rhoso.ssh_key_secret
            ),
            'bmhNamespace': _stated(wanted, 'namespace', rhoso.namespace),
            'bmhLabelSelector': _stated(wanted, 'labels', rhoso.labels),
            'passwordSecret': _stated(
                wanted,
                'password_secret',
                {
                    'name': rhoso.password_secret,
                    'namespace': rhoso.namespace,
                },
            ),
        }
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
    data['nova'] = {
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
    return creation.YamlArtifact(
        NODE_SET,
        (_values('edpm-nodeset-values', data),),
        (configuration.COMPUTE,),
    )


def _stated(
    wanted: description_model.Description, key: str, value: typing.Any
) -> typing.Any:
    """Return a value; one that nobody stated gives way to what is there."""
    return value if key in wanted.rhoso.stated else _Default(value)


def _variables(wanted: description_model.Description) -> dict[str, typing.Any]:
    first = wanted.hosts[0]
    ready = rhoso_host.variables(creation.passthrough(wanted, first))
    arguments = ready['edpm_kernel_args'].split(' ')
    if first.cpu_vendor == host_files.AMD:
        # The kernel does without: it tells readers, and "gpu config check",
        # why there is no intel_iommu=on.
        arguments.append('amd_iommu=on')
    found: dict[str, typing.Any] = {
        'edpm_kernel_args': creation.KernelArguments(tuple(arguments)),
        'edpm_reboot_strategy': _stated(
            wanted, 'reboot_strategy', wanted.rhoso.reboot_strategy
        ),
    }
    if first.dedicated is not None:
        found['edpm_tuned_profile'] = _stated(
            wanted, 'tuned_profile', wanted.rhoso.tuned_profile
        )
        found['edpm_tuned_isolated_cores'] = _CPUs(first.dedicated)
    return {**found, **wanted.rhoso.ansible_vars}


@dataclasses.dataclass(frozen=True)
class _CPUs(yaml_merge.Merge):
    """CPUs, in whatever spelling is there."""

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
    first = wanted.hosts[0]
    maps = tuple(rhoso_kustomization.maps(wanted).values())
    cell = wanted.rhoso.cells[-1]
    sources = [
        *({'configMapRef': {'name': name}} for name, _file in maps),
        {'secretRef': {'name': f'nova-{cell}-compute-config'}},
        {'secretRef': {'name': 'nova-migration-ssh-key'}},
    ]
    namespace = {'namespace': wanted.rhoso.namespace}
    return creation.YamlArtifact(
        SERVICES,
        (
            *(
                yaml_merge.KubernetesObject(
                    'v1',
                    'ConfigMap',
                    name,
                    # Its content comes from the values of the node set.
                    {'data': {file: _Default('_replaced_')}},
                    namespace,
                )
                for name, file in maps
            ),
            yaml_merge.KubernetesObject(
                rhoso_kustomization.DATA_PLANE,
                'OpenStackDataPlaneService',
                NOVA_SERVICE,
                {
                    'spec': {
                        'edpmServiceType': 'nova',
                        'dataSources': _Items(tuple(sources)),
                        'playbook': 'osp.edpm.nova',
                        'tlsCerts': _Default(
                            {
                                'default': {
                                    'contents': ['dnsnames', 'ips'],
                                    'networks': ['ctlplane'],
                                    'issuer': 'osp-rootca-issuer-internal',
                                }
                            }
                        ),
                        'caCerts': _Default('combined-ca-bundle'),
                        'containerImageFields': _Default(['NovaComputeImage']),
                    }
                },
                namespace,
            ),
            yaml_merge.KubernetesObject(
                rhoso_kustomization.DATA_PLANE,
                'OpenStackDataPlaneService',
                rhoso_host.SERVICE,
                {
                    'spec': {
                        'playbookContents': rhoso_host.playbook(
                            creation.passthrough(wanted, first)
                        )
                    }
                },
                namespace,
            ),
        ),
        (configuration.COMPUTE,),
    )


@dataclasses.dataclass(frozen=True)
class _Items(yaml_merge.Merge):
    """Items of a list, beside those that are there."""

    items: tuple[typing.Any, ...]

    def merged(self, old: typing.Any) -> list[typing.Any]:
        found = list(old) if isinstance(old, list) else []
        return [*found, *(one for one in self.items if one not in found)]


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


def _next_steps(
    wanted: description_model.Description,
) -> collections.abc.Iterator[str]:
    rhoso = wanted.rhoso
    yield from creation.tracking_steps(wanted)
    secrets = [rhoso.ssh_key_secret, 'nova-migration-ssh-key']
    if wanted.hosts[0].bare_metal is not None:
        secrets.append(rhoso.password_secret)
        secrets += [
            host.bare_metal.credentials_name
            for host in wanted.hosts
            if host.bare_metal is not None
        ]
    yield (
        f'Make sure that namespace {rhoso.namespace} has the secrets '
        f'{", ".join(dict.fromkeys(secrets))}'
    )
    yield creation.CHECK
    yield _APPLY_PART
    yield _CONFLICT
    folders = ['edpm/nodeset', 'edpm/deployment']
    if wanted.hosts[0].bare_metal is not None:
        folders.insert(0, 'edpm/baremetalhosts')
    for folder in folders:
        yield (f'kustomize build {creation.OUTPUT}/{folder} | oc apply -f -')
    yield (
        f'If the node set is deployed already, create an '
        f'OpenStackDataPlaneDeployment with another name than '
        f'{rhoso.deployment}; with edpm_reboot_strategy auto it does not '
        f'reboot the hosts: migrate the servers and reboot them'
    )
    yield 'openstack gpu alias verify ' + ' '.join(
        alias.name for alias in wanted.aliases
    )
