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

from gpuclient import exceptions
from gpuclient.i18n import _
from gpuclient.model import flavor as flavor_model


def positive(text: str) -> int:
    """Return a number above zero; for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(
            _('%r is not a number above zero') % text
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
            _('%r is not a number of zero or above') % text
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
            _(
                '%(name)r is not the name of an alias: a flavor asks for '
                'NAME:COUNT, so it has no colon, comma, control character '
                'or blank around it'
            )
            % {'name': name}
        )
