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

"""Which nova-compute is too old, compared with the start of nova-api.

Compared with ``nova.utils.raise_if_old_compute``.
"""

import random
import unittest.mock

from nova import exception
from nova.objects import service
from nova import utils

from gpuclient.model import release
from gpuclient.model import service_versions
from tests.unit.differential import comparing
from tests.unit.differential import nova_side


def generate(source: random.Random) -> comparing.Case:
    return {'old': source.choice(release.releases()).number}


def _refusal(version: int) -> str | None:
    with (
        unittest.mock.patch.object(
            service, 'get_minimum_version_all_cells', return_value=version
        ),
        # Of the whole system.
        unittest.mock.patch.object(
            utils.CONF.api_database, 'connection', 'sqlite://', create=True
        ),
    ):
        try:
            utils.raise_if_old_compute()
        except exception.TooOldComputeService as exc:
            return exc.format_message()
    return None


def accepts(case: comparing.Case) -> bool:
    old = release.parse(str(case['old']))
    return _refusal(service_versions.version(old)) is None


def compare(case: comparing.Case) -> str | None:
    old = release.parse(str(case['old']))
    version = service_versions.version(old)
    if old.number == nova_side.RELEASE.number and (
        version != service.SERVICE_VERSION
    ):
        return f'version: {service.SERVICE_VERSION}, we say {version}'
    nova = _refusal(version)
    ours = service_versions.refusal(old, nova_side.RELEASE)
    if (nova or '').rstrip('.') == (ours or ''):
        return None
    return f'Nova says {nova}, we {ours}'


COMPARISON = comparing.Comparison(
    'old_computes',
    generate,
    compare,
    accepts,
    tuple({'old': one.number} for one in release.releases()),
)
