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

"""What to do with the generated files, in order: ``next_steps``.

A step is a command or a sentence. In it, :data:`OUTPUT` and
:data:`DESCRIPTION` are placeholders, which :func:`render` replaces.
"""

import collections.abc
import shlex

from gpuclient.model import description as description_model

#: The path of the description.
DESCRIPTION = '<description>'
#: The folder of the output.
OUTPUT = '<output>'
_CHECK = f'openstack gpu config check {OUTPUT}'

#: Sets only ``customServiceConfig`` of Nova in the control plane.
_APPLY_PART = (
    f'kustomize build {OUTPUT}/control-plane | oc apply --server-side -f -'
)
_CONFLICT = (
    'If oc reports a conflict with another manager of customServiceConfig: '
    "copy that manager's lines to "
    f'{OUTPUT}/control-plane/service-values.yaml, then apply again '
    'with --force-conflicts'
)
#: For a kustomization that builds a whole control plane.
_APPLY_WHOLE = f'kustomize build {OUTPUT}/control-plane | oc apply -f -'
#: Steps to replace if the kustomization of the control plane is kept because
#: it was not generated: it builds more than these files.
OF_OWN_CONTROL_PLANE = {_APPLY_PART: _APPLY_WHOLE, _CONFLICT: ''}

_PLAIN_FILTERS = (
    'The generated enabled_filters of nova-scheduler overrides the list in '
    '/etc/nova/nova.conf: copy the filters of that list'
)


def render(
    steps: collections.abc.Iterable[str], description: str, folder: str
) -> tuple[str, ...]:
    """Return steps with the paths of a run.

    :param description: Path of the description; ``-`` for standard input.
    :param folder: Folder of the output.
    """
    output = shlex.quote(folder.rstrip('/') or '/')
    source = DESCRIPTION if description == '-' else shlex.quote(description)
    return tuple(
        step.replace(OUTPUT, output).replace(DESCRIPTION, source)
        for step in steps
        if step
    )


def of_plain(
    wanted: description_model.Description,
    hosts: collections.abc.Iterable[str],
) -> collections.abc.Iterator[str]:
    """Yield the steps for plain files.

    :param hosts: The steps of each host.
    """
    yield from _tracking(wanted)
    yield _CHECK
    yield (
        f'Copy the files in {OUTPUT}/control-plane to the hosts of the '
        f'services, and start each service with --config-dir '
        f'/etc/nova/SERVICE.conf.d'
    )
    yield _PLAIN_FILTERS
    yield from hosts
    yield _verify(wanted)


def of_kolla(
    wanted: description_model.Description,
    hosts: collections.abc.Iterable[str],
    root: str,
) -> collections.abc.Iterator[str]:
    """Yield the steps for Kolla-Ansible.

    :param hosts: The steps of each host.
    :param root: The folder of the custom configuration in the output.
    """
    yield from _tracking(wanted)
    yield _CHECK
    yield from hosts
    yield (
        f'Copy the files in {OUTPUT}/{root} to /etc/kolla/config, or to the '
        f'folder in node_custom_config; the names of hosts must be those of '
        f'the inventory'
    )
    yield 'kolla-ansible reconfigure --tags nova'
    yield _verify(wanted)


def of_host(name: str, folder: str, commands: tuple[str, ...]) -> str:
    """Return the step that applies the files of a host.

    :param folder: Its files, below the output.
    """
    return (
        f'On {name}: copy the files in {OUTPUT}/{folder}, migrate the servers '
        f'away, then run {" && ".join(commands)}'
    )


def of_rhoso(
    wanted: description_model.Description,
) -> collections.abc.Iterator[str]:
    """Yield the steps for RHOSO."""
    rhoso = wanted.rhoso
    yield from _tracking(wanted)
    secrets = [rhoso.ssh_key_secret, 'nova-migration-ssh-key']
    if wanted.hosts[0].bare_metal is not None:
        secrets.append(rhoso.password_secret)
        secrets += [
            host.bare_metal.credentials_name
            for host in wanted.hosts
            if host.bare_metal is not None
        ]
    yield (
        f'Make sure that these secrets exist in namespace {rhoso.namespace}: '
        f'{", ".join(dict.fromkeys(secrets))}'
    )
    yield _CHECK
    yield _APPLY_PART
    yield _CONFLICT
    folders = ['edpm/nodeset', 'edpm/deployment']
    if wanted.hosts[0].bare_metal is not None:
        folders.insert(0, 'edpm/baremetalhosts')
    for folder in folders:
        yield f'kustomize build {OUTPUT}/{folder} | oc apply -f -'
    yield (
        f'If the node set is deployed already: create an '
        f'OpenStackDataPlaneDeployment with a name other than '
        f'{rhoso.deployment}. With edpm_reboot_strategy auto it does not '
        f'reboot deployed hosts: migrate the servers away and reboot them'
    )
    yield _verify(wanted)


def _verify(wanted: description_model.Description) -> str:
    return 'openstack gpu alias verify ' + ' '.join(
        alias.name for alias in wanted.aliases
    )


def _tracking(
    wanted: description_model.Description,
) -> collections.abc.Iterator[str]:
    """Yield the steps that enable PCI tracking in Placement."""
    if wanted.pci_in_placement:
        yield (
            'If the cloud is already running: follow the steps of the compute '
            'hosts first, with report_in_placement. When "openstack gpu '
            f'placement list --expect {DESCRIPTION}" shows every device as '
            'reported, follow those of the control plane, with '
            'pci_in_placement. For a new cloud, keep the order below'
        )
    elif wanted.report_in_placement:
        yield (
            'When every compute host reports its devices ("openstack gpu '
            f'placement list --expect {DESCRIPTION}" ends with exit status '
            '0), set pci_in_placement: true in the description and run this '
            'command again'
        )
