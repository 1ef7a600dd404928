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

"""The GPU model that ``--model`` names."""

import argparse

from gpuclient.model import catalogue
from gpuclient.rules import catalogue as catalogue_rules


def fill(
    parsed_args: argparse.Namespace,
    models: catalogue.Catalogue,
    *,
    device_type: bool = False,
) -> list[str]:
    """Give options that were left out the values of ``--model``.

    :param device_type: The device type, too.
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
    return [str(found) for found in catalogue_rules.check_choice(model)]
