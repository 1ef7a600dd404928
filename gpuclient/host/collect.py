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

"""Collect the files of a compute host, and pack them as a bundle.

This file is both a module of gpuclient and a standalone program that writes a
bundle on a host without gpuclient:

    ssh HOST sudo python3 - < collect.py > HOST.tar

It therefore uses only the standard library of Python 3.6. No other code reads
files of a host: the reader and the rules only see the
:class:`CollectedFiles` that it returns.
"""

import argparse
import bz2
import collections
import collections.abc
import errno
import fnmatch
import functools
import gzip
import itertools
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

#: Version of the bundle format; bundles of any other version are refused.
FORMAT = 1
MANIFEST = 'gpuclient/bundle.json'
#: Folder of the file lists of initramfs images; each is named after the path
#: of its image.
INITRAMFS = 'gpuclient/initramfs'

#: Replaces values that may be secret.
MASK = '***'
#: Size limit of a file, in bytes; /proc/cpuinfo has some kilobytes per CPU.
LARGEST_FILE = 16 << 20
_PIECE = 1 << 16
#: Size limit of a decompressed initramfs, in bytes.
_LARGEST_INITRAMFS = 4 << 30
#: Time limit of the program that decompresses an initramfs, in seconds.
_LONGEST_UNPACKING = 120
_LONGEST_NAME = 4096


