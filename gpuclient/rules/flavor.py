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

"""Rules about the extra specs of flavors: what Nova stores and regrets."""

import collections.abc

from gpuclient.model import flavor as flavor_model
from gpuclient.rules import finding


def check(
    extra_specs: collections.abc.Mapping[str, str],
) -> tuple[finding.Finding, ...]:
    """Return what is wrong with the device requests of a flavor."""
    return tuple(_check(extra_specs))


def _check(
    extra_specs: collections.abc.Mapping[str, str],
) -> collections.abc.Iterator[finding.Finding]:
    requests, broken = flavor_model.read_aliases(
        extra_specs.get(flavor_model.ALIASES, '')
    )
    for name, count in requests.items():
        if not count:
            yield finding.error(
                'GPU701',
                f'It asks for 0 devices of alias {name!r}: servers boot '
                f'without one',
            )
    for part in broken:
        # nova/pci/request.py:_translate_alias_to_requests
        yield finding.error(
            'GPU702',
            f'{part!r} in {flavor_model.ALIASES} is not NAME:COUNT: every '
            f'boot fails with HTTP 500',
        )
    resources = flavor_model.device_resources(extra_specs)
    if resources and requests:
        yield finding.error(
            'GPU703',
            f'It asks for devices twice, by alias and by '
            f'{", ".join(sorted(resources))}: a server needs both, and gets '
            f'only those of the alias',
        )
    elif resources:
        # nova/objects/request_spec.py: these are claimed in Placement and
        # never given to the guest.
        yield finding.warning(
            'GPU704',
            f'{", ".join(sorted(resources))} reserves devices in Placement '
            f'and gives the server none: use an alias',
        )
