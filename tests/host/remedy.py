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

"""What an operator does who follows a remedy to the letter."""

import collections.abc
import dataclasses
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import typing

import testtools

from gpuclient.documents.generate import host_files

from tests.host import machine as machine_module

_MODULES = '/etc/initramfs-tools/modules'
_MODPROBE = '/etc/modprobe.d/remedy.conf'
_GRUB = r'GRUB_CMDLINE_LINUX in /etc/default/grub'
#: What the change is in, when these have run.
_REBUILT = (
    r'\. Run (?:update-initramfs -u -k all|dracut --regenerate-all --force)'
)
_COMMAND = re.compile(r'"openstack (gpu host config create [^"]*)" creates')


@dataclasses.dataclass(frozen=True)
class Setup:
    """A host, and how it is set up."""

    machine: machine_module.Machine = machine_module.PLAIN
    arguments: str = ''
    #: They are kept by their paths.
    files: tuple[host_files.HostFile, ...] = ()
    #: What runs when it has booted.
    before: str = ''
    #: Those that are for guests; without them, as the host itself tells.
    devices: tuple[str, ...] = ()

    def boot(self) -> machine_module.Boot:
        """Boot it, once in each process."""
        return _boot(self)

    def file(self, path: str) -> str:
        """Return the content of a file; nothing where it is not there."""
        return {one.path: one.content for one in self.files}.get(path, '')

    def with_files(self, *files: host_files.HostFile) -> 'Setup':
        """Return it with files added, or in place of those of their path."""
        found = {one.path: one for one in (*self.files, *files)}
        return dataclasses.replace(
            self, files=tuple(found[path] for path in sorted(found))
        )

    def with_line(self, path: str, line: str) -> 'Setup':
        """Return it with a line at the end of a file."""
        return self.with_files(
            host_files.HostFile(path, f'{self.file(path)}{line}\n')
        )

    def with_arguments(
        self,
        add: collections.abc.Iterable[str],
        remove: collections.abc.Iterable[str] = (),
    ) -> 'Setup':
        """Return it with other kernel arguments.

        :raises ValueError: One that is to be removed is not there.
        """
        words = self.arguments.split()
        for word in remove:
            words.remove(word)
        # What is there stays there.
        words += [word for word in add if word not in words]
        return dataclasses.replace(self, arguments=' '.join(words))

    def with_command(self, command: str) -> 'Setup':
        """Return it with another command that runs when it has booted."""
        return dataclasses.replace(self, before=f'{self.before}{command}\n')


@functools.cache
def _boot(setup: Setup) -> machine_module.Boot:
    return machine_module.boot(
        setup.machine,
        setup.arguments,
        setup.files,
        before=setup.before,
        devices=setup.devices,
    )


def prepared(setup: Setup, wanted: host_files.Passthrough) -> Setup:
    """Return a host with all that prepares it, and what it was set up with."""
    ready = host_files.prepare(wanted, host_files.DEBIAN)
    return setup.with_arguments(ready.kernel_arguments).with_files(
        *ready.files
    )


def follow(setup: Setup, found: machine_module.Boot, remedy: str) -> Setup:
    """Return a host that was set up anew, as a remedy says.

    :raises ValueError: There is nothing to do, or it cannot be done.
    """
    mended = setup
    for pattern, step in _STEPS:
        for match in re.finditer(pattern, remedy):
            mended = step(mended, match)
    if 'driver_override' in remedy and mended.files == setup.files:
        # That is to be done when a host boots, which takes more than a line.
        mended = created(mended, found, remedy)
    if mended == setup:
        raise ValueError(f'nothing of this can be done: {remedy}')
    return mended


