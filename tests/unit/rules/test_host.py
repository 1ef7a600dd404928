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

"""The checks of a whole host, and which devices are for guests."""

import ast
import pathlib


from gpuclient.rules import check_result
from gpuclient.rules import host as host_rules
from gpuclient.rules import passthrough_view
from tests.unit.host import trees
from tests.unit.rules import host_cases
from tests.unit.rules.host_cases import FAIL
from tests.unit.rules.host_cases import GPU
from tests.unit.rules.host_cases import TWIN
from tests.unit.rules.host_cases import WARN


def first_arguments(
    folder: pathlib.Path, pattern: str, *functions: str
) -> set[str]:
    """Return the finding codes that are first arguments of functions."""
    codes = set()
    for path in folder.glob(pattern):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
            code = node.args[0]
            if (
                name in functions
                and isinstance(code, ast.Constant)
                and str(code.value).startswith('GPU4')
            ):
                codes.add(str(code.value))
    return codes


class TestHosts(host_cases.HostTestCase):
    def test_correct(self) -> None:
        """Hosts that are configured correctly have PASS results only."""
        for tree in (
            trees.a100(),
            trees.t4(),
            trees.mi300x(),
            host_cases.card(),
        ):
            self.assertEqual([], self.codes(tree))
        passed = {result.check for result in self.check(trees.a100())}
        self.assertEqual(
            {
                'readable files',
                'devices',
                'IOMMU',
                'IOMMU arguments',
                'IOMMU mode',
                'no-IOMMU mode',
                'modprobe.d',
                'vfio-pci.ids',
                'duplicate IDs',
                'huge pages',
                'memory',
                'CPUs',
                'use',
                'driver',
                'group',
                'device type',
                'BARs',
                'SR-IOV',
                'boot VGA',
                'reset',
                'power',
                'NUMA node',
                'driver race',
            },
            passed,
        )

    def test_incorrect(self) -> None:
        for make, codes in (
            (trees.consumer, {'GPU422', 'GPU426', 'GPU440'}),
            (trees.vfs, {'GPU424'}),
            (
                trees.iommu_off,
                {'GPU420', 'GPU425', 'GPU428', 'GPU435', 'GPU437'},
            ),
            (trees.nouveau, {'GPU424', 'GPU434', 'GPU437'}),
        ):
            self.assertEqual(codes, set(self.codes(make())), make)

    def test_every_code_is_tested(self) -> None:
        """A test asserts each code that the rules report."""
        rules = pathlib.Path(host_rules.__file__).parent
        reported = first_arguments(rules, '*.py', 'warn', 'fail', 'make')
        tests = pathlib.Path(__file__).parent
        asserted = first_arguments(tests, 'test_*.py', 'finds')
        self.assertGreater(len(reported), 35)
        self.assertEqual(set(), reported - asserted)

    def test_summary(self) -> None:
        summary = check_result.summary(self.check(trees.nouveau()))
        of_host = [result for result in summary if result.device is None]
        self.assertEqual(['PASS'], [result.result for result in of_host])
        self.assertIn('IOMMU, ', of_host[0].check)
        results = [
            result.result for result in summary if result.device is not None
        ]
        self.assertEqual(['FAIL', 'FAIL', 'WARN', 'PASS'], results)


