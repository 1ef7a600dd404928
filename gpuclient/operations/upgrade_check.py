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

"""Find what an upgrade of Nova changes for a tree of configuration."""

from gpuclient.documents import tree
from gpuclient.model import catalogue
from gpuclient.model import release as release_model
from gpuclient.operations import config_check
from gpuclient.rules import upgrade


def check(
    configuration_tree: tree.ConfigurationTree,
    models: catalogue.Catalogue,
    start: release_model.Release,
    end: release_model.Release,
) -> tuple[upgrade.UpgradeEffect, ...]:
    """Return the effects of an upgrade, in the order of its steps.

    :raises gpuclient.exceptions.InvalidValue: It is no upgrade.
    """
    return upgrade.check(
        configuration_tree.deployment,
        [
            upgrade.JudgedRelease(
                release,
                config_check.check(configuration_tree, models, release),
            )
            for release in upgrade.path(start, end)
        ],
    )
