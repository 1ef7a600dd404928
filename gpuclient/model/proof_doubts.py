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

"""What a rehearsal does not show: why a real server failed.

A rehearsal cloud has what is known of a cloud. Where the real server failed
and nova-scheduler of the rehearsal selects a host, the cause is probably what
the rehearsal does not have, so that its decision proves nothing.
"""

import collections.abc

from gpuclient.model import explanation
from gpuclient.model import failed_attempt
from gpuclient.model import unseen

_Causes = collections.abc.Sequence[unseen.UnseenCause]

#: Causes that a rehearsal has: options of nova-scheduler are copied.
_REBUILT = frozenset({'GPU642', 'GPU643', 'GPU647'})


def of_failure(
    evaluation: explanation.Evaluation, recorded: _Causes, causes: _Causes
) -> str:
    """Return why a selected host says nothing about a server that failed.

    Empty if no failure is recorded, or if Placement returned no candidate: it
    is asked again, so that the cloud has changed since.

    :param recorded: What Nova recorded of the last attempt.
    :param causes: What Placement does not see.
    """
    failure = next((cause for cause in recorded if cause.proved), None)
    if failure is None or failure.code == failed_attempt.NO_CANDIDATE:
        return ''
    text = (
        f'at the last attempt of the server {_step(failure)} '
        f'({failure.code}): the rehearsal does not show this failure, so that '
        f'the likely cause is something that it does not have'
    )
    suspected = failed_attempt.suspects(evaluation, recorded, causes)
    if suspected:
        listed = '; '.join(
            f'{cause.code}, {cause.text}' for cause in suspected
        )
        return f'{text} (suspected: {listed})'
    return f'{text}, unless the cloud has changed since'


def _step(failure: unseen.UnseenCause) -> str:
    if failure.code == failed_attempt.FILTERED:
        return 'filters excluded all hosts that Placement returned'
    return failure.text


def of_host(causes: _Causes, host: str) -> str:
    """Return why a host is probably excluded all the same; empty if not."""
    for cause in causes:
        if cause.is_likely and host in cause.hosts:
            return (
                f'the rehearsal does not have what probably excludes it '
                f'({cause.code}: {cause.text})'
            )
    return ''


def missing(
    recorded: _Causes, causes: _Causes
) -> collections.abc.Iterator[str]:
    """Yield what a rehearsal does not have of what may exclude a host."""
    if failed_attempt.is_of_compute(recorded):
        yield 'nova-compute, which refused the server'
    for cause in causes:
        if not cause.proved and cause.code not in _REBUILT:
            yield f'what {cause.code} suspects: {cause.text}'