class TestUse(host_cases.HostTestCase):
    def uses(
        self, tree: trees.Tree, intent: passthrough_view.Intent | None = None
    ) -> dict[str, bool]:
        return {
            str(result.device): result.evidence.startswith('for guests')
            for result in self.check(tree, intent)
            if result.check == 'use'
        }

    def test_of_options(self) -> None:
        tree = host_cases.card()
        host_cases.add(tree, TWIN, group=5)
        trees.bmc(tree)
        bmc = '0000:03:00.0'
        for intent, guests in (
            (None, {GPU, TWIN}),
            (host_cases.named(TWIN), {TWIN}),
            (host_cases.specs({'address': GPU}), {GPU}),
            (
                host_cases.specs({'vendor_id': '10de', 'product_id': '20f1'}),
                {GPU, TWIN},
            ),
            (host_cases.specs(), set()),
            (host_cases.alias(device_type='type-PF'), {GPU, TWIN}),
        ):
            uses = self.uses(tree, intent)
            self.assertEqual({GPU, TWIN, bmc}, set(uses))
            self.assertEqual(guests, {key for key in uses if uses[key]})

    def test_of_the_host(self) -> None:
        for guest, values, arguments in (
            (True, {'driver': None}, ''),
            (True, {'driver': 'vfio-pci', 'boot_vga': True}, ''),
            (True, {'driver': None, 'boot_vga': True}, trees.BOUND),
            (False, {'driver': 'nouveau', 'boot_vga': True}, ''),
            (False, {'driver': 'nvidia', 'vfs': ('0000:04:00.4',)}, ''),
        ):
            uses = self.uses(host_cases.card(arguments, **values))
            self.assertEqual({GPU: guest}, uses, values)

    def test_part_of_the_cpu(self) -> None:
        """Graphics and NPU of Intel CPUs are not for guests."""
        for code, ids, driver in (
            (0x038000, '8086:3e9a', 'i915'),
            (0x120000, '8086:7d1d', 'intel_vpu'),
        ):
            tree = trees.Tree()
            trees.bmc(tree)
            tree.device('0000:00:02.0', ids, code, driver=driver, group=2)
            self.assertFalse(self.uses(tree)['0000:00:02.0'])
            # In a virtual machine, all devices are on the first bus.
            self.assertTrue(self.uses(tree.guest())['0000:00:02.0'])
        flex = trees.Tree()
        flex.device('0000:00:02.0', '8086:56c0', 0x038000, group=2)
        self.assertTrue(self.uses(flex)['0000:00:02.0'])

    def test_missing_devices(self) -> None:
        self.finds(
            'GPU457',
            FAIL,
            TWIN,
            host_cases.card(),
            host_cases.named(GPU, TWIN),
        )
        self.finds(
            'GPU456',
            WARN,
            TWIN,
            host_cases.card(),
            host_cases.specs({'address': GPU}, {'address': TWIN}),
        )
        self.finds(
            'GPU456',
            FAIL,
            'would not start',
            host_cases.card(),
            host_cases.specs({'address': 'x'}),
        )
        self.finds(
            'GPU456',
            FAIL,
            'ends with AttributeError',
            host_cases.card(),
            host_cases.specs({'address': GPU, 'vendor_id': 5}),
        )
        self.finds(
            'GPU461',
            WARN,
            'none of the 1',
            host_cases.card(),
            host_cases.specs(),
        )
        self.finds('GPU461', WARN, 'has no display', trees.Tree())

    def test_reporting(self) -> None:
        """Keys that nova-compute only validates to report to Placement."""
        tree = host_cases.card(vfs=('0000:17:00.4',))
        tree.device('0000:17:00.4', '10de:20f1', 0x030200, group=5, parent=GPU)
        vf = {'address': '17:00.4'}
        for entry, reason in (
            ({'address': '04:00.0', 'resource_class': 5}, 'AttributeError'),
            ({'address': '04:00.0', 'traits': ['a']}, 'AttributeError'),
            ({'devname': 'eth0'}, "does not support 'devname'"),
            ({'vendor_id': '10de'}, 'Either the parent PF or its children'),
            ({**vf, 'one_time_use': 'no'}, 'may set one_time_use'),
        ):
            for report in (True, False, None):
                intent = host_cases.specs(entry, report_in_placement=report)
                self.assertEqual(
                    report is True,
                    any(
                        reason in result.evidence and result.result == FAIL
                        for result in self.check(tree, intent)
                    ),
                    entry,
                )
        tree.device('0000:17:00.5', '10de:20f1', 0x030200, group=6, parent=GPU)
        reason = f'different tags match VFs of the same PF ({GPU})'
        for tags, report, expected in (
            ({'trusted': 'yes'}, True, True),
            ({'trusted': 'yes'}, False, False),
            ({}, True, False),
        ):
            intent = host_cases.specs(
                vf,
                {'address': '17:00.5', **tags},
                report_in_placement=report,
            )
            self.assertEqual(
                expected,
                any(
                    reason in result.evidence
                    for result in self.check(tree, intent)
                ),
            )
        self.finds(
            'GPU456',
            FAIL,
            'requires pci.report_in_placement',
            tree,
            host_cases.specs(
                {**vf, 'one_time_use': 'yes'}, report_in_placement=False
            ),
        )

    def test_unreadable(self) -> None:
        tree = host_cases.card()
        del tree.files['proc/cmdline']
        self.finds('GPU460', WARN, '/proc/cmdline: it does not exist', tree)


