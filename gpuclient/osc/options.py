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

"""Options and arguments that several commands have."""

import argparse
import collections.abc

from openstackclient.identity import common as identity_common

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import flavor as flavor_model
from gpuclient.model import pci
from gpuclient.rules import finding


def positive(text: str) -> int:
    """Return a number above zero; for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a number above zero'
        )
    return number


def not_negative(text: str) -> int:
    """Return a number that is not below zero; for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a number of zero or above'
        )
    return number


def check_alias_name(name: str) -> None:
    """Make sure that a flavor could ask for an alias.

    :raises gpuclient.exceptions.InvalidValue: It could not.
    """
    try:
        usable = flavor_model.parse_request(f'{name}:1') == (name, 1)
    except exceptions.InvalidValue:
        usable = False
    if not usable:
        raise exceptions.InvalidValue(
            f'{name!r} is not the name of an alias: a flavor asks for '
            'NAME:COUNT, so it has no colon, comma, control character '
            'or blank around it'
        )


def add_long(parser: argparse.ArgumentParser) -> None:
    """Add the option that lists more columns."""
    parser.add_argument(
        '--long',
        action='store_true',
        help='List additional fields in output',
    )


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add the option with which no file is written."""
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='Show what would be written, and write nothing',
    )


def add_host(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that names a host.

    :param text: What it does.
    """
    parser.add_argument('--host', metavar='<host>', help=text)


def add_project(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the options that name a project, and its domain.

    :param text: What it does.
    """
    parser.add_argument('--project', metavar='<project>', help=text)
    identity_common.add_project_domain_option_to_parser(parser)


def add_projects(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the options that name some projects, and their domain.

    :param text: What they do.
    """
    parser.add_argument(
        '--project',
        metavar='<project>',
        dest='projects',
        action='append',
        default=[],
        help=text,
    )
    identity_common.add_project_domain_option_to_parser(parser)


def add_flavor(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the argument that names a flavor.

    :param text: What becomes of it.
    """
    parser.add_argument('flavor', metavar='<flavor>', help=text)


def add_alias(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the argument that names an alias.

    :param text: What becomes of it.
    """
    parser.add_argument('name', metavar='<alias>', help=text)


def add_devices(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that names devices of a host.

    :param text: What becomes of them.
    """
    parser.add_argument(
        '--device',
        metavar='<address>',
        dest='devices',
        action='append',
        default=[],
        help=text,
    )


def add_ids(parser: argparse.ArgumentParser) -> None:
    """Add the options that say whose devices, and which."""
    parser.add_argument(
        '--vendor-id',
        metavar='<id>',
        help='Vendor of the devices: four hexadecimal digits',
    )
    parser.add_argument(
        '--product-id',
        metavar='<id>',
        help='Product of the devices: four hexadecimal digits',
    )


def add_resource_class(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that names a resource class of Placement.

    :param text: What it does.
    """
    parser.add_argument(
        '--resource-class', metavar='<resource-class>', help=text
    )


def add_traits(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that names traits of Placement.

    :param text: What they do.
    """
    parser.add_argument(
        '--trait',
        metavar='<trait>',
        dest='traits',
        action='append',
        default=[],
        help=text,
    )


def add_catalogue(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the user's own GPU models."""
    parser.add_argument(
        '--catalogue',
        metavar='<file>',
        help=(
            'File with GPU models of your own (default: catalogue.yaml in '
            '~/.config/gpuclient, if it is there)'
        ),
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that take ids from the catalogue."""
    parser.add_argument(
        '--model',
        metavar='<model>',
        help=(
            'GPU model that other options take their values from where they '
            'are not given: slug, name or PCI ids, as in "gpu model list"'
        ),
    )
    add_catalogue(parser)


def add_alias_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what an alias is."""
    add_model(parser)
    add_ids(parser)
    # Nova's own words for a wrong value are better than argparse's.
    parser.add_argument(
        '--device-type',
        metavar='<type>',
        help=(
            'Type of the devices: {}; an alias without one never matches '
            'type-PF devices'
        ).format(', '.join(pci.DEVICE_TYPES)),
    )
    numa_policies = ', '.join(alias_model.NUMA_POLICIES)
    parser.add_argument(
        '--numa-policy',
        metavar='<policy>',
        help=(
            f'NUMA affinity of the devices: {numa_policies}; without one, '
            f'Nova takes {alias_model.DEFAULT_NUMA_POLICY}'
        ),
    )
    add_resource_class(
        parser,
        (
            'Resource class of the devices in Placement, in place of or '
            'beside the ids'
        ),
    )
    add_traits(parser, 'Trait that the devices must have (repeat for several)')
    parser.add_argument(
        '--live-migratable',
        metavar='<yes|no>',
        choices=('yes', 'no'),
        help='Whether servers with the devices can be live migrated',
    )
    parser.add_argument(
        '--pci-in-placement',
        action='store_true',
        help=(
            'Judge as with [filter_scheduler]pci_in_placement = True '
            'where a file does not say'
        ),
    )


def add_require_cloud(parser: argparse.ArgumentParser) -> None:
    """Add the option that makes the live checks obligatory."""
    parser.add_argument(
        '--require-cloud',
        action='store_true',
        help='Fail if the cloud cannot be asked',
    )


def add_alias_files(parser: argparse.ArgumentParser) -> None:
    """Add the option that names files to read aliases from."""
    parser.add_argument(
        '--config',
        metavar='<path>',
        dest='files',
        action='append',
        default=[],
        help=(
            'What defines aliases: a nova.conf, YAML of RHOSO, a folder of '
            'drop-ins or the custom configuration of Kolla; - for standard '
            'input (repeat for several)'
        ),
    )


#: In place of a severity: nothing changes the exit status.
NEVER = 'none'


def add_fail_on(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which findings make a check fail."""
    parser.add_argument(
        '--fail-on',
        metavar='<severity>',
        choices=(*map(str, finding.Severity), NEVER),
        default=str(finding.Severity.ERROR),
        help=(
            'Least severity that makes the exit status 3: error (default), '
            'warning, or none'
        ),
    )


def fails(
    parsed_args: argparse.Namespace,
    severities: collections.abc.Container[finding.Severity | None],
) -> bool:
    """Return whether there is a finding at or above ``--fail-on``."""
    if parsed_args.fail_on == NEVER:
        return False
    return finding.Severity.ERROR in severities or (
        parsed_args.fail_on == finding.Severity.WARNING
        and finding.Severity.WARNING in severities
    )
