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
from gpuclient.i18n import _
from gpuclient.model import catalogue
from gpuclient.osc import models as osc_models
from gpuclient.rules import configuration as configuration_rules
from gpuclient.rules import finding


def add_paths(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name files and folders."""
    parser.add_argument(
        'paths',
        metavar='<path>',
        nargs='+',
        help=_(
            'File, folder of files, or - for standard input (repeat for '
            'several)'
        ),
    )


def read(paths: collections.abc.Sequence[str]) -> tree.Tree:
    """Read files and folders.

    :raises gpuclient.exceptions.NotFound: They have no configuration.
    """
    found = tree.read(paths)
    if not found.files and not found.unreadable and found.unread:
        path, name = found.unread[0]
        raise exceptions.DocumentError(services.not_read(path, name))
    if not found.files and not found.unreadable:
        raise exceptions.NotFound(
            _('There is no configuration of Nova in %(paths)s')
            % {'paths': ', '.join(paths)}
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
