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

"""The supervisor of a rehearsal cloud.

``openstack gpu rehearsal start`` starts it in a session of its own. It imports
what the services need once and forks a process for each service, so that they
share this memory and start fast. Then it waits until it has to stop them.
"""

import contextlib
import fcntl
import functools
import gc
import importlib
import json
import os
import secrets
import sys
import time
import typing

from gpuclient.rehearsal import databases
from gpuclient.rehearsal import identity
from gpuclient.rehearsal import nova_overlay
from gpuclient.rehearsal import nova_process
from gpuclient.rehearsal import overlays
from gpuclient.rehearsal import process_supervisor
from gpuclient.rehearsal import service_files
from gpuclient.rehearsal import services
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import spec_reader
from gpuclient.rehearsal import state
from gpuclient.rehearsal.nova_worker import jobs

#: Seconds that a start may take, and more of them for each host.
_TIMEOUT = 240
_TIMEOUT_PER_HOST = 10

#: Services other than Nova.
_OTHERS = ('keystone', 'placement', 'glance', 'neutron')


class Supervisor(process_supervisor.ProcessSupervisor):
    """Starts the services of the cloud that ``spec.json`` describes."""

    essential = frozenset(
        ('keystone', 'placement', 'glance', 'nova-conductor')
    )

    def __init__(
        self,
        *args: typing.Any,
        packages: overlays.Overlays,
        lock: int | None = None,
    ) -> None:
        super().__init__(*args)
        self._lock = lock
        self._packages = packages
        self._overlay = packages.nova
        self._versions = packages.versions
        self._version = self._versions['nova']
        #: Starts the processes of the overlay.
        self._worker: nova_process.NovaWorker | None = None
        self.record.nova = self._version
        self.record.overlay = packages.nova is not None
        self.record.placement = self._versions['openstack-placement']
        self.record.placement_overlay = packages.placement is not None

    def start_services(self) -> None:
        if self._overlay is not None:
            # Processes of the worker are children of this one.
            state.adopt_orphans()
            # It imports Nova while the others are started.
            self._worker = self._start_worker(self._overlay)
        cloud_spec = spec_reader.read(self.folder.load('spec.json'))
        if self.folder.exists():
            self._keep_ports(self.folder.read())
        self.save()
        self.listen([*_OTHERS, *(api.name for api in cloud_spec.apis)])
        self.record.services = self._planned_services(cloud_spec)
        self.save()
        self.say('importing the services')
        gc.disable()
        services.import_common()
        context = self._write_files(cloud_spec)
        jobs.freeze()
        self.say('migrating the databases')
        databases.prepare(self.folder, self.run_side_by_side, self._packages)
        context.files.write_clouds_yaml()
        for name, run in (
            ('keystone', services.run_keystone),
            ('placement', services.run_placement),
            ('glance', services.run_glance),
            ('neutron', services.run_neutron),
        ):
            self.start_service(name, functools.partial(run, context))
        if self._overlay is None:
            jobs.import_modules()
            jobs.freeze()
        self._start_nova(context)

    def _keep_ports(self, record: state.CloudRecord) -> None:
        """Take the ports from the record of an earlier start."""
        self.record.services = [
            state.CloudProcess(service.name, service.host, port=service.port)
            for service in record.services
        ]

    def _planned_services(
        self, cloud_spec: spec.CloudSpec
    ) -> list[state.CloudProcess]:
        planned = [
            *(state.CloudProcess(name) for name in _OTHERS),
            *(
                state.CloudProcess(service.name, service.host)
                for service in cloud_spec.control_plane
            ),
            *(
                state.CloudProcess('nova-compute', host.name)
                for host in cloud_spec.hosts
            ),
        ]
        for process in planned:
            if process.name in self.sockets:
                process.port = self.sockets[process.name].getsockname()[1]
        return planned

    def _write_files(
        self, cloud_spec: spec.CloudSpec
    ) -> services.ServiceContext:
        """Write the configuration files of the services."""
        # After import_common: oslo.messaging must find that Nova uses threads.
        messaging = importlib.import_module('gpuclient.rehearsal.messaging')
        passwords = self._passwords()
        files = service_files.ServiceFiles(
            self.folder,
            {
                name: sock.getsockname()[1]
                for name, sock in self.sockets.items()
            },
            passwords,
            cloud_spec.transport_url
            or messaging.transport_url(self.folder.file('rpc')),
            self._overlay,
        )
        files.write(cloud_spec)
        return services.ServiceContext(
            self.folder,
            cloud_spec,
            files,
            passwords,
            self.sockets,
            self._packages.placement,
        )

    def _passwords(self) -> dict[str, str]:
        """Return the password of each user, created at the first start."""
        passwords: dict[str, str] = {}
        with contextlib.suppress(FileNotFoundError):
            passwords = self.folder.load('passwords.json')
        for name in identity.USERS:
            passwords.setdefault(name, secrets.token_urlsafe(18))
        state.write_private(
            self.folder.file('passwords.json'), json.dumps(passwords)
        )
        return passwords

    def _start_nova(self, context: services.ServiceContext) -> None:
        cloud_spec = context.spec
        deadline = (
            time.monotonic()
            + _TIMEOUT
            + _TIMEOUT_PER_HOST * len(cloud_spec.hosts)
        )
        self.start_helper('cells', self._job(services.cells_job(context)))
        self.wait_for_helper('cells', deadline)
        for kind, members in (
            ('conductor', cloud_spec.conductors),
            ('scheduler', cloud_spec.schedulers),
        ):
            for member in members:
                self.start_service(
                    member.name,
                    self._job(
                        services.control_job(context, kind, member.name)
                    ),
                )
        for api in cloud_spec.apis:
            self.start_service(
                api.name,
                self._job(services.api_job(context, api.name), api.name),
            )
        for host in cloud_spec.hosts:
            self.start_service(
                'nova-compute',
                self._job(services.compute_job(context, host)),
                host.name,
            )
        self.start_helper(
            'image', functools.partial(services.make_image, context)
        )
        self.wait_until_started(deadline)
        self.wait_for_helper('image', deadline)
        self.start_helper('hosts', self._job(services.hosts_job(context)))
        self.wait_for_helper('hosts', deadline)

    def _job(
        self, values: jobs.Job, socket_name: str | None = None
    ) -> nova_process.NovaJob:
        return nova_process.NovaJob(
            values, self._version, self.sockets, socket_name
        )

    # -- processes of another Nova -------------------------------------------

    def _start_worker(
        self, overlay: nova_overlay.NovaOverlay
    ) -> nova_process.NovaWorker:
        # Its processes hold the lock of the cloud, too.
        inherited = [] if self._lock is None else [self._lock]
        worker = nova_process.NovaWorker(overlay, self.reports, inherited)
        self.record.worker = self.start_helper('nova', worker.execute)
        worker.started()
        return worker

    def _ready_worker(
        self, overlay: nova_overlay.NovaOverlay
    ) -> nova_process.NovaWorker:
        """Return the worker once it has imported Nova.

        :raises RehearsalError: It has ended.
        """
        worker = self._worker
        if worker is None or (
            self.status_of_helper('nova') is not None
            and self.record.supervisor.state == state.READY
        ):
            # It ended later: a service is started again.
            worker = self._worker = self._start_worker(overlay)
        self.wait(
            lambda: (
                worker.is_ready() or self.status_of_helper('nova') is not None
            ),
            time.monotonic() + _TIMEOUT,
        )
        if self.status_of_helper('nova') is not None:
            raise self.failed_helper('nova')
        return worker

    def spawn(
        self,
        process: state.CloudProcess,
        log: str,
        job: process_supervisor.Job,
        number: int | None,
    ) -> int:
        if self._overlay is None or not isinstance(job, nova_process.NovaJob):
            return super().spawn(process, log, job, number)
        worker = self._ready_worker(self._overlay)
        descriptor = self.open_log(log)
        try:
            return worker.spawn(job, number, descriptor)
        finally:
            os.close(descriptor)

    def stages(self) -> list[list[state.CloudProcess]]:
        """Return the services, each before those that it needs to end."""
        conductors = [
            service
            for service in self.record.services
            if service.name.startswith('nova-conductor')
        ]
        nova = [
            service
            for service in self.record.services
            if service.name.startswith('nova-') and service not in conductors
        ]
        return [nova, conductors, self.record.services]


def main() -> int:
    """Run a cloud: ``supervisor NAME FOLDER PROGRESS BOUND_TO OVERLAYS``.

    BOUND_TO is null, or the ID and the start time of the process with which
    the cloud ends. OVERLAYS has the version and the path of each package of
    another release.
    """
    name, directory, progress, bound_to, packages = sys.argv[1:]
    os.umask(0o077)
    folder = state.StateFolder(name, directory)
    folder.check()
    with contextlib.ExitStack() as stack:
        process, descriptor = None, None
        if bound_to != 'null':
            pid, started = json.loads(bound_to)
            process = state.CloudProcess('bound-to', pid=pid, started=started)
            descriptor = stack.enter_context(state.handle(process))
            if descriptor is None:
                sys.stdout.write(
                    'the process that the cloud is bound to has ended\n'
                )
                return 1
        # Inherited by each process of the cloud.
        lock = folder.lock()
        if lock is None:
            sys.stdout.write('the cloud is running already\n')
            return 1
        fcntl.fcntl(lock, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        return Supervisor(
            folder,
            int(progress),
            process,
            descriptor,
            packages=overlays.loads(packages),
            lock=lock,
        ).run()


if __name__ == '__main__':
    sys.exit(main())
