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

"""Let nova-scheduler decide for the hosts of a twin.

``python -P -m gpuclient.rehearsal.nova_worker.decide FILE``: reads trials from
standard input, and writes the decisions to FILE. The scheduler of that Nova
runs in this process, with the configuration of the cloud, its databases and
its Placement; each decision is one call of
``nova.scheduler.manager:SchedulerManager.select_destinations``.
"""

import importlib.metadata
import json
import logging
import os
import sys
import typing
import uuid

from gpuclient.rehearsal.nova_worker import adapters
from gpuclient.rehearsal.nova_worker import reporting

Row: typing.TypeAlias = dict[str, typing.Any]

#: Lines of the log of a decision, and characters of each.
_LINES = 40
_LONGEST = 600
#: Loggers whose messages explain a decision.
_FILTERS = 'nova.filters'
_LOGS = (_FILTERS, 'nova.scheduler')
#: Of a flavor that is in no database.
_FLAVOR = {
    'id': 1,
    'rxtx_factor': 1.0,
    'vcpu_weight': None,
    'disabled': False,
    'is_public': True,
}


def main() -> None:
    adapters.adapter(importlib.metadata.version('nova')).patch()
    from gpuclient.rehearsal.nova_worker import compat

    compat.install()
    path = sys.argv[1]
    job = json.load(sys.stdin)
    from gpuclient.rehearsal.nova_worker import sqlite

    sqlite.install()
    _configure(job['arguments'])
    results = [_decide(job, trial) for trial in job['trials']]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, 'w', encoding='utf-8') as stream:
        json.dump(results, stream)


def _configure(arguments: list[str]) -> None:
    from nova import config
    from nova import objects
    from oslo_log import log

    sys.argv = ['nova-scheduler', *arguments]
    config.parse_args(sys.argv)
    log.setup(config.CONF, 'nova')
    objects.register_all()


class _Lines(logging.Handler):
    """Keeps the first messages."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        explains = record.levelno >= logging.INFO or record.name == _FILTERS
        if explains and len(self.lines) < _LINES:
            text = ' '.join(record.getMessage().split())[:_LONGEST]
            self.lines.append(f'{record.levelname} {record.name} {text}')


class _Watch:
    """What Placement and each filter left of the hosts."""

    def __init__(self) -> None:
        self.candidates: set[str] = set()
        self.requests = 0
        self.filters: list[Row] = []

    def __enter__(self) -> '_Watch':
        from nova import filters
        from nova.scheduler.client import report

        self._restore = (
            (filters.BaseFilter, 'filter_all', filters.BaseFilter.filter_all),
            (
                report.SchedulerReportClient,
                'get_allocation_candidates',
                report.SchedulerReportClient.get_allocation_candidates,
            ),
        )
        filter_all, get_candidates = (
            function for _kind, _name, function in self._restore
        )

        def watched_filter(
            this: typing.Any, hosts: typing.Any, spec: typing.Any
        ) -> list[typing.Any]:
            before = list(hosts)
            after = list(filter_all(this, before, spec))
            left = {host.nodename for host in after}
            self.filters.append(
                {
                    'filter': type(this).__name__,
                    'left': sorted(left),
                    'removed': sorted(
                        {host.nodename for host in before} - left
                    ),
                }
            )
            return after

        def watched_candidates(
            this: typing.Any, *arguments: typing.Any, **options: typing.Any
        ) -> typing.Any:
            answer = get_candidates(this, *arguments, **options)
            self._count(answer)
            return answer

        filters.BaseFilter.filter_all = watched_filter
        report.SchedulerReportClient.get_allocation_candidates = (
            watched_candidates
        )
        return self

    def _count(self, answer: typing.Any) -> None:
        requests, summaries, _version = answer or (None, None, None)
        for request in requests or ():
            self.requests += 1
            for provider in request['allocations']:
                summary = (summaries or {}).get(provider, {})
                root = summary.get('root_provider_uuid', provider)
                self.candidates.add(root)

    def __exit__(self, *_exc: object) -> None:
        for kind, name, function in self._restore:
            setattr(kind, name, function)


def _decide(job: Row, trial: Row) -> Row:
    """Return the decision for a trial."""
    from gpuclient.rehearsal.nova_worker import twin_rows

    databases = job['databases']
    twin_rows.load_placement(databases['placement'], trial)
    twin_rows.load_nova(databases['nova_api'], databases['nova_cell1'], trial)
    lines = _Lines()
    loggers = [logging.getLogger(name) for name in _LOGS]
    for logger in loggers:
        logger.addHandler(lines)
        logger.setLevel(logging.DEBUG)
    watch = _Watch()
    selected, error = None, ''
    try:
        with watch:
            selected = _select(trial['request'])
    except Exception as exc:
        # oslo.messaging wraps what a service is expected to raise.
        info = getattr(exc, 'exc_info', None)
        cause = info[1] if info else exc
        error = f'{type(cause).__name__}: {reporting.message_of(cause)}'
    finally:
        for logger in loggers:
            logger.removeHandler(lines)
    return {
        'selected': selected,
        'error': error[:_LONGEST],
        'candidates': sorted(watch.candidates),
        'requests': watch.requests,
        'filters': watch.filters,
        'log': lines.lines,
    }


def _select(request: Row) -> str:
    """Return the hypervisor hostname that nova-scheduler selects.

    :raises Exception: What nova-scheduler raises, ``NoValidHost``.
    """
    from nova import context
    from nova import objects
    from nova.scheduler import manager

    admin = context.RequestContext(
        user_id=uuid.uuid4().hex,
        project_id=request['project_id'] or uuid.uuid4().hex,
        is_admin=True,
    )
    # The cell is found by the hosts.
    spec = _request_spec(admin, request)
    for kind in (objects.Service, manager.SchedulerManager):
        clear = getattr(kind, 'clear_min_version_cache', None)
        if clear is not None:
            clear()
    scheduler = manager.SchedulerManager()
    selections = scheduler.select_destinations(
        admin,
        spec_obj=spec,
        instance_uuids=[spec.instance_uuid],
        return_objects=True,
        return_alternates=False,
    )
    return str(selections[0][0].nodename)


def _request_spec(admin: typing.Any, request: Row) -> typing.Any:
    from nova import objects
    from nova.pci import request as pci_request
    from nova.virt import hardware

    flavor = objects.Flavor(
        **_FLAVOR, **{'flavorid': 'twin', **request['flavor']}
    )
    image = objects.ImageMeta.from_dict(
        {
            'id': str(uuid.uuid4()),
            'name': 'twin',
            'status': 'active',
            'container_format': 'bare',
            'disk_format': 'raw',
            'min_ram': 0,
            'min_disk': 0,
            'properties': request['image'],
        }
    )
    properties: Row = {}
    if request['host'] is not None:
        properties['requested_destination'] = objects.Destination(
            host=request['host']['service_host'], node=request['host']['name']
        )
    spec = objects.RequestSpec.from_components(
        admin,
        str(uuid.uuid4()),
        image,
        flavor,
        hardware.numa_get_constraints(flavor, image),
        pci_request.get_pci_requests_from_flavor(flavor),
        properties,
        None,
        request['zone'],
        project_id=admin.project_id,
        user_id=admin.user_id,
    )
    spec.is_bfv = request['volume_backed']
    return spec


if __name__ == '__main__':
    main()
