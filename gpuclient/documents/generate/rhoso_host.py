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

"""How RHOSO prepares the hosts of a node set.

Its roles edpm_kernel and edpm_tuned set kernel arguments and tuned, from
variables of the node set (``edpm-ansible``,
``roles/edpm_kernel/meta/argument_specs.yml`` and
``roles/edpm_tuned/meta/argument_specs.yml``). All else is the playbook of a
data plane service. The YAML is a template, so that it reads like handwritten
YAML.
"""

import json
import textwrap

from gpuclient.documents.generate import host_files
from gpuclient.model import distribution

#: Name of the OpenStackDataPlaneService.
SERVICE = 'vfio-pci-bind'
UNDO_SERVICE = 'vfio-pci-unbind'
#: How :func:`files` are applied, in this order.
STEPS = (
    'Merge ansible-vars.yaml into spec of the OpenStackDataPlaneNodeSet',
    f'oc apply --filename {SERVICE}.yaml',
    f'Add {SERVICE} to spec.services of the OpenStackDataPlaneNodeSet, after '
    'configure-os and before reboot-os',
    'Create an OpenStackDataPlaneDeployment; the hosts have to reboot',
)
UNDO_STEPS = (
    f'oc apply --filename {UNDO_SERVICE}.yaml',
    f'Replace {SERVICE} by {UNDO_SERVICE} in spec.services of the '
    'OpenStackDataPlaneNodeSet',
    'Remove the variables in ansible-vars.yaml from the '
    'OpenStackDataPlaneNodeSet. edpm_kernel does not remove arguments from '
    'the hosts: delete GRUB_EDPM_KERNEL_ARGS in /etc/default/grub',
    'Create an OpenStackDataPlaneDeployment; the hosts have to reboot',
)

#: Rebuilds the initramfs of every installed kernel, as a YAML list: reboot-os
#: may start another kernel than the one that runs.
_REBUILD = ', '.join(
    distribution.rebuild_initramfs(
        distribution.default_generator(distribution.Family.RHEL)
    ).split()
)

#: dracut's paths have no leading slash.
_READ = """\
    - name: Read the modprobe configuration in the initramfs
      ansible.builtin.command:
        argv: [lsinitrd, --file, {path}]
      register: _gpu_initramfs
      changed_when: false
      failed_when: false
""".format(path=host_files.MODPROBE.lstrip('/'))

_PLAYBOOK = """\
- name: Bind vfio-pci to GPUs
  hosts: all
  become: true
  gather_facts: false
  tasks:
    - name: Write the files
      ansible.builtin.copy:
        dest: "{{ item.path }}"
        content: "{{ item.content }}"
        owner: root
        group: root
        mode: "0644"
      loop:
%(files)s
      loop_control:
        label: "{{ item.path }}"
      register: _gpu_files

%(read)s
    # Also if an earlier run stopped after the files were written.
    - name: Rebuild the initramfs and the configuration of GRUB
      when: >-
        _gpu_files is changed or
        _gpu_initramfs.stdout | default('') | trim !=
        %(modprobe_content)s | trim
      block:
        - name: Rebuild the initramfs
          ansible.builtin.command:
            argv: [%(rebuild)s]
          changed_when: true

        - name: Check whether grub2-mkconfig has --update-bls-cmdline
          ansible.builtin.command:
            argv: [grub2-mkconfig, --help]
          register: _gpu_grub
          changed_when: false
          failed_when: false

        - name: Generate the configuration of GRUB
          ansible.builtin.command:
            argv: >-
              {{ ['grub2-mkconfig', '-o', '/boot/grub2/grub.cfg'] +
              (['--update-bls-cmdline']
              if '--update-bls-cmdline' in _gpu_grub.stdout | default('')
              else []) }}
          changed_when: true

        # grub2-mkconfig removes the arguments of TuneD from the boot entries.
        - name: Add the kernel arguments of TuneD again
          ansible.builtin.command:
            argv: [tuned-adm, profile, "{{ edpm_tuned_profile }}"]
          changed_when: true
          when: edpm_tuned_profile is defined
"""

