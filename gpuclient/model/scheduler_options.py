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

"""Options of nova-scheduler that decide which hosts it considers.

No API shows them: they are known only from configuration files.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class FilterOptions:
    """Options of filters, with Nova's defaults; None where not known.

    They are in ``[filter_scheduler]`` but for one.
    """

    isolated_hosts: frozenset[str] | None = frozenset()
    #: IDs of images.
    isolated_images: frozenset[str] | None = frozenset()
    #: ``restrict_isolated_hosts_to_isolated_images``
    restricts_isolated_hosts: bool | None = True
    max_instances_per_host: int | None = 50
    max_io_ops_per_host: int | None = 8
    #: ``image_properties_default_architecture``; empty if it is not set.
    image_architecture: str | None = ''
    #: ``aggregate_image_properties_isolation_namespace`` and ``_separator``
    properties_namespace: str | None = ''
    properties_separator: str | None = '.'
    #: Items of ``[metrics]weight_setting``.
    metrics: tuple[str, ...] | None = ()


@dataclasses.dataclass(frozen=True)
class SchedulerOptions:
    """Options of nova-scheduler; None where they are not known."""

    #: ``[scheduler]enable_isolated_aggregate_filtering``
    isolates_aggregates: bool | None = None
    #: ``[scheduler]limit_tenants_to_placement_aggregate``
    limits_tenants: bool | None = None
    #: ``[scheduler]placement_aggregate_required_for_tenants``
    tenants_need_aggregate: bool | None = None
    #: ``[workarounds]disable_fallback_pcpu_query``
    no_pcpu_fallback: bool | None = None
    #: ``[filter_scheduler]pci_in_placement``
    pci_in_placement: bool | None = None
    #: ``[scheduler]max_placement_results``
    max_placement_results: int | None = None
    #: ``[filter_scheduler]enabled_filters``
    filters: frozenset[str] | None = None
    #: Whether a file sets them; otherwise they are Nova's default.
    sets_filters: bool = False
    of_filters: FilterOptions = FilterOptions()

    @property
    def isolates_tenants(self) -> bool | None:
        """Whether AggregateMultiTenancyIsolation is enabled."""
        if self.filters is None:
            return None
        return 'AggregateMultiTenancyIsolation' in self.filters
