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

"""Hosts that are changed as the text of a remedy says, and booted again."""

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
#: The command that applies a change of files.
_REBUILT = (
    r'\. Run (?:update-initramfs -u -k all|dracut --regenerate-all --force)'
)
#: The command at the end of a remedy.
COMMAND = re.compile(r'"openstack (gpu host config create [^"]*)" creates')


@dataclasses.dataclass(frozen=True)
class Setup:
    """A host and its configuration."""

    machine: machine_module.Machine = machine_module.PLAIN
    arguments: str = ''
    #: With one file for each path.
    files: tuple[host_files.HostFile, ...] = ()
    #: Shell script that runs after the boot.
    before: str = ''
    #: Addresses of the devices for guests; by default, the checks decide.
    devices: tuple[str, ...] = ()

    def boot(self) -> machine_module.Boot:
        """Boot the host, once in each process."""
        return _boot(self)

    def file(self, path: str) -> str:
        """Return the content of a file, empty if it does not exist."""
        return {file.path: file.content for file in self.files}.get(path, '')

    def with_files(self, *files: host_files.HostFile) -> 'Setup':
        """Return the host with files added or replaced."""
        by_path = {file.path: file for file in (*self.files, *files)}
        return dataclasses.replace(
            self, files=tuple(by_path[path] for path in sorted(by_path))
        )

    def with_line(self, path: str, line: str) -> 'Setup':
        """Return the host with a line appended to a file."""
        return self.with_files(
            host_files.HostFile(path, f'{self.file(path)}{line}\n')
        )

    def with_arguments(
        self,
        add: collections.abc.Iterable[str],
        remove: collections.abc.Iterable[str] = (),
    ) -> 'Setup':
        """Return the host with kernel arguments added and removed.

        :raises ValueError: An argument to remove is not set.
        """
        present = self.arguments.split()
        for argument in remove:
            present.remove(argument)
        # Arguments that are set keep their place.
        present += [argument for argument in add if argument not in present]
        return dataclasses.replace(self, arguments=' '.join(present))

    def with_command(self, command: str) -> 'Setup':
        """Return the host with a command that runs after the boot."""
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


def prepared(setup: Setup, passthrough: host_files.Passthrough) -> Setup:
    """Return a host with the generated files and kernel arguments added."""
    ready = host_files.prepare(passthrough, host_files.DEBIAN)
    return setup.with_arguments(ready.kernel_arguments).with_files(
        *ready.files
    )


def follow(setup: Setup, boot: machine_module.Boot, remedy: str) -> Setup:
    """Return a host after the steps of a remedy.

    :param boot: The host before.
    :raises ValueError: The remedy has no known step, or one cannot be done.
    """
    mended = setup
    for step in STEPS:
        for match in re.finditer(step.pattern, remedy):
            mended = step.apply(mended, match)
    if 'driver_override' in remedy and mended.files == setup.files:
        # It has to be written at each boot, which takes more than a line.
        mended = created(mended, boot, remedy)
    if mended == setup:
        raise ValueError(f'this remedy has no known step: {remedy}')
    return mended


