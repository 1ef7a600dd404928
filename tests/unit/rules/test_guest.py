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

import ddt
import testtools

from gpuclient.model import catalogue
from gpuclient.model import guest_log
from gpuclient.model import xid
from gpuclient.rules import guest
from gpuclient.rules import guest_result

NO_GPU = """\
00:00.0 Host bridge: Intel Corporation 82G33/G31/P35/P31 Express DRAM
00:01.0 VGA compatible controller: Red Hat, Inc. Virtio 1.0 GPU (rev 01)
"""
A100 = '00:05.0 3D controller [0302]: NVIDIA Corporation GA100 [10de:20f1]'
BOUND = f'{A100} (rev a1)\n\tKernel driver in use: nvidia\n'
UNBOUND = (
    f'{A100} (rev a1)\n\tKernel modules: nouveau\n'
    '00:06.0 SCSI storage controller [0100]: Red Hat, Inc. [1af4:1001]\n'
    '\tKernel driver in use: virtio-pci\n'
)
LOADED = (
    'NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  '
    'Release Build\n'
)
GPU = '[0.5] pci 0000:00:05.0: [10de:20f1] type 00 class 0x030200\n'
WINDOW = '[0.4] pci_bus 0000:00: root bus resource [mem {}-{} window]\n'
NO_SPACE = (
    '[0.6] pci 0000:00:05.0: BAR 1: no space for [mem size 0x1000000000 64bit '
    'pref]\n'
)
NIC = '[0.5] pci 0000:00:07.0: [15b3:1017] type 00 class 0x020000\n'
NOUVEAU = 'nouveau 0000:00:05.0: NVIDIA GA100 (170000a1)\n'
REFUSED = (
    'Lockdown: modprobe: unsigned module loading is restricted; see man\n'
)

