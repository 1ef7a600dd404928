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

"""The options of nova-scheduler in configuration files."""

from gpuclient.model import deployment
from gpuclient.model import oslo_values
from gpuclient.model import scheduler_filters
from gpuclient.model import scheduler_options
from gpuclient.rules import scheduler as scheduler_rules


def of_process(
    process: deployment.Process,
) -> scheduler_options.SchedulerOptions:
    """Return the options of a nova-scheduler.

    Options that its files do not set have Nova's default.
    """
    results = _text(process, 'scheduler', 'max_placement_results')
    return scheduler_options.SchedulerOptions(
        isolates_aggregates=_boolean(
            process, 'scheduler', 'enable_isolated_aggregate_filtering'
        ),
        limits_tenants=_boolean(
            process, 'scheduler', 'limit_tenants_to_placement_aggregate'
        ),
        tenants_need_aggregate=_boolean(
            process, 'scheduler', 'placement_aggregate_required_for_tenants'
        ),
        no_pcpu_fallback=_boolean(
            process, 'workarounds', 'disable_fallback_pcpu_query'
        ),
        pci_in_placement=_boolean(
            process, 'filter_scheduler', 'pci_in_placement'
        ),
        max_placement_results=(
            int(results) if results and results.isdigit() else None
        ),
        filters=_filters(process),
        sets_filters=process.enabled_filters is not None,
        of_filters=_of_filters(process),
    )


def _of_filters(
    process: deployment.Process,
) -> scheduler_options.FilterOptions:
    """Return the options of filters."""
    section = 'filter_scheduler'
    isolation = 'aggregate_image_properties_isolation'
    hosts = _items(process, section, 'isolated_hosts')
    images = _items(process, section, 'isolated_images')
    restricts = 'restrict_isolated_hosts_to_isolated_images'
    return scheduler_options.FilterOptions(
        isolated_hosts=None if hosts is None else frozenset(hosts),
        isolated_images=None if images is None else frozenset(images),
        restricts_isolated_hosts=_boolean(
            process, section, restricts, default=True
        ),
        max_instances_per_host=_number(
            process, section, 'max_instances_per_host', 50
        ),
        max_io_ops_per_host=_number(
            process, section, 'max_io_ops_per_host', 8
        ),
        image_architecture=_set_text(
            process, section, 'image_properties_default_architecture', ''
        ),
        properties_namespace=_set_text(
            process, section, f'{isolation}_namespace', ''
        ),
        properties_separator=_set_text(
            process, section, f'{isolation}_separator', '.'
        ),
        metrics=_items(process, 'metrics', 'weight_setting'),
    )


def _set_text(
    process: deployment.Process, section: str, name: str, default: str
) -> str | None:
    """Return the value of an option; None where it is not known."""
    if process.last(section, name) is None:
        return default
    return _text(process, section, name)


def _items(
    process: deployment.Process, section: str, name: str
) -> tuple[str, ...] | None:
    text = _set_text(process, section, name, '')
    return None if text is None else tuple(oslo_values.items(text))


def _number(
    process: deployment.Process, section: str, name: str, default: int
) -> int | None:
    text = _set_text(process, section, name, str(default))
    return int(text) if text and text.strip().isdigit() else None


def _text(process: deployment.Process, section: str, name: str) -> str | None:
    setting = process.last(section, name)
    return setting.text if setting and setting.is_known else None


def _boolean(
    process: deployment.Process,
    section: str,
    name: str,
    *,
    default: bool = False,
) -> bool | None:
    setting = process.last(section, name)
    if setting is None:
        return default
    if not setting.is_known:
        return None
    return oslo_values.boolean_or_none(setting.text)


def _filters(process: deployment.Process) -> frozenset[str] | None:
    setting = process.enabled_filters
    if setting is not None:
        if not setting.is_known:
            return None
        return frozenset(scheduler_filters.enabled(setting.text))
    if scheduler_rules.has_own_default(process):
        return None
    return frozenset(scheduler_filters.DEFAULT)
