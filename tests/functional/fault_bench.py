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

"""Plant a fault in a rehearsal cloud, and see whether a command names it."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import time
import typing
import uuid

from gpuclient.cloud import request as cloud_request

from tests.functional import base
from tests.functional import proxy

#: The extra spec that requests devices.
ALIAS = 'pci_passthrough:alias'
NO_HOST = 'No valid host was found'
#: What the fault of a server says of any cause: the step that failed.
_STEPS = frozenset({'GPU649', 'GPU650'})


@dataclasses.dataclass(frozen=True)
class Observed:
    """The symptom of a fault, and the command that should name it."""

    #: Nova's message, as a user or an operator sees it.
    symptom: str
    #: ``gpu check``, without ``-f json``.
    tool: tuple[str, ...]
    #: Code, or code and object, of the first finding; or a part of the cause
    #: that ``gpu flavor explain`` or ``gpu server explain`` names.
    expected: str
    #: Codes that are true beside it, or conditions of ``explain``.
    beside: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a command said of a fault."""

    area: str
    fault: str
    symptom: str
    tool: str
    first: str
    right: bool
    #: Findings that are not true.
    false: tuple[str, ...]
    requests: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Fault:
    """A fault: how it is planted, and how it shows."""

    area: str
    name: str
    plant: collections.abc.Callable[[Bench], Observed]


