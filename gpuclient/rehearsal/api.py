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

"""The interface of the rehearsal cloud.

The only module of this package that other packages import.
"""

from gpuclient.rehearsal.control import RehearsalCloud
from gpuclient.rehearsal.control import connect
from gpuclient.rehearsal.control import entries
from gpuclient.rehearsal.control import folder
from gpuclient.rehearsal.control import list_all
from gpuclient.rehearsal.control import look
from gpuclient.rehearsal.control import restart
from gpuclient.rehearsal.control import start
from gpuclient.rehearsal.control import stop
from gpuclient.rehearsal.launch import Say
from gpuclient.rehearsal.nova_overlay import NovaOverlay
from gpuclient.rehearsal.nova_overlay import installed as installed_nova
from gpuclient.rehearsal.nova_overlay import prepare as prepare_overlay
from gpuclient.rehearsal.service_files import OWN_FILE
from gpuclient.rehearsal.service_files import user_file
from gpuclient.rehearsal.spec import CONTROLLER
from gpuclient.rehearsal.spec import MOST_HOSTS
from gpuclient.rehearsal.spec import SCHEDULER_TEMPLATE
from gpuclient.rehearsal.spec import SimulatedDevice
from gpuclient.rehearsal.spec import default
from gpuclient.rehearsal.state import ENDED
from gpuclient.rehearsal.state import READY
from gpuclient.rehearsal.state import REFUSED
from gpuclient.rehearsal.state import STOPPED
from gpuclient.rehearsal.state import CloudProcess
from gpuclient.rehearsal.state import StateFolder
from gpuclient.rehearsal.temporary import kept
from gpuclient.rehearsal.temporary import temporary
from gpuclient.rehearsal.twin import Decisions
from gpuclient.rehearsal.twin import decide

__all__ = [
    'CONTROLLER',
    'ENDED',
    'MOST_HOSTS',
    'OWN_FILE',
    'READY',
    'REFUSED',
    'SCHEDULER_TEMPLATE',
    'STOPPED',
    'CloudProcess',
    'Decisions',
    'NovaOverlay',
    'RehearsalCloud',
    'Say',
    'SimulatedDevice',
    'StateFolder',
    'connect',
    'decide',
    'default',
    'entries',
    'folder',
    'installed_nova',
    'kept',
    'list_all',
    'look',
    'prepare_overlay',
    'restart',
    'start',
    'stop',
    'temporary',
    'user_file',
]
