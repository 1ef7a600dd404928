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

"""Trees of configuration that commands name, and what is wrong with them."""

import argparse
import collections.abc

from gpuclient.documents import services
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import catalogue
from gpuclient.model import configuration
from gpuclient.osc import models as osc_models
from gpuclient.rules import configuration as configuration_rules
from gpuclient.rules import finding

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
        help=(
            'File, folder of files, or - for standard input (repeat for '
            'several)'
        ),
    )
    add_as(parser)


def add_as(parser: argparse.ArgumentParser) -> None:
    """Add the option that says what files are."""
    parser.add_argument(
        '--as',
        metavar='<service>[@<host>]=<path>',
        dest='declared',
        type=_declared,
        action='append',
        default=[],
        help=(
            'File or folder that a service reads, where its name does not '
            'tell: nova-api, nova-compute, nova-conductor, nova-scheduler or '
            'control-plane, and the host of a compute (repeat for several; '
            'those of one service and host are read one behind the other)'
        ),
    )


def _declared(text: str) -> tree.Declared:
    """Return what a path is; for argparse."""
    name, equals, path = text.partition('=')
    kind, at, host = name.partition('@')
    kinds = _KINDS.get(kind)
    if kinds is None or not equals:
        raise argparse.ArgumentTypeError(
            (
                '{text!r} is not <service>[@<host>]=<path>; a service is one '
                'of {kinds}'
            ).format(text=text, kinds=', '.join(_KINDS))
        )
    if not path or (at and not host):
        raise argparse.ArgumentTypeError(
            '{text!r} has no {part}'.format(
                text=text,
                part='path' if host or not at else 'host',
            )
        )
    if host and kinds != (configuration.COMPUTE,):
        raise argparse.ArgumentTypeError(
            f'{text!r} names a host: only nova-compute takes one'
        )
    return tree.Declared(kinds, host or None, path)


def read(
    paths: collections.abc.Sequence[str],
    declared: collections.abc.Sequence[tree.Declared] = (),
) -> tree.Tree:
    """Read files and folders.

    :param declared: What some of them are.
    :raises gpuclient.exceptions.GPUError: They have no configuration.
    """
    if not paths and not declared:
        raise exceptions.InvalidValue(
            'Name files or folders, or say what they are with --as'
        )
    found = tree.read(paths, declared)
    paths = [*paths, *(one.path for one in declared)]
    if not found.files and not found.unreadable and found.unread:
        path, name = found.unread[0]
        raise exceptions.DocumentError(services.not_read(path, name))
    if not found.files and not found.unreadable:
        raise exceptions.NotFound(
            (
                'There is no configuration of Nova in {paths}: name '
                'nova.conf files, YAML files, or folders that hold them'
            ).format(paths=', '.join(paths))
        )
    return found


def check(
    found: tree.Tree, models: catalogue.Catalogue
) -> tuple[finding.Located, ...]:
    """Return all findings of a tree."""
    return (
        *(
            configuration_rules.unreadable(path, reason)
            for path, reason in found.unreadable
        ),
        *(
            configuration_rules.unread(path, services.not_read(path, name))
            for path, name in found.unread
        ),
        *configuration_rules.check(
            found.deployment,
            models,
            osc_models.known_name,
        ),
    )
