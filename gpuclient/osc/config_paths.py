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

"""Arguments that name files and folders of configuration."""

import argparse

from gpuclient.documents import tree
from gpuclient.model import configuration

_CONTROL = (
    configuration.API,
    configuration.CONDUCTOR,
    configuration.SCHEDULER,
)
#: What ``--as`` takes.
_KINDS = {
    **{kind: (kind,) for kind in configuration.ALL},
    'control-plane': _CONTROL,
}


def add_paths(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name files and folders."""
    parser.add_argument(
        'paths',
        metavar='<path>',
        nargs='*',
        help='File or folder of configuration, or - for standard input',
    )
    add_as(parser)


def add_as(parser: argparse.ArgumentParser) -> None:
    """Add the option that tells which service reads a file."""
    parser.add_argument(
        '--as',
        metavar='<service>[@<host>]=<path>',
        dest='declared',
        type=_declared,
        action='append',
        default=[],
        help=(
            'File or folder that a service reads, if its name does not show '
            'it: nova-api, nova-compute, nova-conductor, nova-scheduler or '
            'control-plane, and the host of nova-compute (repeat option for '
            'several; files of the same service and host are read in order)'
        ),
    )


def _declared(text: str) -> tree.Declared:
    """Return a path and the services that read it; the type of an option."""
    name, equals, path = text.partition('=')
    kind, at, host = name.partition('@')
    kinds = _KINDS.get(kind)
    if kinds is None or not equals:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not <service>[@<host>]=<path>; a service is one of '
            f'{", ".join(_KINDS)}'
        )
    if not path or (at and not host):
        raise argparse.ArgumentTypeError(
            f'{text!r} has no {"path" if host or not at else "host"}'
        )
    if host and kinds != (configuration.COMPUTE,):
        raise argparse.ArgumentTypeError(
            f'{text!r} names a host; only nova-compute can have one'
        )
    return tree.Declared(kinds, host or None, path)
