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

"""Generate the files of a description for hosts without an installer.

The output has a folder for each host, with the paths of its files on the host,
and a folder for the services of the control plane.
"""

from gpuclient.documents.generate import creation
from gpuclient.documents.generate import host_files
from gpuclient.documents.generate import next_steps
from gpuclient.model import configuration
from gpuclient.model import description as description_model

#: Drop-ins that the services read after ``/etc/nova/nova.conf``.
_CONTROL = 'control-plane/etc/nova/{service}.conf.d/50-gpu.conf'
_COMPUTE = '{host}/etc/nova/nova-compute.conf.d/50-gpu.conf'
_HOSTS = 'hosts'
#: The drop-in is read after the configuration of the site.
_CONTROL_SERVICES = (
    configuration.API,
    configuration.SCHEDULER,
    configuration.CONDUCTOR,
)


def create(wanted: description_model.Description) -> creation.Creation:
    """Return the files, and the next steps.

    :raises gpuclient.exceptions.InvalidData: Nova would refuse it.
    """
    warnings = creation.check(wanted)
    artifacts: list[creation.Artifact] = [
        creation.ConfArtifact(
            _CONTROL.format(service=service),
            (
                *creation.control_options(wanted, service),
                *creation.filter_options(wanted, service),
            ),
            (service,),
        )
        for service in _CONTROL_SERVICES
    ]
    steps = []
    for host in wanted.hosts:
        folder = f'{_HOSTS}/{host.name}'
        files, step = prepare(wanted, host)
        artifacts += files
        artifacts.append(
            creation.ConfArtifact(
                _COMPUTE.format(host=folder),
                (
                    *creation.compute_options(host),
                    *creation.pci_options(wanted, host),
                ),
                (configuration.COMPUTE,),
            )
        )
        steps.append(step)
    return creation.Creation(
        tuple(artifacts),
        tuple(next_steps.of_plain(wanted, steps)),
        warnings,
        creation.providers(wanted),
    )


def prepare(
    wanted: description_model.Description, host: description_model.ComputeHost
) -> tuple[list[creation.Artifact], str]:
    """Return the files of the host itself, and the step to apply them."""
    folder = f'{_HOSTS}/{host.name}'
    ready = host_files.prepare(
        creation.passthrough(wanted, host), wanted.plain.system
    )
    return [
        creation.TextArtifact(
            f'{folder}{file.path}',
            file.content,
            mode=file.mode,
            settings=file.settings,
        )
        for file in ready.files
    ], next_steps.of_host(host.name, folder, ready.commands)