#: By a name: a log, and its findings.
CASES: dict[str, tuple[str, list[str]]] = {
    'no GPU in the list': (NO_GPU, ['FAIL GPU798 None']),
    'no GPU for the driver': (
        'NVRM: No NVIDIA GPU found.\n',
        ['FAIL GPU798 None'],
    ),
    'a part of the list': (
        NO_GPU + 'NVRM: Xid (PCI:0000:05:00): 63, pid=1\n',
        [],
    ),
    'a window too small': (
        WINDOW.format('0x8000000000', '0x87ffffffff') + GPU + NO_SPACE,
        ['FAIL GPU782 0000:00:05.0'],
    ),
    'no window above 4 GiB': (
        WINDOW.format('0xc0000000', '0xfebfffff') + GPU + NO_SPACE,
        ['FAIL GPU782 0000:00:05.0'],
    ),
    'a window large enough': (
        WINDOW.format('0x8000000000', '0xffffffffff') + GPU + NO_SPACE,
        ['FAIL GPU781 0000:00:05.0'],
    ),
    'assigned in the end': (
        GPU
        + NO_SPACE
        + '[0.7] pci 0000:00:05.0: BAR 1: assigned [mem 0x8000000000-0x8fff]\n'
        + LOADED,
        [],
    ),
    'a network card without space': (
        NIC + NO_SPACE.replace('05.0', '07.0') + LOADED,
        [],
    ),
    'a region of lspci': (
        BOUND.replace(
            '\tKernel', '\tRegion 1: Memory at <unassigned> (64-bit)\n\tKernel'
        ),
        ['FAIL GPU781 0000:00:05.0'],
    ),
    'a region without further lines': (
        'NVRM: This PCI I/O region assigned to your NVIDIA device is invalid\n'
        'nvidia: probe of 0000:00:05.0 failed with error -1\n',
        ['FAIL GPU781 None'],
    ),
    'a region with a further line': (
        'NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:'
        '\nNVRM: BAR1 is 0M @ 0x0 (PCI:0000:00:05.0)\n',
        ['FAIL GPU781 0000:00:05.0'],
    ),
    'interrupts': (
        "NVRM: Can't find an IRQ for your NVIDIA card!\n",
        ['FAIL GPU783 None'],
    ),
    'open modules required': (
        'NVRM: The NVIDIA GPU 0000:00:05.0 (PCI ID: 10de:2901)\n'
        'NVRM: installed in this system requires use of the NVIDIA open\n'
        'NVRM: kernel modules.\n'
        'NVRM: GPU 0000:00:05.0: RmInitAdapter failed! (0x22:0x56:884)\n',
        ['FAIL GPU784 0000:00:05.0'],
    ),
    'a branch too old': (
        'NVRM: The NVIDIA GPU 0000:00:05.0 (PCI ID: 10de:2330)\n'
        'NVRM: installed in this system is not supported by the\n'
        'NVRM: NVIDIA 470.82.01 driver release.\n',
        ['FAIL GPU785 0000:00:05.0'],
    ),
    'a model that the catalogue lacks': (
        'NVRM: The NVIDIA GPU 0000:00:05.0 (PCI ID: 10de:ffff)\n'
        'NVRM: installed in this system is not supported by the\n'
        'NVRM: NVIDIA 470.82.01 driver release.\n',
        ['UNKNOWN GPU785 0000:00:05.0'],
    ),
    'bound to nouveau': (
        f'{NOUVEAU}NVRM: GPU 0000:00:05.0 is already bound to nouveau.\n'
        'NVRM: The NVIDIA probe routine was not called for 1 device(s).\n',
        ['FAIL GPU786 0000:00:05.0'],
    ),
    'only nouveau': (NOUVEAU, ['WARN GPU786 0000:00:05.0']),
    'nouveau before the driver': (NOUVEAU + LOADED, []),
    'bound to vfio-pci': (
        'NVRM: GPU 0000:00:05.0 is already bound to vfio-pci.\n',
        ['FAIL GPU786 0000:00:05.0'],
    ),
    'a module refused': (REFUSED + GPU, ['WARN GPU787 None']),
    'another module refused': (REFUSED + LOADED, []),
    'the module refused': (
        f"{REFUSED}modprobe: ERROR: could not insert 'nvidia': Key was "
        'rejected by service\n',
        ['FAIL GPU787 None'],
    ),
    'a taint only': (
        'nvidia: module verification failed: signature and/or required key '
        'missing - tainting kernel\n' + LOADED,
        [],
    ),
    'no driver': (UNBOUND, ['WARN GPU788 0000:00:05.0']),
    'another kernel': (
        "nvidia: version magic '6.8.0-31 SMP' should be '6.8.0-40 SMP'\n",
        ['FAIL GPU788 None'],
    ),
    'another kernel, by a symbol': (
        'nvidia: disagrees about version of symbol kmalloc\n'
        'nvidia: Unknown symbol kmalloc (err -22)\n',
        ['FAIL GPU788 None'],
    ),
    'a symbol for GPL modules': (
        f'{LOADED}nvidia_uvm: Unknown symbol zap_it (err -2)\n'
        'nvidia_uvm: Unknown symbol radix_tree_preloads (err -2)\n',
        ['FAIL GPU788 None'],
    ),
    'a symbol of no known module': (
        'nvidia: Unknown symbol zap_it (err 0)\n'
        "modprobe: ERROR: could not insert 'nvidia': Unknown symbol in module"
        '\n',
        ['UNKNOWN GPU788 None'],
    ),
    'a symbol of drm': (
        'amdgpu: Unknown symbol drm_gem_open (err -2)\n',
        ['FAIL GPU788 None'],
    ),
    'a symbol of nvidia': (
        'nvidia_uvm: Unknown symbol nvUvmInterfaceX (err -2)\n',
        ['FAIL GPU788 None'],
    ),
    'modules without which CUDA works': (
        f'{LOADED}nvidia_drm: Unknown symbol drm_gem_open (err -2)\n'
        'nvidia_fs: Unknown symbol nvidia_p2p_get_pages (err -2)\n'
        'nvidia_peermem: disagrees about version of symbol '
        'ib_register_peer_memory_client\n'
        "modprobe: ERROR: could not insert 'nvidia_peermem': Invalid argument"
        '\n'
        'modprobe: FATAL: Module nvidia-modeset not found in directory /x\n',
        ['WARN GPU788 None'] * 4,
    ),
    'a module that modprobe cannot insert': (
        "modprobe: ERROR: could not insert 'nvidia': Invalid argument\n",
        ['UNKNOWN GPU788 None'],
    ),
    'firmware that cannot be read': (
        'nvidia 0000:00:05.0: loading /lib/firmware/nvidia/570.133.20/'
        'gsp_ga10x.bin failed with error -4\n',
        ['UNKNOWN GPU790 0000:00:05.0'],
    ),
    'firmware of nouveau': (
        'nouveau 0000:00:05.0: Direct firmware load for nvidia/tu117/gsp/'
        'gsp-535.113.01.bin failed with error -2\n' + LOADED,
        [],
    ),
    'no response': (
        f'{A100} (rev ff)\n\t!!! Unknown header type 7f\n',
        ['FAIL GPU791 0000:00:05.0'],
    ),
    'a network card asleep': (
        NIC
        + 'mlx5_core 0000:00:07.0: Unable to change power state from D3hot to '
        'D0, device inaccessible\n' + LOADED,
        [],
    ),
    'Fabric Manager failed': (
        'nv-fabricmanager[99]: Failed to initialize\n',
        ['UNKNOWN GPU794 None'],
    ),
    'a fatal error of a switch': (
        'nvidia-nvswitch0: SXid (PCI:0000:07:00.0): 20034, Fatal, Link 30\n',
        ['FAIL GPU794 0000:07:00.0'],
    ),
    'an error of a switch': (
        'nvidia-nvswitch0: SXid (PCI:0000:07:00.0): 12028, Non-fatal, x\n',
        ['WARN GPU794 0000:07:00.0'],
    ),
    'Windows': (
        'Windows has stopped this device because it has reported problems. '
        '(Code 43)\n',
        ['UNKNOWN GPU795 None'],
    ),
    'vGPU driver': (
        f'{BOUND}nvidia-gridd[7]: vGPU Software package (0)\n',
        ['WARN GPU796 None'],
    ),
    'firmware of amdgpu': (
        'amdgpu 0000:00:05.0: Direct firmware load for amdgpu/psp_13_0_6_sos'
        '.bin failed with error -2\n'
        'amdgpu 0000:00:05.0: amdgpu: Fatal error during GPU init\n',
        ['FAIL GPU797 0000:00:05.0'],
    ),
    'amdgpu without its BIOS': (
        '[drm:amdgpu_get_bios [amdgpu]] *ERROR* Unable to locate a BIOS ROM\n'
        'amdgpu 0000:00:05.0: amdgpu: Fatal error during GPU init\n',
        ['FAIL GPU797 None'],
    ),
    'firmware newer than amdgpu': (
        'amdgpu 0000:00:05.0: amdgpu: packed SOS count exceeds maximum limit\n'
        'amdgpu 0000:00:05.0: amdgpu: Fatal error during GPU init\n',
        ['FAIL GPU797 0000:00:05.0'],
    ),
    'a block of amdgpu': (
        '[drm:amdgpu_device_ip_init] *ERROR* hw_init of IP block <psp> failed '
        '-22\n',
        ['UNKNOWN GPU797 None'],
    ),
    'amdgpu was reset': (
        'amdgpu 0000:00:05.0: amdgpu: ring sdma0 timeout, signaled seq=1\n'
        'amdgpu 0000:00:05.0: amdgpu: GPU reset begin!\n'
        'amdgpu 0000:00:05.0: amdgpu: GPU reset(1) succeeded!\n',
        ['WARN GPU797 0000:00:05.0'],
    ),
    'amdgpu was reset before, but maybe not again': (
        'amdgpu 0000:00:05.0: amdgpu: GPU reset begin!\n'
        'amdgpu 0000:00:05.0: amdgpu: GPU reset(1) succeeded!\n'
        'amdgpu 0000:00:05.0: amdgpu: GPU reset begin!\n',
        ['UNKNOWN GPU797 0000:00:05.0'],
    ),
    'a ring of amdgpu recovered': (
        '[drm:amdgpu_job_timedout [amdgpu]] *ERROR* ring gfx timeout, but '
        'soft recovered\n'
        '[drm] Initialized amdgpu 3.57.0 for 0000:00:05.0 on minor 1\n',
        ['WARN GPU797 None'],
    ),
    'amdgpu may be reset': (
        'amdgpu 0000:00:05.0: amdgpu: MES failed to respond to msg=X\n',
        ['UNKNOWN GPU797 0000:00:05.0'],
    ),
    'amdgpu is not reset': (
        'amdgpu 0000:00:05.0: amdgpu: ring sdma0 timeout, signaled seq=1\n'
        'amdgpu 0000:00:05.0: amdgpu: GPU reset(1) failed\n'
        'amdgpu 0000:00:05.0: amdgpu: GPU reset end with ret = -62\n',
        ['FAIL GPU797 0000:00:05.0'],
    ),
    'a page fault of amdgpu': (
        'amdgpu 0000:00:05.0: amdgpu: [gfxhub0] page fault (src_id:0)\n',
        ['WARN GPU797 0000:00:05.0'],
    ),
    'amdgpu works': (
        '[drm] Initialized amdgpu 3.57.0 20150101 for 0000:00:05.0 on minor 1'
        '\n',
        [],
    ),
    'i915 works': (
        '[drm] Initialized i915 1.6.0 for 0000:00:05.0 on minor 0\n',
        [],
    ),
    'GuC of i915': (
        'i915 0000:00:05.0: [drm] GT0: GUC: load failed: status = 0x40000056\n'
        '[drm] Initialized i915 1.6.0 for 0000:00:05.0 on minor 0\n',
        ['UNKNOWN GPU797 0000:00:05.0'],
    ),
    'i915 without the firmware of displays': (
        'i915 0000:00:05.0: Direct firmware load for i915/dg2_dmc_ver2_08.bin '
        'failed with error -2\n'
        'i915 0000:00:05.0: [drm] Failed to load DMC firmware '
        'i915/dg2_dmc_ver2_08.bin. Disabling runtime power management.\n'
        '[drm] Initialized i915 1.6.0 for 0000:00:05.0 on minor 0\n',
        [],
    ),
    'i915 without GuC': (
        'i915 0000:00:05.0: [drm] *ERROR* GT0: GuC firmware '
        'i915/dg2_guc_70.bin: fetch failed -ENOENT\n'
        'i915 0000:00:05.0: [drm] GT0: GuC firmware i915/dg2_guc_69.bin '
        'version 69.0.3\n',
        ['FAIL GPU797 0000:00:05.0'],
    ),
    'a probe of xe': (
        'xe: probe of 0000:00:05.0 failed with error -5\n',
        ['UNKNOWN GPU797 0000:00:05.0'],
    ),
    'FSP': (
        f'{LOADED}NVRM kfspSendBootCommands_GH100: FSP boot cmds failed.\n',
        ['UNKNOWN GPU783 None'],
    ),
    'FSP of a card': (
        'NVRM: RmInitAdapter: Cannot initialize GSP firmware RM\n'
        'NVRM: GPU 0000:00:05.0: RmInitAdapter failed! (0x62:0x65:1784)\n',
        ['UNKNOWN GPU783 0000:00:05.0'],
    ),
    'confidential computing': (
        f'{LOADED}NVRM: confComputeSetErrorState_KERNEL: ConfCompute: Fatal '
        'error hit!\n',
        ['UNKNOWN GPU783 None'],
    ),
    'a device without handle': (
        f'{BOUND}Unable to determine the device handle for GPU 0000:00:05.0: '
        'Unknown Error\n',
        ['UNKNOWN GPU799 0000:00:05.0'],
    ),
    'a lost device': (
        f'{BOUND}Unable to determine the device handle for GPU0000:00:05.0: '
        'GPU is lost.\n',
        ['FAIL GPU791 0000:00:05.0'],
    ),
    'NVML': (
        f'{BOUND}Failed to initialize NVML: Unknown Error\n',
        ['UNKNOWN GPU799 None'],
    ),
    'the table of nvidia-smi': (
        '| NVIDIA-SMI 580.1.2    Driver Version: 580.1.2    CUDA Version: 13 |'
        '\n',
        [],
    ),
    'an error in the table of nvidia-smi': (
        f'{BOUND}| ERR!   45C    P0    ERR! / 300W |\n',
        ['WARN GPU799 None'],
    ),
    'a message that no rule knows': (
        f'{LOADED}NVRM: somethingNew_GB300: the thing failed\n',
        ['WARN GPU799 None'],
    ),
    'a hung tool': (
        f'{BOUND}INFO: task nvidia-smi:8 blocked for more than 120 seconds.\n',
        ['WARN GPU799 None'],
    ),
    'an error of CUDA': (
        f'{BOUND}RuntimeError: No CUDA GPUs are available\n',
        ['WARN GPU799 None'],
    ),
    'a message that no rule knows, of amdgpu': (
        f'{BOUND}amdgpu 0000:00:06.0: [drm] *ERROR* something new\n',
        ['WARN GPU799 None'],
    ),
    'Fabric Manager works': (
        'nv-fabricmanager[1]: Successfully configured all the available '
        'NVSwitches to route GPU NVLink traffic.\n',
        [],
    ),
    'Fabric Manager without ib_umad': (
        f'{LOADED}nvidia-fabricmanager-start.sh: Kernel module "ib_umad" has '
        'not been loaded, fabric manager cannot be started\n'
        'systemd[1]: Failed to start nvidia-fabricmanager.service\n',
        ['FAIL GPU794 None'],
    ),
    'Fabric Manager not started': (
        f'{LOADED}systemd[1]: Failed to start nvidia-fabricmanager.service - '
        'NVIDIA fabric manager service.\n',
        ['UNKNOWN GPU794 None'],
    ),
    'xe': (
        'xe 0000:00:05.0: probe with driver xe failed with error -62\n',
        ['UNKNOWN GPU797 0000:00:05.0'],
    ),
    'a probe that fails': (
        f'{LOADED}nvidia: probe of 0000:00:05.0 failed with error -1\n',
        ['UNKNOWN GPU799 0000:00:05.0'],
    ),
    'two cards, one explained': (
        'NVRM: BAR1 is 0M @ 0x0 (PCI:0000:00:05.0)\n'
        'NVRM: GPU 0000:00:05.0: RmInitAdapter failed! (0x22:0x56:884)\n'
        'NVRM: GPU 0000:00:06.0: RmInitAdapter failed! (0x62:0x65:1792)\n',
        ['FAIL GPU781 0000:00:05.0', 'UNKNOWN GPU783 0000:00:06.0'],
    ),
    'all is well': (BOUND + LOADED, []),
    'unknown number': (
        'NVRM: Xid (PCI:0000:00:05): 999, x\n',
        ['UNKNOWN GPU780 0000:00:05.0'],
    ),
    'Xid 45 alone': (
        'NVRM: Xid (PCI:0000:00:05): 45, x\n',
        ['WARN GPU780 0000:00:05.0'],
    ),
    'Xid 45 with its cause': (
        'NVRM: Xid (PCI:0000:00:05): 45, Ch 1 caused by previous Xid 48\n'
        'NVRM: Xid (PCI:0000:00:06): 45, Ch 1 caused by previous Xid 31\n'
        'NVRM: Xid (PCI:0000:00:07): 45, Ch 1 caused by previous Xid 149\n'
        'NVRM: Xid (PCI:0000:00:08): 45, Ch 1 caused by previous Xid 999\n',
        [
            'FAIL GPU780 0000:00:05.0',
            'WARN GPU780 0000:00:06.0',
            'UNKNOWN GPU780 0000:00:07.0',
            'UNKNOWN GPU780 0000:00:08.0',
        ],
    ),
    'Xid 45 with its cause in the log': (
        'NVRM: Xid (PCI:0000:00:05): 48, x\n'
        'NVRM: Xid (PCI:0000:00:05): 45, Ch 1 caused by previous Xid 48\n',
        ['FAIL GPU780 0000:00:05.0', 'WARN GPU780 0000:00:05.0'],
    ),
    'no recovery': (
        'NVRM: Xid (PCI:0000:00:05): 154, GPU recovery action changed from '
        '0x1 (GPU Reset Required) to 0x0 (None)\n',
        [],
    ),
    'an instance of MIG': (
        'NVRM: Xid (PCI:0000:00:05 GPU-I:02): 13, pid=1\n',
        ['WARN GPU780 0000:00:05.0'],
    ),
}


