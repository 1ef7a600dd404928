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

"""What to do about a result of a check, as data."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class SuggestedCommand:
    """A command of this plugin; commands render its command line."""

    #: Below ``openstack gpu``: ``host config create``.
    name: str
    #: Names of options without ``--``, and the value of each.
    options: tuple[tuple[str, str], ...] = ()
    #: What it does: ``creates these files``.
    effect: str = ''


@dataclasses.dataclass(frozen=True)
class Remedy:
    """What to do, and the command that helps."""

    #: Imperative, without a full stop: ``Add intel_iommu=on ..., reboot``.
    text: str
    command: SuggestedCommand | None = None
