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

"""Whether a server of each flavor fits now, as far as this user can tell."""

import collections.abc
import dataclasses

from openstack import connection

from gpuclient import exceptions
from gpuclient.model import capacity
from gpuclient.model import flavor as flavor_model
from gpuclient.model import partial_result
from gpuclient.model import release as release_model
from gpuclient.operations import capacity_report


@dataclasses.dataclass(frozen=True)
class Fit:
    """Whether a server of a flavor fits."""

    #: None where that cannot be told.
    fits: bool | None
    #: Why none fits, or why it cannot be told; empty if one does.
    reason: str = ''


def read(
    cloud: connection.Connection,
    flavors: collections.abc.Collection[flavor_model.Flavor],
    files: collections.abc.Iterable[str] = (),
    *,
    release: release_model.Release | None = None,
) -> partial_result.PartialResult[dict[str, Fit]]:
    """Return whether a server of each flavor fits, by the IDs of flavors.

    Without access to Placement, it cannot be told for any.

    :param files: Configuration that defines aliases.
    """
    try:
        answer = capacity_report.read(cloud, flavors, files, release=release)
    except exceptions.Forbidden:
        return partial_result.PartialResult(
            {flavor.id: Fit(None, HIDDEN) for flavor in flavors}, ()
        )
    return partial_result.PartialResult(
        {
            forecast.flavor.id: _fit(forecast)
            for forecast in answer.value.forecasts
        },
        answer.failures,
    )


#: Why a member of a project cannot tell.
HIDDEN = (
    'Placement shows devices to administrators only (policy '
    'placement:resource_providers:list)'
)


def _fit(forecast: capacity.Forecast) -> Fit:
    if forecast.demand is None:
        return Fit(None, forecast.unknown)
    if forecast.refusal:
        return Fit(False, forecast.refusal)
    if not forecast.count:
        limits = ', '.join(forecast.limited_by or {})
        return Fit(False, f'limited by {limits}' if limits else 'no host')
    if forecast.exact:
        return Fit(True)
    return Fit(None, '; '.join(forecast.at_most))


def hidden(
    flavors: collections.abc.Iterable[flavor_model.Flavor],
) -> capacity_report.CapacityReport:
    """Return the report for a user to whom Placement shows no devices."""
    return capacity_report.CapacityReport(
        (),
        {},
        frozenset(),
        tuple(capacity.Forecast(flavor, None, HIDDEN) for flavor in flavors),
    )