class CollectedFiles:
    """Files of a host, redacted, by their paths without a leading slash."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        #: Base name of the target of each symbolic link.
        self.links: dict[str, str] = {}
        #: Reason for each path that exists and could not be read.
        self.unreadable: dict[str, str] = {}


class Rule(typing.NamedTuple):
    """Files to collect, and what to keep of their content."""

    #: Path with wildcards; none of them matches a slash.
    pattern: str
    #: ``link``, ``name`` (only the existence of the file is recorded),
    #: ``file``, or ``aliases`` (modules.alias, of which only the lines for
    #: display devices are kept).
    kind: str
    #: Returns the part of the content that is kept.
    keep: 'collections.abc.Callable[[bytes], bytes]'


def _all(content: bytes) -> bytes:
    return content


def _text(content: bytes) -> str:
    return content.decode('utf-8', 'replace')


#: Limits of a line and of a word in it, in characters; the kernel accepts a
#: command line of 4096. Longer lines and words are only split, never matched
#: against a pattern, so that all work is linear in the size of a file.
_LONGEST_LINE = 1 << 16
_LONGEST_WORD = 4096
#: Limit of the lines that are kept of a file.
_MOST_LINES = 400000


#: White space at the beginning of a line, and blank lines before it.
_BLANKS = re.compile(r'\n\s+')


def _lines_of(content: bytes) -> 'collections.abc.Iterator[str]':
    """Yield the lines that are not blank, stripped of white space.

    A backslash at the end of a line continues it on the next one.

    :raises ValueError: A line is too long.
    """
    text = _text(content).replace('\\\r\n', '').replace('\\\n', '')
    text = _BLANKS.sub('\n', text)
    start = 0
    while start < len(text):
        end = text.find('\n', start)
        if end < 0:
            end = len(text)
        line = text[start:end].strip()
        if len(line) > _LONGEST_LINE:
            raise ValueError(
                f'it has a line of more than {_LONGEST_LINE} characters'
            )
        if line:
            yield line
        start = end + 1


def _joined(lines: 'collections.abc.Iterable[str]') -> bytes:
    """Return lines as the content of a file.

    :raises ValueError: There are too many.
    """
    kept = []
    for line in lines:
        kept.append(line + '\n')
        if len(kept) > _MOST_LINES:
            raise ValueError(f'it has more than {_MOST_LINES} lines')
    return ''.join(kept).encode('utf-8')


Keeper = typing.Callable[[str], str]

#: MAC addresses, machine ids and disk ids.
_IDENTIFIER = re.compile('(?:0x)?[0-9a-fA-F]{12,}')
_IN_PATHS = re.compile(
    '(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{12,}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-'
    '[0-9A-Fa-f]{12}|(?:[0-9A-Fa-f]{2}[:-]){5,}[0-9A-Fa-f]{2})'
    '(?![0-9A-Fa-f])'
)


def _shaped(pattern: str) -> Keeper:
    """Return a function that masks text that does not match a pattern."""
    allowed = re.compile(pattern, re.ASCII)

    def keep(text: str) -> str:
        if len(text) > _LONGEST_WORD or not allowed.fullmatch(text):
            return MASK
        return text

    return keep


def _each(pattern: str) -> Keeper:
    """Return a function that masks the parts between commas separately."""
    keep_part = _shaped(pattern)

    def keep(text: str) -> str:
        return ','.join(keep_part(part) for part in text.split(','))

    return keep


def _value(pattern: str) -> 'collections.abc.Callable[[bytes], bytes]':
    """Return a function that keeps a file if all its lines match a pattern."""
    allowed = re.compile(pattern, re.ASCII)

    def keep(content: bytes) -> bytes:
        lines = list(_lines_of(content))
        if not all(
            len(line) <= _LONGEST_WORD and allowed.fullmatch(line)
            for line in lines
        ):
            return MASK.encode('ascii') + b'\n'
        return _joined(lines)

    return keep


def _module_name(word: str) -> str:
    plain = word.replace('-', '').replace('_', '')
    if (
        not 0 < len(word) <= 55
        or not _MODULE_NAME.fullmatch(word)
        or _IDENTIFIER.fullmatch(plain)
    ):
        return MASK
    return word


#: Lower case with few digits: matches names of modules, but hardly a secret.
_MODULE_NAME = re.compile(r'(?:[a-z_-]*[0-9]){0,6}[a-z_-]*')
_FLAG = _shaped('[01yYnN]|on|off')
_MODULES = _each(r'(?:[a-z_-]{0,40}[0-9]){0,6}[a-z_-]{1,40}')
#: Also matches malformed ids, so that a finding can show them.
_IDS = _each(r'(?:(?:0x)?[0-9a-fA-FxX]{0,8}[:.-]){0,5}[0-9a-fA-FxX]{0,8}')
_PAGE_SIZE = _shaped('[0-9]{1,18}[kKmMgGtTpPeE]?[iI]?[bB]?')
_IOMMU_WORDS = (
    'on|off|pt|nopt|force|noforce|strict|nostrict|soft|merge|nomerge|'
    'biomerge|usedac|allowdac|forcedac|panic|nopanic|fullflush|igfx_off|'
    'sp_off|sm_on|sm_off|tboot_noforce|nobounce|force_isolation|'
    'force_enable|pgtbl_v1|pgtbl_v2|irtcachedis|nohugepages|'
    'v2_pgsizes_only'
)
#: Kernel arguments whose values the checks read, with ``_`` for ``-``, and the
#: function that masks a value. Of other arguments, only the name is kept.
ARGUMENTS = {
    'iommu': _each(_IOMMU_WORDS),
    'intel_iommu': _each(_IOMMU_WORDS),
    'amd_iommu': _each(_IOMMU_WORDS),
    'iommu.passthrough': _FLAG,
    'iommu.strict': _FLAG,
    'vfio_pci.ids': _IDS,
    'pci_stub.ids': _IDS,
    'vfio_pci.disable_idle_d3': _FLAG,
    'vfio.enable_unsafe_noiommu_mode': _FLAG,
    'rd.driver.pre': _MODULES,
    'rd.driver.blacklist': _MODULES,
    'modprobe.blacklist': _MODULES,
    'module_blacklist': _MODULES,
    'initcall_blacklist': _each('sysfb_init|simpledrm_platform_driver_init'),
    'isolcpus': _shaped(
        '(?:(?:nohz|domain|managed_irq),){0,3}(?:all|[0-9N,:/-]*)'
    ),
    'hugepages': _shaped('[0-9]{1,18}|[0-9:,]+'),
    'hugepagesz': _PAGE_SIZE,
    'default_hugepagesz': _PAGE_SIZE,
    'amdgpu.modeset': _shaped('-?[0-9]{1,2}'),
    'i915.modeset': _shaped('-?[0-9]{1,2}'),
    'nouveau.modeset': _shaped('-?[0-9]{1,2}'),
    'radeon.modeset': _shaped('-?[0-9]{1,2}'),
}
#: Arguments without a value that are kept as well.
_PLAIN_WORDS = frozenset(
    'debug emergency noapic nomodeset nosmt nosplash ostree quiet rescue '
    'rhgb ro rw single splash --'.split()
)
#: Names of arguments that are kept: without digits, so that no part of a
#: secret matches.
_ARGUMENT_NAME = re.compile(r'[a-z][a-z_.-]{0,47}')
_UPPER_CASE = ('BOOT_IMAGE', 'BOOTIF')
#: Their names show the vendor of the CPUs.
_CPU_MODULES = re.compile('kvm_(?:intel|amd)[.][a-z_]{1,32}')


def _split(text: str) -> 'collections.abc.Iterator[str]':
    """Yield the arguments of a command line, without quotes around them.

    As ``lib/cmdline.c:next_arg`` of the kernel: an argument in quotes may
    contain white space.
    """
    parts = []
    for number, piece in enumerate(text.split('"')):
        if number % 2:
            parts.append('"' + piece + '"')
            continue
        arguments = piece.split()
        if arguments and not piece[:1].isspace():
            parts.append(arguments.pop(0))
            if arguments or piece[-1:].isspace():
                yield _unquoted(''.join(parts))
                parts = []
        elif piece and parts:
            yield _unquoted(''.join(parts))
            parts = []
        if arguments and not piece[-1:].isspace():
            parts = [arguments.pop()]
        yield from arguments
    if parts:
        yield _unquoted(''.join(parts))


def _unquoted(word: str) -> str:
    if word[:1] == '"':
        word = word[1:-1] if word[-1:] == '"' else word[1:]
    name, equals, value = word.partition('=')
    if value[:1] == '"':
        value = value[1:-1] if value[-1:] == '"' else value[1:]
    return name + equals + value


def _is_argument_name(name: str) -> bool:
    return name in _UPPER_CASE or (
        len(name) <= 48
        and _ARGUMENT_NAME.fullmatch(name) is not None
        and not _IDENTIFIER.fullmatch(name)
    )


def _argument(word: str, prefix: str, quoted: bool) -> str:
    """Return a word of a command line, with its value masked if necessary.

    :param prefix: For options of a module, its name and a dot.
    :param quoted: Whether the word is between single quotes, which the kernel
        does not treat as such: an apparent name may be part of a value.
    """
    name, equals, value = word.partition('=')
    key = (prefix + name[:_LONGEST_WORD]).replace('-', '_')
    keep = ARGUMENTS.get(key)
    if not equals:
        plain = keep is not None or (not prefix and name in _PLAIN_WORDS)
        return word if plain else MASK
    if keep is not None:
        return name + '=' + keep(value)
    known = not prefix and _CPU_MODULES.fullmatch(key) is not None
    if known or (value.strip('=') and not quoted and _is_argument_name(name)):
        return name + '=' + MASK
    return MASK


def redact(text: str, module: str = '') -> str:
    """Return kernel arguments with the values that the checks read.

    Of other arguments, only the name is kept. ``***`` replaces what is left
    out, so that it is not mistaken for an argument that is not set.

    :param module: For options of a module, its name.
    """
    kept: list[str] = []
    quoted = False
    for word in _split(text):
        redacted = _argument(word, module + '.' if module else '', quoted)
        quoted ^= word.count("'") % 2 == 1
        if redacted != MASK or kept[-1:] != [MASK]:
            kept.append(redacted)
    return ' '.join(kept)


#: Variables of GRUB and of the tools that write its configuration: ``$NAME``,
#: ``${NAME}``, ``${NAME:+$NAME }``, some escaped with a backslash.
_VARIABLE_NAME = (
    r'(?:GRUB_CMDLINE_LINUX(?:_[A-Z]{1,20}){0,3}|[A-Z_]{0,40}KERNEL_ARGS|'
    r'kernelopts|tuned_params)(?!\w)'
)
_VARIABLE = re.compile(
    rf'(\\?\$(?:{_VARIABLE_NAME}|\{{{_VARIABLE_NAME}'
    rf'(?::\+\\?\${_VARIABLE_NAME} ?)?\}}))'
)


def _boot_arguments(text: str) -> str:
    """Redact kernel arguments, but keep the variables among them."""
    kept = []
    for number, part in enumerate(_VARIABLE.split(text)):
        if number % 2:
            kept.append(part)
            continue
        before = ' ' if part[:1].isspace() else ''
        after = ' ' if part.strip() and part[-1:].isspace() else ''
        kept.append(before + redact(part) + after)
    return ''.join(kept)


def _command_line(content: bytes) -> bytes:
    text = ' '.join(_lines_of(content))
    if len(text) > _LONGEST_LINE:
        raise ValueError(f'it has more than {_LONGEST_LINE} characters')
    return _joined([redact(text)])


#: A part of a word of shell syntax: in single quotes, in double quotes, a
#: character after a backslash, anything else.
_SHELL = re.compile(
    r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"|\\(.)|([^\s'\"\\;#&|<>()`]+)"
)


def _shell_word(text: str) -> 'str | None':
    """Return the first word of shell syntax; None if a quote is unclosed."""
    parts = []
    position = 0
    while position < len(text):
        match = _SHELL.match(text, position)
        if match is None:
            if text[position] in '"\'\\`(':
                return None
            break
        single, double, escaped, plain = match.groups()
        if double is not None:
            double = re.sub(r'\\(["\\])', r'\1', double)
        parts.append(single or double or escaped or plain or '')
        position = match.end()
    return ''.join(parts)


#: Limit of a value in quotes, in lines.
_LONGEST_VALUE = 16


def _closed(text: str, lines: 'collections.deque[str]') -> 'str | None':
    """Return the first word of shell syntax, whose quotes span several lines.

    :param lines: The following lines; those of the word are removed.
    """
    quote = text[:1]
    if quote not in ('"', "'"):
        return None
    for count, line in enumerate(lines, 1):
        if quote in line:
            whole = ' '.join([text, *itertools.islice(lines, count)])
            word = _shell_word(whole) if len(whole) <= _LONGEST_LINE else None
            if word is not None:
                for _line in range(count):
                    lines.popleft()
            return word
    return None


def _assignments(pattern: str, keep: Keeper) -> typing.Any:
    """Return a function that keeps assignments in shell syntax.

    :param pattern: Matches a name and its ``=``.
    """
    assignment = re.compile(pattern, re.ASCII)

    def lines(content: bytes) -> 'collections.abc.Iterator[str]':
        following = _lines_of(content)
        waiting = collections.deque(itertools.islice(following, 1))
        while waiting:
            line = waiting.popleft()
            match = assignment.match(line)
            if match:
                text = line[match.end() :]
                word = _shell_word(text)
                if word is None:
                    # The value may continue on the following lines.
                    missing = _LONGEST_VALUE - len(waiting)
                    waiting.extend(itertools.islice(following, missing))
                    word = _closed(text, waiting)
                kept = MASK if word is None else keep(word)
                yield f'{match.group(0)}"{kept}"'
            if not waiting:
                waiting.extend(itertools.islice(following, 1))

    return lambda content: _joined(lines(content))


def _settings(
    keepers: 'dict[str, Keeper]', separator: str = '='
) -> 'collections.abc.Callable[[bytes], bytes]':
    """Return a function that keeps lines ``NAME = VALUE``."""

    def lines(content: bytes) -> 'collections.abc.Iterator[str]':
        for line in _lines_of(content):
            name, separated, value = line.partition(separator)
            keep = keepers.get(name.strip())
            if keep is not None and separated:
                yield name.strip() + separator + keep(value.strip())

    return lambda content: _joined(lines(content))


#: Directives of modprobe.d, and the minimum number of words in their lines
#: (``libkmod/libkmod-config.c:kmod_config_parse``, which logs "ignoring bad
#: line starting with ..." for other lines).
_DIRECTIVES = {
    'alias': 3,
    'blacklist': 2,
    'install': 3,
    'options': 3,
    'remove': 3,
    'softdep': 3,
    'weakdep': 3,
    # Only supported by the modprobe of SUSE.
    'allow_unsupported_modules': 2,
}
#: Directives that do not affect which driver binds to a card.
_OF_NO_USE = ('remove', 'weakdep', 'allow_unsupported_modules')
_QUOTES = '"\'\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f:'
#: Programs at the beginning of lines that were meant for a shell.
_PROGRAMS = ('echo', 'insmod', 'modprobe', 'rmmod', 'set', 'sudo')
#: Commands of ``install`` lines that prevent a module from being loaded.
NEVER = ('/bin/false', '/bin/true', '/usr/bin/false', '/usr/bin/true')
#: Parts of other commands that are kept: those that bind devices to vfio-pci.
_OVERRIDING = re.compile(
    r'driver_override|vfio(?:[-_]pci)?|'
    r'(?<![0-9a-fA-F:])[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:'
    r'[01][0-9a-fA-F]\.[0-7](?![0-9a-fA-F])'
)


def is_directive(fields: 'list[str]') -> bool:
    """Whether modprobe accepts a line of modprobe.d, which is not blank."""
    least = _DIRECTIVES.get(fields[0])
    return least is not None and len(fields) >= least


def meant(word: str) -> 'str | None':
    """Return the directive that a word is, or is a misspelling of.

    A misspelling differs in one place, by three characters at most.
    """
    plain = word[:64].strip(_QUOTES).lower()
    if not 3 <= len(plain) <= 32:
        return None
    for name in _DIRECTIVES:
        begin = _in_common(plain, name)
        written, expected = plain[begin:][::-1], name[begin:][::-1]
        end = _in_common(written, expected)
        if max(len(written), len(expected)) - end <= 3 <= begin + end:
            return name
    return None


def _in_common(first: str, second: str) -> int:
    """Return the length of the longest common prefix."""
    count = 0
    while first[count : count + 1] == second[count : count + 1] != '':
        count += 1
    return count


def shown(line: str) -> str:
    """Return the part of a line that modprobe ignores that is safe to show.

    The line may contain anything. Shown are its first word, if that resembles
    a directive, and the name of the module after it.
    """
    first, *others = line.split(None, 8)
    is_plain = (
        len(first) <= 40
        and re.fullmatch('[A-Za-z_-]+', first.strip(_QUOTES)) is not None
    )
    directive = meant(first) if is_plain else None
    names = [_module_name(word.strip(_QUOTES)) for word in others[:8]]
    kept = [name for name in names if name.startswith('vfio')] or (
        names[:1] if directive and names[:1] != [MASK] else []
    )
    if directive is None and first not in _PROGRAMS:
        first = MASK
    return ' '.join([first, *kept[:1]])


def _directive(line: str) -> str:
    """Return a line that modprobe accepts, with values masked."""
    command, module, arguments = (*line.split(None, 2), '')[:3]
    if command in _OF_NO_USE:
        return ''
    if command == 'alias':
        return 'alias *** ***'
    name = _module_name(module)
    if command == 'blacklist':
        return 'blacklist ' + name
    if command == 'options':
        # If the name is masked, so are all options.
        kept = redact(arguments, name.replace('-', '_'))
    elif command == 'softdep':
        kept = _dependencies(arguments)
    elif arguments.strip() in NEVER:
        kept = arguments.strip()
    else:
        kept = _overriding(arguments)
    return f'{command} {name} {kept or MASK}'


def _dependencies(arguments: str) -> str:
    """Keep the names of modules, up to the first word that is not a name."""
    kept = []
    for word in arguments.split():
        if word not in ('pre:', 'post:'):
            word = _module_name(word)
        kept.append(word)
        if word == MASK:
            break
    return ' '.join(kept)


def _overriding(command: str) -> str:
    """Keep the parts of an ``install`` line that bind devices to vfio-pci."""
    kept = [MASK]
    for match in _OVERRIDING.finditer(command):
        kept += [match.group(0), MASK]
    return ' '.join(kept)


def _modprobe(content: bytes) -> bytes:
    """Keep lines of modprobe.d; of invalid lines, what is safe to show."""

    def lines() -> 'collections.abc.Iterator[str]':
        for line in _lines_of(content):
            if line.startswith('#'):
                continue
            fields = line.split(None, 2)
            if fields[0] in _OF_NO_USE:
                continue
            yield _directive(line) if is_directive(fields) else shown(line)

    return _joined(lines())


def _first_words(content: bytes) -> bytes:
    """Keep the names of modules in /proc/modules, but not their addresses."""
    return _joined(
        _module_name(line.split(None, 1)[0]) for line in _lines_of(content)
    )


def _modules(content: bytes) -> bytes:
    """Keep the names of modules in a list, but not their options."""

    def lines() -> 'collections.abc.Iterator[str]':
        for line in _lines_of(content):
            if line[0] in '#;':
                continue
            name, *options = line.split(None, 1)
            yield _module_name(name) + (' ' + MASK if options else '')

    return _joined(lines())


def _forced(content: bytes) -> bytes:
    """Keep the names of modules that a hook of initramfs-tools loads."""
    lines = (line.split(None, 2) for line in _lines_of(content))
    return _joined(
        'force_load ' + _module_name(fields[1])
        for fields in lines
        if fields[0] == 'force_load' and len(fields) > 1
    )


def _listed(content: bytes) -> bytes:
    """Keep the names of modules in the file list of an initramfs."""
    return _joined(
        line
        for line in _lines_of(content)
        if len(line) <= _LONGEST_NAME and _is_of_modules(line)
    )


def _module_files(content: bytes) -> bytes:
    return _joined(
        line
        for line in _lines_of(content)
        if len(line) <= _LONGEST_NAME and _MODULE_FILE.fullmatch(line)
    )


#: Path of a module in an initramfs or in /lib/modules.
_MODULE_FILE = re.compile(
    r'(?:[A-Za-z0-9_.+~-]{1,128}/){0,16}[A-Za-z0-9_-]{1,64}\.ko(?:\.[a-z0-9]{1,8})?'
)


def _module_words(text: str) -> str:
    return ' '.join(_module_name(word) for word in text.split())


def _boot_entry(content: bytes) -> bytes:
    """Keep the kernel arguments of a boot loader entry (BLS)."""
    lines = (line.split(None, 1) for line in _lines_of(content))
    return _joined(
        'options ' + _boot_arguments(fields[1])
        for fields in lines
        if fields[0] == 'options' and len(fields) > 1
    )


def modalias(files: 'collections.abc.Mapping[str, bytes]', folder: str) -> str:
    """Return the modalias of a device, which aliases of modules match.

    :param files: Files of the host.
    :param folder: Folder of the device in sysfs, with a slash at the end.
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


