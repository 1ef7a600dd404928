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

"""Our parsing of flavors, compared with nova-api and ``ResourceRequest``."""

import random

from gpuclient.model import flavor as flavor_model
from tests.unit.differential import comparing
from tests.unit.differential import test_boot_validation
from tests.unit.differential import test_capacity

_VALUES: dict[str, list[str]] = {}
for _values in (test_boot_validation.VALUES, test_capacity.VALUES):
    for _key, _texts in _values.items():
        _VALUES.setdefault(_key, []).extend(_texts)
#: Values that are invalid for most keys.
_ODD = ('', ' ', '0', '-1', '1', '٢', 'x', 'true', 'required', '0-1', '$x')
#: Keys whose values are evaluated together.
_CPUS = [
    key
    for key in sorted(_VALUES)
    if key.startswith(('hw:cpu', 'hw:emulator', 'hw:numa', 'resources'))
]
_ALIASES = (
    'a2:1', 'h100:2', 'a2:3,h100:1', 'a2:0', 'a2:-1', 'a2: 1_0', 'a2', '',
    'a2:1:2', 'a2:1,', 'a2:x',
)  # fmt: skip


def generate(source: random.Random) -> comparing.Case:
    keys = _CPUS if source.random() < 0.4 else sorted(_VALUES)
    specs = {}
    for key in source.sample(keys, source.randrange(8)):
        specs[key] = source.choice(
            _ODD if source.random() < 0.1 else _VALUES[key]
        )
    if flavor_model.ALIASES in specs:
        specs[flavor_model.ALIASES] = source.choice(_ALIASES)
    return {
        'vcpus': source.choice((1, 2, 4, 8)),
        'disk': source.choice((0, 20)),
        'swap': source.choice((0, 1, 1024, 1025)),
        'specs': specs,
    }


def _flavor(case: comparing.Case) -> flavor_model.Flavor:
    return flavor_model.Flavor(
        'id',
        'f',
        case['vcpus'],
        2048,
        case['disk'],
        True,
        case['specs'],
        ephemeral=1,
        swap=case['swap'],
    )


def accepts(case: comparing.Case) -> bool:
    return test_boot_validation.of_nova(_flavor(case))[0] is None


def compare(case: comparing.Case) -> str | None:
    flavor = _flavor(case)
    validation = test_boot_validation.difference(flavor)
    if validation is not None:
        return f'validation: {validation}'
    request = test_capacity.difference(flavor)
    return None if request is None else f'request: {request}'


def _example(vcpus: int, **specs: str) -> comparing.Case:
    return {'vcpus': vcpus, 'disk': 0, 'swap': 0, 'specs': specs}


COMPARISON = comparing.Comparison(
    'flavor',
    generate,
    compare,
    accepts,
    (
        _example(2, **{'hw:cpu_max_threads': '-1'}),
        _example(
            1,
            **{
                'hw:ephemeral_encryption': 'true',
                'hw:ephemeral_encryption_format': 'luks',
            },
        ),
        _example(
            4, **{'hw:cpu_policy': 'dedicated', 'hw:cpu_thread_policy': ''}
        ),
        _example(
            2,
            **{
                'hw:cpu_realtime': 'yes',
                'hw:cpu_realtime_mask': '^0',
                'hw:cpu_dedicated_mask': '0-1',
                'hw:emulator_threads_policy': 'Isolate',
            },
        ),
        _example(4, **{'hw:tpm_version': '1.2'}),
    ),
    weight=2,
)
