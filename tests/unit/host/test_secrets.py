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

"""Secrets that bundles leave out, and the cost of that for any content."""

import base64
import collections.abc
import gzip
import io
import itertools
import os
import pathlib
import random
import string
import sys
import tarfile
import tracemalloc
import types

import fixtures
import testtools

from gpuclient.host import bundle
from gpuclient.host import collect
from gpuclient.model import host as host_model
from gpuclient.rules import host as host_rules
from tests.unit.host import trees

#: Kernel arguments with secrets; each {} is one.
ARGUMENTS = (
    'cifsroot=//server/share,username=a,password={}',
    'rootflags=password={},vers=3',
    'systemd.setenv=DB_PASSWORD={}',
    'init="sh -c x --password {}"',
    'args="user=a password={} x"',
    'args="a "password={}',
    'inst.rootpw={}',
    'admin_pw={}',
    'dbpass={}',
    'rd.luks.key={}',
    'rd.iscsi.password={}',
    'netroot=iscsi:{}:{}@10.0.0.1::3260::',
    'inst.ks=http://user:{}@host/ks.cfg',
    'inst.ks=http://user:a@{}@host/ks.cfg',
    'inst.ks=http://user:a/{}@host/ks.cfg',
    'inst.repo=https://host/path?token={}&b={}',
    'proxy=http://{}:{}@proxy:3128',
    'foo=a"b {}"c',
    "psk='a b {} c'",
    "psk='a {}=b c'",
    'psk=\\"{} x\\"',
    '{}',
    '={}',
    '{}=',
    'x={}=',
    'https://{}@host/',
    'vfio-pci.ids=10de:20f1,{}',
    'iommu=pt,{}',
    'intel_iommu={}',
    'isolcpus={}',
    'hugepages={}',
    'hugepagesz={}',
    'pci=realloc,{}',
    'nouveau.config={}',
    'rd.nvmf.hostnqn=nqn.2014-08.org.nvmexpress:uuid:{}',
    '-- {}',
    'quiet\x0bpassword={}',
    '"{}"',
    '"a={}"',
    'a="{}',
)
#: Lines of modprobe.d with secrets.
MODPROBE = (
    'install x /usr/bin/curl -u user:{} http://host/',
    'install x /usr/bin/mysql --password {} --execute y',
    'install x sshpass -p {} ssh host',
    'install x curl -H "Authorization: Bearer {}" host',
    'install x echo {} > /sys/bus/pci/devices/0000:04:00.0/driver_override',
    'install vfio-pci PASSWORD={} /sbin/modprobe vfio-pci',
    'options x password={}',
    'options x {}',
    'options x a="{} b"',
    'options vfio-pci ids=10de:20f1,{}',
    'options vfio-pci disable_idle_d3={}',
    'options vfio-pci ids=10de:20f1 # {}',
    'softdep x pre: y # password {}',
    'softdep x pre: a/{}',
    'blacklist nouveau {}',
    'blacklist nouveau # {}',
    'alias {} x',
    'remove x /bin/echo {}',
    '{} x',
    'password {} vfio-pci',
    'option vfio-pci ids=10de:20f1 key={}',
    '"options" vfio-pci {}',
    '# {}',
    'options x a=b \\\n{}',
)
#: Paths of files, and their content with secrets.
FILES = (
    ('etc/default/grub', 'GRUB_PASSWORD={}\n'),
    ('etc/default/grub', 'GRUB_CMDLINE_LINUX="quiet a=\\"{} b\\" c={}"\n'),
    ('etc/default/grub', "GRUB_CMDLINE_LINUX='a={} {}'\n"),
    ('etc/default/grub', 'GRUB_CMDLINE_LINUX="$(cat {})"\n'),
    ('etc/default/grub', 'GRUB_CMDLINE_LINUX="unclosed {}\n'),
    ('etc/default/grub', 'GRUB_CMDLINE_LINUX=a password={}\n'),
    ('etc/default/grub', 'GRUB_CMDLINE_LINUX="${{X:-{}}} $${}"\n'),
    ('etc/default/grub', 'MY_KERNEL_ARGS="x={}" # {}\n'),
    ('etc/default/grub.d/a.cfg', 'GRUB_CMDLINE_LINUX_DEFAULT+=" x={}"\n'),
    ('etc/kernel/cmdline', 'root=UUID={} a=b {}\n'),
    ('boot/loader/entries/a.conf', 'title {}\noptions a={} $kernelopts\n'),
    ('boot/loader/entries/b.conf', 'options root={} "{} x"\n'),
    ('boot/grub2/grubenv', 'kernelopts=root={}\nboot_token={}\n'),
    ('boot/grub2/grubenv', 'saved_entry={}\ntuned_params=a={}\n'),
    ('etc/modules', 'loop password={}\n'),
    ('etc/modules', '# {}\n'),
    ('etc/modules-load.d/a.conf', 'loop {}\n'),
    ('etc/initramfs-tools/modules', 'vfio-pci ids={}\n'),
    ('etc/initramfs-tools/hooks/a', 'PASSWORD={}\nforce_load a {}\n'),
    ('etc/dracut.conf', 'add_drivers+=" a/{} "\ninstall_items={}\n'),
    ('etc/dracut.conf.d/a.conf', 'kernel_cmdline="password={}"\n'),
    ('etc/tuned/a/tuned.conf', '[x]\ncmdline=password={}\ninclude={}\x01\n'),
    ('etc/tuned/a-variables.conf', 'isolated_cores={}\npassword={}\n'),
    ('etc/tuned/active_profile', '{}={}\n'),
    ('etc/os-release', 'ID=debian\nBUILD_ID={}\nVERSION={}\n'),
    ('etc/os-release', 'ID="{}/"\n'),
    ('proc/cpuinfo', 'vendor_id: {}\nserial: {}\nflags: {} hypervisor\n'),
    ('proc/modules', 'vfio_pci 1 0 {} Live 0x0\n'),
    ('proc/sys/kernel/hostname', 'host {}\n'),
    ('proc/sys/kernel/osrelease', '6.1 {}\n'),
    ('sys/bus/pci/devices/0000:04:00.0/driver_override', 'x={}\n'),
    ('sys/bus/pci/devices/0000:04:00.0/vendor', '0x10de{}\n'),
    ('sys/bus/pci/devices/0000:04:00.0/resource', '{}\n'),
    ('sys/bus/pci/devices/0000:04:00.0/reset', '{}'),
    ('sys/bus/pci/devices/0000:04:00.0/config', 'a' * 64 + '{}' * 8),
    ('sys/kernel/iommu_groups/4/reserved_regions', '{} direct\n'),
    ('sys/devices/system/node/node0/meminfo', 'Node 0 MemTotal: {} kB\n'),
    ('sys/module/vfio_pci/parameters/ids', '{}\n'),
    ('gpuclient/initramfs/boot+initrd.img-6', 'etc/{}.key\n{}\n'),
    ('gpuclient/bundle.json', '{{"format": 1, "unreadable": {{"{}": "{}"}}}}'),
    (
        'gpuclient/bundle.json',
        '{{"format": 1, "unreadable": {{"etc/modules": "{}"}}}}',
    ),
    ('etc/shadow', 'root:{}\n'),
)


