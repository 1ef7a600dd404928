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

"""The plugin module that ``openstack`` loads.

The shell imports it on every run, for every command, so it imports only the
standard library.
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

    There is no service for GPUs: the commands use Nova, Placement, Keystone
    and Glance.
    """
    return instance.sdk_connection


def build_option_parser(
    parser: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Add no global option: there is no versioned GPU API to choose."""
    return parser