class Bench:
    """A cloud, and what was changed in it: undone at the end.

    A context manager.
    """

    def __init__(self, test: base.CommonCloudTestCase) -> None:
        self.test = test
        self.cloud = test.connect()
        self.folder = pathlib.Path(test.started.cloud['directory'])
        self.etc = self.folder / 'etc' / 'nova'
        self._stack = contextlib.ExitStack()
        self._servers: list[str] = []
        #: The last server that failed.
        self.last: typing.Any = None
        #: The flavor of the last request, and its other arguments.
        self.last_request: tuple[typing.Any, dict[str, typing.Any]]
        #: Process IDs of services that hang, by name and host.
        self.paused: dict[tuple[str, str], int] = {}

    def __enter__(self) -> Bench:
        self.later(lambda: self.test.delete(*self._servers))
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def later(self, function: typing.Any, *arguments: typing.Any) -> None:
        """Call a function at the end."""
        self._stack.callback(function, *arguments)

    # What users and operators do.

    def flavor(
        self,
        request: str | None = 'a100:1',
        *,
        vcpus: int = 1,
        ram: int = 512,
        disk: int = 1,
        public: bool = False,
        **specs: str,
    ) -> typing.Any:
        """Create a flavor, with extra specs that Nova does not validate.

        Underscores of keys stand for colons.
        """
        compute = self.cloud.compute
        flavor = compute.create_flavor(
            name=f'f-{uuid.uuid4().hex[:6]}',
            vcpus=vcpus,
            ram=ram,
            disk=disk,
            is_public=public,
        )
        self.later(compute.delete_flavor, flavor.id)
        extra_specs = dict(specs)
        if request is not None:
            extra_specs[ALIAS] = request
        if extra_specs:
            compute.create_flavor_extra_specs(flavor, extra_specs)
        return flavor

    def image(self, **properties: str) -> typing.Any:
        """Create an image with properties."""
        image = self.cloud.image.create_image(
            name=f'i-{uuid.uuid4().hex[:6]}',
            container_format='bare',
            disk_format='raw',
            data=b'x',
            validate_checksum=False,
            **properties,
        )
        self.later(self.cloud.image.delete_image, image.id)
        return image

    def request(
        self,
        flavor: typing.Any,
        *,
        os_cloud: str | None = None,
        image: typing.Any = None,
        api: str | None = None,
        **more: typing.Any,
    ) -> typing.Any:
        """Send a request for a server; return the response."""
        self.last_request = flavor, {'image': image, **more}
        compute = self.test.connect(os_cloud).compute
        if image is None:
            (image,) = self.cloud.image.images(name='blank')
        body = {
            'name': f's-{uuid.uuid4().hex[:6]}',
            'flavorRef': flavor.id,
            'imageRef': image.id,
            'networks': 'none',
            **more,
        }
        return compute.post(
            f'{api or ""}/servers',
            json={'server': body},
            microversion='2.90',
        )

    def refused(
        self, flavor: typing.Any, status: int, **more: typing.Any
    ) -> str:
        """Return the message with which nova-api refuses a server."""
        response = self.request(flavor, **more)
        self.test.assertEqual(status, response.status_code, response.text)
        (error,) = response.json().values()
        return f'HTTP {status}: {error["message"]}'

    def boot(self, flavor: typing.Any, **more: typing.Any) -> typing.Any:
        """Boot a server; return it once it has booted or failed."""
        response = self.request(flavor, **more)
        self.test.assertEqual(202, response.status_code, response.text)
        server_id = response.json()['server']['id']
        self._servers.append(server_id)
        return self.settled(server_id)

    def boot_several(self, flavor: typing.Any, number: int) -> None:
        """Boot servers at the same time, until so many are active."""
        active = 0
        while active < number:
            ids = []
            for _server in range(number - active):
                response = self.request(flavor)
                self.test.assertEqual(202, response.status_code)
                ids.append(response.json()['server']['id'])
            self._servers += ids
            active += sum(
                self.settled(server_id).status == 'ACTIVE' for server_id in ids
            )

    def settled(self, server_id: str, timeout: float = 90) -> typing.Any:
        """Return a server that no task changes."""
        compute = self.cloud.compute

        def find() -> typing.Any:
            server = compute.get_server(server_id)
            if server.status in ('BUILD', 'RESIZE') or server.task_state:
                return None
            return server

        return base.wait_until(find, timeout, f'server {server_id} settles')

    def failed(
        self, flavor: typing.Any, fault: str = NO_HOST, **more: typing.Any
    ) -> str:
        """Boot a server that fails; return Nova's message."""
        server = self.boot(flavor, **more)
        self.last = server
        self.test.assertEqual('ERROR', server.status)
        message: str = server.fault['message']
        self.test.assertIn(fault, message)
        return message

    def booted(self, flavor: typing.Any, **more: typing.Any) -> typing.Any:
        """Boot a server that is active."""
        server = self.boot(flavor, **more)
        self.test.assertEqual('ACTIVE', server.status, server.fault)
        return server

    def devices_of(self, server: typing.Any) -> int:
        """Return how many devices a server has in Placement."""
        allocations = self.cloud.placement.get(
            f'/allocations/{server.id}', microversion='1.28'
        ).json()['allocations']
        return sum(
            amount
            for allocation in allocations.values()
            for name, amount in allocation['resources'].items()
            if name.startswith('CUSTOM_')
        )

    def stuck(self, flavor: typing.Any) -> str:
        """Request a server that stays in BUILD; return that as a message."""
        response = self.request(flavor)
        self.test.assertEqual(202, response.status_code, response.text)
        server_id = response.json()['server']['id']
        self.later(self._give_up, server_id)
        server = self.cloud.compute.get_server(server_id)
        self.test.assertEqual('BUILD', server.status)
        return f'the server stays in {server.status} ({server.task_state})'

    def _give_up(self, server_id: str) -> None:
        """Let Nova finish with a server, and delete it."""
        for service, host in self.paused:
            self.resume(service, host)
        self.settled(server_id)
        self.test.delete(server_id)

    def through_both(self) -> tuple[str, ...]:
        """Let commands reach both nova-api in turn."""
        balancer = proxy.Balancer(
            [
                service['port']
                for service in self.test.started.cloud['services']
                if service['name'].startswith('nova-api')
            ]
        )
        self._stack.enter_context(balancer)
        before = os.environ['OS_CLIENT_CONFIG_FILE']
        self.later(os.environ.__setitem__, 'OS_CLIENT_CONFIG_FILE', before)
        self.balanced = f'http://127.0.0.1:{balancer.port}/v2.1'
        self.test.configure(compute_endpoint_override=self.balanced)
        return ()

    def some_refused(self, flavor: typing.Any) -> str:
        """Request servers until a nova-api refuses one."""
        for port in (
            service['port']
            for service in self.test.started.cloud['services']
            if service['name'] == 'nova-api-2'
        ):
            return 'of some requests: ' + self.refused(
                flavor, 400, api=f'http://127.0.0.1:{port}/v2.1'
            )
        raise AssertionError('there is one nova-api')

    # Configuration.

    def edit(
        self, service: str, old: str, new: str, *, restart: bool = True
    ) -> str:
        """Replace text in the configuration of a service, and restart it.

        :param service: ``nova-api-1`` or ``nova-compute-HOST``.
        :returns: The message with which it does not start.
        """
        for path in sorted((self.etc / f'{service}.conf.d').glob('1*.conf')):
            text = path.read_text()
            if old in text:
                break
        else:
            raise AssertionError(f'{service} has no {old!r}')
        path.write_text(text.replace(old, new))
        if not restart:
            self.later(path.write_text, text)
            return ''
        devices = self.devices_of_host(service)
        self.later(self._restore, path, text, service, devices)
        return self.restart(service)

    def devices_of_host(self, service: str) -> int:
        """Return how many devices the host of a service reports."""
        host = service.removeprefix('nova-compute-')
        return len(self.providers(f'{host}_.*'))

    def wait_for_devices(self, service: str, number: int) -> None:
        """Wait until the host of a service reports so many devices."""
        base.wait_until(
            lambda: self.devices_of_host(service) == number,
            120,
            f'{service} reports {number} devices',
        )

    def edit_aliases(self, old: str, new: str) -> None:
        """Replace text in the aliases of all services; restart nova-api-1.

        The other nova-api gets no requests, and nova-compute uses aliases for
        moves only.
        """
        for folder in sorted(self.etc.glob('nova-*.conf.d')):
            service = folder.name.removesuffix('.conf.d')
            if service != 'nova-api-1' and any(
                old in path.read_text() for path in folder.glob('1*.conf')
            ):
                self.edit(service, old, new, restart=False)
        self.edit('nova-api-1', old, new)

    def add(self, service: str, lines: str, **more: typing.Any) -> str:
        """Add lines to the configuration of a service."""
        mark = '[pci]\n'
        if service == 'nova-scheduler':
            mark = '[filter_scheduler]\nenabled'
        return self.edit(service, mark, f'{lines}\n{mark}', **more)

    def _restore(
        self, path: pathlib.Path, text: str, service: str, devices: int
    ) -> None:
        path.write_text(text)
        message = self.restart(service)
        self.test.assertEqual('', message)
        self.wait_for_devices(service, devices)

    def restart(self, service: str) -> str:
        """Restart a service; return why it does not start."""
        name, host = service, ()
        if service.startswith('nova-compute-'):
            name = 'nova-compute'
            host = ('--host', service.removeprefix('nova-compute-'))
        result = self.test.run_command(
            *('gpu', 'rehearsal', 'restart', self.test.name, '-f', 'json'),
            *('--directory', os.fspath(self.folder)),
            *('--service', name, *host),
        )
        return result.stderr.strip() if result.status else ''

    def pause(self, service: str, host: str = 'controller') -> None:
        """Let a service hang until the end, so that Nova sees it as down."""
        cloud = self.test.openstack(
            *('gpu', 'rehearsal', 'show', self.test.name, '-f', 'json'),
            *('--directory', os.fspath(self.folder)),
        )
        (pid,) = [
            record['pid']
            for record in cloud['services']
            if (record['name'], record['host']) == (service, host)
        ]
        os.kill(pid, signal.SIGSTOP)
        self.paused[service, host] = pid
        self.later(self.resume, service, host)
        base.wait_until(
            lambda: self._state(service, host) == 'down', 60, f'{service} down'
        )

    def resume(self, service: str, host: str) -> None:
        """Let a service that hangs go on."""
        os.kill(self.paused[service, host], signal.SIGCONT)
        base.wait_until(
            lambda: self._state(service, host) == 'up', 60, f'{service} up'
        )

    def force_down(self, host: str, down: bool) -> None:
        """Let Nova regard a nova-compute as down, or as it is."""
        compute = self.cloud.compute
        (service,) = compute.services(binary='nova-compute', host=host)
        compute.update_service_forced_down(service, forced=down)

    def _state(self, binary: str, host: str) -> str:
        (service,) = self.cloud.compute.services(binary=binary, host=host)
        return str(service.state)

    # Placement.

    def placement(
        self, method: str, path: str, body: typing.Any = None
    ) -> typing.Any:
        """Send a request to Placement; return the answer."""
        response = self.cloud.placement.request(
            path, method, json=body, microversion='1.38'
        )
        self.test.assertLess(response.status_code, 300, response.text)
        return response.json() if response.content else None

    def providers(self, pattern: str) -> list[dict[str, typing.Any]]:
        """Return the providers whose names match."""
        return [
            provider
            for provider in self.placement('GET', '/resource_providers')[
                'resource_providers'
            ]
            if re.fullmatch(pattern, provider['name'])
        ]

    def reserve(self, provider: dict[str, typing.Any]) -> None:
        """Reserve all units of a device until the end."""
        path = f'/resource_providers/{provider["uuid"]}/inventories'
        self._set_reserved(path, True)
        self.later(self._set_reserved, path, False)

    def release(self, uuid: str) -> None:
        """Release the reserved units of a device."""
        self._set_reserved(f'/resource_providers/{uuid}/inventories', False)

    def _set_reserved(self, path: str, reserved: bool) -> None:
        record = self.placement('GET', path)
        ((name, values),) = record['inventories'].items()
        values['reserved'] = values['total'] if reserved else 0
        self.placement(
            'PUT',
            path,
            {
                'inventories': {name: values},
                'resource_provider_generation': record[
                    'resource_provider_generation'
                ],
            },
        )

    def allocate(
        self, resources: dict[str, dict[str, int]], consumer: str | None = None
    ) -> str:
        """Allocate units of providers to a consumer that no server is."""
        consumer = consumer or str(uuid.uuid4())
        project = self.cloud.current_project_id
        self.placement(
            'PUT',
            f'/allocations/{consumer}',
            {
                'allocations': {
                    provider: {'resources': units}
                    for provider, units in resources.items()
                },
                'project_id': project,
                'user_id': self.cloud.current_user_id,
                'consumer_generation': None,
                'consumer_type': 'INSTANCE',
            },
        )
        self.later(self.cloud.placement.delete, f'/allocations/{consumer}')
        return consumer

    def hold(
        self,
        server: typing.Any,
        providers: list[dict[str, typing.Any]],
        resource_class: str,
    ) -> None:
        """Let a server hold devices besides those that it has."""
        path = f'/allocations/{server.id}'
        record = self.placement('GET', path)
        allocations = {
            uuid: {'resources': allocation['resources']}
            for uuid, allocation in record['allocations'].items()
        }
        for provider in providers:
            allocations.setdefault(
                provider['uuid'], {'resources': {resource_class: 1}}
            )
        self.placement(
            'PUT',
            path,
            {
                'allocations': allocations,
                'consumer_type': 'INSTANCE',
                **{
                    key: record[key]
                    for key in ('project_id', 'user_id', 'consumer_generation')
                },
            },
        )

    def forget(self, server: typing.Any) -> None:
        """Delete the allocations of a server."""
        self.placement('DELETE', f'/allocations/{server.id}')

    def leave_host(self, name: str, resource_class: str) -> None:
        """Create the providers of a host that Nova does not have."""
        uuids: list[str] = []
        for title, name_, total, traits in (
            ('MEMORY_MB', name, 65536, []),
            (
                resource_class,
                f'{name}_0000:04:00.0',
                1,
                ['COMPUTE_MANAGED_PCI_DEVICE', 'OWNER_NOVA'],
            ),
        ):
            body = {'name': name_, 'uuid': str(uuid.uuid4())}
            if uuids:
                body['parent_provider_uuid'] = uuids[0]
            self.placement('POST', '/resource_providers', body)
            path = f'/resource_providers/{body["uuid"]}'
            uuids.append(body['uuid'])
            self.later(self.cloud.placement.delete, path)
            self.placement(
                'PUT',
                f'{path}/inventories',
                {
                    'inventories': {title: {'total': total}},
                    'resource_provider_generation': 0,
                },
            )
            self.placement(
                'PUT',
                f'{path}/traits',
                {'traits': traits, 'resource_provider_generation': 1},
            )

    def aggregate(self, *hosts: str, **metadata: str) -> None:
        """Put hosts into an aggregate until the end."""
        compute = self.cloud.compute
        aggregate = compute.create_aggregate(name=f'a-{uuid.uuid4().hex[:6]}')
        self.later(compute.delete_aggregate, aggregate.id)
        for host in hosts:
            compute.add_host_to_aggregate(aggregate, host)
            self.later(self._leave, aggregate, host)
        compute.set_aggregate_metadata(aggregate, metadata)

    def _leave(self, aggregate: typing.Any, host: str) -> None:
        compute = self.cloud.compute
        if host in compute.get_aggregate(aggregate.id).hosts:
            compute.remove_host_from_aggregate(aggregate, host)

    def limit(self, resource: str, default: int) -> None:
        """Register a unified limit of Nova until the end."""
        identity = self.cloud.identity
        (service,) = identity.services(type='compute')
        limit = identity.create_registered_limit(
            service_id=service.id,
            region_id='RegionOne',
            resource_name=resource,
            default_limit=default,
        )
        self.later(identity.delete_registered_limit, limit)

    def device_classes(self) -> list[str]:
        """Return the resource classes of PCI devices."""
        return [
            record['name']
            for record in self.placement('GET', '/resource_classes')[
                'resource_classes'
            ]
            if record['name'].startswith('CUSTOM_PCI_')
        ]

    def use_unified_limits(self) -> None:
        """Let nova-api compare requests with unified limits."""
        self.add(
            'nova-api-1',
            '[quota]\ndriver = nova.quota.UnifiedLimitsDriver\n',
        )

    def resize(self, server: typing.Any, flavor: typing.Any) -> None:
        """Resize a server, and confirm it."""
        compute = self.cloud.compute
        compute.resize_server(server, flavor.id)
        self.test.wait_for_server(server.id, 'VERIFY_RESIZE')
        compute.confirm_server_resize(server)
        self.test.wait_for_server(server.id, 'ACTIVE')

    def _act(self, server: typing.Any, body: typing.Any) -> typing.Any:
        return self.cloud.compute.post(
            f'/servers/{server.id}/action', json=body, microversion='2.95'
        )

    def action_refused(
        self, server: typing.Any, body: typing.Any, status: int
    ) -> str:
        """Return the message with which nova-api refuses an action."""
        response = self._act(server, body)
        self.test.assertEqual(status, response.status_code, response.text)
        (error,) = response.json().values()
        return f'HTTP {status}: {error["message"]}'

    def move_fails(
        self, server: typing.Any, action: str, body: typing.Any
    ) -> str:
        """Move a server, which fails; return Nova's message."""
        response = self._act(server, body)
        if response.status_code >= 400:
            (error,) = response.json().values()
            return f'HTTP {response.status_code}: {error["message"]}'
        self.test.assertEqual(202, response.status_code, response.text)
        path = f'/servers/{server.id}/os-instance-actions'

        def find() -> str | None:
            if self.cloud.compute.get_server(server.id).task_state:
                return None
            for record in self._read(path)['instanceActions']:
                if record['action'] == action and record['message']:
                    return self._detail(path, record['request_id'])
            return None

        return base.wait_until(find, 90, f'{action} fails')

    def _read(self, path: str) -> typing.Any:
        return self.cloud.compute.get(path, microversion='2.84').json()

    def _detail(self, path: str, request_id: str) -> str:
        events = self._read(f'{path}/{request_id}')['instanceAction']['events']
        texts = [
            event.get('details') or (event.get('traceback') or '').strip()
            for event in events
            if event['result'] == 'Error'
        ]
        return next((text.splitlines()[-1] for text in texts if text), 'Error')

    def resize_fails(self, server: typing.Any, flavor: typing.Any) -> str:
        """Resize a server, which fails; return Nova's message."""
        compute = self.cloud.compute
        compute.resize_server(server, flavor.id)

        def find() -> str | None:
            found = compute.get_server(server.id)
            if found.task_state or not found.fault:
                return None
            return str(found.fault['message'])

        return base.wait_until(find, 90, 'the resize fails')


