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

"""Findings as SARIF 2.1.0, which code review systems show at the lines."""

import collections.abc
import json
import os
import typing
import urllib.parse

from gpuclient.files import atomic
from gpuclient.rules import finding

_SCHEMA = 'https://json.schemastore.org/sarif-2.1.0.json'
_LEVELS = {
    finding.Severity.ERROR: 'error',
    finding.Severity.WARNING: 'warning',
}


def render(
    findings: collections.abc.Iterable[finding.Located],
    properties: collections.abc.Mapping[str, typing.Any],
) -> str:
    """Return the log; paths below the working directory are relative.

    :param properties: Those of the run.
    """
    results = []
    codes: dict[str, None] = {}
    for located in findings:
        codes.setdefault(located.finding.code)
        place: dict[str, typing.Any] = {
            'artifactLocation': {'uri': _uri(located.place.path)}
        }
        if located.place.line is not None:
            place['region'] = {'startLine': located.place.line}
        results.append(
            {
                'ruleId': located.finding.code,
                'level': _LEVELS[located.finding.severity],
                'message': {'text': located.finding.message},
                'locations': [{'physicalLocation': place}],
            }
        )
    log = {
        '$schema': _SCHEMA,
        'version': '2.1.0',
        'runs': [
            {
                'tool': {
                    'driver': {
                        'name': 'openstack gpu config check',
                        'rules': [{'id': code} for code in sorted(codes)],
                    }
                },
                'results': results,
                'properties': dict(properties),
            }
        ],
    }
    return json.dumps(log, indent=1) + '\n'


def _uri(path: str) -> str:
    relative = os.path.relpath(path)
    if relative.startswith(os.pardir):
        return 'file://' + urllib.parse.quote(os.path.abspath(path))
    return urllib.parse.quote(relative.replace(os.sep, '/'))


def write(
    path: str,
    findings: collections.abc.Iterable[finding.Located],
    properties: collections.abc.Mapping[str, typing.Any],
) -> None:
    """Write the log to a file, which is replaced atomically.

    :param properties: Those of the run.
    :raises gpuclient.exceptions.DocumentError: It cannot be written.
    """
    atomic.write(path, render(findings, properties).encode())
