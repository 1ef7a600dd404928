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

"""Give random documents to everything that reads them.

``python -m tests.fuzz --count 1000000 --seed 1`` is the long run. Every
document is read, judged, edited and read again. Counted are tracebacks, errors
that are not one line, edits that lose or break something, and what takes
longer than :data:`_LONGEST`. ``--only NUMBER`` makes one of them again.
"""

import argparse
import collections
import dataclasses
import resource
import signal
import sys
import time
import traceback

from gpuclient.documents import aliases
from gpuclient.documents.deployers import data_plane
from gpuclient.documents import derived_conf
from gpuclient.documents import device_specs
from gpuclient.documents import editable
from gpuclient.documents import services
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import configuration
from gpuclient.model import nova_options
from gpuclient.rules import configuration as configuration_rules
from tests.fuzz import documents

_ALIAS = alias_model.Alias('z', '10de', '20f1', 'type-PF')
_ENTRY = {'address': '0000:05:00.0'}
#: Seconds for one document of at most a few kilobytes.
_LONGEST = 10.0
#: Failures that are shown.
_SHOWN = 5


class Hang(BaseException):
    """A document took too long; nothing that reads one catches this."""


@dataclasses.dataclass
class Outcome:
    """What became of the documents."""

    counts: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    #: Number and traceback of those that failed.
    failures: list[tuple[int, str]] = dataclasses.field(default_factory=list)


def run(seed: int, numbers: range) -> Outcome:
    """Try documents, each made of the seed and its number."""
    outcome = Outcome()

    def too_long(*_arguments: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, too_long)
    try:
        for number in numbers:
            content, is_yaml = documents.make(seed, number)
            signal.setitimer(signal.ITIMER_REAL, _LONGEST)
            try:
                _try(content, is_yaml, outcome.counts)
            except Hang:
                outcome.counts['hangs'] += 1
                outcome.failures.append((number, 'it took too long'))
            except Exception:
                outcome.counts['tracebacks'] += 1
                outcome.failures.append((number, traceback.format_exc()))
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            outcome.counts['documents'] += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    return outcome


def _try(
    content: bytes, is_yaml: bool, counts: collections.Counter[str]
) -> None:
    try:
        file = services.parse('x', content, is_yaml=is_yaml)
    except exceptions.GPUError as exc:
        _check_line(exc)
        counts['unreadable'] += 1
        return
    counts['readable'] += 1
    _judge(file, counts)
    changed = _edit(file, counts)
    if not changed or isinstance(file, derived_conf.DerivedFile):
        return
    try:
        for edited in file.files:
            edited.check_possible()
    except exceptions.UnsafeEdit as exc:
        _check_line(exc)
        if not exc.patch:
            raise AssertionError('no patch') from exc
        counts['refused edits'] += 1
        return
    after = file.content()
    again = services.parse('x', after, is_yaml=is_yaml)
    wanted = {
        (option, text)
        for option, text in changed
        if text not in _texts(again, option)
    }
    if wanted:
        raise AssertionError(f'{wanted} cannot be read back')
    left = collections.Counter(after.split(b'\n'))
    lost = collections.Counter(content.split(b'\n')) - left
    # The line before an edit at the end gets an end.
    if sum(lost.values()) > len(changed):
        raise AssertionError(f'{lost} was lost')
    counts['edits'] += len(changed)


def _judge(file: editable.Editable, counts: collections.Counter[str]) -> None:
    processes = [
        tree.process(
            configuration.ALL
            if reading.service is None
            else (reading.service,),
            'x',
            reading,
        )
        for reading in file.readings()
    ]
    plane = data_plane.DataPlaneObjects()
    for part in file.files:
        plane.read('x', part.content().decode())
    for located in configuration_rules.check(plane.deployment(processes)):
        if not located.finding.message:
            raise AssertionError(located)
        counts['findings'] += 1


def _edit(
    file: editable.Editable, counts: collections.Counter[str]
) -> list[tuple[nova_options.Names, str]]:
    """Add an alias and a device spec; return what was added."""
    changed = []
    for reading in file.edit_readings():
        try:
            if aliases.add(aliases.AliasDocument(file, reading), _ALIAS):
                changed.append((nova_options.ALIAS, _ALIAS.render()))
            if device_specs.add(
                device_specs.SpecDocument(file, reading), _ENTRY
            ):
                changed.append(
                    (nova_options.DEVICE_SPEC, device_specs.render(_ENTRY))
                )
        except exceptions.GPUError as exc:
            _check_line(exc)
            counts['refused edits'] += 1
    return changed


def _texts(file: editable.Editable, names: nova_options.Names) -> set[str]:
    return {
        text
        for reading in file.edit_readings()
        for text in services.ServiceConfiguration(file, reading).texts(*names)
    }


def _check_line(exc: Exception) -> None:
    text = str(exc)
    if not text or '\n' in text:
        raise AssertionError(f'not one line: {text!r}') from exc


def main() -> int:
    parser = argparse.ArgumentParser(prog='python -m tests.fuzz')
    parser.add_argument('--count', type=int, default=10_000)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--only', type=int)
    parsed = parser.parse_args()
    numbers = range(parsed.count)
    if parsed.only is not None:
        numbers = range(parsed.only, parsed.only + 1)
        content, is_yaml = documents.make(parsed.seed, parsed.only)
        sys.stdout.write(f'YAML: {is_yaml}\n{content!r}\n')
    began = time.monotonic()
    outcome = run(parsed.seed, numbers)
    took = time.monotonic() - began
    for number, text in outcome.failures[:_SHOWN]:
        sys.stdout.write(f'--only {number}\n{text}\n')
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    counts = outcome.counts
    sys.stdout.write(
        f'seed {parsed.seed}: {counts["documents"]} documents in {took:.0f} s '
        f'({counts["documents"] / took:.0f} a second): '
        f'{counts["readable"]} readable, {counts["unreadable"]} refused; '
        f'{counts["findings"]} findings; {counts["edits"]} edits, '
        f'{counts["refused edits"]} refused; {counts["tracebacks"]} '
        f'tracebacks, {counts["hangs"]} hangs; at most {peak} MiB\n'
    )
    return 1 if outcome.failures else 0
