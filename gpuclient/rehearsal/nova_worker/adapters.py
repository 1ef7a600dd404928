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
"""What differs between releases of Nova in how their processes are started."""

import importlib
import logging
import os
import socket
import typing

from gpuclient.rehearsal.nova_worker import reporting
from gpuclient.rehearsal.nova_worker import wsgi

#: Keeps Nova from patching the standard library with eventlet.
_NO_EVENTLET = 'OS_NOVA_DISABLE_EVENTLET_PATCHING'


class Threads:
    """Nova 33 and later: native threads."""

    def patch(self) -> None:
        """Choose threads or eventlet; called before all other imports."""
        os.environ[_NO_EVENTLET] = '1'
        from nova import monkey_patch

        # This also makes an import of eventlet an error, or its use: the
        # standard library must not be patched.
        monkey_patch.patch(backend='threading')

    def after_fork(self) -> None:
        """Called first in a process that is forked after the imports."""

    def application(self) -> wsgi.Application:
        """Read the configuration, and return the application of nova-api."""
        application: wsgi.Application = importlib.import_module(
            'nova.wsgi.osapi_compute'
        ).application
        return application

    def serve_http(
        self,
        application: wsgi.Application,
        sock: socket.socket,
        ready: reporting.Ready,
    ) -> None:
        """Serve nova-api until SIGTERM."""
        wsgi.serve(application, sock, ready)

    def serve_rpc(self, server: typing.Any, conf: typing.Any) -> None:
        """Start a service of Nova in this process, not in workers below it."""
        from nova import service
        from oslo_log import log
        from oslo_service import opts

        # cotyledon does this before it forks workers: a value that oslo.config
        # refuses ends the service.
        opts.register_service_opts(conf)
        if conf.log_options:
            conf.log_opt_values(log.getLogger('nova'), logging.DEBUG)
        service.serve(server, workers=1, no_fork=True)


class Eventlet32(Threads):
    """Nova 32: eventlet, by a function."""

    def patch(self) -> None:
        os.environ.pop(_NO_EVENTLET, None)
        from nova import monkey_patch

        monkey_patch.patch()

    def after_fork(self) -> None:
        import eventlet.hubs

        # Otherwise it shares the epoll descriptor with its parent.
        eventlet.hubs.use_hub()

    def serve_http(
        self,
        application: wsgi.Application,
        sock: socket.socket,
        ready: reporting.Ready,
    ) -> None:
        wsgi.serve_with_eventlet(application, sock, ready)

    def serve_rpc(self, server: typing.Any, conf: typing.Any) -> None:
        from nova import service

        # One worker is no process of its own
        # (oslo_service/backend/_eventlet/service.py:launch).
        service.serve(server, workers=1)


class Eventlet31(Eventlet32):
    """Nova 30 and 31: eventlet, as soon as a module is imported."""

    def patch(self) -> None:
        os.environ.pop(_NO_EVENTLET, None)
        importlib.import_module('nova.monkey_patch')


class Eventlet29(Eventlet31):
    """Nova 26 to 29: nova-api is a function of another module."""

    def application(self) -> wsgi.Application:
        application: wsgi.Application = importlib.import_module(
            'nova.api.openstack.compute.wsgi'
        ).init_application()
        return application


def adapter(version: str) -> Threads:
    """Return the adapter for a version of Nova: ``31.3.1``."""
    number = int(version.split('.')[0])
    if number >= 33:
        return Threads()
    if number == 32:
        return Eventlet32()
    return Eventlet31() if number >= 30 else Eventlet29()