def created(setup: Setup, found: machine_module.Boot, remedy: str) -> Setup:
    """Return a host with what the command of a remedy writes for it.

    :param found: What it was like when it had booted.
    :raises ValueError: The remedy names no command.
    """
    command = _COMMAND.search(remedy)
    if command is None:
        raise ValueError(f'this names no command: {remedy}')
    with tempfile.TemporaryDirectory(prefix='gpu-remedy-') as name:
        folder = pathlib.Path(name)
        bundle = folder / 'bundle.tar'
        bundle.write_bytes(found.bundle)
        root = folder / 'root'
        root.mkdir()
        done = subprocess.run(
            [
                os.fspath(pathlib.Path(sys.executable).with_name('openstack')),
                *command[1].split(),
                os.fspath(bundle),
                *('--output', os.fspath(root), '--format', 'json'),
            ],
            check=True,
            stdout=subprocess.PIPE,
        )
        arguments = json.loads(done.stdout)['kernel_arguments']
        files = [
            host_files.HostFile(
                f'/{path.relative_to(root)}',
                path.read_text(),
                path.stat().st_mode & 0o777,
            )
            for path in root.rglob('*')
            if path.is_file()
        ]
    return setup.with_arguments(arguments.split()).with_files(*files)


def _change_arguments(setup: Setup, match: re.Match[str]) -> Setup:
    found = match.groupdict('')
    return setup.with_arguments(
        (found['new'] or found['add']).split(),
        (found['old'] or found['remove']).split(),
    )


def _put_module(setup: Setup, match: re.Match[str]) -> Setup:
    return setup.with_line(match[2], match[1])


def _configure_dracut(setup: Setup, match: re.Match[str]) -> Setup:
    return setup.with_line('/etc/dracut.conf.d/remedy.conf', match['line'])


def _put_line(setup: Setup, match: re.Match[str]) -> Setup:
    return setup.with_line(_MODPROBE, match[1])


def _put_lines(setup: Setup, match: re.Match[str]) -> Setup:
    for driver in match[2].split(', '):
        setup = setup.with_line(_MODPROBE, match[1].replace('DRIVER', driver))
    return setup


def _replace_word(setup: Setup, match: re.Match[str]) -> Setup:
    new, old, path = match.groups()
    content = setup.file(path)
    if content.count(f'{old} ') != 1:
        raise ValueError(f'there is not one {old} in {path}')
    return setup.with_files(
        host_files.HostFile(path, content.replace(f'{old} ', f'{new} '))
    )


def _replace_argument(setup: Setup, match: re.Match[str]) -> Setup:
    new, old = match.groups()
    words = setup.arguments.split()
    words[words.index(old)] = new
    return dataclasses.replace(setup, arguments=' '.join(words))


def _take_out_ids(setup: Setup, match: re.Match[str]) -> Setup:
    name = 'vfio-pci.ids='
    words = []
    for word in setup.arguments.split():
        if word.startswith(name):
            left = [
                one
                for one in word.removeprefix(name).split(',')
                if one != match[1]
            ]
            word = f'{name}{",".join(left)}' if left else ''
        words.append(word)
    return dataclasses.replace(
        setup, arguments=' '.join(word for word in words if word)
    )


def _take_away_override(setup: Setup, match: re.Match[str]) -> Setup:
    _value, address = match.groups()
    files = []
    for file in setup.files:
        lines = [
            line
            for line in file.content.splitlines(keepends=True)
            if not ('driver_override' in line and address in line)
        ]
        files.append(dataclasses.replace(file, content=''.join(lines)))
    return setup.with_files(*files)


def _write_attribute(setup: Setup, match: re.Match[str]) -> Setup:
    value, attribute, address = match.groups()
    return setup.with_command(
        f'echo {value} > /sys/bus/pci/devices/{address}/{attribute}'
    )


