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

"""Find what an upgrade of Nova changes for a configuration and a cloud."""

import collections.abc

from gpuclient.documents import tree
from gpuclient.model import catalogue
from gpuclient.model import cloud_state
from gpuclient.model import configuration
from gpuclient.model import release as release_model
from gpuclient.operations import config_check
from gpuclient.rules import finding
from gpuclient.rules import upgrade
from gpuclient.rules import upgrade_cloud
from gpuclient.rules import upgrade_flavors
from gpuclient.rules import upgrade_placement


def steps(
    start: release_model.Release, end: release_model.Release
) -> tuple[release_model.Release, ...]:
    """Return the releases of an upgrade, with the first and the last one.

    :raises gpuclient.exceptions.InvalidValue: It is no upgrade.
    """
    return upgrade.path(start, end)


def not_compared(
    configuration_tree: tree.ConfigurationTree,
) -> tuple[finding.Located, ...]:
    """Return the findings about files that the comparison leaves out.

    They hold under each release, so that no effect shows them.
    """
    return config_check.unreadable(configuration_tree)


def check(
    configuration_tree: tree.ConfigurationTree,
    placement: collections.abc.Iterable[configuration.Option],
    models: catalogue.Catalogue,
    releases: tuple[release_model.Release, ...],
    state: cloud_state.CloudState | None = None,
    of_cloud: collections.abc.Collection[release_model.Release] = (),
) -> tuple[upgrade.UpgradeEffect, ...]:
    """Return the effects of an upgrade, in the order of its steps.

    :param placement: Options of ``placement.conf``.
    :param releases: Those of the upgrade, from first to last.
    :param state: The cloud, where it is known.
    :param of_cloud: The releases that the cloud may run.
    """
    deployment = configuration_tree.deployment
    effects = [
        *upgrade.check(
            deployment,
            [
                upgrade.JudgedRelease(
                    release,
                    config_check.check(configuration_tree, models, release),
                )
                for release in releases
            ],
            knows_services=state is not None and state.computes is not None,
        ),
        *upgrade_placement.check(placement, releases),
    ]
    if state is not None:
        effects += upgrade_flavors.check(
            state.device_flavors, state.device_classes, releases
        )
        effects += upgrade_cloud.check(state, of_cloud, deployment, releases)
    effects.sort(key=lambda effect: effect.release)
    return tuple(dict.fromkeys(effects))