#: Parts of random content.
TOKENS = (
    *'"\'=,:/@#${}`.-\t\n\x0b\u2028x\\ ',
    *('\\"', '\\\n', '$(', 'password=', 'options ', 'install x ', 'a=b '),
    *('softdep x pre: ', 'blacklist ', 'alias ', 'option ', ' 0 ', 'ro '),
    *('GRUB_CMDLINE_LINUX=', 'GRUB_CMDLINE_LINUX+="', '$kernelopts', '--'),
    *('${GRUB_CMDLINE_LINUX:+', 'iommu=', 'vfio-pci.ids=', 'hugepages='),
    *('rd.driver.pre=', 'nouveau.modeset=', 'options vfio-pci ids=', 'ID='),
    *('kernelopts=', 'saved_entry=', 'isolated_cores=', 'include=/etc/'),
    *('add_drivers+=" ', 'vendor_id: ', 'driver_override', '0000:04:00.0'),
)
#: Files with random content.
RANDOM = (
    'proc/cmdline',
    'etc/kernel/cmdline',
    'etc/default/grub',
    'etc/modprobe.d/a.conf',
    'boot/loader/entries/a.conf',
    'boot/grub2/grubenv',
    'etc/modules',
    'etc/dracut.conf',
    'etc/os-release',
    'proc/cpuinfo',
    'proc/modules',
    'etc/initramfs-tools/hooks/a',
    'sys/bus/pci/devices/0000:04:00.0/reset_method',
    'sys/kernel/iommu_groups/1/name',
    'proc/sys/kernel/osrelease',
    'gpuclient/initramfs/x',
)
#: Number of random contents; more in long runs.
COUNT = int(os.environ.get('GPUCLIENT_FUZZ', '3000'))


class TestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)


class Secrets:
    """Generates secrets, all different, of each kind in turn."""

    def __init__(self) -> None:
        self._chance = random.Random(12)
        self.all: list[str] = []

    def _text(self, letters: str, count: int) -> str:
        return ''.join(self._chance.choice(letters) for _ in range(count))

    def next(self) -> str:
        kinds: tuple[collections.abc.Callable[[], str], ...] = (
            lambda: self._text(string.ascii_letters + string.digits, 16) + '7',
            lambda: self._text(string.ascii_letters, 9) + '!@/x',
            lambda: self._text('0123456789abcdef', 32),
            lambda: self._text('0123456789abcdef', 12),
            lambda: '-'.join(
                self._text('0123456789abcdef', 4) * 2 for _ in 'ab'
            ),
            lambda: (
                ':'.join(self._text('0123456789abcdef', 2) for _ in '123456')
                + ':zz'
            ),
            lambda: (
                base64.b64encode(self._chance.randbytes(18)).decode() + '='
            ),
            lambda: self._text(string.ascii_letters, 8) + '\u00e9\u4e2d',
        )
        secret = kinds[len(self.all) % len(kinds)]()
        self.all.append(secret)
        return secret

    def fill(self, text: str) -> str:
        """Return a text with a secret for each {}."""
        count = text.replace('{{', '').count('{}')
        return text.format(*(self.next() for _ in range(count)))


def _forms(secret: str) -> 'collections.abc.Iterator[bytes]':
    """Yield a secret in plain and in common encodings."""
    content = secret.encode()
    yield content
    yield content.hex().encode()
    yield content.hex().upper().encode()
    yield secret.encode('unicode-escape')
    yield repr(secret)[1:-1].encode()
    yield ascii(secret)[1:-1].encode()
    yield secret.encode('utf-16-le')
    # Except for its ends, the encoding only depends on the offset modulo 3.
    for before in range(3):
        text = base64.b64encode(bytes(before) + content).rstrip(b'=')
        yield text[4:-2] if before else text[:-2]


