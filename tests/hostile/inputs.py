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

"""Inputs of 64 KB to 16 MB, for what reads configuration and hosts.

Each attack gives one shape of input in two sizes, four times apart, to
``config check`` or ``host check`` in a process of its own, whose memory is
bounded. The larger one may take some times longer, and not its square.
"""

import collections.abc
import contextlib
import multiprocessing
import os
import pathlib
import random
import resource
import shutil
import tempfile
import time

from gpuclient import exceptions
from gpuclient.host import bundle
from gpuclient.model import catalogue
from gpuclient.operations import config_check
from gpuclient.osc import sarif
from gpuclient.rules import host as host_rules

BRIEF = 12
LONG = 400
#: Seconds for one attack.
LONGEST = 1800.0

KIB = 2**10
#: Small ones find the same, and sooner.
_SIZES = (*(64 * KIB,) * 12, *(256 * KIB,) * 4, 1024 * KIB, 4096 * KIB)
#: Bytes for all that a check needs, beside Python and its modules.
_MEMORY = 3 * 2**30
#: How much longer four times as much may take; and seconds that do not count.
_FACTOR = 8
_SECONDS = 2.0

#: Beginning, what is repeated, and end of a file.
_CONF = {
    'one word': ('[pci]\ndevice_spec = ', 'x', '\n'),
    'one line of JSON': ('[pci]\nalias = [', '{"name": "a"},', '1]\n'),
    'an alias without end': ('[pci]\nalias = {"name": "', 'a', '\n'),
    'nested lists': ('[pci]\nalias = ', '[', '\n'),
    'nested mappings': ('[pci]\nalias = ', '{"a":', '\n'),
    'device specs': ('[pci]\n', 'device_spec = {"bus": 1}\n', ''),
    'all devices': ('[pci]\n', 'device_spec = {"address": "*"}\n', ''),
    'aliases': ('[pci]\n', 'alias = {"name": "a", "vendor_id": "1"}\n', ''),
    'lines of one value': ('[pci]\nalias = {\n', '  password = x\n', ''),
    'sections': ('', '[pci]\n', ''),
    'sections without end': ('[pci]\n', '[', '\n'),
    'comments': ('[pci]\n', '# x\n', ''),
    'blank lines': ('[pci]\nalias = 1\n', '\n', ''),
    'carriage returns': ('[pci]\nalias = 1', '\r', '\n'),
    'blanks': ('[pci]\nalias = ', ' ', '1\n'),
    'equals signs': ('[pci]\nalias ', '=', '\n'),
    'colons': ('[pci]\n', ':', '\n'),
    'quotes': ('[pci]\nalias = ', '"', '\n'),
    'CPUs': ('[compute]\ncpu_dedicated_set = ', '1,', '2\n'),
    'ranges': ('[compute]\ncpu_shared_set = ', '0-9999999,', '1\n'),
    'excluded CPUs': ('[compute]\ncpu_dedicated_set = ', '^1,', '1\n'),
    'pages': ('[DEFAULT]\nreserved_huge_pages = ', 'node:0,', 'size:1\n'),
    'filters': ('[filter_scheduler]\nenabled_filters = ', 'A,', 'A\n'),
    'templates': ('[pci]\nalias = ', '{{ a }}', '\n'),
    'open templates': ('[pci]\nalias = ', '{{', '\n'),
    'conditions': ('[pci]\n', '{% if a %}\n', ''),
    'URLs': ('[pci]\nalias = ', 'a://b:c@', '\n'),
    'passwords': ('[pci]\nalias = ', '--password ', '\n'),
    'expressions': (
        '[pci]\ndevice_spec = {"address": {"bus": "',
        '(a*)*',
        '"}}\n',
    ),
    'NULs': ('[pci]\nalias = ', '\0', '\n'),
}
_YAML = {
    'flow lists': ('a: ', '[', '\n'),
    'flow mappings': ('a: ', '{a: ', '\n'),
    'blocks': ('', '- ', '1\n'),
    'keys': ('', 'a: 1\n', ''),
    'anchors': ('a: &a [1]\nb: [', '*a, ', '1]\n'),
    'documents': ('', '---\n', ''),
    'a block of lines': ('data:\n  x.conf: |\n    [pci]\n', '    a = 1\n', ''),
    'a quoted text': ('data: "', '\\n', '"\n'),
    'tags': ('a: ', '!!str ', 'a\n'),
    'config maps': (
        '',
        'kind: ConfigMap\ndata:\n  x.conf: |\n    [pci]\n---\n',
        '',
    ),
    'kernel arguments': ('edpm_kernel_args: ', 'hugepages=1 ', '\n'),
    'questions': ('', '? ', 'a\n'),
}
_HOST = {
    'a word': ('proc/cmdline', '', 'x', '\n'),
    'arguments': ('proc/cmdline', '', 'a=b ', '\n'),
    'ids': ('proc/cmdline', 'vfio-pci.ids=', '10de:20f1,', '\n'),
    'hugepages': ('proc/cmdline', '', 'hugepagesz=1G hugepages=1 ', '\n'),
    'isolated CPUs': ('proc/cmdline', 'isolcpus=', '1-2,', '1\n'),
    'softdeps': ('etc/modprobe.d/x.conf', '', 'softdep nvidia pre: a\n', ''),
    'one softdep': ('etc/modprobe.d/x.conf', 'softdep a pre: ', 'b ', '\n'),
    'options': ('etc/modprobe.d/x.conf', '', 'options vfio-pci ids=1:2\n', ''),
    'backslashes': ('etc/modprobe.d/x.conf', 'options a b', '\\\n', ''),
    'CPUs': ('proc/cpuinfo', '', 'processor : 1\n\n', ''),
    'modules': ('proc/modules', '', 'nvidia 1 0 - Live 0x0\n', ''),
    'memory': ('proc/meminfo', '', 'HugePages_Total: 1\n', ''),
}


