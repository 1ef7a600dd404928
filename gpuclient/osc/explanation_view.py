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

"""Explanations as text of 80 columns, and as objects."""

import collections.abc
import textwrap
import typing

from gpuclient.model import capacity
from gpuclient.model import conflicts
from gpuclient.model import explanation
from gpuclient.model import explanation_text
from gpuclient.model import failed_attempt
from gpuclient.model import inventory
from gpuclient.model import unseen
from gpuclient.operations import explanation as operation
from gpuclient.operations import server_explanation
from gpuclient import text

Record: typing.TypeAlias = dict[str, typing.Any]

_WIDTH = 79
#: Conflicts and hosts in the text; the object has all.
_CONFLICTS = 8
#: Titles of the tables of causes.
_RECORDED = 'What Nova recorded'
_HELD = 'What the server holds and does not use'
_UNSEEN = 'What Placement cannot see'


def record(explained: operation.Explanation) -> Record:
    """Return an explanation as an object, whose keys are stable."""
    evaluation = explained.evaluation
    return {
        'fits': explained.fits,
        'cause': explained.cause,
        'hosts': _names(evaluation.fitting),
        'hosts_of_cloud': len(evaluation.facts.hosts),
        'conditions': [
            {
                'key': row.condition.key,
                'kind': str(row.condition.kind),
                'condition': row.condition.name,
                'hosts': row.alone,
                'left': row.left,
                'lacks': [
                    {'reason': reason, 'hosts': _names(hosts)}
                    for reason, hosts in row.removed.items()
                ],
            }
            for row in evaluation.rows
        ],
        'conflicts': [
            {
                'conditions': [
                    condition.name for condition in conflict.conditions
                ],
                'without': [
                    {'condition': condition.name, 'hosts': _names(hosts)}
                    for condition, hosts in zip(
                        conflict.conditions, conflict.without, strict=True
                    )
                ],
            }
            for conflict in evaluation.conflicts
        ],
        'conflicts_complete': evaluation.conflict_sets.complete,
        'suggestions': [
            _suggestion(suggestion) for suggestion in explained.suggestions
        ],
        'unseen': list(map(cause, explained.unseen)),
        'placement': {
            'agrees': explained.placement.agrees,
            'hosts': list(explained.placement.hosts),
            'candidates': explained.placement.candidates,
            'note': explained.placement.note,
        },
        'notes': list(explained.notes),
    }


#: Keys of an explanation, in their order.
KEYS = (
    'fits',
    'cause',
    'hosts',
    'hosts_of_cloud',
    'conditions',
    'conflicts',
    'conflicts_complete',
    'suggestions',
    'unseen',
    'placement',
    'notes',
)


def server_record(explained: server_explanation.ServerExplanation) -> Record:
    """Return the explanation of a server as an object.

    The keys of the explanation are null for a server that has a host.
    """
    server = explained.details.server
    history = explained.history
    inner: Record = dict.fromkeys(KEYS)
    if explained.explanation is not None:
        inner = record(explained.explanation)
    inner['cause'] = server_sentence(explained)
    inner['unseen'] = [
        *map(cause, explained.causes),
        *map(cause, explained.leaks),
        *(inner['unseen'] or ()),
    ]
    return {
        'id': server.uuid,
        'name': server.name,
        'status': server.status,
        'host': server.host,
        'flavor': server.flavor_name,
        'devices': None
        if explained.devices is None
        else [
            {
                'id': device.uuid,
                'host': device.host,
                'address': device.address,
                'resource_class': device.resource_class,
                'amount': sum(
                    consumer.amount for consumer in device.consumers or ()
                ),
            }
            for device in explained.devices
        ],
        'fault': history.fault and history.fault.message,
        'last_action': history.actions[0].name if history.actions else None,
        'last_action_failed': history.actions[0].failed
        if history.actions
        else None,
        'migrations': [
            {
                'type': migration.kind,
                'status': migration.status,
                'source': migration.source or None,
                'destination': migration.destination or None,
            }
            for migration in history.migrations
        ],
        **inner,
    }


#: Options that explain a failed action.
_MOVES = {
    'evacuate': 'evacuate',
    'live-migration': 'live-migrate',
    'migrate': 'migrate',
    'resize': 'resize --flavor FLAVOR',
}


