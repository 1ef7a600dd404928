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

"""Read trees of configuration, and check them."""

import collections.abc
import os

from gpuclient.documents import services
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import catalogue
from gpuclient.model import release as release_model
from gpuclient.operations import device_names
from gpuclient.rules import configuration as configuration_rules
from gpuclient.rules import finding


def read(
    paths: collections.abc.Sequence[str],
    declared: collections.abc.Sequence[tree.Declared] = (),
) -> tree.ConfigurationTree:
    """Read files and folders.

    :param declared: Files and folders with the services that read them.
    :raises gpuclient.exceptions.GPUError: They have no configuration.
    """
    if not paths and not declared:
        raise exceptions.InvalidValue(
            'Pass files or folders, or services and their files with --as'
        )
    configuration_tree = tree.read(paths, declared)
    if configuration_tree.files or configuration_tree.unreadable:
        return configuration_tree
    if configuration_tree.unread:
        path, name = configuration_tree.unread[0]
        raise exceptions.DocumentError(services.not_read(path, name))
    raise exceptions.NotFound(
        tree.no_configuration([*paths, *(path.path for path in declared)])
    )


def check(
    configuration_tree: tree.ConfigurationTree,
    models: catalogue.Catalogue,
    release: release_model.Release | None = None,
) -> tuple[finding.Located, ...]:
    """Return all findings of a tree.

    :param release: The release of Nova, where it is known.
    """
    return (
        *unreadable(configuration_tree),
        *configuration_rules.check(
            configuration_tree.deployment,
            models,
            device_names.known_name,
            release,
        ),
    )


def unreadable(
    configuration_tree: tree.ConfigurationTree,
) -> tuple[finding.Located, ...]:
    """Return the findings about files that were not read."""
    return (
        *(
            configuration_rules.unreadable(*file)
            for file in configuration_tree.unreadable
        ),
        *(
            configuration_rules.unread(
                path, services.not_read(os.path.basename(path), name)
            )
            for path, name in configuration_tree.unread
        ),
    )