def _check_config(path: str) -> None:
    located = config_check.check(
        config_check.read([path]), catalogue.builtin()
    )
    log = sarif.render(located, {})
    for item in located:
        if len(item.finding.message) > 5000:
            raise AssertionError(f'{len(item.finding.message)} characters')
    if len(log) > 2**28:
        raise AssertionError(f'{len(log)} characters of SARIF')


def _check_host(path: str) -> None:
    host_rules.check(bundle.read(path))


def _run(
    kind: str, path: str, sender: 'multiprocessing.connection.Connection'
) -> None:
    """Check a file; send the seconds, or what was raised."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    began = time.process_time()
    failure = ''
    try:
        (_check_host if kind == 'host' else _check_config)(path)
    except exceptions.GPUError as exc:
        if '\n' in str(exc) or len(str(exc)) > 5000:
            failure = f'{len(str(exc))} characters: {str(exc)[:200]!r}'
    except BaseException as exc:
        failure = repr(exc)[:400]
    sender.send((time.process_time() - began, failure))
    sender.close()


def _seconds(kind: str, path: str) -> float:
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(kind, path, sender))
    child.start()
    sender.close()
    try:
        seconds, failure = receiver.recv()
    except EOFError:
        seconds, failure = 0.0, f'it ended: {child.exitcode}'
    finally:
        child.kill()
        child.join()
    if failure:
        raise AssertionError(f'{path}: {failure}')
    return float(seconds)


def _write(
    folder: pathlib.Path,
    source: random.Random,
    shape: tuple[str, ...],
    size: int,
) -> str:
    """Write an input of a size; return its path."""
    name, *parts = shape
    first, again, last = parts
    text = first + again * (size // len(again)) + last
    path = folder / str(size) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return os.fspath(folder / str(size) if '/' in name else path)


def attack(source: random.Random, sizes: tuple[int, ...] = _SIZES) -> str:
    kind, shapes = source.choice(
        (('conf', _CONF), ('conf', _CONF), ('yaml', _YAML), ('host', _HOST))
    )
    name = source.choice(sorted(shapes))
    shape = shapes[name]
    if kind == 'conf':
        shape = ('nova.conf', *shape)
    elif kind == 'yaml':
        shape = (source.choice(('values.yaml', 'x.yml')), *shape)
    size = source.choice(sizes)
    folder = pathlib.Path(tempfile.mkdtemp(prefix='hostile-'))
    try:
        small, large = (
            _seconds(kind, _write(folder, source, shape, number))
            for number in (size, 4 * size)
        )
    finally:
        shutil.rmtree(folder)
    if large > _FACTOR * small + _SECONDS:
        raise AssertionError(
            f'{kind}, {name}: {size} bytes {small:.1f} s, {4 * size} bytes '
            f'{large:.1f} s'
        )
    return kind


@contextlib.contextmanager
def attacker() -> collections.abc.Iterator[
    collections.abc.Callable[[random.Random], str]
]:
    yield attack
