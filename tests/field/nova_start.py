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

"""Whether a service of Nova starts: its own code, with the files of a case."""

import collections.abc
import json
import logging
import typing

from nova.compute import pci_placement_translator as translator
import nova.conf
from nova import exception
from nova import objects
from nova.pci import request
from nova.pci import whitelist
from nova.scheduler import filters
from nova.virt import hardware
from oslo_config import cfg

CONF = nova.conf.CONF
_LOG = logging.getLogger(__name__)


def refusal(service: str, paths: collections.abc.Sequence[str]) -> str | None:
    """Return why a service would not start; None if it would.

    What is run is what the service runs at its start:
    ``nova/api/openstack/wsgi_app.py:init_application``,
    ``nova/compute/manager.py:ComputeManager.init_host``,
    ``nova/scheduler/host_manager.py:HostManager._choose_host_filters``.
    """
    request.get_alias_from_config.cache_clear()
    arguments = [part for path in paths for part in ('--config-file', path)]
    try:
        CONF(
            arguments,
            project='nova',
            default_config_files=[],
            default_config_dirs=[],
        )
        # Every service logs all options, which reads them.
        CONF.log_opt_values(_LOG, logging.DEBUG)
        _STARTS[service]()
    except (
        exception.NovaException,
        cfg.Error,
        # What Nova does not expect ends the service as well.
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as exc:
        return str(exc)
    finally:
        CONF.reset()
        CONF.clear()
        request.get_alias_from_config.cache_clear()
    return None


def _aliases() -> None:
    _known = CONF.filter_scheduler.pci_in_placement
    request.get_alias_from_config()


def _compute() -> None:
    whitelist.Whitelist(CONF.pci.device_spec)
    if CONF.pci.report_in_placement:
        for spec in whitelist.Whitelist(CONF.pci.device_spec).specs:
            translator.ensure_no_dev_spec_with_devname([spec])
            tags: dict[str, typing.Any] = spec.get_tags()
            translator._get_rc_for_dev(_Ids(spec), tags)
            translator._get_traits_for_dev(tags)
    for value in CONF.reserved_huge_pages or ():
        dict(value)
    _known = CONF.reserved_host_memory_mb, CONF.reserved_host_cpus
    _aliases()


class _Ids:
    """The ids of the devices of an entry."""

    def __init__(self, spec: typing.Any) -> None:
        self.vendor_id = spec.vendor_id
        self.product_id = spec.product_id


def _scheduler() -> None:
    handler = filters.HostFilterHandler()
    known = {
        filter_class.__name__
        for filter_class in handler.get_matching_classes(
            CONF.filter_scheduler.available_filters
        )
    }
    missing = [
        name
        for name in CONF.filter_scheduler.enabled_filters
        if name not in known
    ]
    if missing:
        raise exception.SchedulerHostFilterNotFound(
            filter_name=', '.join(missing)
        )
    _known = CONF.filter_scheduler.pci_in_placement


def disagreements_of_flavor(inputs: dict[str, typing.Any]) -> list[str]:
    """Return where Nova makes other requests of extra specs than a case says.

    ``nova/pci/request.py:get_pci_requests_from_flavor``

    :param given: Has ``extra_specs``, the names of the ``aliases`` that there
        are, and either the counts of the ``requests`` or what it ``raises``.
    """
    if not {'raises', 'requests'} & set(inputs):
        return []
    lines = [
        json.dumps({'name': name, 'vendor_id': '10de', 'product_id': '20f1'})
        for name in inputs['aliases']
    ]
    flavor = objects.Flavor(extra_specs=inputs['extra_specs'])
    request.get_alias_from_config.cache_clear()
    CONF.set_override('alias', lines, 'pci')
    try:
        # As nova/compute/api.py:API does.
        policy = hardware.get_pci_numa_policy_constraint(
            flavor, objects.ImageMeta.from_dict({})
        )
        pci_requests = request.get_pci_requests_from_flavor(
            flavor, affinity_policy=policy
        )
        counts: typing.Any = [
            pci_request.count for pci_request in pci_requests.requests
        ]
    except (exception.NovaException, ValueError) as exc:
        counts = type(exc).__name__
    finally:
        CONF.clear_override('alias', 'pci')
        request.get_alias_from_config.cache_clear()
    wanted = inputs.get('raises', inputs.get('requests'))
    return [] if counts == wanted else [f'requests: {counts}, not {wanted}']


_STARTS: dict[str, collections.abc.Callable[[], None]] = {
    'nova-api': _aliases,
    'nova-compute': _compute,
    'nova-scheduler': _scheduler,
}
