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

"""Proofs as text of 80 columns, and as objects."""

import collections.abc
import textwrap

from gpuclient.operations import proof as operation
from gpuclient.osc import explanation_view
from gpuclient import text

_WIDTH = 79
#: Lines of the log of nova-scheduler in the text; the object has all.
_LINES = 4


def record(proof: operation.Proof) -> explanation_view.Record:
    """Return a proof as an object, whose keys are stable."""
    return {
        'state': str(proof.state),
        'nova': proof.nova or None,
        'request': _trial(proof.request),
        'suggestions': [_trial(trial) for trial in proof.suggestions],
        'not_rebuilt': list(proof.not_rebuilt),
        'seconds': round(proof.seconds, 1),
        'memory_mb': proof.memory_mb,
    }


def _trial(trial: operation.Trial) -> explanation_view.Record:
    return {
        'suggestion': trial.text or None,
        'state': str(trial.state),
        'reason': trial.reason or None,
        'selected': trial.selected,
        'error': trial.error or None,
        'candidates': list(trial.candidates),
        'removed': {
            name: list(hosts) for name, hosts in trial.removed.items()
        },
        'log': list(trial.log),
    }


def show(proof: operation.Proof) -> str:
    """Return a proof as text."""
    if not proof.nova:
        return _wrapped(f'Not tried: {proof.request.reason}.') + '\n'
    lines = [
        _wrapped(
            f'Tried in a rehearsal cloud with the nova-scheduler of Nova '
            f'{proof.nova} ({proof.seconds:.0f} s, {proof.memory_mb} MiB):'
        ),
        *_trial_lines('this request', proof.request),
    ]
    for trial in proof.suggestions:
        lines += _trial_lines(trial.text, trial)
    if proof.not_rebuilt:
        lines.append(
            _wrapped(
                f'The rehearsal cloud does not have: '
                f'{"; ".join(proof.not_rebuilt)}.'
            )
        )
    return '\n'.join(lines) + '\n'


def _trial_lines(
    name: str, trial: operation.Trial
) -> collections.abc.Iterator[str]:
    yield _wrapped(f'{trial.state}: {name}: {_result(trial)}', '* ', '  ')
    if trial.selected is None and trial.log:
        for line in trial.log[-_LINES:]:
            yield _wrapped(line, '    ', '      ')


def _result(trial: operation.Trial) -> str:
    selected = f'{trial.selected} is selected'
    match trial.state:
        case operation.State.PROVED if trial.selected:
            return f'{selected} ({trial.reason})' if trial.reason else selected
        case operation.State.PROVED:
            return trial.error.rstrip('.')
        case operation.State.INCONCLUSIVE:
            return f'{selected}, but {trial.reason}'
    return trial.reason


def _wrapped(line: str, indent: str = '', further: str = '') -> str:
    return '\n'.join(
        textwrap.wrap(
            text.escape(line),
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=further,
            break_on_hyphens=False,
        )
    )