#: ``scripts/mod/file2alias.c:do_pci_entry`` of the kernel.
_ALIAS = re.compile(
    r'pci:v(?:[*]|[0-9A-F]{8})d(?:[*]|[0-9A-F]{8})sv(?:[*]|[0-9A-F]{8})'
    r'sd(?:[*]|[0-9A-F]{8})bc(?:[*]|[0-9A-F]{2})sc(?:[*]|[0-9A-F]{2})'
    r'i(?:[*]|[0-9A-F]{2})[*]?'
)


def _of_devices(content: bytes, names: 'set[str]') -> bytes:
    """Keep the lines of modules.alias that match devices.

    :param names: The modalias of each device.
    """
    # A fast test: of tens of thousands of lines, few are for these vendors.
    begins = ('pci:v*', *{name[:13] for name in names})

    def lines() -> 'collections.abc.Iterator[str]':
        for line in _lines_of(content):
            fields = line.split(None, 3)
            if (
                len(fields) == 3
                and fields[1].startswith(begins)
                and _is_pci_alias(fields)
                and any(fnmatch.fnmatchcase(name, fields[1]) for name in names)
            ):
                yield f'alias {fields[1]} {_module_name(fields[2])}'

    return _joined(lines())


def _aliases(content: bytes) -> bytes:
    """Keep the lines of modules.alias that are for PCI devices."""
    lines = (line.split(None, 3) for line in _lines_of(content))
    return _joined(
        f'alias {fields[1]} {_module_name(fields[2])}'
        for fields in lines
        if _is_pci_alias(fields)
    )