def examine(test: base.CommonCloudTestCase, fault: Fault) -> Verdict:
    """Plant a fault, run the command, and undo it."""
    began = time.monotonic()
    with Bench(test) as bench:
        observed = fault.plant(bench)
        actions: list[str] = []
        cloud_request.observers.append(actions.append)
        try:
            result = test.run_command(*observed.tool, '-f', 'json')
        finally:
            cloud_request.observers.remove(actions.append)
        first, right, false = _judge(observed, result)
        if right and bench.last is not None and 'explain' in observed.tool:
            # What is said of the flavor is said of the server.
            first, right, false = _judge(
                observed,
                test.run_command(
                    *('gpu', 'server', 'explain', bench.last.id),
                    *('--config', str(bench.etc), '-f', 'json'),
                    *_requested_host(observed.tool),
                ),
            )
    return Verdict(
        fault.area,
        fault.name,
        ' '.join(observed.symptom.split()),
        'gpu ' + ' '.join(observed.tool[1:3]).partition(' --')[0],
        first,
        right,
        false,
        len(actions),
        time.monotonic() - began,
    )


def _requested_host(tool: tuple[str, ...]) -> tuple[str, ...]:
    """Return the option of the requested host, which Nova does not show."""
    if '--host' not in tool:
        return ()
    start = tool.index('--host')
    return tool[start : start + 2]