def created(setup: Setup, boot: machine_module.Boot, remedy: str) -> Setup:
    """Return a host with the files that the command of a remedy creates.

    :param boot: The host before.
    :raises ValueError: The remedy has no command.
    """
    command = COMMAND.search(remedy)
    if command is None:
        raise ValueError(f'this remedy has no command: {remedy}')
    with tempfile.TemporaryDirectory(prefix='gpu-remedy-') as name:
        folder = pathlib.Path(name)
        bundle = folder / 'bundle.tar'
        bundle.write_bytes(boot.bundle)
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
    groups = match.groupdict('')
    return setup.with_arguments(
        (groups['new'] or groups['add']).split(),
        (groups['old'] or groups['remove']).split(),
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
        raise ValueError(f'{path} does not contain {old} exactly once')
    return setup.with_files(
        host_files.HostFile(path, content.replace(f'{old} ', f'{new} '))
    )


def _replace_argument(setup: Setup, match: re.Match[str]) -> Setup:
    new, old = match.groups()
    arguments = setup.arguments.split()
    arguments[arguments.index(old)] = new
    return dataclasses.replace(setup, arguments=' '.join(arguments))


def _remove_ids(setup: Setup, match: re.Match[str]) -> Setup:
    name = 'vfio-pci.ids='
    arguments = []
    for argument in setup.arguments.split():
        if argument.startswith(name):
            left = [
                ids
                for ids in argument.removeprefix(name).split(',')
                if ids != match[1]
            ]
            argument = f'{name}{",".join(left)}' if left else ''
        arguments.append(argument)
    return dataclasses.replace(
        setup,
        arguments=' '.join(argument for argument in arguments if argument),
    )


def _remove_override(setup: Setup, match: re.Match[str]) -> Setup:
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


class Step(typing.NamedTuple):
    """A step of remedies."""

    #: Matches its text.
    pattern: str
    apply: collections.abc.Callable[[Setup, re.Match[str]], Setup]


#: All steps that :func:`follow` knows.
STEPS = (
    Step(
        rf'Remove (?P<remove>(?:(?! from )[^;])+?) from {_GRUB} and run '
        r'update-grub'
        rf'|Replace (?P<old>(?:(?! with )[^;])+?) with '
        rf'(?P<new>(?:(?! in )[^;])+?) in {_GRUB} and run '
        rf'update-grub|[Aa]dd (?P<add>(?:(?! to )[^;])+?) to {_GRUB} and run '
        r'update-grub',
        _change_arguments,
    ),
    Step(rf'Add (\S+) to ({_MODULES})\b.*?{_REBUILT}', _put_module),
    Step(
        r'Add (\S+) to the initramfs \((?P<line>\S+=" \1 ") in a file in '
        rf'/etc/dracut\.conf\.d\).*?{_REBUILT}',
        _configure_dracut,
    ),
    Step(
        r'the line "([^"]+)"(?=.*? to a file in /etc/modprobe\.d'
        rf'{_REBUILT})',
        _put_line,
    ),
    Step(
        r'a line "([^"]+)" for each of ([\w, ]+) to a file in '
        rf'/etc/modprobe\.d{_REBUILT}',
        _put_lines,
    ),
    Step(
        r'Write "([^"]+)" in place of "([^"]+)" in (/etc/modprobe\.d/[^,]+)'
        r', run update-initramfs -u -k all',
        _replace_word,
    ),
    Step(r'(hugepages=\S+) in place of (hugepages=\S+)', _replace_argument),
    Step(r'Remove (\S+) from vfio-pci\.ids', _remove_ids),
    Step(
        r'Remove what writes (\S+) to driver_override of (\S+) \(a line '
        r'of modprobe\.d',
        _remove_override,
    ),
    Step(r'Write (\d) to (sriov_numvfs) of (\S+),', _write_attribute),
)


class TestCase(testtools.TestCase):
    """Boots hosts, follows remedies, and boots the hosts again."""

    #: Address of the card of a plain machine.
    card = '0000:00:01.0'

    def assert_usable(
        self,
        boot: machine_module.Boot,
        *codes: str,
        card: str | None = None,
    ) -> None:
        """Assert that VFIO assigns a card, and which findings it has.

        The host itself has none.
        """
        card = card or self.card
        self.assertEqual('vfio-pci', boot.device(card)['driver'])
        self.assertTrue(boot.is_usable(card), boot.result['raw']['vfio'])
        self.assertEqual(set(), boot.codes())
        self.assertEqual(set(codes), boot.codes(card))

    def mend(
        self,
        setup: Setup,
        code: str,
        address: str = '',
        *,
        apply: collections.abc.Callable[
            [Setup, machine_module.Boot, str], Setup
        ] = follow,
    ) -> machine_module.Boot:
        """Follow the remedy of a finding, and return the next boot.

        The finding is gone then, with no new one.

        :param apply: Returns the host after the remedy.
        """
        boot = setup.boot()
        again = apply(setup, boot, boot.finding(code, address)['remedy'])
        return self.assert_mended(boot, again.boot(), code, address)

    def mend_by_hand(
        self,
        setup: Setup,
        code: str,
        address: str = '',
        *,
        instruction: str,
        **changes: typing.Any,
    ) -> machine_module.Boot:
        """Change a host as a remedy says that no step can follow.

        As :meth:`mend`.

        :param instruction: The part of the remedy that the changes follow.
        :param changes: Fields of the host.
        """
        boot = setup.boot()
        self.assertIn(instruction, boot.finding(code, address)['remedy'])
        again = dataclasses.replace(setup, **changes).boot()
        if 'machine' in changes:
            # Devices may have other addresses.
            codes = {finding_code for _device, finding_code in again.findings}
            self.assertNotIn(code, codes)
            self.assertEqual(
                set(),
                codes
                - {finding_code for _device, finding_code in boot.findings},
            )
            return again
        return self.assert_mended(boot, again, code, address)

    def assert_mended(
        self,
        boot: machine_module.Boot,
        again: machine_module.Boot,
        code: str,
        address: str = '',
    ) -> machine_module.Boot:
        """Assert that a finding is gone, with no new one."""
        self.assertNotIn((address, code), again.findings)
        self.assertEqual(set(), again.findings - boot.findings)
        return again