class TestSecrets(TestCase):
    def trees(
        self, secrets: Secrets
    ) -> 'collections.abc.Iterator[trees.Tree]':
        """Yield hosts, each with secrets in one file."""
        for text in ARGUMENTS:
            for path, around in (
                ('proc/cmdline', 'quiet {} ro\n'),
                ('boot/loader/entries/x.conf', 'options quiet {}\n'),
                ('boot/grub2/grubenv', 'kernelopts={} ro\n'),
            ):
                tree = trees.nouveau()
                tree.text(path, around.replace('{}', secrets.fill(text)))
                yield tree
        for text in MODPROBE:
            tree = trees.nouveau()
            tree.text('etc/modprobe.d/x.conf', secrets.fill(text) + '\n')
            yield tree
        for path, text in FILES:
            tree = trees.nouveau()
            tree.text(path, secrets.fill(text))
            yield tree

    def test_none_is_packed(self) -> None:
        secrets = Secrets()
        places = last = 0
        others = trees.nouveau().files
        for tree in self.trees(secrets):
            places += 1
            collected = collect.CollectedFiles()
            for path, content in tree.files.items():
                rule = collect.rule_for(path)
                if rule is not None and content != others.get(path):
                    collected.files[path] = _kept(path, content)
            packed = collect.pack(collected)
            self.assertGreater(len(secrets.all), last)
            for secret in secrets.all[last:]:
                for form in _forms(secret):
                    self.assertFalse(form in packed, (secret, form))
            last = len(secrets.all)
        self.assertGreaterEqual(places, 100)
        self.assertGreaterEqual(last, 200)

    def test_all_in_one_host(self) -> None:
        """No secret is packed in any encoding, compressed or not."""
        secrets = Secrets()
        tree = trees.nouveau()
        for secret_tree in self.trees(secrets):
            for path, content in secret_tree.files.items():
                if content not in tree.files.get(path, b''):
                    before = tree.files.get(path, b'')
                    tree.files[path] = before + b'\n' + content
        root = tree.write(self.folder / 'host')
        collected = collect.collect(os.fspath(root))
        path = self.folder / 'x.tar'
        bundle.write(os.fspath(path), collected)
        packed = path.read_bytes()
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            parts = [
                f'{member.name}\n{member.linkname}\n'.encode()
                + (archive.extractfile(member) or io.BytesIO()).read()
                for member in archive
                if not member.issym()
            ]
        unpacked = gzip.decompress(gzip.compress(packed))
        for secret in secrets.all:
            for form in _forms(secret):
                self.assertNotIn(form, unpacked)
                self.assertFalse(any(form in part for part in parts))
        # Neither the host that is read nor its findings contain one.
        host = bundle.read(os.fspath(path))
        shown = repr(host) + repr(host_rules.check(host))
        for secret in secrets.all:
            self.assertNotIn(secret, shown)

    def test_random_text(self) -> None:
        """A secret is left out, whatever is around it."""
        chance = random.Random(30)
        for _number in range(COUNT):
            letters = 'abcdefghijkLMNOP0123456789!+'
            secret = f'S{"".join(chance.choices(letters, k=10))}9'
            content = (
                ''.join(chance.choices(TOKENS, k=chance.randrange(8)))
                + secret
                + ''.join(chance.choices(TOKENS, k=chance.randrange(6)))
            ).encode()
            path = chance.choice(RANDOM)
            once = _kept(path, content)
            self.assertFalse(secret.encode() in once, (path, content))
            self.assertEqual(once, _kept(path, once), (path, content))

    def test_redaction_is_idempotent(self) -> None:
        """Redacting content again changes nothing."""
        secrets = Secrets()
        for tree in self.trees(secrets):
            for path, content in tree.files.items():
                rule = collect.rule_for(path)
                if rule is not None and path != collect.MANIFEST:
                    once = rule.keep(content)
                    self.assertEqual(once, rule.keep(once), path)

    def test_names_of_files(self) -> None:
        machine, card, disk = (
            '0123456789abcdef' * 2,
            '52540068756e',
            '01234567-89ab-cdef-0123-456789abcdef',
        )
        tree = trees.nouveau()
        tree.text(f'boot/loader/entries/{machine}-6.1.conf', 'options ro\n')
        tree.text(f'etc/modprobe.d/{card}.conf', 'blacklist x\n')
        tree.text(f'etc/modules-load.d/{disk}.conf', 'x\n')
        root = tree.write(self.folder / 'host')
        packed = collect.pack(collect.collect(os.fspath(root)))
        for name in (machine, card, disk):
            self.assertNotIn(name.encode(), packed)
        self.assertIn(b'boot/loader/entries/***-6.1.conf', packed)

    def test_values_for_the_checks_are_packed(self) -> None:
        for text, expected in (
            (
                'BOOT_IMAGE=/vmlinuz root=UUID=1 ro quiet nomodeset',
                'BOOT_IMAGE=*** root=*** ro quiet nomodeset',
            ),
            (
                'intel_iommu=on,sm_on iommu=pt amd_iommu=off',
                'intel_iommu=on,sm_on iommu=pt amd_iommu=off',
            ),
            (
                'vfio-pci.ids=10de:20f1,0x10de:0x1aef,10de:1:2:3:30000:ff0000',
                'vfio-pci.ids=10de:20f1,0x10de:0x1aef,10de:1:2:3:30000:ff0000',
            ),
            ('"iommu=pt" x="y z"', 'iommu=pt x=***'),
            ('iommu="pt"', 'iommu=pt'),
            (
                'hugepagesz=1G hugepages=0:2,1:2 default_hugepagesz=2M',
                'hugepagesz=1G hugepages=0:2,1:2 default_hugepagesz=2M',
            ),
            ('isolcpus=domain,managed_irq,2-63:2/4', None),
            ('isolcpus=2-N nohz_full=2-N', 'isolcpus=2-N nohz_full=***'),
            ('rd.driver.pre=vfio-pci,vfio modprobe.blacklist=nouveau', None),
            ('vfio_pci.disable_idle_d3=1 kvm_intel.nested=1',
             'vfio_pci.disable_idle_d3=1 kvm_intel.nested=***'),
            ('a b -- c', '*** -- ***'),
        ):  # fmt: skip
            self.assertEqual(expected or text, collect.redact(text))


