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

"""Run Nova's own unit tests and print their input to Nova as JSON.

In its own process, because Nova's tests have to be the first to import
what they need. Used by ``test_replay.py``.
"""

import copy
import io
import json
import os
import sys
import typing
import unittest
import unittest.mock

MODULES = ('test_devspec', 'test_request', 'test_whitelist')


def main() -> int:
    """Return the exit status: 0 if Nova's tests passed."""
    os.environ['OS_NOVA_DISABLE_EVENTLET_PATCHING'] = '1'
    import nova.tests.unit

    import nova.conf
    from nova.pci import devspec
    from nova.pci import request

    specs: list[typing.Any] = []
    aliases: list[typing.Any] = []
    make_spec = devspec.PciDeviceSpec.__init__
    read_aliases = request.get_alias_from_config

    def record_spec(spec: typing.Any, entry: typing.Any) -> None:
        original = copy.deepcopy(entry)
        report = nova.conf.CONF.pci.report_in_placement
        try:
            make_spec(spec, entry)
        except Exception as exc:
            specs.append((original, report, {'refused': str(exc)}))
            raise
        specs.append(
            (
                original,
                report,
                {'accepted': [spec.vendor_id, spec.product_id, spec.tags]},
            )
        )

    def record_aliases() -> typing.Any:
        misses = read_aliases.cache_info().misses
        texts = list(nova.conf.CONF.pci.alias)
        in_placement = nova.conf.CONF.filter_scheduler.pci_in_placement
        try:
            by_name = read_aliases()
        except Exception as exc:
            aliases.append((texts, in_placement, {'refused': str(exc)}))
            raise
        if read_aliases.cache_info().misses == misses:
            # From the cache, with the options of an earlier test.
            return by_name
        counts = {
            name: len(alias_specs)
            for name, (_policy, alias_specs) in by_name.items()
        }
        aliases.append((texts, in_placement, {'accepted': counts}))
        return by_name

    record_aliases.cache_clear = read_aliases.cache_clear
    suite = unittest.defaultTestLoader.loadTestsFromNames(
        [f'nova.tests.unit.pci.{name}' for name in MODULES]
    )
    with (
        unittest.mock.patch.object(
            devspec.PciDeviceSpec, '__init__', record_spec
        ),
        unittest.mock.patch.object(
            request, 'get_alias_from_config', record_aliases
        ),
    ):
        result = unittest.TextTestRunner(io.StringIO()).run(suite)
    json.dump(
        {'tests': result.testsRun, 'specs': specs, 'aliases': aliases},
        sys.stdout,
    )
    for _test, traceback in (*result.failures, *result.errors):
        sys.stderr.write(traceback)
    return int(not result.wasSuccessful())


if __name__ == '__main__':
    sys.exit(main())
