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

"""Our verdicts on [pci]alias, compared with Nova's own."""

import json
import unittest.mock

import ddt
import hypothesis
from hypothesis import strategies
import jsonschema
import nova.conf
from nova import exception as nova_exception
from nova.pci import request as nova_request
import testtools

from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from tests.unit.differential import quoted

#: Nova checks its schema with each alias, which takes twenty times as
#: long as all else. It is always the same; here it is checked once.
VALIDATOR = jsonschema.validators.validator_for(nova_request._ALIAS_SCHEMA)
VALIDATOR.check_schema(nova_request._ALIAS_SCHEMA)
IDS = {'vendor_id': '10de', 'product_id': '20f1'}
VALUES: dict[str, tuple[object, ...]] = {
    'name': ('a', ' a', 'b', '', 'x' * 256, 'x' * 257, 'a:b', 1, None),
    'vendor_id': ('10de', '10DE', '0x10de', '10d', '١٢٣٤', '10de\n', 4318),
    'product_id': ('20f1', '', '2330'),
    'device_type': ('type-PCI', 'type-PF', 'type-VF', 'type-pf', 'vdpa', None),
    'numa_policy': ('required', 'legacy', 'preferred', 'socket', 'none', ''),
    'resource_class': ('CUSTOM_A', 'a-b', '', 'PGPU', 7),
    'traits': ('CUSTOM_X', 'a, b', '', []),
    'live_migratable': ('yes', 'no', 'True', ' 0 ', 'maybe', True, ''),
    'capability_type': ('pci', 'usb'),
    'count': ('1',),
}
SPECS = strategies.fixed_dictionaries(
    {},
    optional={
        key: strategies.sampled_from(values) for key, values in VALUES.items()
    },
)
#: Mostly valid, so that the later rules are reached.
GOOD = strategies.fixed_dictionaries(
    {'name': strategies.sampled_from(('a', ' a', 'b'))},
    optional={
        'vendor_id': strategies.just('10de'),
        'product_id': strategies.sampled_from(('20f1', '2330')),
        'device_type': strategies.sampled_from(('type-PCI', 'type-PF')),
        'numa_policy': strategies.sampled_from(('legacy', 'required')),
        'resource_class': strategies.sampled_from(('CUSTOM_A', '')),
        'traits': strategies.just('CUSTOM_X'),
        'live_migratable': strategies.sampled_from(('yes', 'no')),
    },
)
#: Valid, except for conflicts between several values.
RIGHT = strategies.fixed_dictionaries(
    {
        'name': strategies.sampled_from(('a', 'b', 'c ', 'd', 'é')),
        'vendor_id': strategies.sampled_from(('10de', '10DE')),
        'product_id': strategies.just('20f1'),
    },
    optional={
        'device_type': strategies.just('type-PF'),
        'live_migratable': strategies.sampled_from(('yes', ' OFF ')),
        'traits': strategies.just('a, b'),
    },
).map(json.dumps)
TEXTS = strategies.one_of(
    GOOD.map(json.dumps),
    GOOD.map(json.dumps),
    SPECS.map(json.dumps),
    strategies.sampled_from(
        ('', '[]', '{', "{'name': 'a'}", '"a"', 'null', '{} # x', 'NaN')
    ),
)


def of_nova(texts: list[str], pci_in_placement: bool) -> object:
    """Return the names with their number of specs, or Nova's error."""
    conf = nova.conf.CONF
    conf.set_override('alias', texts, 'pci')
    conf.set_override('pci_in_placement', pci_in_placement, 'filter_scheduler')
    nova_request.get_alias_from_config.cache_clear()
    try:
        with unittest.mock.patch.object(VALIDATOR, 'check_schema'):
            by_name = nova_request.get_alias_from_config()
    except nova_exception.PciInvalidAlias as exc:
        return exc
    finally:
        conf.clear_override('alias', 'pci')
        conf.clear_override('pci_in_placement', 'filter_scheduler')
        nova_request.get_alias_from_config.cache_clear()
    return {name: len(specs) for name, (_policy, specs) in by_name.items()}


def of_ours(texts: list[str], pci_in_placement: bool) -> object:
    try:
        by_name = alias_model.merge(texts, pci_in_placement)
    except exceptions.InvalidAlias as exc:
        return exc
    return {name: len(specs) for name, specs in by_name.items()}


@ddt.ddt
class TestAlias(testtools.TestCase):
    @hypothesis.settings(max_examples=500, deadline=None)
    @hypothesis.given(
        strategies.lists(TEXTS, max_size=4), strategies.booleans()
    )
    def test_verdict(self, texts: list[str], pci_in_placement: bool) -> None:
        nova_says = of_nova(texts, pci_in_placement)
        ours = of_ours(texts, pci_in_placement)
        if isinstance(nova_says, Exception):
            self.assertIsInstance(ours, exceptions.InvalidAlias, texts)
        else:
            self.assertEqual(nova_says, ours, texts)

    @ddt.data(
        ({**IDS, 'name': 'a', 'device_type': 'type-GPU'}, False),
        ({**IDS, 'name': 'a', 'numa_policy': 'near'}, True),
        ({**IDS, 'name': 'a', 'vendor_id': '0x10de'}, False),
        ({**IDS, 'name': 'a', 'product_id': '20f'}, False),
        ({**IDS, 'name': ''}, False),
        ({**IDS, 'name': 'x' * 257}, False),
        (IDS, False),
        ({**IDS, 'name': 'a', 'foo': '1'}, False),
        ({**IDS, 'name': 'a', 'live_migratable': True}, False),
        ({**IDS, 'name': 'a', 'live_migratable': 'maybe'}, False),
        ({'name': 'a', 'resource_class': 'A'}, False),
        ({'name': 'a', 'vendor_id': '10de'}, True),
        ([{**IDS, 'name': 'a'}], False),
    )
    @ddt.unpack
    def test_messages(self, spec: object, pci_in_placement: bool) -> None:
        texts = [json.dumps(spec)]
        self.assertEqual(
            quoted.as_ours(
                of_nova(texts, pci_in_placement),
                of_ours(texts, pci_in_placement),
            ),
            str(of_ours(texts, pci_in_placement)),
        )

    @ddt.data(
        ([{}, {}], True),
        ([{'device_type': 'type-PF'}, {'device_type': 'type-VF'}], False),
        ([{'device_type': 'type-PF'}, {}], False),
        ([{'numa_policy': 'required'}, {}], False),
    )
    @ddt.unpack
    def test_messages_about_several_with_one_name(
        self, specs: list[dict[str, str]], pci_in_placement: bool
    ) -> None:
        texts = [json.dumps({**IDS, 'name': 'a', **spec}) for spec in specs]
        message = str(of_nova(texts, pci_in_placement))
        self.assertEqual(message, str(of_ours(texts, pci_in_placement)))
        self.assertIn('lias', message)