class Counter:
    """Counts calls of Python and C functions."""

    def __init__(self) -> None:
        self.count = 0

    def _seen(
        self, _frame: types.FrameType, event: str, _argument: object
    ) -> None:
        self.count += event in ('call', 'c_call')

    def __enter__(self) -> 'Counter':
        sys.setprofile(self._seen)
        return self

    def __exit__(self, *_error: object) -> None:
        sys.setprofile(None)


#: Content that is repeated in hostile files.
PIECES = {
    'proc/cmdline': ('a', 'a=', 'a=b ', '"', "'", '" ', 'vfio-pci.ids=', '://@'),
    'etc/default/grub': ('GRUB_CMDLINE_LINUX="a b"\n', '\\', '$', '"', "'a"),
    'etc/modprobe.d/x.conf': (
        'options a b=c\n', 'install a b vfio\n', 'softdep a pre: b\n',
        'optoins x\n', 'x', '\\\n', '\n', 'blacklist a\n',
    ),
    'boot/grub2/grubenv': ('kernelopts=a=b\n', 'kernelopts=', '${'),
    'boot/loader/entries/a.conf': ('options a=b\n', 'options ', '${a:+'),
    'proc/modules': ('a ', 'a\n'),
    'proc/cpuinfo': ('flags: a\n', ': ', 'vendor_id'),
    'etc/tuned/a/tuned.conf': ('isolated_cores=1\n', '${a', 'include=a,'),
    'etc/dracut.conf': ('add_drivers+=" a "\n', 'add_', 'a '),
    'lib/modules/6/modules.alias': (
        'alias pci:v*d*sv*sd*bc*sc*i* a\n', 'alias pci:v****', '*',
    ),
    'lib/modules/6/modules.builtin': ('a/b.ko\n', 'a/', '.ko'),
    'sys/bus/pci/devices/0000:04:00.0/resource': ('0x0 0x0 0x0\n', '0x'),
    'sys/devices/system/cpu/online': ('0-1,', '1,\n'),
    'gpuclient/initramfs/boot+a': ('a/b.ko\n', 'a/', 'a.ko.'),
}  # fmt: skip


