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

"""Extra specs are refused as Nova refuses them."""

import testtools

from nova.api.validation.extra_specs import validators
from nova import exception as nova_exception

from gpuclient import data
from gpuclient.model import extra_specs

#: Names that Nova finds at once.
_EXACT = tuple(name for name in validators.VALIDATORS if '{' not in name)
#: Names that Nova compares with each of its patterns.
_OTHERS = (
    *('resources:VCPU', 'resources1:CUSTOM_X', 'resources:FOO', 'trait:X'),
    *('trait_G1:HW_CPU_X86_AVX', 'trait:CUSTOM_X', 'resourcesa.b:VCPU'),
    *('hw:maxphysaddr_mode', 'hw:machine_type', 'hw:numa_cpus.0'),
    *('hw:numa_mem.1', 'hw', 'x', 'x:y', 'pci_passthrough:aliases', ':', ''),
    *('capabilities:cpu_info:a', 'capabilities:x', 'hw_foo:x', 'trait'),
)
_VALUES = (
    *('', '1', '-1', '0', ' 2', '1_0', 'x', 'true', 'False', 'off'),
    *('required', 'forbidden', 'dedicated', 'a:1', 'a:1,b:2', 'a', 'a:1, b:1'),
    *('0-3', '^0', 'large', '1GB', '2048', 'isolate', 'none', '٣'),
)


def _refusal_of_nova(name: str, value: str) -> str:
    try:
        validators.validate(name, value)
    except nova_exception.ValidationError as exc:
        return str(exc).removeprefix('Validation failed; ').removesuffix('.')
    return ''


class TestExtraSpecs(testtools.TestCase):
    def test_data(self) -> None:
        names = {
            validator.name_regex
            for name, validator in validators.VALIDATORS.items()
            if not name.startswith(('resources{', 'trait{'))
        }
        self.assertEqual(
            names, set(data.load('nova/extra_specs-34.json')['extra_specs'])
        )

    def test_as_nova(self) -> None:
        for name, values in (
            *((name, _VALUES) for name in _EXACT),
            *((name, ('1', 'required')) for name in _OTHERS),
        ):
            for value in values:
                self.assertEqual(
                    _refusal_of_nova(name, value),
                    extra_specs.refusal(name, value),
                    (name, value),
                )
