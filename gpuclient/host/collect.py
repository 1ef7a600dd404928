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

"""What is read of a compute host, and the bundle of it.

This file is two things: a module of gpuclient, and the whole program that
makes a bundle on a host that has no gpuclient:

    ssh HOST sudo python3 - < collect.py > HOST.tar

So it needs nothing but Python 3.6 and its standard library. What is not
read here is not known of any host: whatever looks at a host looks at the
:class:`Tree` that comes of it.
"""

import argparse
import bz2
import collections.abc
import difflib
import errno
import fnmatch
import gzip
import json
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import typing

#: Of the bundle; a reader refuses what it does not know.
FORMAT = 1
MANIFEST = 'gpuclient/bundle.json'
#: Lists of what is in an initramfs, by the path of that.
INITRAMFS = 'gpuclient/initramfs'

#: In place of what must not leave the host.
MASK = '***'
#: Of a file, in bytes; /proc/cpuinfo has some kilobytes for each CPU.
LARGEST_FILE = 16 << 20
_PIECE = 1 << 16
#: Of an unpacked initramfs, in bytes.
_LARGEST_INITRAMFS = 4 << 30
#: Of a program that unpacks one, in seconds.
_LONGEST_UNPACKING = 120
_LONGEST_NAME = 4096


class Tree:
    """Part of the files of a host, by their paths without a leading slash."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        #: The last part of the target of each link.
        self.links: dict[str, str] = {}
        #: What is there and could not be read, and why.
        self.unreadable: dict[str, str] = {}


class Rule(typing.NamedTuple):
    """A kind of file that is read."""

    #: Path with wildcards; none of them matches a slash.
    pattern: str
    #: ``link``, ``name`` (that it is there is all), ``file``, or ``aliases``
    #: (a file, of which what is for display devices is kept).
    kind: str
    #: What is kept of its content.
    keep: 'collections.abc.Callable[[bytes], bytes]'


def _all(content: bytes) -> bytes:
    return content


_SECRET = re.compile(
    r'passw|passphrase|secret|token|credential|cookie|psk|api.?key|'
    r'machine.?id|serial.?n|(^|[._-])(pass|pwd|auth|key(file)?|user)($|[._-])',
    re.IGNORECASE,
)
_ARGUMENT = re.compile(
    r'([\w./:-]+)=(\\"[^"\\]*(?:\\"|$)|"[^"]*(?:"|$)|'
    r"'[^']*(?:'|$)|[^\s\"']*)"
)
_MACHINE_ID = re.compile('(?<![0-9A-Fa-f])[0-9a-f]{32}(?![0-9A-Fa-f])')
_IDENTIFIERS = (
    # User and password, and what follows a question mark, of an address.
    (re.compile(r'(://|iscsi:)[^/\s@]*@'), r'\1' + MASK + '@'),
    (re.compile(r'(://[^\s?]*\?)[^\s"\']*'), r'\1' + MASK),
    # Hardware addresses and machine ids.
    (
        re.compile(
            r'(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}[:-]){5,}[0-9A-Fa-f]{2}'
            r'(?![0-9A-Fa-f])'
        ),
        MASK,
    ),
    (_MACHINE_ID, MASK),
)


def redact(text: str) -> str:
    """Return kernel or module arguments without secrets and identifiers."""

    def mask(match: 're.Match[str]') -> str:
        if _SECRET.search(match.group(1)):
            return f'{match.group(1)}={MASK}'
        return match.group(0)

    for pattern, replacement in _IDENTIFIERS:
        text = pattern.sub(replacement, text)
    return _ARGUMENT.sub(mask, text)


def _text(content: bytes) -> str:
    return content.decode('utf-8', 'replace')


def _arguments(content: bytes) -> bytes:
    return redact(_text(content)).encode('utf-8')


def _lines(pattern: str) -> 'collections.abc.Callable[[bytes], bytes]':
    """Return a function that keeps the lines that match, redacted.

    A backslash at the end of a line joins the next one to it.
    """
    wanted = re.compile(pattern)

    def keep(content: bytes) -> bytes:
        text = re.sub(r'\\\r?\n', ' ', _text(content))
        found = []
        for line in text.splitlines():
            match = wanted.match(line)
            if match:
                begin, rest = line[: match.end()], line[match.end() :]
                found.append(begin + redact(rest) + '\n')
        return ''.join(found).encode('utf-8')

    return keep


#: What modprobe knows, and how many words a line of it has at least
#: (``libkmod/libkmod-config.c:kmod_config_parse``; it says of others, where
#: anybody listens, "ignoring bad line starting with ...").
_DIRECTIVES = {
    'alias': 3,
    'blacklist': 2,
    'install': 3,
    'options': 3,
    'remove': 3,
    'softdep': 3,
    'weakdep': 3,
    # In the modprobe of SUSE.
    'allow_unsupported_modules': 2,
}
#: Those that tell nothing of who gets a card.
_OF_NO_USE = ('remove', 'weakdep', 'allow_unsupported_modules')
#: A word that is no secret, perhaps in quotes.
_PLAIN = re.compile(
    '^["\'\u2018-\u201f]?[A-Za-z_-]{1,32}["\'\u2018-\u201f:]?$'
)
_NAME = re.compile(r'^[\w-]{1,64}$', re.ASCII)


def is_directive(words: 'list[str]') -> bool:
    """Whether modprobe takes a line of a file of modprobe.d."""
    least = _DIRECTIVES.get(words[0])
    return least is not None and len(words) >= least


def meant(word: str) -> 'str | None':
    """Return the directive that a word is, or is close to."""
    close = difflib.get_close_matches(word.lower(), _DIRECTIVES, 1)
    return close[0] if close else None


def shown(line: str) -> str:
    """Return what is shown of a line that modprobe leaves out.

    It may be anything, so it is a word, and the module after it.
    """
    first, *rest = line.split()
    names = [word for word in rest if _NAME.match(word)]
    kept = [word for word in names if 'vfio' in word] or (
        names[:1] if names[:1] == rest[:1] and meant(first) else []
    )
    return ' '.join([first if _PLAIN.match(first) else MASK, *kept[:1]])


def _modprobe(content: bytes) -> bytes:
    """Keep the lines of modprobe.d; of bad ones, that they are there."""
    found = []
    for line in re.sub(r'\\\r?\n', ' ', _text(content)).splitlines():
        words = line.split(None, 2)
        if not words or words[0].startswith('#') or words[0] in _OF_NO_USE:
            continue
        kept = redact(line) if is_directive(words) else shown(line)
        found.append(kept + '\n')
    return ''.join(found).encode('utf-8')


def _first_words(content: bytes) -> bytes:
    """Keep what names the modules: not where in memory they are."""
    return b''.join(
        line.split(None, 1)[0] + b'\n'
        for line in content.splitlines()
        if line.strip()
    )


def modalias(files: 'collections.abc.Mapping[str, bytes]', folder: str) -> str:
    """Return what aliases of modules are compared with, of a device.

    :param files: Of a host.
    :param folder: That of the device, with a slash.
    """
    # drivers/pci/pci-sysfs.c:modalias_show
    values = []
    for name, digits in (
        ('vendor', 8),
        ('device', 8),
        ('subsystem_vendor', 8),
        ('subsystem_device', 8),
        ('class', 6),
    ):
        text = _text(files.get(folder + name, b'')).strip()
        number = text[2:] if re.match('^0x[0-9a-f]{1,8}$', text) else ''
        values.append(number.upper().rjust(digits, '0'))
    vendor, device, subvendor, subdevice, code = values
    return (
        f'pci:v{vendor}d{device}sv{subvendor}sd{subdevice}'
        f'bc{code[:2]}sc{code[2:4]}i{code[4:6]}'
    )


def _of_devices(content: bytes, names: 'set[str]') -> bytes:
    """Keep the lines of modules.alias that are for devices."""
    found = []
    # Ten thousands of lines, of which few are of the vendors.
    begins = ('pci:v*', *{name[:13] for name in names})
    for line in _text(content).splitlines():
        words = line.split()
        if len(words) == 3 and words[1].startswith(begins):
            if any(fnmatch.fnmatchcase(name, words[1]) for name in names):
                found.append(line + '\n')
    return ''.join(found).encode('utf-8')


def _one_processor(content: bytes) -> bytes:
    """Keep vendor, and width of addresses, of the first processor.

    Of its flags, that it is one of a virtual machine.
    """
    first = content.split(b'\n\n', 1)[0]
    found = []
    for line in first.splitlines():
        name, _, value = line.partition(b':')
        if name.strip() in (
            b'vendor_id',
            b'address sizes',
            b'CPU implementer',
        ):
            found.append(line + b'\n')
        elif name.strip() == b'flags' and b'hypervisor' in value.split():
            found.append(name + b': hypervisor\n')
    return b''.join(found)


#: Extended capability (PCI Express Base Specification, 7.9.3).
_DEVICE_SERIAL_NUMBER = 0x0003
SRIOV = 0x0010


def extended_capabilities(config: bytes) -> 'dict[int, int]':
    """Return the extended capabilities of a configuration space.

    :returns: Their offsets, by their ids; none where the space ends before
        them, as it does for whom is not root.
    """
    found: dict[int, int] = {}
    offset = 0x100
    seen = set()
    while offset and offset + 4 <= len(config) and offset not in seen:
        seen.add(offset)
        header = int.from_bytes(config[offset : offset + 4], 'little')
        if header in (0, 0xFFFFFFFF):
            break
        found.setdefault(header & 0xFFFF, offset)
        offset = header >> 20 & 0xFFC
    return found


def _without_serial(content: bytes) -> bytes:
    offset = extended_capabilities(content).get(_DEVICE_SERIAL_NUMBER)
    if offset is None:
        return content
    kept = bytearray(content)
    kept[offset + 4 : offset + 12] = bytes(len(kept[offset + 4 : offset + 12]))
    return bytes(kept)


_DEVICE = 'sys/bus/pci/devices/*/'
_CPU = 'sys/devices/system/cpu/'
_NODE = 'sys/devices/system/node/node*/'
_POOL = 'hugepages/hugepages-*kB/'
#: In the order in which the first of two files of one name counts
#: (modprobe.d(5), modules-load.d(5)).
FOLDERS = ('etc', 'run', 'usr/local/lib', 'usr/lib', 'lib')
#: Programs that make an initramfs, and what has them.
PROGRAMS = {
    'usr/bin/dracut': 'dracut',
    'usr/sbin/dracut': 'dracut',
    'usr/sbin/mkinitramfs': 'initramfs-tools',
    'usr/bin/mkinitramfs': 'initramfs-tools',
}
#: In place of this stands the release of the kernel that runs.
RELEASE = '{release}'
_DRIVERS = _lines(r'\s*(add_|force_|omit_)?drivers(_*)\+?=')
_WORDS = _lines(r'\s*(?=[^#;\s])')
#: edpm-ansible and TripleO have variables of their own for the arguments.
_GRUB = _lines(r'\s*(GRUB_CMDLINE_LINUX\w*|\w*KERNEL_ARGS)\+?=')
_TUNED = _lines(r'\s*(isolated_cores|include)\s*=')

#: Everything that is read; the order is that of reading.
RULES = tuple(
    Rule(*rule)
    for rule in (
        ('proc/sys/kernel/hostname', 'file', _all),
        ('proc/sys/kernel/osrelease', 'file', _all),
        ('etc/os-release', 'file', _lines(r'ID(_LIKE)?=')),
        # The devices.
        (_DEVICE + 'class', 'file', _all),
        (_DEVICE + 'vendor', 'file', _all),
        (_DEVICE + 'device', 'file', _all),
        (_DEVICE + 'subsystem_vendor', 'file', _all),
        (_DEVICE + 'subsystem_device', 'file', _all),
        (_DEVICE + 'driver', 'link', _all),
        (_DEVICE + 'driver_override', 'file', _all),
        (_DEVICE + 'iommu_group', 'link', _all),
        (_DEVICE + 'physfn', 'link', _all),
        (_DEVICE + 'virtfn*', 'link', _all),
        (_DEVICE + 'sriov_totalvfs', 'file', _all),
        (_DEVICE + 'sriov_numvfs', 'file', _all),
        (_DEVICE + 'resource', 'file', _all),
        (_DEVICE + 'numa_node', 'file', _all),
        (_DEVICE + 'boot_vga', 'file', _all),
        # Before Linux 5.15 there is only a file to write to.
        (_DEVICE + 'reset', 'name', _all),
        (_DEVICE + 'reset_method', 'file', _all),
        (_DEVICE + 'power_state', 'file', _all),
        (_DEVICE + 'd3cold_allowed', 'file', _all),
        (_DEVICE + 'config', 'file', _without_serial),
        ('sys/bus/platform/devices/*-framebuffer.*', 'name', _all),
        # The IOMMU.
        ('sys/class/iommu/*', 'name', _all),
        ('sys/kernel/iommu_groups/*/name', 'file', _all),
        ('sys/kernel/iommu_groups/*/type', 'file', _all),
        ('sys/kernel/iommu_groups/*/reserved_regions', 'file', _all),
        ('sys/firmware/acpi/tables/*', 'name', _all),
        # CPUs and memory.
        ('proc/cpuinfo', 'file', _one_processor),
        (_CPU + 'online', 'file', _all),
        (_CPU + 'isolated', 'file', _all),
        (_CPU + 'cpu[0-9]*/topology/physical_package_id', 'file', _all),
        (_CPU + 'cpu[0-9]*/topology/core_id', 'file', _all),
        (_CPU + 'cpu[0-9]*/topology/thread_siblings_list', 'file', _all),
        (_NODE + 'cpulist', 'file', _all),
        (_NODE + 'meminfo', 'file', _lines(r'Node \d+ MemTotal:')),
        (_NODE + _POOL + 'nr_hugepages', 'file', _all),
        (_NODE + _POOL + 'free_hugepages', 'file', _all),
        # Modules and their options.
        ('proc/modules', 'file', _first_words),
        ('sys/module/vfio_pci/parameters/*', 'file', _all),
        (
            'sys/module/vfio/parameters/enable_unsafe_noiommu_mode',
            'file',
            _all,
        ),
        ('lib/modules/' + RELEASE + '/modules.builtin', 'file', _all),
        # Which modules udev loads for a card.
        ('lib/modules/' + RELEASE + '/modules.alias', 'aliases', _all),
        *(
            (folder + '/modprobe.d/*.conf', 'file', _modprobe)
            for folder in FOLDERS
        ),
        *(
            (folder + '/modules-load.d/*.conf', 'file', _WORDS)
            for folder in FOLDERS
        ),
        ('etc/modules', 'file', _WORDS),
        ('etc/initramfs-tools/modules', 'file', _WORDS),
        (
            'etc/initramfs-tools/hooks/*',
            'file',
            _lines(r'\s*(?=force_load\s)'),
        ),
        *((path, 'name', _all) for path in PROGRAMS),
        ('etc/dracut.conf', 'file', _DRIVERS),
        ('etc/dracut.conf.d/*.conf', 'file', _DRIVERS),
        ('usr/lib/dracut/dracut.conf.d/*.conf', 'file', _DRIVERS),
        # What the kernel was started with, and will be.
        ('proc/cmdline', 'file', _arguments),
        ('etc/kernel/cmdline', 'file', _arguments),
        ('boot/loader/entries/*.conf', 'file', _lines(r'options\s')),
        ('boot/efi/loader/entries/*.conf', 'file', _lines(r'options\s')),
        ('boot/grub2/grubenv', 'file', _lines(r'(kernelopts|tuned_params)=')),
        ('etc/default/grub', 'file', _GRUB),
        ('etc/default/grub.d/*.cfg', 'file', _GRUB),
        ('etc/tuned/active_profile', 'file', _all),
        ('etc/tuned/*-variables.conf', 'file', _TUNED),
        ('etc/tuned/*/tuned.conf', 'file', _TUNED),
        ('etc/tuned/profiles/*/tuned.conf', 'file', _TUNED),
        # What another run has found.
        (INITRAMFS + '/*', 'file', _all),
        (MANIFEST, 'file', _all),
    )
)
#: The configuration space is read of these: 256 bytes or a page for each.
_CONFIG_OF = (b'0x03', b'0x12')
#: What tells who made an initramfs.
MAKERS = {
    'usr/lib/initrd-release': 'dracut',
    'etc/initrd-release': 'dracut',
    'scripts/functions': 'initramfs-tools',
}
_IMAGES = (
    'boot/initrd.img-' + RELEASE,
    'boot/initramfs-' + RELEASE + '.img',
    'boot/initrd-' + RELEASE,
)


class Reader:
    """Reads what the rules name, under a root folder."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self.tree = Tree()
        self._lists: dict[str, list[str]] = {}

    def read(self, initramfs: bool) -> Tree:
        """Read all; :meth:`Tree.unreadable` has what could not be read.

        :param initramfs: List the initramfs, too, which takes seconds.
        """
        release = None
        for rule in RULES:
            pattern = rule.pattern
            if RELEASE in pattern:
                if release is None:
                    release = self._release()
                if not release:
                    continue
                pattern = pattern.replace(RELEASE, release)
            for path in self._expand('', pattern.split('/')):
                self._read(rule, path)
        self._join()
        if initramfs and release:
            for image in _IMAGES:
                self._read_initramfs(image.replace(RELEASE, release))
        return self.tree

    def _release(self) -> str:
        """Return the release of the kernel; it becomes part of paths."""
        text = _text(self.tree.files.get('proc/sys/kernel/osrelease', b''))
        return text.strip() if re.match(r'^[\w.+~-]+\s*$', text) else ''

    def _absolute(self, path: str) -> str:
        return os.path.join(self.root, path)

    def _list(self, path: str) -> 'list[str]':
        if path not in self._lists:
            try:
                self._inside(path)
                found = []
                for name in sorted(os.listdir(self._absolute(path))):
                    if name.isprintable():
                        found.append(name)
                    else:
                        # It could not stand in a bundle, or on a terminal.
                        self.tree.unreadable[
                            path + '/' + ascii(name)[1:-1]
                        ] = 'its name is not text'
            except OSError as exc:
                self._note(path, exc)
                found = []
            self._lists[path] = found
        return self._lists[path]

    def _expand(
        self, folder: str, parts: 'list[str]'
    ) -> 'collections.abc.Iterator[str]':
        """Yield the paths that a pattern stands for."""
        part, rest = parts[0], parts[1:]
        if not re.search('[*?[]', part):
            names = [part]
        else:
            names = [
                name
                for name in self._list(folder)
                if fnmatch.fnmatchcase(name, part)
            ]
        for name in names:
            path = folder + '/' + name if folder else name
            if rest:
                yield from self._expand(path, rest)
            else:
                yield path

    def _inside(self, path: str) -> None:
        """Refuse what a link leads to that is not under the root folder."""
        if self.root == '/':
            return
        real = os.path.realpath(self._absolute(path))
        if real != self.root and not real.startswith(self.root + '/'):
            raise OSError(errno.EXDEV, 'it leads out of the root folder')

    def _note(self, path: str, exc: Exception) -> None:
        number = getattr(exc, 'errno', None)
        # Not there, or gone since the folder was listed.
        if number not in (errno.ENOENT, errno.ENOTDIR, errno.ENODEV):
            reason = getattr(exc, 'strerror', None) or str(exc)
            self.tree.unreadable[_MACHINE_ID.sub(MASK, path)] = reason

    def _read(self, rule: Rule, path: str) -> None:
        tree = self.tree
        try:
            if rule.kind == 'link':
                target = os.readlink(self._absolute(path))
                tree.links[path] = os.path.basename(target)
                return
            if rule.kind == 'name':
                os.lstat(self._absolute(path))
                tree.files[path] = b''
                return
            if path.endswith('/config') and not tree.files.get(
                path[: -len('config')] + 'class', b''
            ).startswith(_CONFIG_OF):
                return
            self._inside(path)
            if rule.kind == 'aliases':
                names = self._modaliases()
                tree.files[path] = _of_devices(self._content(path), names)
                return
            # Boot entries are named after the machine id.
            tree.files[_MACHINE_ID.sub(MASK, path)] = rule.keep(
                self._content(path)
            )
        except (OSError, ValueError) as exc:
            self._note(path, exc)

    def _content(self, path: str) -> bytes:
        # A pipe without a writer must not keep us.
        number = os.open(self._absolute(path), os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(number, 'rb', 0) as stream:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise ValueError('it is not a file')
            # A piece at a time: /proc/sys sets aside all that is asked for.
            pieces = []
            left = LARGEST_FILE
            while left >= 0:
                pieces.append(stream.read(_PIECE))
                if not pieces[-1]:
                    break
                left -= len(pieces[-1])
        content = b''.join(pieces)
        if len(content) > LARGEST_FILE:
            raise ValueError(f'it is larger than {LARGEST_FILE} bytes')
        return content

    def _modaliases(self) -> 'set[str]':
        """Return what aliases are for display devices, and on their cards."""
        files = self.tree.files
        folders = [
            path[: -len('class')]
            for path in files
            if path.startswith('sys/bus/pci/devices/')
            and path.endswith('/class')
        ]
        cards = {
            folder.partition('.')[0]
            for folder in folders
            if files[folder + 'class'].startswith(_CONFIG_OF)
        }
        return {
            modalias(files, folder)
            for folder in folders
            if folder.partition('.')[0] in cards
        }

    def _join(self) -> None:
        """Take over what another run could not read."""
        content = self.tree.files.pop(MANIFEST, None)
        if content is not None:
            try:
                for path, reason in read_manifest(content).items():
                    self.tree.unreadable.setdefault(path, reason)
            except ValueError as exc:
                self.tree.unreadable[MANIFEST] = str(exc)

    def _read_initramfs(self, path: str) -> None:
        listing = INITRAMFS + '/' + path.replace('/', '+')
        try:
            self._inside(path)
            with open(self._absolute(path), 'rb') as stream:
                names = list_initramfs(stream)
        except (OSError, ValueError, EOFError, lzma.LZMAError) as exc:
            self._note(listing, exc)
            return
        except Exception as exc:
            # Whatever a decompressor makes of a damaged image.
            self.tree.unreadable[listing] = f'it is damaged: {exc}'
            return
        self.tree.files[listing] = ''.join(
            name + '\n' for name in names if _is_of_modules(name)
        ).encode('utf-8')


def _is_of_modules(name: str) -> bool:
    """Whether a file of an initramfs has to do with drivers."""
    return '\n' not in name and (
        re.search(r'\.ko(\.\w+)?$', name) is not None
        or 'modprobe.d/' in name
        or name.lstrip('./') in MAKERS
    )


def read_manifest(content: bytes) -> 'dict[str, str]':
    """Return what could not be read on the host, and why.

    :raises ValueError: It is none of ours, or newer than this program.
    """
    try:
        manifest = json.loads(content.decode('utf-8'))
    except RecursionError:
        manifest = None
    if not isinstance(manifest, dict) or manifest.get('format') != FORMAT:
        raise ValueError(f'its format is not {FORMAT}')
    unreadable = manifest.get('unreadable')
    if not isinstance(unreadable, dict) or not all(
        isinstance(text, str) and text.isprintable()
        for pair in unreadable.items()
        for text in pair
    ):
        raise ValueError('it does not say what could not be read')
    return dict(unreadable)


class _Counted:
    """A stream of which no more than so much can be read."""

    def __init__(self, stream: typing.Any) -> None:
        self._stream = stream
        self._left = _LARGEST_INITRAMFS

    def read(self, size: int) -> bytes:
        content: bytes = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(
                f'it unpacks to more than {_LARGEST_INITRAMFS} bytes'
            )
        return content

    def skip(self, size: int) -> None:
        while size > 0:
            content = self.read(min(size, 1 << 20))
            if not content:
                # Whoever reads on finds that it has ended.
                return
            size -= len(content)


class _Program:
    """What a program unpacks of the rest of a file.

    It is ended when no more is wanted of it, or after a while.
    """

    def __init__(self, name: str, stream: 'typing.IO[bytes]') -> None:
        path = shutil.which(name)
        if path is None:
            raise ValueError(
                f'it is compressed with {name}, and there is no program {name}'
            )
        self._name = name
        self._late = False
        # We have read ahead; the program starts where we are.
        os.lseek(stream.fileno(), stream.tell(), os.SEEK_SET)
        self._process = subprocess.Popen(
            [path, '-d', '-c', '-q'],
            stdin=stream,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._output = typing.cast('typing.IO[bytes]', self._process.stdout)
        self._timer = threading.Timer(_LONGEST_UNPACKING, self._end)
        self._timer.start()

    def _end(self) -> None:
        self._late = True
        self._process.kill()

    def read(self, size: int) -> bytes:
        content = self._output.read(size)
        if self._late:
            raise ValueError(
                f'{self._name} did not unpack it in {_LONGEST_UNPACKING} s'
            )
        return content

    def __enter__(self) -> '_Program':
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        self._process.kill()
        with self._process:
            pass


def _zstd(stream: 'typing.IO[bytes]') -> typing.Any:
    try:
        # Python 3.14.
        from compression import zstd  # type: ignore[import-not-found]  # novm
    except ImportError:
        return _Program('zstd', stream)
    return zstd.ZstdFile(stream)


_COMPRESSIONS = (
    (b'\x1f\x8b', lambda stream: gzip.GzipFile(fileobj=stream)),
    (b'\xfd7zXZ\x00', lzma.LZMAFile),
    (b'\x5d\x00\x00', lzma.LZMAFile),
    (b'BZh', bz2.BZ2File),
    (b'\x28\xb5\x2f\xfd', _zstd),
    (b'\x02\x21\x4c\x18', lambda stream: _Program('lz4', stream)),
)


def list_initramfs(stream: 'typing.IO[bytes]') -> 'list[str]':
    """Return the names of what is in an initramfs.

    It is one or more archives of cpio (``newc``), of which the last may be
    compressed; zeros may stand between them
    (``Documentation/driver-api/early-userspace/buffer-format.rst``).

    :param stream: A file; zstd and lz4 are unpacked by programs.
    :raises ValueError: It cannot be read.
    """
    names: list[str] = []
    while True:
        magic = _magic(stream)
        if not magic:
            return names
        if magic in (b'070701', b'070702'):
            _list_cpio(_Counted(stream), names)
            continue
        for begin, opened in _COMPRESSIONS:
            if magic.startswith(begin):
                with opened(stream) as unpacked:
                    _list_cpio(_Counted(unpacked), names)
                return names
        raise ValueError(f'it begins with {magic!r}, which is no archive')


def _magic(stream: 'typing.IO[bytes]') -> bytes:
    """Go past zeros, and return the next bytes without going past them."""
    while True:
        content = stream.read(512)
        found = content.lstrip(b'\0')
        if found or not content:
            stream.seek(-len(found), os.SEEK_CUR)
            found = stream.read(6)
            stream.seek(-len(found), os.SEEK_CUR)
            return found


def _list_cpio(stream: _Counted, names: 'list[str]') -> None:
    while True:
        header = stream.read(110)
        if header[:6] not in (b'070701', b'070702') or len(header) < 110:
            raise ValueError('it ends, or is damaged, in its archive')
        fields = [int(header[at : at + 8], 16) for at in range(6, 110, 8)]
        size, length = fields[6], fields[11]
        if not 0 < length <= _LONGEST_NAME:
            raise ValueError(f'it has a name of {length} bytes')
        name = stream.read(length)
        stream.skip(-(110 + length) % 4)
        stream.skip(size + -size % 4)
        text = name.rstrip(b'\0').decode('utf-8', 'replace')
        if text == 'TRAILER!!!':
            return
        names.append(text)


def collect(root: str = '/', initramfs: bool = True) -> Tree:
    """Read what is known of a host.

    :param root: Folder that has the files of the host.
    :param initramfs: List the initramfs, too, which takes seconds.
    """
    return Reader(root).read(initramfs)


def pack(tree: Tree) -> bytes:
    """Return a bundle: a tar archive, the same for the same tree."""
    manifest = {'format': FORMAT, 'unreadable': tree.unreadable}
    text = json.dumps(manifest, indent=1, sort_keys=True) + '\n'
    files = {**tree.files, MANIFEST: text.encode('ascii')}
    parts = []
    for path in sorted({*files, *tree.links}):
        member = tarfile.TarInfo(path)
        member.mode = 0o644
        content = b''
        if path in tree.links:
            member.type = tarfile.SYMTYPE
            member.linkname = tree.links[path]
        else:
            content = files[path]
            member.size = len(content)
        parts += [_header(member), content, bytes(-len(content) % _BLOCK)]
    packed = b''.join(parts) + bytes(2 * _BLOCK)
    return packed + bytes(-len(packed) % tarfile.RECORDSIZE)


_BLOCK = tarfile.BLOCKSIZE
#: Numbers of a device, in the header of a member.
_NUMBERS = slice(329, 345)
_CHECKSUM = slice(148, 156)


def _header(member: tarfile.TarInfo) -> bytes:
    """Return the header of a member that is no device.

    Python before 3.9 writes numbers of devices for everything, later ones
    leave them out.
    """
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block = header[-_BLOCK:]
    block[_NUMBERS] = bytes(16)
    block[_CHECKSUM] = b' ' * 8
    block[_CHECKSUM] = b'%06o\0 ' % sum(block)
    header[-_BLOCK:] = block
    return bytes(header)


def main() -> int:
    """Write a bundle of this host to standard output."""
    parser = argparse.ArgumentParser(
        description='Write what passthrough of GPUs depends on as a tar '
        'archive, without secrets and serial numbers.'
    )
    parser.add_argument(
        '--root', default='/', help='folder with the files of the host'
    )
    root = parser.parse_args().root
    if sys.stdout.isatty():
        sys.stderr.write('Send the output to a file: ... > HOST.tar\n')
        return 2
    tree = collect(root)
    for path, reason in sorted(tree.unreadable.items()):
        sys.stderr.write(f'/{path}: {reason}\n')
    sys.stdout.buffer.write(pack(tree))
    return 0


if __name__ == '__main__':
    sys.exit(main())
