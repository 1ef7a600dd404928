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

"""Check whether a host is ready for passthrough."""

import dataclasses

from gpuclient.model import catalogue
from gpuclient.model import host as host_model
from gpuclient.operations import host_intent
from gpuclient.operations import muting
from gpuclient.rules import check_result
from gpuclient.rules import finding
from gpuclient.rules import host as host_rules


@dataclasses.dataclass(frozen=True)
class CheckedHost:
    """A host with the results of its checks."""

    name: str
    results: tuple[check_result.CheckResult, ...]

    @property
    def summary(self) -> tuple[check_result.CheckResult, ...]:
        """The findings, and a row a device for what passed."""
        return tuple(check_result.summary(self.results))

    def without(self, mutes: muting.Mutes) -> 'CheckedHost':
        """Return the host without the findings that are muted."""
        return CheckedHost(
            self.name,
            mutes.reported(
                self.results,
                lambda result: (result.code, object_names(self.name, result)),
            ),
        )

    @property
    def severities(self) -> frozenset[finding.Severity | None]:
        return frozenset(result.severity for result in self.results)


def check(
    host: host_model.Host,
    intents: host_intent.Intents,
    models: catalogue.Catalogue,
) -> CheckedHost:
    """Check a host.

    :param intents: Which devices are for guests.
    """
    return CheckedHost(
        host.name, host_rules.check(host, intents.of(host.name), models)
    )


def object_names(
    host: str, result: check_result.CheckResult
) -> tuple[str, ...]:
    """Return the names of the object of a result, the most precise first."""
    if result.device is None:
        return (host,)
    return f'{host} {result.device}', str(result.device), host
