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

"""Kustomizations that put the values of a description into objects.

They follow those of openstack-k8s-operators/architecture (``lib/dataplane``
and ``dt/nova/nova04delta``), but for any number of hosts, and with the names
of secrets instead of secrets in files.
"""

import collections.abc
import posixpath
import typing

from gpuclient.documents.generate import creation
from gpuclient.documents.generate import host_files
from gpuclient.documents import yaml_edit
from gpuclient.model import description as description_model

_NAME = 'kustomization.yaml'
CONTROL_PLANE = 'control-plane'
#: If another one is there, it builds a whole control plane.
CONTROL_PLANE_KUSTOMIZATION = posixpath.join(CONTROL_PLANE, _NAME)
_BARE_METAL_HOSTS = 'edpm/baremetalhosts'
_NODE_SET = 'edpm/nodeset'
_DEPLOYMENT = 'edpm/deployment'
#: ConfigMaps with the values.
_HOST_VALUES = 'baremetalhost-values'
_NODE_SET_VALUES = 'edpm-nodeset-values'

DATA_PLANE = 'dataplane.openstack.org/v1beta1'
#: ConfigMaps that nova-compute mounts, and the file in each.
CPU_MAP = ('cpu-pinning-nova', '25-cpu-pinning-nova.conf')
PCI_MAP = ('gpu-nova', '03-gpu-nova.conf')

Record: typing.TypeAlias = dict[str, typing.Any]


def create(
    wanted: description_model.Description,
) -> collections.abc.Iterator[creation.TextArtifact]:
    """Yield the kustomizations, and the objects whose fields they set."""
    yield from _control_plane(wanted)
    if any(host.bare_metal is not None for host in wanted.hosts):
        yield from _bare_metal_hosts(wanted)
    yield from _node_set(wanted)
    yield _kustomization(
        _DEPLOYMENT, ['values.yaml', 'openstackdataplanedeployment.yaml'], []
    )


def _control_plane(
    wanted: description_model.Description,
) -> collections.abc.Iterator[creation.TextArtifact]:
    """Yield a partial OpenStackControlPlane and its kustomization.

    It has nothing but the configuration of Nova, for a server-side apply.
    """
    conductor = 'conductorServiceTemplate'
    fields = {
        'apiServiceTemplate': 'apiServiceTemplate',
        **{
            f'{cell}.{conductor}': f'cellTemplates.{cell}.{conductor}'
            for cell in wanted.rhoso.cells
        },
        'schedulerServiceTemplate': 'schedulerServiceTemplate',
    }
    name = wanted.rhoso.control_plane
    yield _kustomization(
        CONTROL_PLANE,
        ['service-values.yaml', 'openstackcontrolplane.yaml'],
        [
            _replacement(
                'service-values',
                f'data.nova.{field}.customServiceConfig',
                'OpenStackControlPlane',
                name,
                f'spec.nova.template.{target}.customServiceConfig',
            )
            for field, target in fields.items()
        ],
    )
    yield _objects(
        CONTROL_PLANE,
        'openstackcontrolplane.yaml',
        [
            {
                'apiVersion': 'core.openstack.org/v1beta1',
                'kind': 'OpenStackControlPlane',
                'metadata': {
                    'name': name,
                    'namespace': wanted.rhoso.namespace,
                },
            }
        ],
    )


def _kustomization(
    folder: str, resources: list[str], replacements: list[Record]
) -> creation.TextArtifact:
    path = posixpath.join(folder, _NAME)
    kustomization: Record = {
        'apiVersion': 'kustomize.config.k8s.io/v1beta1',
        'kind': 'Kustomization',
        'resources': resources,
    }
    if replacements:
        kustomization['replacements'] = replacements
    return creation.TextArtifact(path, _text([kustomization]), part_of=path)


def _objects(
    folder: str, name: str, objects: list[Record]
) -> creation.TextArtifact:
    return creation.TextArtifact(
        posixpath.join(folder, name),
        _text(objects),
        part_of=posixpath.join(folder, _NAME),
    )


def _text(objects: list[Record]) -> str:
    return ''.join(
        [
            f'{host_files.MARK}\n',
            *(f'---\n{yaml_edit.dump(record)}' for record in objects),
        ]
    )


def _replacement(
    source: str, field: str, kind: str, name: str, target: str
) -> Record:
    """Return a replacement of a field of an object by a value.

    :param source: Name of the ConfigMap with the values.
    :param field: Path of the value.
    :param target: Path of the field.
    """
    return {
        'source': {'kind': 'ConfigMap', 'name': source, 'fieldPath': field},
        'targets': [
            {
                'select': {'kind': kind, 'name': name},
                'fieldPaths': [target],
                'options': {'create': True},
            }
        ],
    }


def _escaped(key: str) -> str:
    """Return a key as paths of kustomize spell it."""
    return key.replace('.', '\\.')


def _secret(name: str, namespace: str) -> Record:
    return {
        'apiVersion': 'v1',
        'kind': 'Secret',
        'metadata': {'name': name, 'namespace': namespace},
        'type': 'Opaque',
        'stringData': {},
    }


def _bare_metal_hosts(
    wanted: description_model.Description,
) -> collections.abc.Iterator[creation.TextArtifact]:
    namespace = wanted.rhoso.namespace
    objects: list[Record] = []
    replacements = [_inspection()]
    for host in wanted.hosts:
        if host.bare_metal is not None:
            host_objects, host_replacements = _bare_metal_host(
                host.name, host.bare_metal, namespace
            )
            objects += host_objects
            replacements += host_replacements
    yield _kustomization(
        _BARE_METAL_HOSTS, ['values.yaml', 'baremetalhosts.yaml'], replacements
    )
    yield _objects(_BARE_METAL_HOSTS, 'baremetalhosts.yaml', objects)