def _is_pci_alias(fields: 'list[str]') -> bool:
    """Whether a line of modules.alias is for PCI devices."""
    return (
        len(fields) == 3
        and len(fields[1]) <= 64
        and _ALIAS.fullmatch(fields[1]) is not None
    )


def _first_processor(content: bytes) -> bytes:
    """Keep vendor and address sizes of the first processor in /proc/cpuinfo.

    Of its flags, only ``hypervisor`` is kept.
    """
    end = content.find(b'\n\n')
    kept = []
    for line in _lines_of(content if end < 0 else content[:end]):
        name, _, value = line.partition(':')
        name, value = name.strip(), value.strip()
        keep = _PROCESSOR.get(name)
        if keep is not None:
            kept.append(f'{name}\t: {keep(value)}')
        elif name == 'flags' and 'hypervisor' in value.split():
            kept.append('flags\t: hypervisor')
    return _joined(kept)


_PROCESSOR = {
    'vendor_id': _shaped('[A-Za-z]{1,16}'),
    'address sizes': _shaped(
        '[0-9]{1,3} bits physical, [0-9]{1,3} bits virtual'
    ),
    'CPU implementer': _shaped('0x[0-9a-f]{1,4}'),
}


#: Id of the SR-IOV extended capability (PCI Express Base Specification,
#: 7.9.3).
SRIOV = 0x0010


