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

"""Options and arguments that several commands share."""

import argparse
import collections.abc
import os
import re

from openstackclient.identity import common as identity_common

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import flavor as flavor_model
from gpuclient.model import pci
from gpuclient.model import release
from gpuclient.operations import device_names
from gpuclient.operations import muting
from gpuclient.rules import finding

#: ``int()`` also takes blanks, underscores and digits of other scripts.
_DIGITS = re.compile('[0-9]{1,1000}')


def _digits(text: str) -> int | None:
    """Return the number that ASCII digits are, or None."""
    return int(text) if _DIGITS.fullmatch(text) else None


def integer(text: str) -> int:
    """Return a number, which may be negative; the type of an option."""
    number = _digits(text.removeprefix('-'))
    if number is None:
        raise argparse.ArgumentTypeError(f'{text!r} is not an integer')
    return -number if text.startswith('-') else number


def positive(text: str) -> int:
    """Return a positive number; the type of an option."""
    number = _digits(text)
    if not number:
        raise argparse.ArgumentTypeError(f'{text!r} is not a positive integer')
    return number


def not_negative(text: str) -> int:
    """Return a number of zero or more; the type of an option."""
    number = _digits(text)
    if number is None:
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a non-negative integer'
        )
    return number


def check_alias_name(name: str) -> None:
    """Make sure that a flavor can request an alias.

    :raises gpuclient.exceptions.InvalidValue: It cannot.
    """
    try:
        usable = flavor_model.parse_request(f'{name}:1') == (name, 1)
    except exceptions.InvalidValue:
        usable = False
    if not usable:
        raise exceptions.InvalidValue(
            f'{name!r} is not a valid alias name: flavors request NAME:COUNT, '
            'so a name cannot have a colon, a comma, a control character or '
            'a leading or trailing space'
        )


def add_long(parser: argparse.ArgumentParser) -> None:
    """Add the option that lists more columns."""
    parser.add_argument(
        '--long',
        action='store_true',
        help='List additional fields in output',
    )


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add the option that only shows the changes."""
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='Show the changes without writing them',
    )


def add_host(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that names a host.

    :param text: Its help.
    """
    parser.add_argument('--host', metavar='<host>', help=text)