def _kept(path: str, content: bytes) -> bytes:
    rule = collect.rule_for(path)
    if rule is None:
        raise AssertionError(path)
    if rule.kind == 'name':
        return b''
    try:
        if path == collect.MANIFEST:
            return repr(collect.read_manifest(content)).encode()
        return rule.keep(content)
    except ValueError as exc:
        # The reason is packed instead of the content.
        return str(exc).encode()


class TestCost(TestCase):
    def test_work_is_linear(self) -> None:
        """The number of calls grows no faster than the file."""
        for path, pieces in PIECES.items():
            for piece in pieces:
                counts = []
                for size in (8 << 10, 16 << 10, 32 << 10):
                    content = (piece * (size // len(piece))).encode()
                    with Counter() as counter:
                        _kept(path, content)
                    counts.append(counter.count)
                for less, more in itertools.pairwise(counts):
                    self.assertLessEqual(
                        more, 2.1 * less + 100, (path, piece, counts)
                    )

    def test_patterns_see_no_long_words(self) -> None:
        """Calls do not show the cost of a pattern, so its text is short."""
        longest = 0

        class Pattern:
            def __init__(self, pattern: 'collect.re.Pattern[str]') -> None:
                self._pattern = pattern

            def fullmatch(self, text: str) -> object:
                nonlocal longest
                longest = max(longest, len(text))
                return self._pattern.fullmatch(text)

        for name in ('_MODULE_NAME', '_ARGUMENT_NAME', '_CPU_MODULES',
                     '_MODULE_FILE', '_ALIAS'):  # fmt: skip
            self.useFixture(
                fixtures.MonkeyPatch(
                    f'gpuclient.host.collect.{name}',
                    Pattern(getattr(collect, name)),
                )
            )
        for path in PIECES:
            for word in ('a', 'a=b', 'options a', 'a.ko', 'kvm_intel.a='):
                _kept(path, (word * (50_000 // len(word))).encode())
        self.assertLessEqual(longest, collect._LONGEST_NAME)
        self.assertGreater(longest, 0)

    def test_memory_is_bounded(self) -> None:
        """Memory is proportional to the file, whose size is limited."""
        self.assertEqual(16 << 20, collect.LARGEST_FILE)
        size = 1 << 18
        for path, piece in (
            ('proc/cmdline', 'a'),
            ('etc/modprobe.d/x.conf', 'options a b=c\n'),
            ('etc/default/grub', 'GRUB_CMDLINE_LINUX="a=b"\n'),
        ):
            content = (piece * (size // len(piece))).encode()
            tracemalloc.start()
            try:
                _kept(path, content)
                _now, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertLess(peak, 12 * size, (path, piece))

    def test_too_much(self) -> None:
        """A file that is too large is reported, and other files are read."""
        tree = trees.nouveau()
        tree.text('proc/cmdline', 'x' * (collect._LONGEST_LINE + 1))
        tree.text('etc/modprobe.d/a.conf', 'blacklist a\n')
        host = self.read(tree)
        self.assertEqual(
            ['/proc/cmdline: it has a line of more than 65536 characters'],
            list(map(str, host.unreadable)),
        )
        self.assertIsNone(host.kernel_arguments)
        self.assertEqual(1, len(host.directives))
        with fixtures.MonkeyPatch('gpuclient.host.collect._MOST_LINES', 2):
            tree.text('etc/modprobe.d/a.conf', 'blacklist a\n' * 3)
            host = self.read(tree)
        self.assertIn(
            '/etc/modprobe.d/a.conf: it has more than 2 lines',
            list(map(str, host.unreadable)),
        )

    def read(self, tree: trees.Tree) -> host_model.Host:
        """Read a host from its bundle, and compare with a handmade bundle."""
        root = self.folder / str(len(list(self.folder.iterdir())))
        path = os.fspath(root) + '.tar'
        bundle.write(path, collect.collect(os.fspath(tree.write(root))))
        host = bundle.read(path)
        raw = os.fspath(root) + '.raw.tar'
        bundle.write(raw, tree.collected())
        self.assertEqual(host.unreadable, bundle.read(raw).unreadable)
        return host
