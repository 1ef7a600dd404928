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

"""Recognize files of deployment tools that are read, but not edited."""

import collections.abc

from gpuclient.documents.deployers import devstack
from gpuclient.documents.deployers import helm
from gpuclient.documents.deployers import hiera
from gpuclient.documents.deployers import juju
from gpuclient.documents.deployers import kolla_globals
from gpuclient.documents.deployers import openstack_ansible
from gpuclient.documents.deployers import packstack
from gpuclient.documents.deployers import sunbeam
from gpuclient.documents.deployers import tripleo
from gpuclient.documents import derived_conf

#: Test for a format, and its reader. The first reader with a result counts.
_YAML: tuple[
    tuple[
        collections.abc.Callable[[bytes], bool],
        collections.abc.Callable[[str, bytes], derived_conf.DerivedFile],
    ],
    ...,
] = (
    (openstack_ansible.has_variables, openstack_ansible.VariablesFile),
    (helm.is_values, helm.ValuesFile),
    (tripleo.is_environment, tripleo.EnvironmentFile),
    (sunbeam.is_manifest, sunbeam.ManifestFile),
    (juju.is_bundle, juju.BundleFile),
    (hiera.is_hiera, hiera.HieraFile),
)


def parse_yaml(path: str, content: bytes) -> derived_conf.DerivedFile | None:
    """Return a YAML file of a tool; None if it belongs to none.

    :raises gpuclient.exceptions.DocumentError: It is not YAML.
    """
    if kolla_globals.is_globals(path, content):
        return kolla_globals.GlobalsFile(path, content)
    for is_format, reader in _YAML:
        if is_format(content):
            file = reader(path, content)
            if next(iter(file.readings()), None) is not None:
                return file
    return None


def parse_plain(path: str, content: bytes) -> derived_conf.DerivedFile | None:
    """Return a file of a tool that is not YAML; None if it belongs to none.

    :raises gpuclient.exceptions.DocumentError: It is invalid.
    """
    if devstack.is_local_conf(content):
        return devstack.LocalConf(path, content)
    if packstack.is_answers(content):
        return packstack.AnswersFile(path, content)
    return None