def extended_capabilities(config: bytes) -> 'dict[int, int]':
    """Return the extended capabilities in a configuration space.

    :returns: The offset of each, by its id; empty if the space is not read
        completely, as without root.
    """
    offsets: dict[int, int] = {}
    offset = 0x100
    seen = set()
    while offset and offset + 4 <= len(config) and offset not in seen:
        seen.add(offset)
        header = int.from_bytes(config[offset : offset + 4], 'little')
        if header in (0, 0xFFFFFFFF):
            break
        offsets.setdefault(header & 0xFFFF, offset)
        offset = header >> 20 & 0xFFC
    return offsets


def _device_header(content: bytes) -> bytes:
    """Keep the header of a configuration space and those of its capabilities.

    The content of capabilities is zeroed: it may have a serial number, or be
    vendor-specific.
    """
    kept = bytearray(len(content))
    kept[:_HEADER] = content[:_HEADER]
    for offset in extended_capabilities(content).values():
        kept[offset : offset + 4] = content[offset : offset + 4]
    return bytes(kept)


#: Size of the header of a configuration space, in bytes (PCI Local Bus
#: Specification, 6.1).
_HEADER = 64

_DEVICE = 'sys/bus/pci/devices/*/'
_CPU = 'sys/devices/system/cpu/'
_NODE = 'sys/devices/system/node/node*/'
_POOL = 'hugepages/hugepages-*kB/'
#: Folders of configuration; a file overrides those with the same name in later
#: folders (modprobe.d(5), modules-load.d(5)).
FOLDERS = ('etc', 'run', 'usr/local/lib', 'usr/lib', 'lib')
#: Paths of programs that build an initramfs, and the names of these programs.
PROGRAMS = {
    'usr/bin/dracut': 'dracut',
    'usr/sbin/dracut': 'dracut',
    'usr/sbin/mkinitramfs': 'initramfs-tools',
    'usr/bin/mkinitramfs': 'initramfs-tools',
}


def _memory(content: bytes) -> bytes:
    """Keep the total memory of a NUMA node."""
    return _joined(
        line
        for line in _lines_of(content)
        if len(line) < 80
        and re.fullmatch(r'Node [0-9]{1,6} MemTotal:\s*[0-9]{1,15} kB', line)
    )


#: Placeholder in patterns for the release of the running kernel.
RELEASE = '{release}'
_DRIVERS = _assignments(r'(?:add_|force_|omit_)?drivers_?\+?=', _module_words)
#: edpm-ansible and TripleO set the arguments in variables of their own.
_GRUB = _assignments(
    r'(?:GRUB_CMDLINE_LINUX(?:_[A-Z]{1,20}){0,3}|[A-Z_]{0,40}KERNEL_ARGS)\+?=',
    _boot_arguments,
)
_TUNED = _settings(
    {
        'isolated_cores': _shaped(
            r'(?:[0-9,^\s-]|0x[0-9a-fA-F]+|\$\{[a-z_]{1,40}'
            r'(?::[a-z_]{1,40}|:[0-9]{1,4}){0,3}\})*'
        ),
        'include': _shaped(r'[A-Za-z0-9_./,;\s-]{1,512}'),
    }
)
_SYSTEMS = _shaped('[a-z0-9_. -]{1,80}')
#: ``saved_entry``: the name of a boot entry, from machine id and kernel
#: release, or its number in the menu.
_is_entry = _shaped(
    r'[0-9]{1,3}|(?:[0-9a-f]{32}-|\*\*\*-)?'
    r'(?:0-rescue|[0-9]{1,3}\.[0-9]{1,4}[\w.+~-]*)(?:\.conf)?'
)


def _entry_name(text: str) -> str:
    return _packed_path('boot/' + _is_entry(text))[len('boot/') :]


_GRUBENV = _settings(
    {'kernelopts': redact, 'tuned_params': redact, 'saved_entry': _entry_name}
)
_PARAMETER = _value('[YN]|[0-9]{1,10}')
_HEX = _value('0x[0-9a-f]{1,16}')
_NUMBER = _value('-?[0-9]{1,19}')
_CPU_LIST = _value('[0-9,-]*')