def server_sentence(explained: server_explanation.ServerExplanation) -> str:
    """Return one sentence: why a server has no host, or where it is."""
    server = explained.details.server
    if explained.explanation is not None:
        sentence = (
            failed_attempt.sentence(
                explained.explanation.evaluation,
                explained.causes,
                explained.explanation.unseen,
            )
            or explained.explanation.cause
        )
        return (
            f'Server {server.name!r} ({server.status}) has no host. {sentence}'
        )
    if explained.needs_host:
        text = f'Server {server.name!r} ({server.status}) has no host.'
        proved = [cause.text for cause in explained.causes if cause.proved]
        return f'{text} At its last attempt, {proved[0]}.' if proved else text
    where = f' on {server.host}' if server.host else ''
    text = f'Server {server.name!r} is {server.status}{where}'
    devices = explained.devices
    if devices:
        listed = ', '.join(
            f'{device.address or device.name} ({device.resource_class}'
            f'{_elsewhere(server, device)})'
            for device in devices
        )
        text += (
            f' with {len(devices)} device{"s"[: len(devices) > 1]}: {listed}'
        )
    elif devices is None:
        text += '; policy hides its devices'
    else:
        text += ' and holds no device'
    if explained.leaks and server.status != 'ERROR':
        return (
            f'{text}. However, {explained.leaks[0].text}: run "openstack gpu '
            f'placement check".'
        )
    if explained.is_explained:
        return f'{text}.'
    last = next(iter(explained.history.actions), None)
    if last is not None and last.failed:
        text += f'. Its last action, {last.name}, failed'
        if last.name in _MOVES:
            text += (
                f': see "openstack gpu server explain {server.uuid} --move '
                f'{_MOVES[last.name]}"'
            )
        return f'{text}.'
    return f'{text}. There is nothing to explain.'


def _elsewhere(server: inventory.Server, device: inventory.Device) -> str:
    """Return the host of a device, if the server is on another one."""
    if server.host is None or device.host == server.host:
        return ''
    return f', on {device.host}'


def show_server(explained: server_explanation.ServerExplanation) -> str:
    """Return the explanation of a server as text."""
    sections = [wrapped(server_sentence(explained))]
    inner = explained.explanation
    labels = {} if inner is None else inner.evaluation.labels
    if inner is not None:
        sections += _sections(inner)
    sections += _causes(_RECORDED, explained.causes, labels)
    sections += _causes(_HELD, explained.leaks, labels)
    if inner is not None:
        sections += _causes(_UNSEEN, inner.unseen, labels)
        sections += _ending(inner)
    return '\n\n'.join(sections) + '\n'


def cause(unseen_cause: unseen.UnseenCause) -> Record:
    """Return a cause as an object."""
    return {
        'code': unseen_cause.code,
        'proved': unseen_cause.text if unseen_cause.proved else None,
        'suspected': None if unseen_cause.proved else unseen_cause.text,
        'hosts': list(unseen_cause.hosts),
    }


def _suggestion(suggestion: operation.Suggestion) -> Record:
    condition = suggestion.condition
    return {
        'suggestion': suggestion.text,
        'hosts': list(suggestion.hosts),
        'condition': condition and condition.name,
        'amount': suggestion.amount,
        'others': [
            {'condition': other.name, 'amount': amount}
            for other, amount in suggestion.others
        ],
        'actions': [
            {
                'action': str(action.kind),
                'host': action.host,
                'id': action.target,
                'name': action.name,
            }
            for action in suggestion.actions
        ],
    }


def _names(
    hosts: collections.abc.Iterable[capacity.HostCapacity],
) -> list[str]:
    return [host.node.name for host in hosts]


def show(explained: operation.Explanation) -> str:
    """Return an explanation as text."""
    return compose(explained.cause, explained, explained.unseen)


def compose(
    sentence: str,
    explained: operation.Explanation,
    causes: collections.abc.Sequence[unseen.UnseenCause],
) -> str:
    """Return an explanation as text, with another first sentence."""
    sections = [
        wrapped(sentence),
        *_sections(explained),
        *_causes(_UNSEEN, causes, explained.evaluation.labels),
        *_ending(explained),
    ]
    return '\n\n'.join(sections) + '\n'


def _sections(explained: operation.Explanation) -> list[str]:
    return [
        _conditions(explained.evaluation),
        *_conflicts(explained.evaluation),
        *_suggestions(explained),
    ]


def _ending(
    explained: operation.Explanation,
) -> collections.abc.Iterator[str]:
    yield _placement(explained.placement)
    if explained.notes:
        yield '\n'.join(map(wrapped, explained.notes))


def wrapped(line: str, indent: str = '', further: str | None = None) -> str:
    """Return lines of 79 columns."""
    return '\n'.join(
        textwrap.wrap(
            text.escape(line),
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=indent if further is None else further,
            break_on_hyphens=False,
        )
    )


def _conditions(evaluation: explanation.Evaluation) -> str:
    rows = [
        (
            row.condition.name,
            str(row.alone),
            str(row.left),
            explanation_text.reasons(evaluation, row.removed),
        )
        for row in evaluation.rows
    ]
    total = len(evaluation.facts.hosts)
    return grid(
        ('Condition', 'Hosts', 'Left', 'Lacks'),
        [('(all compute nodes)', str(total), str(total), ''), *rows],
        (33, 5, 4, 32),
        (1, 2),
    )