def check(text: str) -> tuple[guest_result.GuestResult, ...]:
    return guest.check(guest_log.read([text.encode()]), catalogue.builtin())


@ddt.ddt
class TestCheck(testtools.TestCase):
    @ddt.data(*CASES)
    def test_case(self, name: str) -> None:
        text, expected = CASES[name]
        results = check(text)
        self.assertNotEqual((), results)
        self.assertEqual(
            sorted(expected),
            sorted(
                f'{result.result} {result.code} {result.device}'
                for result in results
                if result.severity
            ),
        )

    def test_each_code(self) -> None:
        codes = {
            finding.split()[1]
            for _text, expected in CASES.values()
            for finding in expected
        }
        # The others are in the logs of public reports.
        others = {'GPU789', 'GPU792', 'GPU793'}
        self.assertEqual(
            {f'GPU{number}' for number in range(780, 800)}, codes | others
        )

    def test_texts(self) -> None:
        """Every finding has its cause, evidence and remedy."""
        for name, (text, _expected) in CASES.items():
            for result in check(text):
                self.assertTrue(result.cause, name)
                self.assertFalse(result.cause.endswith('.'), name)
                self.assertFalse(result.remedy.endswith('.'), name)
                self.assertNotIn('..', result.remedy)
                if result.severity:
                    self.assertTrue(result.remedy, name)
                    self.assertTrue(
                        result.evidence or result.code == 'GPU798', name
                    )
                if result.result is guest_result.Result.UNKNOWN:
                    self.assertRegex(
                        result.cause,
                        'does not (show|know|list)|could not',
                        name,
                    )

    def test_nothing(self) -> None:
        for text in ('', 'x\n', '[ 1.0] usb 1-1: new device\n', GPU):
            self.assertEqual((), check(text))

    def test_every_xid(self) -> None:
        for number, known in xid.catalogue().items():
            (result,) = check(f'NVRM: Xid (PCI:0000:05:00): {number}, x\n')
            if number == xid.FALLEN_OFF:
                self.assertEqual('GPU791', result.code)
                continue
            self.assertIn(f'Xid {number}', result.cause)
            if known.action not in ('NONE', 'NOT_LISTED'):
                self.assertIn(known.action, result.remedy)

    def test_harmless_messages(self) -> None:
        for message in (
            'nvidia: module verification failed: signature missing - taint',
            'NVRM objClInitPcieChipset: *** Chipset Setup Function Error!',
            'nvidia-gpu 0000:00:05.3: i2c timeout error e0000000',
            'nvidia_uvm: module uses symbols from proprietary module nvidia',
            'amdgpu 0000:00:05.0: amdgpu: SMU driver if version not matched',
        ):
            results = check(f'{BOUND}{LOADED}{message}\n')
            self.assertEqual(
                [], [result for result in results if result.severity], message
            )

    def test_other_messages(self) -> None:
        """Neither a failure nor a sign that the GPU works."""
        for text in (
            '[drm] amdgpu kernel modesetting enabled.\n',
            'NVRM: GPU at PCI:0000:00:05: GPU-0\n',
            'i915 0000:00:05.0: vgaarb: deactivate vga console\n',
        ):
            self.assertEqual((), check(text))
            log = guest_log.read([text.encode()])
            self.assertEqual(1, len(log.of(guest_log.Kind.OTHER)), text)

    def test_nvlink(self) -> None:
        """The registers of Xids 144 to 150 tell the action."""
        for message, result, action in (
            ('145, RLW_X Nonfatal {} (0x00000042 0x00000001)', 'WARN', 'WORK'),
            ('145, RLW_X Fatal {} (0x00000042 0x00000001)', 'FAIL', 'WORK'),
            ('144, SAW_MVB Nonfatal {} (0x1 0x8)', 'PASS', 'IGNORE'),
            ('144, SAW_MVB Fatal {} (0x1 0x2)', 'FAIL', 'RESET_GPU'),
            ('144, SAW_MVB Fatal {} (0x1 0xa)', 'FAIL', 'RESET_GPU'),
            ('144, SAW_MVB Nonfatal {} (0x100001 0x8)', 'WARN', 'WORK'),
            ('145, RLW_RXPIPE Nonfatal {} (0x6 0x1)', 'PASS', 'IGNORE'),
            ('145, RLW_RXPIPE Fatal {} (0x6 0x1)', 'FAIL', 'RESET_GPU'),
            ('145, RLW_REMAP Nonfatal {} (0x4 0x4)', 'WARN', 'XID_154_EVAL'),
            ('149, NETIR_LINK_EVT Fatal {} (0x111 0x7)', 'FAIL', 'RESET_GPU'),
            ('149, NETIR_LINK_DOWN Fatal {} (0x2600011 0x0)', 'WARN', 'IGNOR'),
            ('149, NETIR_LINK_DOWN Fatal {} (0x3f00011 0x0)', 'FAIL', 'WORK'),
            ('149, NETIR_BER_EVENT Nonfatal {} (0x6 0x3)', 'PASS', 'IGNORE'),
            ('149, NETIR_BER_EVENT Nonfatal {} (0x6 0x4)', 'WARN', 'WORK'),
        ):
            head, _parenthesis, registers = message.partition('(')
            registers = ' '.join(
                f'0x{int(register, 16):08x}'
                for register in registers.strip(')').split()
            )
            head = head.format('XC0 i0 Link 03')
            (reported,) = check(
                f'NVRM: Xid (PCI:0000:05:00): {head}({registers}'
            )
            self.assertEqual(result, str(reported.result), message)
            self.assertIn(f'({action}', reported.remedy, message)

    def test_versions_of_fabric_manager(self) -> None:
        (result,) = check(
            'nv-fabricmanager: fabric manager NVIDIA GPU driver interface '
            "version 570.1.1 don't match with driver version 570.2.2. Update\n"
        )
        self.assertTrue(result.cause.endswith('version 570.2.2 of the driver'))

    def test_address_bits(self) -> None:
        text = CASES['a window too small'][0]
        (result,) = check(f'{text}Address sizes: 40 bits physical, 48 bits\n')
        self.assertIn('40 physical address bits', result.cause)
        self.assertIn('64 GiB', result.cause)
        self.assertIn('32 GiB', result.cause)
