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

"""Why a server failed, although hosts fit by all that is known.

What Nova recorded of the last attempt (:mod:`gpuclient.model.server_history`)
shows which step failed, and so which of the unseen causes
(:mod:`gpuclient.model.unseen`) can be that of the failure.
"""

import collections.abc

from gpuclient.model import explanation
from gpuclient.model import explanation_text
from gpuclient.model import unseen

_Causes = collections.abc.Iterable[unseen.UnseenCause]

#: Placement returned no candidate.
NO_CANDIDATE = 'GPU649'
#: Filters of nova-scheduler excluded all hosts.
FILTERED = 'GPU650'
#: The cloud has changed since.
CHANGED = 'GPU656'
#: Causes that change what nova-scheduler requests from Placement: keys of an
#: alias, and request filters (``nova/scheduler/request_filter.py``).
_OF_PLACEMENT = frozenset({'GPU640', 'GPU644'})
#: Causes for which nova-compute refuses the server: without
#: PciPassthroughFilter, nova-scheduler does not exclude the host.
_OF_COMPUTE = frozenset({'GPU642', 'GPU645'})
#: Failures of nova-compute, libvirt or QEMU.
_BY_COMPUTE = frozenset({'GPU420', 'GPU426', 'GPU651', 'GPU652', 'GPU653'})


def suspects(
    evaluation: explanation.Evaluation, recorded: _Causes, causes: _Causes
) -> tuple[unseen.UnseenCause, ...]:
    """Return the unseen causes that the failure can have, likely ones first.

    :param recorded: What Nova recorded of the last attempt.
    :param causes: What Placement does not see.
    """
    fitting = {host.node.name for host in evaluation.fitting}
    code = _code(recorded)
    return tuple(
        sorted(
            (
                cause
                for cause in causes
                if _is_consistent(cause, code)
                and (not cause.hosts or fitting & set(cause.hosts))
            ),
            key=lambda cause: not is_likely(cause),
        )
    )


def _code(recorded: _Causes) -> str:
    """Return the code of the failure; empty if none is recorded."""
    return next((cause.code for cause in recorded if cause.proved), '')


def is_of_compute(recorded: _Causes) -> bool:
    """Return whether nova-compute refused the server."""
    return _code(recorded) in _BY_COMPUTE


def _is_consistent(cause: unseen.UnseenCause, code: str) -> bool:
    if code == FILTERED:
        return cause.code not in ('GPU642', 'GPU654')
    if code == NO_CANDIDATE:
        return cause.code in _OF_PLACEMENT
    return cause.code in _OF_COMPUTE


def excludes_all(
    evaluation: explanation.Evaluation, suspected: _Causes
) -> bool:
    """Return whether likely causes exclude all hosts that fit otherwise."""
    left = {host.node.name for host in evaluation.fitting}
    for cause in suspected:
        if is_likely(cause):
            left -= set(cause.hosts or left)
    return not left


def sentence(
    evaluation: explanation.Evaluation,
    recorded: collections.abc.Sequence[unseen.UnseenCause],
    causes: _Causes,
) -> str:
    """Return why a server failed that fits; empty if Nova recorded nothing.

    See :func:`suspects`.
    """
    code = _code(recorded)
    if not evaluation.fitting or not code:
        return ''
    returned = evaluation.in_placement
    total = explanation_text.count_hosts(evaluation.facts.hosts)
    hosts = (
        f'{len(returned)} of {total} '
        f'({explanation_text.names(evaluation, returned)})'
    )
    suspected = suspects(evaluation, recorded, causes)
    if code == FILTERED:
        text = (
            f'Placement returns {hosts}, but at the last attempt filters of '
            f'nova-scheduler excluded all hosts that it returned ({code}). '
        )
    elif code == NO_CANDIDATE:
        text = (
            f'At the last attempt Placement returned no candidate ({code}). '
            f'It now returns {hosts}. '
        )
    else:
        (text, *_others) = [cause.text for cause in recorded if cause.proved]
        text = (
            f'At the last attempt, {text} ({code}). Placement returns {hosts}.'
        )
        return f'{text} {_likeliest(suspected)}' if suspected else text
    changed = tuple(cause for cause in recorded if cause.code == CHANGED)
    if suspected:
        return text + _likeliest((*suspected, *changed))
    them = 'it' if len(returned) == 1 else 'them'
    return text + (
        f'Nothing that is known excludes {them}: the cloud has changed since, '
        f'such as a host that was freed, or the server requested a host or a '
        f'scheduler hint that Nova does not show ({CHANGED}).'
    )


def _likeliest(
    suspected: collections.abc.Sequence[unseen.UnseenCause],
) -> str:
    """Return the first cause, and the codes of the others."""
    (first, *others) = suspected
    title = f'{first.code} is suspected'
    if is_likely(first):
        title = f'The likeliest cause is {first.code}'
    text = f'{title}: {first.text}.'
    codes = dict.fromkeys(
        cause.code for cause in others if cause.code != first.code
    )
    if codes:
        text += f' Suspected besides: {", ".join(codes)}.'
    return text


def is_likely(cause: unseen.UnseenCause) -> bool:
    """Return whether all that is known says that it excludes hosts."""
    return cause.proved or cause.is_likely
