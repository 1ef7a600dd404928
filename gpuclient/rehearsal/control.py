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

"""Start, stop, restart and show rehearsal clouds.

This module imports none of the services; the supervisor does.
"""

import collections.abc
import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import time
import typing

import platformdirs

from gpuclient import exceptions
from gpuclient.model import nova_changes
from gpuclient.model import release as releases
from gpuclient.rehearsal import launch
from gpuclient.rehearsal import nova_overlay
from gpuclient.rehearsal import overlays
from gpuclient.rehearsal import placement_overlay
from gpuclient.rehearsal import service_files
from gpuclient.rehearsal import spec
from gpuclient.rehearsal import spec_reader
from gpuclient.rehearsal import state
from gpuclient.rehearsal import supervisor_socket
from gpuclient.rehearsal import trusted_files
from gpuclient import text as texts

#: Seconds that a cloud has to stop: more than the supervisor gives its
#: services to end.
_STOP_TIMEOUT = 60
#: Seconds that a service has to end and to start again.
_RESTART_TIMEOUT = 120
#: Seconds that processes have to end after SIGKILL.
_KILL_TIMEOUT = 10
_INTERVAL = 0.05
#: Modules that the extra ``rehearsal`` installs.
_MODULES = ('cheroot', 'glance', 'keystone', 'nova', 'placement')

if typing.TYPE_CHECKING:
    from openstack import connection

#: Deletes what was created for a cloud outside of its folder; returns what it
#: left.
Unregister: typing.TypeAlias = collections.abc.Callable[[], list[str]]


@dataclasses.dataclass(frozen=True)
class RehearsalCloud:
    """A rehearsal cloud at one moment."""

    folder: state.StateFolder
    record: state.CloudRecord
    #: Whether one of its processes runs.
    running: bool

    @property
    def state(self) -> str:
        """``starting``, ``ready``, ``failed`` or ``stopped``."""
        if self.running or self.record.supervisor.state == state.FAILED:
            return self.record.supervisor.state
        return state.STOPPED

    @property
    def release(self) -> releases.Release | None:
        """The release of its Nova; None in records of older versions."""
        if not self.record.nova:
            return None
        return nova_overlay.release_of(self.record.nova)

    @property
    def overlay_release(self) -> releases.Release | None:
        """The release of its Nova if that is not the installed one.

        :raises RehearsalError: It is not known.
        """
        if not self.record.overlay:
            return None
        if self.release is None:
            raise exceptions.RehearsalError(
                f'Rehearsal cloud {self.folder.name} runs Nova '
                f'{self.record.nova}, which is not known: delete it with '
                f'"openstack gpu rehearsal stop {self.folder.name} --delete"'
            )
        return self.release

    @property
    def overlay_placement(self) -> str | None:
        """The version of its Placement if that is not the installed one."""
        if not self.record.placement_overlay:
            return None
        return self.record.placement

    @property
    def memory_mb(self) -> int:
        """Memory of all its processes in MiB, shared pages counted once."""
        if not self.running:
            return 0
        processes = [self.record.supervisor, *self.record.services]
        if self.record.worker is not None:
            processes.append(self.record.worker)
        return state.memory_mb(processes)


def folder(name: str | None, directory: str | None) -> state.StateFolder:
    """Return the state folder of a name, a directory, or both.

    A directory without a name is that of the cloud in it.
    """
    if directory and name is None:
        known = state.StateFolder('rehearsal', directory)
        if known.exists():
            return state.StateFolder(known.read().name, directory)
    return state.StateFolder('rehearsal' if name is None else name, directory)


def look(where: state.StateFolder) -> RehearsalCloud:
    """Return the cloud in a folder.

    :raises RehearsalError: There is none.
    """
    record = where.read()
    if record.name != where.name:
        raise exceptions.RehearsalError(
            f'Directory {where} has rehearsal cloud {record.name}, not '
            f'{where.name}'
        )
    return RehearsalCloud(where, record, where.locked())


def list_all() -> collections.abc.Iterator[state.StateFolder]:
    """Yield the folders with a cloud in the user's state folder."""
    base = platformdirs.user_state_path('gpuclient') / 'rehearsal'
    try:
        names = sorted(os.listdir(base))
    except FileNotFoundError:
        return
    except OSError as exc:
        raise exceptions.RehearsalError(
            f'Cannot read {base}: {exc.strerror}'
        ) from exc
    for name in names:
        if spec.NAME.fullmatch(name):
            where = state.StateFolder(name)
            if where.exists():
                yield where