def grid(
    header: collections.abc.Sequence[str],
    rows: collections.abc.Iterable[collections.abc.Sequence[str]],
    widths: collections.abc.Sequence[int],
    numeric: collections.abc.Container[int] = (),
) -> str:
    """Return a table with wrapped cells.

    :param numeric: Columns that are aligned to the right.
    """
    lines = []
    for number, row in enumerate((header, *rows)):
        if number == 1:
            lines.append('  '.join('-' * width for width in widths))
        cells = [
            textwrap.wrap(text.escape(cell), width, break_on_hyphens=False)
            or ['']
            for cell, width in zip(row, widths, strict=True)
        ]
        for position in range(max(map(len, cells))):
            parts = [
                _aligned(
                    cell[position] if position < len(cell) else '',
                    width,
                    to_right=column in numeric,
                )
                for column, (cell, width) in enumerate(
                    zip(cells, widths, strict=True)
                )
            ]
            lines.append('  '.join(parts).rstrip())
    return '\n'.join(lines)


def _aligned(cell: str, width: int, *, to_right: bool) -> str:
    return cell.rjust(width) if to_right else cell.ljust(width)


def _conflicts(
    evaluation: explanation.Evaluation,
) -> collections.abc.Iterator[str]:
    if not evaluation.conflicts or evaluation.wanted.refusal:
        return
    lines = ['Conditions that no host meets together:']
    for conflict in evaluation.conflicts[:_CONFLICTS]:
        lines.append(
            wrapped(
                ' + '.join(
                    condition.name for condition in conflict.conditions
                ),
                '* ',
                '  ',
            )
        )
        for condition, hosts in zip(
            conflict.conditions, conflict.without, strict=True
        ):
            fit = (
                f'{explanation_text.count_hosts(hosts)} '
                f'({explanation_text.names(evaluation, hosts)})'
                if hosts
                else 'still no host'
            )
            lines.append(
                wrapped(f'without "{condition.name}": {fit}', '    ', '      ')
            )
    more = len(evaluation.conflicts) - _CONFLICTS
    if more > 0:
        lines.append(f'* {more} more: see -f json')
    if not evaluation.conflict_sets.complete:
        lines.append(
            f'(sets of up to {conflicts.LARGEST} conditions; there are larger '
            f'ones)'
        )
    yield '\n'.join(lines)


def _suggestions(
    explained: operation.Explanation,
) -> collections.abc.Iterator[str]:
    for title, texts in (
        (
            'What frees a host, any one of these, the cheapest first:',
            [each.text for each in explained.suggestions if each.actions],
        ),
        (
            'What fits in place of it, any one of these:',
            [
                f'{each.text}: {_hosts(each, explained.evaluation)}'
                for each in explained.suggestions
                if each.amount is not None
            ],
        ),
    ):
        if texts:
            yield '\n'.join(
                [title, *(wrapped(text, '* ', '  ') for text in texts)]
            )


def _hosts(
    suggestion: operation.Suggestion, evaluation: explanation.Evaluation
) -> str:
    hosts = [
        host
        for host in evaluation.facts.hosts
        if host.node.name in suggestion.hosts
    ]
    return (
        f'{explanation_text.count_hosts(hosts)} '
        f'({explanation_text.names(evaluation, hosts)})'
    )


def _causes(
    title: str,
    causes: collections.abc.Sequence[unseen.UnseenCause],
    labels: collections.abc.Mapping[str, str],
) -> collections.abc.Iterator[str]:
    if not causes:
        return
    rows = []
    for cause in causes:
        line = cause.text
        if cause.hosts:
            shown = [labels.get(name, name) for name in cause.hosts[:3]]
            more = len(cause.hosts) - len(shown)
            line = ', '.join(shown) + (
                f' and {more} more: {line}' if more else f': {line}'
            )
        rows.append(
            (cause.code, line, '') if cause.proved else (cause.code, '', line)
        )
    yield f'{title}:\n' + grid(
        ('Code', 'Proved', 'Suspected'), rows, (6, 34, 35)
    )


def _placement(answer: operation.PlacementAnswer) -> str:
    if answer.agrees is None:
        return wrapped(f'Placement: {answer.note}.')
    if not answer.agrees:
        return wrapped(f'Placement disagrees: {answer.note}.')
    count = answer.candidates
    return wrapped(
        f'Placement agrees: it returns {count} '
        f'candidate{"" if count == 1 else "s"} for this request'
        + (
            f' on {explanation_text.count_hosts(answer.hosts)}.'
            if answer.hosts
            else '.'
        )
    )