def _judge(
    observed: Observed, result: base.Result
) -> tuple[str, bool, tuple[str, ...]]:
    """Return the first finding, whether it is right, and false findings."""
    if not result.stdout.strip():
        return result.stderr.strip(), False, ()
    answer = json.loads(result.stdout)
    if isinstance(answer, dict):
        return _judge_explanation(observed, answer)
    findings = [row for row in answer if row.get('Code')]
    if not findings:
        return 'none', False, ()
    first = _title(findings[0])
    code, _space, object_ = observed.expected.partition(' ')
    right = findings[0]['Code'] == code and object_ in json.dumps(findings[0])
    true = {code, *observed.beside}
    false = tuple(
        _title(row) for row in findings[1:] if row['Code'] not in true
    )
    return first, right, false


def _title(row: dict[str, typing.Any]) -> str:
    object_ = row.get('Object') or row.get('Host') or row.get('File') or ''
    message = str(row.get('Message') or row.get('Problem') or '')
    return f'{row["Code"]} {object_}: {message}'


def _judge_explanation(
    observed: Observed, answer: dict[str, typing.Any]
) -> tuple[str, bool, tuple[str, ...]]:
    cause = str(answer['cause'])
    blockers = [
        record for record in answer.get('blockers', ()) if record['proved']
    ]
    if answer['fits'] or blockers:
        # Placement returns hosts: only what it cannot see is a cause.
        causes = [
            f'{record["code"]} {record["proved"] or record["suspected"]}'
            for record in (*blockers, *answer['unseen'])
            if record['code'] not in _STEPS
        ] or ['none']
        false = tuple(
            text for text in causes[1:] if not text.startswith(observed.beside)
        )
        first = causes[0]
        if 'fault' in answer:
            # The sentence about a server must name it, too.
            first = first if first.split()[0] in cause else cause
        return first, bool(re.search(observed.expected, first)), false
    right = bool(re.search(observed.expected, cause))
    true = '|'.join((observed.expected, *observed.beside))
    false = tuple(
        title
        for conflict in answer.get('conflicts') or ()
        if not re.search(true, title := ' + '.join(conflict['conditions']))
    )
    return cause, right, false


def table(verdicts: collections.abc.Sequence[Verdict]) -> str:
    """Return the verdicts as Markdown."""
    lines = [
        '| # | area | fault | symptom | command | first finding | right '
        '| false | requests | seconds |',
        '|' + '---|' * 10,
    ]
    for number, verdict in enumerate(verdicts, 1):
        cells = (
            str(number),
            verdict.area,
            verdict.fault,
            verdict.symptom[:160],
            verdict.tool,
            verdict.first[:160],
            'right' if verdict.right else 'WRONG',
            str(len(verdict.false)),
            str(verdict.requests),
            f'{verdict.seconds:.1f}',
        )
        lines.append(
            '| ' + ' | '.join(c.replace('|', '/') for c in cells) + ' |'
        )
    right = sum(verdict.right for verdict in verdicts)
    false = sum(len(verdict.false) for verdict in verdicts)
    seconds = sum(verdict.seconds for verdict in verdicts)
    lines += [
        '',
        f'{len(verdicts)} faults: {right} named first, '
        f'{len(verdicts) - right} not; {false} false findings; '
        f'{seconds:.0f} s',
    ]
    return '\n'.join(lines) + '\n'