def entries(where: state.StateFolder) -> dict[str, typing.Any]:
    """Return the entries of the clouds.yaml of a cloud.

    :raises RehearsalError: It cannot be read.
    """
    import yaml

    try:
        clouds = yaml.safe_load(trusted_files.read(where.clouds_yaml))
        return {name: clouds['clouds'][name] for name in where.cloud_names}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as exc:
        raise exceptions.RehearsalError(
            f'Cannot read {where.clouds_yaml}: {texts.one_line(str(exc))}'
        ) from exc


def connect(cloud: RehearsalCloud) -> 'connection.Connection':
    """Return a connection to a cloud, as its admin.

    The environment, clouds and proxies of the user have no effect on it.
    """
    from openstack import config
    from openstack import connection

    region = config.OpenStackConfig(
        config_files=[cloud.folder.clouds_yaml],
        secure_files=[],
        vendor_files=[],
        load_envvars=False,
    ).get_one(cloud=cloud.folder.name)
    client = connection.Connection(config=region)
    client.session.session.trust_env = False
    return client


# -- start -------------------------------------------------------------------


def start(
    where: state.StateFolder,
    document: typing.Any = None,
    say: launch.Say | None = None,
    bound_to: int | None = None,
    release: releases.Release | None = None,
    placement: str | None = None,
) -> RehearsalCloud:
    """Start a cloud, unless it is running, and wait until it is ready.

    :param document: The spec; by default that of the last start, and at the
        first start one host with two GPUs.
    :param say: Called with each line of progress.
    :param bound_to: The ID of a process: the cloud stops when that process
        ends.
    :param release: The release of Nova; by default that of the last start, and
        at the first start the installed one.
    :param placement: The version of Placement; the default is as for Nova.
    :returns: The cloud; some of its services may not have started.
    :raises InvalidValue: The spec is invalid.
    :raises RehearsalError: The cloud did not start.
    """
    if document is not None:
        spec_reader.read(document)
    binding = None if bound_to is None else _binding(bound_to)
    if where.exists():
        cloud = look(where)
        _check_same_release(cloud, release)
        _check_same_placement(cloud, placement)
        if cloud.running:
            return _join(cloud, document, binding, say)
        service_files.check_edited(where)
        _check_edited(where, document)
        release = cloud.overlay_release
        placement = cloud.overlay_placement
    check_installed()
    packages = overlays.Overlays(
        nova_overlay.prepare(release, say) if release else None,
        placement_overlay.prepare(placement, say) if placement else None,
    )
    where.create()
    _write_spec(where, document)
    os.makedirs(where.file('log'), mode=0o700, exist_ok=True)
    process = launch.launch(where, binding, say, packages)
    # Another command may have started it at the same time.
    if not where.exists() or _settled(where).state != state.READY:
        process.wait()
        raise exceptions.RehearsalError(
            f'Rehearsal cloud {where.name} did not start: {_reason(where)} '
            f'(logs: {where.file("log")})'
        )
    return look(where)


def check_installed() -> None:
    """Check that the services are installed.

    :raises RehearsalError: One is not.
    """
    missing = [
        name for name in _MODULES if importlib.util.find_spec(name) is None
    ]
    if missing:
        raise exceptions.RehearsalError(
            f'A rehearsal cloud needs {", ".join(missing)}: '
            "pip install 'python-gpuclient[rehearsal]'"
        )


def _join(
    cloud: RehearsalCloud,
    document: typing.Any,
    binding: state.CloudProcess | None,
    say: launch.Say | None,
) -> RehearsalCloud:
    """Return a cloud that is running already, once it has started."""
    where = cloud.folder
    _check_same_spec(where, document)
    _check_same_binding(cloud, binding)
    with _supervisor(where):
        # The lock is held by a cloud, not by another process.
        pass
    if say is not None:
        say(f'{where.name} is running already')
    return _settled(where)


def _check_same_release(
    cloud: RehearsalCloud, release: releases.Release | None
) -> None:
    """Refuse another release for a cloud, whose databases have one.

    Without an overlay a cloud runs the installed Nova, also when that was
    upgraded meanwhile.
    """
    if release is None:
        return
    version = cloud.record.nova
    if not cloud.record.overlay:
        version = nova_overlay.installed()
    if not nova_overlay.is_version_of(version, release):
        raise exceptions.RehearsalError(
            f'Rehearsal cloud {cloud.folder.name} has databases of Nova '
            f'{version}, which cannot run with Nova '
            f'{nova_changes.version_text(release.version)}: delete it first '
            f'with "openstack gpu rehearsal stop {cloud.folder.name} '
            '--delete", or choose another name'
        )