class TestIgnoredLines(host_cases.HostTestCase):
    def test_lines(self) -> None:
        path = '/etc/modprobe.d/x.conf'
        for line, shown, remedy in (
            (
                'option vfio-pci ids=10de:20f1',
                'option vfio-pci',
                f'Write "options" in place of "option" in {path}, run',
            ),
            (
                'opitons vfio-pci ids=10de:20f1',
                'opitons vfio-pci',
                'Write "options" in place of "opitons"',
            ),
            (
                'options vfio-pci',
                'options vfio-pci',
                'Complete the arguments of "options" (modprobe.d(5))',
            ),
            (
                'echo "options vfio-pci ids=1:2"',
                'echo vfio-pci',
                'Begin the line with a directive of modprobe.d(5), or with '
                '#, in',
            ),
        ):
            tree = host_cases.card()
            tree.text(path.lstrip('/'), f'# comment\n\n{line}\n')
            self.finds(
                'GPU463',
                FAIL,
                f'ignores a line of {path}: "{shown} ..."',
                tree,
                remedy=remedy,
            )

    def test_without_devices_for_guests(self) -> None:
        for line, tree in (
            ('blacklst nouveau', host_cases.card()),
            ('option vfio-pci ids=1:2', trees.Tree()),
        ):
            tree.text('etc/modprobe.d/x.conf', f'{line}\n')
            self.finds('GPU463', WARN, 'modprobe ignores a line', tree)


class TestSwitches(host_cases.HostTestCase):
    def tree(
        self, driver: str | None, ids: str = '10de:2330', count: int = 2
    ) -> trees.Tree:
        tree = trees.Tree(
            arguments=f'iommu=pt vfio-pci.ids={ids} rd.driver.pre=vfio-pci'
        )
        tree.initramfs('vfio-pci', maker='dracut')
        for address, group in ((GPU, 4), (TWIN, 5))[:count]:
            tree.device(
                address,
                ids,
                0x030200,
                driver='vfio-pci',
                group=group,
                total_vfs=32,
            )
        tree.device(
            '0000:07:00.0', '10de:22a3', 0x068000, driver=driver, group=7
        )
        return tree

    def test_links_of_gpus(self) -> None:
        self.finds(
            'GPU465',
            WARN,
            'not bound to any driver: 0000:07:00.0 (10de:22a3',
            self.tree(None),
            remedy='FABRIC_MODE=1',
        )
        self.finds('GPU465', WARN, 'a server with one works', self.tree(None))
        for driver in ('nvidia', 'vfio-pci'):
            tree = self.tree(driver)
            self.assertEqual([], self.codes(tree))
            self.assertIn(
                'NVSwitches', {result.check for result in self.check(tree)}
            )
        # Irrelevant for GPUs without NVSwitches, and for a single GPU.
        self.assertEqual([], self.codes(self.tree(None, trees.A100)))
        self.assertEqual([], self.codes(self.tree(None, count=1)))
