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

"""Judge cases by another Nova: ``python -P -m tests.unit.differential.judge``.

The Nova that is first on ``PYTHONPATH`` judges. Reads a case a line from
standard input, ``{"comparison": ..., "case": ...}``, and writes a verdict a
line: ``{"accepted": ..., "difference": ..., "case": ...}``. The first line
that it writes has the version of Nova.
"""

import json
import logging
import os
import sys
import typing
import warnings

from gpuclient.rehearsal.nova_worker import compat

#: Differences of a comparison that are reduced, which takes time.
_MADE_SMALL = 3


def prepare() -> None:
    """Let an earlier Nova run with the libraries of the newest one."""
    os.environ['OS_NOVA_DISABLE_EVENTLET_PATCHING'] = '1'
    warnings.simplefilter('ignore')
    logging.getLogger('oslo_config').addHandler(logging.NullHandler())
    compat.install()
    from nova import monkey_patch

    patch = getattr(monkey_patch, 'patch', None)
    if patch is None:
        # Nova up to 31 does this on import.
        return
    try:
        patch(backend='threading')
    except TypeError:
        patch()


def main() -> int:
    prepare()
    from nova import version

    from tests.unit.differential import comparing

    comparisons = {one.name: one for one in comparing.comparisons()}
    small: dict[str, int] = dict.fromkeys(comparisons, 0)
    _write({'version': version.version_string()})
    for line in sys.stdin:
        asked = json.loads(line)
        comparison = comparisons[asked['comparison']]
        case = asked['case']
        accepted = comparison.accepts(case)
        difference = comparing.compare(comparison, case)
        if difference is None:
            _write({'accepted': accepted, 'difference': None})
            continue
        found = comparing.Disagreement(comparison, 0, case, difference)
        if small[comparison.name] < _MADE_SMALL:
            small[comparison.name] += 1
            found = comparing.smallest(found)
        _write(
            {
                'accepted': accepted,
                'difference': found.difference,
                'case': found.case,
            }
        )
    return 0


def _write(verdict: dict[str, typing.Any]) -> None:
    sys.stdout.write(json.dumps(verdict) + '\n')


if __name__ == '__main__':
    sys.exit(main())