#: All files that are collected, in this order.
RULES = tuple(
    Rule(*rule)
    for rule in (
        (
            'proc/sys/kernel/hostname',
            'file',
            _value(r'[A-Za-z0-9_.-]{1,255}|\(none\)'),
        ),
        (
            'proc/sys/kernel/osrelease',
            'file',
            _value(r'[0-9]{1,3}\.[0-9]{1,5}[\w.+~-]{0,200}'),
        ),
        ('etc/os-release', 'file', _assignments('ID(?:_LIKE)?=', _SYSTEMS)),
        # The devices.
        (_DEVICE + 'class', 'file', _HEX),
        (_DEVICE + 'vendor', 'file', _HEX),
        (_DEVICE + 'device', 'file', _HEX),
        (_DEVICE + 'subsystem_vendor', 'file', _HEX),
        (_DEVICE + 'subsystem_device', 'file', _HEX),
        (_DEVICE + 'driver', 'link', _all),
        (
            _DEVICE + 'driver_override',
            'file',
            _value(r'\(null\)|[a-z0-9_-]{1,64}|NovaCore'),
        ),
        (_DEVICE + 'iommu_group', 'link', _all),
        (_DEVICE + 'physfn', 'link', _all),
        (_DEVICE + 'virtfn*', 'link', _all),
        (_DEVICE + 'sriov_totalvfs', 'file', _NUMBER),
        (_DEVICE + 'sriov_numvfs', 'file', _NUMBER),
        (_DEVICE + 'resource', 'file', _value('(?:0x[0-9a-f]{1,16} ?){1,3}')),
        (_DEVICE + 'numa_node', 'file', _NUMBER),
        (_DEVICE + 'boot_vga', 'file', _NUMBER),
        # Before Linux 5.15, only this file shows that a reset is possible.
        (_DEVICE + 'reset', 'name', _all),
        (_DEVICE + 'reset_method', 'file', _value('[a-z_ ]{1,80}')),
        (
            _DEVICE + 'power_state',
            'file',
            _value('D[0-3](?:hot|cold)?|[a-z]{1,8}'),
        ),
        (_DEVICE + 'd3cold_allowed', 'file', _NUMBER),
        (_DEVICE + 'config', 'file', _device_header),
        ('sys/bus/platform/devices/*-framebuffer.*', 'name', _all),
        # The IOMMU.
        ('sys/class/iommu/*', 'name', _all),
        ('sys/kernel/iommu_groups/*/name', 'file', _value('[a-z-]{1,32}')),
        ('sys/kernel/iommu_groups/*/type', 'file', _value('[A-Za-z-]{1,16}')),
        (
            'sys/kernel/iommu_groups/*/reserved_regions',
            'file',
            _value('0x[0-9a-f]{16} 0x[0-9a-f]{16} [a-z-]{1,24}'),
        ),
        ('sys/firmware/acpi/tables/*', 'name', _all),
        # CPUs and memory.
        ('proc/cpuinfo', 'file', _first_processor),
        (_CPU + 'online', 'file', _CPU_LIST),
        (_CPU + 'isolated', 'file', _CPU_LIST),
        (_CPU + 'cpu[0-9]*/topology/physical_package_id', 'file', _NUMBER),
        (_CPU + 'cpu[0-9]*/topology/core_id', 'file', _NUMBER),
        (_CPU + 'cpu[0-9]*/topology/thread_siblings_list', 'file', _CPU_LIST),
        (_NODE + 'cpulist', 'file', _CPU_LIST),
        (_NODE + 'meminfo', 'file', _memory),
        (_NODE + _POOL + 'nr_hugepages', 'file', _NUMBER),
        (_NODE + _POOL + 'free_hugepages', 'file', _NUMBER),
        # Modules and their options.
        ('proc/modules', 'file', _first_words),
        ('sys/module/vfio_pci/parameters/*', 'file', _PARAMETER),
        (
            'sys/module/vfio/parameters/enable_unsafe_noiommu_mode',
            'file',
            _PARAMETER,
        ),
        ('lib/modules/' + RELEASE + '/modules.builtin', 'file', _module_files),
        # Which modules udev loads for a device.
        ('lib/modules/' + RELEASE + '/modules.alias', 'aliases', _aliases),
        *(
            (folder + '/modprobe.d/*.conf', 'file', _modprobe)
            for folder in FOLDERS
        ),
        *(
            (folder + '/modules-load.d/*.conf', 'file', _modules)
            for folder in FOLDERS
        ),
        ('etc/modules', 'file', _modules),
        ('etc/initramfs-tools/modules', 'file', _modules),
        ('etc/initramfs-tools/hooks/*', 'file', _forced),
        *((path, 'name', _all) for path in PROGRAMS),
        ('etc/dracut.conf', 'file', _DRIVERS),
        ('etc/dracut.conf.d/*.conf', 'file', _DRIVERS),
        ('usr/lib/dracut/dracut.conf.d/*.conf', 'file', _DRIVERS),
        # Kernel arguments of this boot and of later ones.
        ('proc/cmdline', 'file', _command_line),
        ('etc/kernel/cmdline', 'file', _command_line),
        ('boot/loader/entries/*.conf', 'file', _boot_entry),
        ('boot/efi/loader/entries/*.conf', 'file', _boot_entry),
        ('boot/grub2/grubenv', 'file', _GRUBENV),
        ('etc/default/grub', 'file', _GRUB),
        ('etc/default/grub.d/*.cfg', 'file', _GRUB),
        ('etc/tuned/active_profile', 'file', _value(r'[\w./ -]{1,255}')),
        ('etc/tuned/*-variables.conf', 'file', _TUNED),
        ('etc/tuned/*/tuned.conf', 'file', _TUNED),
        ('etc/tuned/profiles/*/tuned.conf', 'file', _TUNED),
        # From an unpacked bundle.
        (INITRAMFS + '/*', 'file', _listed),
        (MANIFEST, 'file', _all),
    )
)
#: Classes of devices whose configuration space is read: 256 bytes, or 4096.
_CONFIG_OF = (b'0x03', b'0x12')
#: Files in an initramfs that show which program built it.
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