#: What remedies say, and how it is done.
_STEPS: tuple[
    tuple[str, collections.abc.Callable[[Setup, re.Match[str]], Setup]], ...
] = (
    (
        rf'Remove (?P<remove>(?:(?! from )[^;])+?) from {_GRUB} and run '
        r'update-grub'
        rf'|Replace (?P<old>(?:(?! with )[^;])+?) with '
        rf'(?P<new>(?:(?! in )[^;])+?) in {_GRUB} and run '
        rf'update-grub|[Aa]dd (?P<add>(?:(?! to )[^;])+?) to {_GRUB} and run '
        r'update-grub',
        _change_arguments,
    ),
    (rf'Add (\S+) to ({_MODULES})\b.*?{_REBUILT}', _put_module),
    (
        r'Add (\S+) to the initramfs \((?P<line>\S+=" \1 ") in a file in '
        rf'/etc/dracut\.conf\.d\).*?{_REBUILT}',
        _configure_dracut,
    ),
    (
        r'the line "([^"]+)"(?=.*? to a file in /etc/modprobe\.d'
        rf'{_REBUILT})',
        _put_line,
    ),
    (
        r'a line "([^"]+)" for each of ([\w, ]+) to a file in '
        rf'/etc/modprobe\.d{_REBUILT}',
        _put_lines,
    ),
    (
        r'Write "([^"]+)" in place of "([^"]+)" in (/etc/modprobe\.d/[^,]+)'
        r', run update-initramfs -u -k all',
        _replace_word,
    ),
    (r'(hugepages=\S+) in place of (hugepages=\S+)', _replace_argument),
    (r'Remove (\S+) from vfio-pci\.ids', _take_out_ids),
    (
        r'Remove what writes (\S+) to driver_override of (\S+) \(a line '
        r'of modprobe\.d',
        _take_away_override,
    ),
    (r'Write (\d) to (sriov_numvfs) of (\S+),', _write_attribute),
)


class TestCase(testtools.TestCase):
    """Boots hosts, follows remedies, and boots the hosts again."""

    #: Where the card of a plain machine is.
    card = '0000:00:01.0'

    def assert_taken(
        self,
        found: machine_module.Boot,
        *codes: str,
        card: str | None = None,
    ) -> None:
        """Assert that VFIO has a card, and that only some findings are of it.

        There are none of the host.
        """
        card = card or self.card
        self.assertEqual('vfio-pci', found.device(card)['driver'])
        self.assertTrue(found.is_taken(card), found.result['raw']['vfio'])
        self.assertEqual(set(), found.codes())
        self.assertEqual(set(codes), found.codes(card))

    def mend(
        self,
        setup: Setup,
        code: str,
        address: str = '',
        *,
        how: collections.abc.Callable[
            [Setup, machine_module.Boot, str], Setup
        ] = follow,
    ) -> machine_module.Boot:
        """Boot a host that was set up anew, and return what came of it.

        A finding is gone then, and none has come.

        :param how: Sets the host up anew, as the remedy of the finding says.
        """
        found = setup.boot()
        again = how(setup, found, found.verdict(code, address)['remedy'])
        return self.assert_mended(found, again.boot(), code, address)

    def mend_by_hand(
        self,
        setup: Setup,
        code: str,
        address: str = '',
        *,
        words: str,
        **changes: typing.Any,
    ) -> machine_module.Boot:
        """Boot a host after what no text can do; as :meth:`mend`.

        :param words: Of the remedy, that are followed.
        :param changes: Fields of the host.
        """
        found = setup.boot()
        self.assertIn(words, found.verdict(code, address)['remedy'])
        again = dataclasses.replace(setup, **changes).boot()
        if 'machine' in changes:
            # The addresses may be others.
            codes = {one for _device, one in again.findings}
            self.assertNotIn(code, codes)
            self.assertEqual(
                set(), codes - {one for _device, one in found.findings}
            )
            return again
        return self.assert_mended(found, again, code, address)

    def assert_mended(
        self,
        found: machine_module.Boot,
        again: machine_module.Boot,
        code: str,
        address: str = '',
    ) -> machine_module.Boot:
        """Assert that a finding is gone, and none has come."""
        self.assertNotIn((address, code), again.findings)
        self.assertEqual(set(), again.findings - found.findings)
        return again