_UNDO = """\
- name: Release GPUs from vfio-pci
  hosts: all
  become: true
  gather_facts: false
  tasks:
    - name: Delete the files
      ansible.builtin.file:
        path: "{{ item }}"
        state: absent
      loop:
%(paths)s
      register: _gpu_files

%(read)s
    - name: Rebuild the initramfs
      ansible.builtin.command:
        argv: [%(rebuild)s]
      changed_when: true
      when: >-
        _gpu_files is changed or
        _gpu_initramfs.stdout | default('') | trim != ''
"""

_SERVICE = """\
apiVersion: dataplane.openstack.org/v1beta1
kind: OpenStackDataPlaneService
metadata:
  name: %(name)s
  namespace: openstack
spec:
  playbookContents: |
%(playbook)s"""


def variables(wanted: host_files.Passthrough) -> dict[str, str]:
    """Return variables of the node set: ``nodeTemplate.ansible.ansibleVars``.

    edpm_kernel takes the arguments as one string.
    """
    result = {
        'edpm_kernel_args': ' '.join(
            host_files.kernel_arguments(wanted, host_files.RHOSO)
        )
    }
    if wanted.isolated_cores is not None:
        result['edpm_tuned_profile'] = wanted.tuned_profile
        result['edpm_tuned_isolated_cores'] = wanted.isolated_cores
    return result


def playbook(wanted: host_files.Passthrough) -> str:
    """Return the playbook that writes the files and rebuilds the initramfs.

    A second run changes nothing. The host is rebooted by a later service,
    ``reboot-os``.
    """
    files = host_files.prepare(wanted, host_files.RHOSO).files
    entries = ''.join(
        f'- path: {file.path}\n'
        f'  content: |\n{textwrap.indent(file.content, "    ")}'
        for file in files
    )
    (modprobe,) = (
        number
        for number, file in enumerate(files)
        if file.path == host_files.MODPROBE
    )
    return _PLAYBOOK % {
        'files': textwrap.indent(entries, ' ' * 8).rstrip('\n'),
        'read': _READ,
        'rebuild': _REBUILD,
        'modprobe_content': f'_gpu_files.results[{modprobe}].item.content',
    }


def undo_playbook(wanted: host_files.Passthrough) -> str:
    """Return the playbook that undoes :func:`playbook`."""
    files = host_files.prepare(wanted, host_files.RHOSO).files
    return _UNDO % {
        'paths': '\n'.join(f'        - {file.path}' for file in files),
        'read': _READ,
        'rebuild': _REBUILD,
    }


def data_plane_service(wanted: host_files.Passthrough) -> str:
    """Return the OpenStackDataPlaneService that runs :func:`playbook`.

    In the node set it belongs after ``bootstrap``, which sets the kernel
    arguments, and ``configure-os``, and before ``reboot-os``.
    """
    return _service(SERVICE, playbook(wanted))


def files(
    wanted: host_files.Passthrough,
) -> tuple[host_files.HostFile, ...]:
    """Return the YAML files for a node set of such hosts, and for the undo."""
    ansible_vars = ''.join(
        f'      {name}: {json.dumps(value)}\n'
        for name, value in variables(wanted).items()
    )
    return (
        host_files.HostFile(
            'ansible-vars.yaml',
            f'nodeTemplate:\n  ansible:\n    ansibleVars:\n{ansible_vars}',
        ),
        host_files.HostFile(f'{SERVICE}.yaml', data_plane_service(wanted)),
        host_files.HostFile(
            f'{UNDO_SERVICE}.yaml',
            _service(UNDO_SERVICE, undo_playbook(wanted)),
        ),
    )


def _service(name: str, text: str) -> str:
    return _SERVICE % {
        'name': name,
        'playbook': textwrap.indent(text, ' ' * 4),
    }