def add_project(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the options that name a project, and its domain.

    :param text: Its help.
    """
    parser.add_argument('--project', metavar='<project>', help=text)
    identity_common.add_project_domain_option_to_parser(parser)


def add_projects(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the options that name some projects, and their domain.

    :param text: Its help.
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

    :param text: Its help.
    """
    parser.add_argument('flavor', metavar='<flavor>', help=text)


def add_alias(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the argument that names an alias.

    :param text: Its help.
    """
    parser.add_argument('name', metavar='<alias>', help=text)


def add_devices(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that names devices of a host.

    :param text: Its help.
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
    """Add the options for vendor and product IDs."""
    parser.add_argument(
        '--vendor-id',
        metavar='<id>',
        help='PCI vendor ID of the devices (four hexadecimal digits)',
    )
    parser.add_argument(
        '--product-id',
        metavar='<id>',
        help='PCI product ID of the devices (four hexadecimal digits)',
    )


def add_resource_class(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that names a resource class of Placement.

    :param text: Its help.
    """
    parser.add_argument(
        '--resource-class', metavar='<resource-class>', help=text
    )


def add_traits(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option that names traits of Placement.

    :param text: Its help.
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
    """Add the option that names a catalogue of GPU models."""
    parser.add_argument(
        '--catalogue',
        metavar='<file>',
        help=(
            'File with additional GPU models (default: '
            '~/.config/gpuclient/catalogue.yaml, if it exists)'
        ),
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options that set IDs from the catalogue."""
    parser.add_argument(
        '--model',
        metavar='<model>',
        help=(
            'GPU model that sets the IDs unless they are specified (slug, '
            'name or PCI IDs; see "openstack gpu model list")'
        ),
    )
    add_catalogue(parser)


def apply_model(
    parsed_args: argparse.Namespace,
    models: catalogue.Catalogue,
    *,
    device_type: bool = False,
) -> list[str]:
    """Set options that are not given to the values of ``--model``.

    :param device_type: Set the device type, too.
    :returns: Warnings.
    :raises gpuclient.exceptions.NotFound: There is no such model.
    :raises gpuclient.exceptions.Ambiguous: There are several.
    """
    if parsed_args.model is None:
        return []
    model = models.by_name(parsed_args.model)
    if parsed_args.vendor_id is None:
        parsed_args.vendor_id = model.vendor_id
    if parsed_args.product_id is None:
        parsed_args.product_id = model.product_id
    if not device_type or parsed_args.device_type is not None:
        return []
    parsed_args.device_type = model.device_type
    return device_names.check_model(model)


def add_alias_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that define an alias."""
    add_model(parser)
    add_ids(parser)
    # Nova's message about a wrong value is better than that of argparse.
    parser.add_argument(
        '--device-type',
        metavar='<type>',
        help=(
            f'Type of the devices ({", ".join(pci.DEVICE_TYPES)}); without '
            'one, the alias does not match type-PF devices'
        ),
    )
    numa_policies = ', '.join(alias_model.NUMA_POLICIES)
    parser.add_argument(
        '--numa-policy',
        metavar='<policy>',
        help=(
            f'NUMA affinity policy of the devices ({numa_policies}; default: '
            f'{alias_model.DEFAULT_NUMA_POLICY})'
        ),
    )
    add_resource_class(
        parser,
        (
            'Resource class of the devices in Placement, instead of or in '
            'addition to the IDs'
        ),
    )
    add_traits(
        parser, 'Trait that the devices must have (repeat option for several)'
    )
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
            'Validate as with [filter_scheduler]pci_in_placement = True for '
            'files that do not set it'
        ),
    )


def add_release(parser: argparse.ArgumentParser, *, cloud: bool) -> None:
    """Add the option for the release of Nova that decides.

    :param cloud: Whether the command asks a cloud, so that it can tell.
    """
    default = 'what the files name'
    if cloud:
        default += ', or the newest microversion of the cloud tells'
    parser.add_argument(
        '--release',
        metavar='<release>',
        default=os.environ.get(release.VARIABLE) or None,
        help=(
            f'OpenStack release, Nova version or product whose rules apply: '
            f'2025.1, epoxy, 31, 31.3.1 or rhoso-18 (default: '
            f'{release.VARIABLE}, {default}; else '
            f'{release.newest().series}, the newest)'
        ),
    )


def add_require_cloud(parser: argparse.ArgumentParser) -> None:
    """Add the option that requires the checks against a cloud."""
    parser.add_argument(
        '--require-cloud',
        action='store_true',
        help='Fail if the cloud does not respond',
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
            'Configuration that defines aliases: a nova.conf, RHOSO YAML, a '
            'folder of drop-ins or the custom configuration of Kolla-Ansible, '
            'or - for standard input (repeat option for several)'
        ),
    )


#: Instead of a severity: findings do not change the exit status.
NEVER = 'none'


def add_fail_on(parser: argparse.ArgumentParser) -> None:
    """Add the option for the severity that sets exit status 3."""
    parser.add_argument(
        '--fail-on',
        metavar='<severity>',
        choices=(*map(str, finding.Severity), NEVER),
        default=str(finding.Severity.ERROR),
        help=(
            'Lowest severity that sets exit status 3: error (default), '
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


def add_mute(parser: argparse.ArgumentParser, objects: str) -> None:
    """Add the options that leave out findings.

    :param objects: What can be named: ``a host or a flavor``.
    """
    parser.add_argument(
        '--mute',
        metavar='<code>[=<object>]',
        dest='mutes',
        action='append',
        default=[],
        help=(
            f'Finding to leave out, for all objects or for {objects}; * '
            f'matches any text (repeat option for several)'
        ),
    )
    parser.add_argument(
        '--mute-file',
        metavar='<file>',
        dest='mute_files',
        action='append',
        default=[],
        help=(
            'File with findings to leave out, one on each line as for --mute; '
            '# begins a comment (repeat option for several)'
        ),
    )


def read_mutes(parsed_args: argparse.Namespace) -> muting.Mutes:
    """Return the findings to leave out.

    :raises gpuclient.exceptions.GPUError: One is invalid, or a file cannot be
        read.
    """
    return muting.read(parsed_args.mutes, parsed_args.mute_files)
