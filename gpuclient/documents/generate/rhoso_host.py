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
data plane service. The YAML is text, so that it reads as one would write it.
"""

import json
import textwrap

from gpuclient.documents.generate import host_files

#: Name of the OpenStackDataPlaneService.
SERVICE = 'vfio-pci-bind'
UNDO_SERVICE = 'vfio-pci-unbind'
#: What is done with :func:`files`, in this order.
STEPS = (
    'Merge ansible-vars.yaml into spec of the OpenStackDataPlaneNodeSet',
    f'oc apply --filename {SERVICE}.yaml',
    f'Add {SERVICE} to spec.services of the OpenStackDataPlaneNodeSet, after '
    'configure-os and before reboot-os',
    'Create an OpenStackDataPlaneDeployment; the hosts have to reboot',
)
UNDO_STEPS = (
    f'oc apply --filename {UNDO_SERVICE}.yaml',
    f'Put {UNDO_SERVICE} in the place of {SERVICE} in spec.services of the '
    'OpenStackDataPlaneNodeSet',
    'Take what ansible-vars.yaml has out of the OpenStackDataPlaneNodeSet; '
    'edpm_kernel leaves arguments on the hosts that it is no longer given: '
    'delete GRUB_EDPM_KERNEL_ARGS in /etc/default/grub',
    'Create an OpenStackDataPlaneDeployment; the hosts have to reboot',
)

#: dracut's paths have no leading slash.
_READ = """\
    - name: Read what the initramfs has
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
    # Also where a run before this one ended between the files and here.
    - name: Make the initramfs and the configuration of grub again
      when: >-
        _gpu_files is changed or
        _gpu_initramfs.stdout | default('') | trim !=
        %(modprobe_content)s | trim
      block:
        - name: Make the initramfs
          ansible.builtin.command:
            argv: [dracut, --force]
          changed_when: true

        - name: Ask whether grub2-mkconfig knows --update-bls-cmdline
          ansible.builtin.command:
            argv: [grub2-mkconfig, --help]
          register: _gpu_grub
          changed_when: false
          failed_when: false

        - name: Make the configuration of grub
          ansible.builtin.command:
            argv: >-
              {{ ['grub2-mkconfig', '-o', '/boot/grub2/grub.cfg'] +
              (['--update-bls-cmdline']
              if '--update-bls-cmdline' in _gpu_grub.stdout | default('')
              else []) }}
          changed_when: true

        # grub2-mkconfig takes away what tuned added to the boot entries.
        - name: Add the kernel arguments of tuned again
          ansible.builtin.command:
            argv: [tuned-adm, profile, "{{ edpm_tuned_profile }}"]
          changed_when: true
          when: edpm_tuned_profile is defined
"""

_UNDO = """\
- name: Give the GPUs back to the host
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
    - name: Make the initramfs
      ansible.builtin.command:
        argv: [dracut, --force]
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

    edpm_kernel takes the arguments as one text.
    """
    found = {
        'edpm_kernel_args': ' '.join(
            host_files.kernel_arguments(wanted, host_files.RHOSO)
        )
    }
    if wanted.isolated_cores is not None:
        found['edpm_tuned_profile'] = wanted.tuned_profile
        found['edpm_tuned_isolated_cores'] = wanted.isolated_cores
    return found


def playbook(wanted: host_files.Passthrough) -> str:
    """Return the playbook that writes the files and makes the initramfs.

    A second run changes nothing. It does not reboot the host: that is the
    service ``reboot-os``, after it.
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
        'modprobe_content': f'_gpu_files.results[{modprobe}].item.content',
    }


def undo_playbook(wanted: host_files.Passthrough) -> str:
    """Return the playbook that takes :func:`playbook` back."""
    files = host_files.prepare(wanted, host_files.RHOSO).files
    return _UNDO % {
        'paths': '\n'.join(f'        - {file.path}' for file in files),
        'read': _READ,
    }


def data_plane_service(wanted: host_files.Passthrough) -> str:
    """Return the OpenStackDataPlaneService that runs :func:`playbook`.

    In the node set it stands after ``bootstrap``, which has the kernel
    arguments set, and ``configure-os``, and before ``reboot-os``.
    """
    return _service(SERVICE, playbook(wanted))


def files(
    wanted: host_files.Passthrough,
) -> tuple[host_files.HostFile, ...]:
    """Return the YAML for a node set of such hosts, and for the undo."""
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