def _inspection() -> Record:
    """Return the replacement of an annotation of all BareMetalHosts."""
    replacement = _replacement(
        _HOST_VALUES,
        'data.metal3_inspection',
        'BareMetalHost',
        '',
        r'metadata.annotations.inspect\.metal3\.io',
    )
    del replacement['targets'][0]['select']['name']
    return replacement


def _bare_metal_host(
    name: str, machine: description_model.BareMetal, namespace: str
) -> tuple[list[Record], list[Record]]:
    """Return the objects of a host, and the replacements in them."""
    fields = {
        'metadata.labels': 'labels',
        'spec.bmc': 'bmc',
        'spec.bootMACAddress': 'bootMACAddress',
        'spec.online': 'online',
    }
    if machine.root_device_hints:
        fields['spec.rootDeviceHints'] = 'rootDeviceHints'
    spec: Record = {
        'architecture': 'x86_64',
        'automatedCleaningMode': 'metadata',
        'bootMode': 'UEFI',
        'online': True,
    }
    data = f'data.{_escaped(name)}'
    objects = []
    replacements = []
    if machine.preprovisioning_network_data is not None:
        secret = f'{name}-preprovision-network-data'
        spec['preprovisioningNetworkDataName'] = secret
        objects.append(_secret(secret, namespace))
        replacements.append(
            _replacement(
                _HOST_VALUES,
                f'{data}.preprovisioningNetworkData',
                'Secret',
                secret,
                'stringData',
            )
        )
    objects.append(
        {
            'apiVersion': 'metal3.io/v1alpha1',
            'kind': 'BareMetalHost',
            'metadata': {
                'name': name,
                'namespace': namespace,
                'labels': {},
                'annotations': {'inspect.metal3.io': ''},
            },
            'spec': spec,
        }
    )
    replacements += [
        _replacement(
            _HOST_VALUES, f'{data}.{field}', 'BareMetalHost', name, target
        )
        for target, field in fields.items()
    ]
    return objects, replacements


def _node_set(
    wanted: description_model.Description,
) -> collections.abc.Iterator[creation.TextArtifact]:
    secrets, secret_replacements = _network_data(wanted)
    resources = [
        'values.yaml',
        'nova_gpu.yaml',
        'openstackdataplanenodeset.yaml',
    ]
    if secrets:
        resources.append('network-data-secrets.yaml')
    yield _kustomization(
        _NODE_SET,
        resources,
        [*_node_set_replacements(wanted), *secret_replacements],
    )
    yield _objects(
        _NODE_SET,
        'openstackdataplanenodeset.yaml',
        [_node_set_object(wanted.rhoso)],
    )
    if secrets:
        yield _objects(_NODE_SET, 'network-data-secrets.yaml', secrets)


def _node_set_replacements(
    wanted: description_model.Description,
) -> collections.abc.Iterator[Record]:
    fields = {
        'spec.preProvisioned': 'preProvisioned',
        'spec.nodeTemplate.ansible': 'nodeset.ansible',
        'spec.nodeTemplate.networks': 'nodeset.networks',
        'spec.nodes': 'nodeset.nodes',
        'spec.services': 'nodeset.services',
    }
    if wanted.hosts[0].bare_metal is not None:
        fields['spec.baremetalSetTemplate'] = 'baremetalSetTemplate'
    for target, field in fields.items():
        yield _replacement(
            _NODE_SET_VALUES,
            f'data.{field}',
            'OpenStackDataPlaneNodeSet',
            wanted.rhoso.node_set,
            target,
        )
    for part, (name, file) in maps(wanted).items():
        yield _replacement(
            _NODE_SET_VALUES,
            f'data.nova.{part}.conf',
            'ConfigMap',
            name,
            f'data.{_escaped(file)}',
        )


def _network_data(
    wanted: description_model.Description,
) -> tuple[list[Record], list[Record]]:
    """Return the secrets of network data, and the replacements in them."""
    secrets = []
    replacements = []
    for host in wanted.hosts:
        if host.bare_metal is None or host.bare_metal.network_data is None:
            continue
        name = f'{host.name}-network-data'
        secrets.append(_secret(name, wanted.rhoso.namespace))
        replacements.append(
            _replacement(
                _NODE_SET_VALUES,
                f'data.baremetalHostsNetworkData.{_escaped(host.name)}',
                'Secret',
                name,
                'stringData',
            )
        )
    return secrets, replacements


def _node_set_object(rhoso: description_model.Rhoso) -> Record:
    return {
        'apiVersion': DATA_PLANE,
        'kind': 'OpenStackDataPlaneNodeSet',
        'metadata': {'name': rhoso.node_set, 'namespace': rhoso.namespace},
        'spec': {
            'env': [{'name': 'ANSIBLE_FORCE_COLOR', 'value': 'True'}],
            'networkAttachments': ['ctlplane'],
            'nodeTemplate': {
                'ansibleSSHPrivateKeySecret': rhoso.ssh_key_secret,
                'managementNetwork': 'ctlplane',
            },
        },
    }


def maps(
    wanted: description_model.Description,
) -> dict[str, tuple[str, str]]:
    """Return the ConfigMaps of nova-compute, by the key of their values."""
    cpu_map = (
        {'compute': CPU_MAP}
        if creation.compute_options(wanted.hosts[0])
        else {}
    )
    return {**cpu_map, 'pci': PCI_MAP}