def _check_same_placement(cloud: RehearsalCloud, wanted: str | None) -> None:
    """Refuse another Placement for a cloud, as another Nova."""
    if wanted is None:
        return
    version = cloud.overlay_placement or placement_overlay.installed()
    if not placement_overlay.is_version_of(version, wanted):
        raise exceptions.RehearsalError(
            f'Rehearsal cloud {cloud.folder.name} has a database of Placement '
            f'{version}, which cannot run with Placement {wanted}: delete it '
            f'first with "openstack gpu rehearsal stop {cloud.folder.name} '
            '--delete", or choose another name'
        )


def _write_spec(where: state.StateFolder, document: typing.Any) -> None:
    path = where.file('spec.json')
    if document is None and not os.path.exists(path):
        document = spec.default(hosts=1, gpus=2)
    if document is not None:
        state.write_private(path, json.dumps(document, indent=1))


def _is_same_spec(where: state.StateFolder, document: typing.Any) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return document is None or bool(where.load('spec.json') == document)
    return False


def _check_edited(where: state.StateFolder, document: typing.Any) -> None:
    """Refuse a new spec where it would replace edited files."""
    if _is_same_spec(where, document):
        return
    edited = service_files.edited(where)
    if edited:
        raise exceptions.RehearsalError(
            f'Files of rehearsal cloud {where.name} were edited '
            f'({", ".join(edited)}): start it without a spec to keep them, or '
            'delete it first'
        )


def _check_same_spec(where: state.StateFolder, document: typing.Any) -> None:
    """Refuse another spec for a cloud that is running."""
    if not _is_same_spec(where, document):
        raise exceptions.RehearsalError(
            f'Rehearsal cloud {where.name} is running with another spec: stop '
            'it, then start it with the new spec'
        )


def _binding(pid: int) -> state.CloudProcess:
    """Return the process that a cloud is bound to.

    :raises InvalidValue: There is none.
    """
    started = state.start_time(pid)
    if started is None:
        raise exceptions.InvalidValue(
            f'Cannot bind the cloud to process {pid}: it does not exist'
        )
    return state.CloudProcess('bound-to', pid=pid, started=started)


def _check_same_binding(
    cloud: RehearsalCloud, binding: state.CloudProcess | None
) -> None:
    """Refuse to bind a cloud that is running to another process."""
    bound_to = cloud.record.bound_to
    if binding is None or (
        bound_to is not None
        and (bound_to.pid, bound_to.started) == (binding.pid, binding.started)
    ):
        return
    raise exceptions.RehearsalError(
        f'Rehearsal cloud {cloud.folder.name} is running already and is not '
        f'bound to process {binding.pid}: stop it first'
    )


def _settled(where: state.StateFolder) -> RehearsalCloud:
    """Return a cloud once its start has ended."""
    while True:
        cloud = look(where)
        if cloud.state != state.STARTING:
            return cloud
        with _supervisor(where):
            # Fails where no supervisor would ever end the start.
            pass
        time.sleep(_INTERVAL)


def _reason(where: state.StateFolder) -> str:
    """Return why a cloud did not start."""
    message = look(where).record.message if where.exists() else ''
    return message or launch.last_message(where)


# -- restart -----------------------------------------------------------------


def restart(
    where: state.StateFolder, name: str, host: str | None
) -> RehearsalCloud:
    """Restart one service of Nova, which reads its files again.

    :param host: The host of a nova-compute, where there are several.
    :returns: The cloud, when the service has started or failed to.
    :raises RehearsalError: There is no such service, or the cloud is not
        running.
    """
    service = _service(look(where), name, host)
    with _supervisor(where) as descriptor:
        if descriptor is None:
            raise _not_running(where)
        state.write_private(
            where.file(state.RESTART), json.dumps([service.name, service.host])
        )
        signal.pidfd_send_signal(descriptor, signal.SIGHUP)
    deadline = time.monotonic() + _RESTART_TIMEOUT
    while time.monotonic() < deadline:
        # Before the state is read, which is that of before otherwise.
        requested = os.path.exists(where.file(state.RESTART))
        cloud = look(where)
        if not cloud.running:
            raise _not_running(where)
        if not requested and _is_restarted(
            service, _service(cloud, name, host)
        ):
            return cloud
        time.sleep(_INTERVAL)
    raise exceptions.RehearsalError(
        f'{service.title} did not start in {_RESTART_TIMEOUT} seconds; see '
        f'{where.file("log")}'
    )


