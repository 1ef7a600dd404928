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

"""One worker of a service: serves on a port that it shares with others.

``python -m tests.benchmarks.placement.worker APPLICATION PORT FOLDER``
"""

import pathlib
import socket
import sys
import typing

from gpuclient.rehearsal.nova_worker import wsgi

from tests.benchmarks.placement import nova
from tests.benchmarks.placement import service


def main() -> None:
    kind, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    application: typing.Any
    if kind == 'placement':
        from placement.wsgi import api

        application = api.application
    else:
        application = nova.Application(pathlib.Path(folder))
    listener = socket.create_server(('127.0.0.1', port), reuse_port=True)
    wsgi.serve(
        service.Meter(application, pathlib.Path(folder)),
        listener,
        lambda: None,
    )


if __name__ == '__main__':
    main()