#: Base name of a link target: a driver, the number of a group, an address.
_LINKED = re.compile(r'[A-Za-z0-9_.:+-]{1,64}')


def _packed_path(path: str) -> str:
    """Return a path with machine ids masked, as in names of boot entries."""
    if not path.startswith(('boot/', 'etc/')):
        return path
    return _IN_PATHS.sub(MASK, path)


class FileCollector:
    """Collects the files that match the rules below a root folder."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self.collected = CollectedFiles()
        self._lists: dict[str, list[str]] = {}

    def collect(self, initramfs: bool) -> CollectedFiles:
        """Collect all files.

        :param initramfs: Also list the initramfs, which takes seconds.
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
        self._merge_manifest()
        if initramfs and release:
            for image in _IMAGES:
                self._read_initramfs(image.replace(RELEASE, release))
        return self.collected

    def _release(self) -> str:
        """Return the release of the running kernel; it is part of paths."""
        text = _text(
            self.collected.files.get('proc/sys/kernel/osrelease', b'')
        )
        return text.strip() if re.match(r'^[\w.+~-]+\s*$', text) else ''

    def _absolute(self, path: str) -> str:
        return os.path.join(self.root, path)

    def _list(self, path: str) -> 'list[str]':
        if path not in self._lists:
            try:
                self._check_inside(path)
                names = []
                for name in sorted(os.listdir(self._absolute(path))):
                    if name.isprintable():
                        names.append(name)
                    else:
                        # Neither valid in a bundle nor safe on a terminal.
                        self.collected.unreadable[
                            path + '/' + ascii(name)[1:-1]
                        ] = 'its name is not printable text'
            except OSError as exc:
                self._record_failure(path, exc)
                names = []
            self._lists[path] = names
        return self._lists[path]

    def _expand(
        self, folder: str, parts: 'list[str]'
    ) -> 'collections.abc.Iterator[str]':
        """Yield the paths that match a pattern.

        :param parts: The pattern below the folder, split at slashes.
        """
        part, remaining = parts[0], parts[1:]
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
            if remaining:
                yield from self._expand(path, remaining)
            else:
                yield path

    def _check_inside(self, path: str) -> None:
        """Check that no link in a path leads out of the root folder.

        :raises OSError: A link does.
        """
        if self.root == '/':
            return
        real = os.path.realpath(self._absolute(path))
        if real != self.root and not real.startswith(self.root + '/'):
            raise OSError(errno.EXDEV, 'it is a link out of the root folder')

    def _record_failure(self, path: str, exc: Exception) -> None:
        number = getattr(exc, 'errno', None)
        # It does not exist, or was removed since the folder was listed.
        if number not in (errno.ENOENT, errno.ENOTDIR, errno.ENODEV):
            reason = getattr(exc, 'strerror', None) or str(exc)
            self.collected.unreadable[_packed_path(path)] = reason

    def _read(self, rule: Rule, path: str) -> None:
        collected = self.collected
        try:
            if rule.kind == 'link':
                target = os.readlink(self._absolute(path))
                name = os.path.basename(target)
                if not _LINKED.fullmatch(name):
                    raise ValueError('its link target has an invalid name')
                collected.links[path] = name
                return
            if rule.kind == 'name':
                os.lstat(self._absolute(path))
                collected.files[path] = b''
                return
            if path.endswith('/config') and not collected.files.get(
                path[: -len('config')] + 'class', b''
            ).startswith(_CONFIG_OF):
                return
            self._check_inside(path)
            if rule.kind == 'aliases':
                names = self._modaliases()
                collected.files[path] = _of_devices(self._content(path), names)
                return
            # Boot entries are named after the machine id.
            kept = rule.keep(self._content(path))
            collected.files[_packed_path(path)] = kept
        except (OSError, ValueError) as exc:
            self._record_failure(path, exc)

    def _content(self, path: str) -> bytes:
        # Do not wait for a writer if it is a pipe.
        number = os.open(self._absolute(path), os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(number, 'rb', 0) as stream:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise ValueError('it is not a regular file')
            # In small pieces: /proc/sys allocates as much as is requested.
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
        """Return the modalias of each function of each display device."""
        files = self.collected.files
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

    def _merge_manifest(self) -> None:
        """Add what was unreadable on the host of an unpacked bundle."""
        content = self.collected.files.pop(MANIFEST, None)
        if content is not None:
            try:
                for path, reason in read_manifest(content).items():
                    self.collected.unreadable.setdefault(path, reason)
            except ValueError as exc:
                self.collected.unreadable[MANIFEST] = str(exc)

    def _read_initramfs(self, path: str) -> None:
        listing = INITRAMFS + '/' + path.replace('/', '+')
        try:
            self._check_inside(path)
            with open(self._absolute(path), 'rb') as stream:
                names = list_initramfs(stream)
        except (OSError, ValueError, EOFError, lzma.LZMAError) as exc:
            self._record_failure(listing, exc)
            return
        except Exception as exc:
            # A decompressor may raise anything for a damaged image.
            self.collected.unreadable[listing] = f'it is damaged: {exc}'
            return
        self.collected.files[listing] = ''.join(
            name + '\n' for name in names if _is_of_modules(name)
        ).encode('utf-8')


def _is_of_modules(name: str) -> bool:
    """Whether a file in an initramfs is a module, or shows its builder."""
    if name.startswith('./'):
        name = name[2:]
    return name in MAKERS or _MODULE_FILE.fullmatch(name) is not None


def read_manifest(content: bytes) -> 'dict[str, str]':
    """Return the paths that could not be read on the host, with reasons.

    :raises ValueError: The manifest is invalid, or of another format.
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
        raise ValueError('it has no valid list of unreadable files')
    return {
        path: reason if _is_reason(reason) else 'it could not be read'
        for path, reason in unreadable.items()
        if _leads_to_rule(path)
    }


#: Reasons that this program itself gives for a file that it cannot read.
_REASON = re.compile(r'(?:it|its|there|zstd|lz4)( [A-Za-z0-9,.:()_-]+){1,30}')


def _is_reason(text: str) -> bool:
    return text in map(os.strerror, errno.errorcode) or (
        len(text) <= 256 and _REASON.fullmatch(text) is not None
    )


def _leads_to_rule(path: str) -> bool:
    """Whether a path matches a rule, or is a parent folder of such a path."""
    parts = path.split('/')
    return any(
        len(parts) <= len(pattern)
        and all(map(fnmatch.fnmatchcase, parts, pattern))
        for pattern, _rule in _patterns()
    )


def rule_for(path: str) -> 'Rule | None':
    """Return the rule that a path matches; None if it is not collected."""
    parts = path.split('/')
    for pattern, rule in _patterns():
        if len(parts) == len(pattern) and all(
            map(fnmatch.fnmatchcase, parts, pattern)
        ):
            return rule
    return None


@functools.lru_cache(None)
def _patterns() -> 'list[tuple[list[str], Rule]]':
    """Return all rules, each with its pattern split at slashes."""
    return [
        (rule.pattern.replace(RELEASE, '*').split('/'), rule) for rule in RULES
    ]


class _Counted:
    """A stream with a limit of what can be read."""

    def __init__(self, stream: typing.Any) -> None:
        self._stream = stream
        self._left = _LARGEST_INITRAMFS

    def read(self, size: int) -> bytes:
        content: bytes = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(
                f'it is larger than {_LARGEST_INITRAMFS} bytes when '
                f'decompressed'
            )
        return content

    def skip(self, size: int) -> None:
        while size > 0:
            content = self.read(min(size, 1 << 20))
            if not content:
                # The next read finds the end of the stream.
                return
            size -= len(content)


class _Program:
    """A program that decompresses a file, from its current position.

    It is killed when the context ends, or after a timeout.
    """

    def __init__(self, name: str, stream: 'typing.IO[bytes]') -> None:
        path = shutil.which(name)
        if path is None:
            raise ValueError(
                f'it is compressed with {name}, and the program {name} is not '
                f'installed'
            )
        self._name = name
        self._late = False
        # The stream may have read ahead; the program starts at its position.
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
                f'{self._name} did not decompress it in {_LONGEST_UNPACKING} s'
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
        # Since Python 3.14.
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
    """Return the names of the files in an initramfs.

    It consists of one or more cpio archives (``newc``), with optional zeros
    between them; the last one may be compressed
    (``Documentation/driver-api/early-userspace/buffer-format.rst``).

    :param stream: A file; programs decompress zstd and lz4.
    :raises ValueError: The image cannot be read.
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
        raise ValueError('it is not a cpio archive')


def _magic(stream: 'typing.IO[bytes]') -> bytes:
    """Skip zeros, and return the next bytes without consuming them."""
    while True:
        content = stream.read(512)
        after_zeros = content.lstrip(b'\0')
        if after_zeros or not content:
            stream.seek(-len(after_zeros), os.SEEK_CUR)
            magic = stream.read(6)
            stream.seek(-len(magic), os.SEEK_CUR)
            return magic


def _list_cpio(stream: _Counted, names: 'list[str]') -> None:
    while True:
        header = stream.read(110)
        if header[:6] not in (b'070701', b'070702') or len(header) < 110:
            raise ValueError('its cpio archive is truncated or damaged')
        fields = [int(header[at : at + 8], 16) for at in range(6, 110, 8)]
        size, length = fields[6], fields[11]
        if not 0 < length <= _LONGEST_NAME:
            raise ValueError(f'it contains a file name of {length} bytes')
        name = stream.read(length)
        stream.skip(-(110 + length) % 4)
        stream.skip(size + -size % 4)
        text = name.rstrip(b'\0').decode('utf-8', 'replace')
        if text == 'TRAILER!!!':
            return
        names.append(text)


def collect(root: str = '/', initramfs: bool = True) -> CollectedFiles:
    """Collect the files of a host.

    :param root: Folder with the files of the host.
    :param initramfs: Also list the initramfs, which takes seconds.
    """
    return FileCollector(root).collect(initramfs)


def pack(collected: CollectedFiles) -> bytes:
    """Return a bundle, a tar archive; equal files give equal bytes."""
    manifest = {'format': FORMAT, 'unreadable': collected.unreadable}
    text = json.dumps(manifest, indent=1, sort_keys=True) + '\n'
    files = {**collected.files, MANIFEST: text.encode('ascii')}
    parts = []
    for path in sorted({*files, *collected.links}):
        member = tarfile.TarInfo(path)
        member.mode = 0o644
        content = b''
        if path in collected.links:
            member.type = tarfile.SYMTYPE
            member.linkname = collected.links[path]
        else:
            content = files[path]
            member.size = len(content)
        parts += [_header(member), content, bytes(-len(content) % _BLOCK)]
    packed = b''.join(parts) + bytes(2 * _BLOCK)
    return packed + bytes(-len(packed) % tarfile.RECORDSIZE)


_BLOCK = tarfile.BLOCKSIZE
#: Major and minor number of a device in the header of a member.
_NUMBERS = slice(329, 345)
_CHECKSUM = slice(148, 156)


def _header(member: tarfile.TarInfo) -> bytes:
    """Return the header of a member that is not a device.

    Python before 3.9 writes device numbers in every header, later versions
    do not.
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
        description='Write the files that GPU passthrough depends on as a '
        'tar archive, without secrets and serial numbers.'
    )
    parser.add_argument(
        '--root', default='/', help='folder with the files of the host'
    )
    root = parser.parse_args().root
    if sys.stdout.isatty():
        sys.stderr.write('Redirect the output to a file: ... > HOST.tar\n')
        return 2
    collected = collect(root)
    for path, reason in sorted(collected.unreadable.items()):
        sys.stderr.write(f'/{path}: {reason}\n')
    sys.stdout.buffer.write(pack(collected))
    return 0


if __name__ == '__main__':
    sys.exit(main())