def _is_restarted(
    before: state.CloudProcess, after: state.CloudProcess
) -> bool:
    return after.state != state.STARTING and (
        after.started is None or after.started != before.started
    )


def _not_running(where: state.StateFolder) -> exceptions.RehearsalError:
    return exceptions.RehearsalError(
        f'Rehearsal cloud {where.name} is not running: start it with '
        f'"openstack gpu rehearsal start {where.name}"'
    )


def _service(
    cloud: RehearsalCloud, name: str, host: str | None
) -> state.CloudProcess:
    """Return a service of Nova by its name, and its host if needed."""
    if not cloud.running:
        raise _not_running(cloud.folder)
    services = [
        service
        for service in cloud.record.services
        if service.name.startswith('nova-')
    ]
    matching = [
        service
        for service in services
        if service.name == name and host in (None, service.host)
    ]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise exceptions.RehearsalError(
            f'Several hosts run {name}: choose one with --host'
        )
    raise exceptions.RehearsalError(
        'The cloud has no service {title}; its services of Nova: {all}'.format(
            title=name if host is None else f'{name} on {host}',
            all=', '.join(service.title for service in services),
        )
    )


# -- stop --------------------------------------------------------------------


def stop(
    where: state.StateFolder,
    delete: bool = False,
    say: launch.Say | None = None,
    unregister: Unregister | None = None,
) -> bool:
    """Stop a cloud, and wait until all its processes have ended.

    :param delete: Delete its state: all that it created.
    :param say: Called with a line on what was not deleted.
    :param unregister: Called before the state is deleted.
    :returns: Whether it was running.
    :raises RehearsalError: There is none, or it did not stop.
    """
    cloud = look(where)
    if cloud.running:
        _end(where)
    if delete:
        _delete(where, say, unregister)
    return cloud.running


def _end(where: state.StateFolder) -> None:
    with _supervisor(where) as descriptor:
        if descriptor is not None and not supervisor_socket.end(
            descriptor, signal.SIGTERM, _STOP_TIMEOUT
        ):
            # The kernel ends its services with it.
            supervisor_socket.end(descriptor, signal.SIGKILL, _KILL_TIMEOUT)
    deadline = time.monotonic() + _KILL_TIMEOUT
    while where.locked():
        if time.monotonic() > deadline:
            raise exceptions.RehearsalError(
                f'Rehearsal cloud {where.name} did not stop; see '
                f'{where.file("log")}'
            )
        time.sleep(_INTERVAL)


@contextlib.contextmanager
def _supervisor(
    where: state.StateFolder,
) -> collections.abc.Iterator[int | None]:
    """Yield a descriptor of the supervisor; None where no process runs.

    :raises RehearsalError: The process that holds the lock does not prove
        that it is the supervisor.
    """
    deadline = time.monotonic() + _KILL_TIMEOUT
    while True:
        # A supervisor that has just started does not listen yet.
        with supervisor_socket.supervisor(where) as descriptor:
            if descriptor is not None or not where.locked():
                yield descriptor
                return
        if time.monotonic() > deadline:
            raise exceptions.RehearsalError(
                f'Process {where.read().supervisor.pid} does not prove that '
                f'it is the supervisor of rehearsal cloud {where.name}; no '
                'process was ended. Find the process that holds '
                f'{where.file("lock")} (fuser)'
            )
        time.sleep(_INTERVAL)


def _delete(
    where: state.StateFolder,
    say: launch.Say | None,
    unregister: Unregister | None,
) -> None:
    # So that it is not started meanwhile.
    lock = where.lock()
    if lock is None:
        raise exceptions.RehearsalError(
            f'Rehearsal cloud {where.name} has been started again'
        )
    try:
        where.check_made()
        kept = [] if unregister is None else unregister()
        kept += [where.file(name) for name in where.delete()]
    finally:
        os.close(lock)
    if kept and say is not None:
        say(
            'Not deleted, since the cloud did not create it: '
            f'{", ".join(kept)}'
        )
