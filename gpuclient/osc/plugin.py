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

"""How ``openstack`` finds us.

The shell imports this module on every run, whatever the command, so it
imports the standard library only.
"""

import argparse
import typing

if typing.TYPE_CHECKING:
    from openstack import connection
    from osc_lib import clientmanager

DEFAULT_API_VERSION = '1'
API_VERSION_OPTION = 'os_gpu_api_version'
API_NAME = 'gpu'
API_VERSIONS = ('1',)


def make_client(
    instance: 'clientmanager.ClientManager',
) -> 'connection.Connection':
    """Return the SDK connection of this run.

    We talk to Nova, Placement, Keystone and Glance, so the whole connection
    is our client; no service of our own exists.
    """
    return instance.sdk_connection


def build_option_parser(
    parser: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Add no global option: there is no versioned GPU API to choose."""
    return parser
