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
"""The packages of other releases that a cloud runs."""

import dataclasses
import json
import pathlib

from gpuclient.rehearsal import nova_overlay
from gpuclient.rehearsal import placement_overlay


@dataclasses.dataclass(frozen=True)
class Overlays:
    """The Nova and the Placement of a cloud; None for an installed one."""

    nova: nova_overlay.NovaOverlay | None = None
    placement: placement_overlay.PlacementOverlay | None = None

    @property
    def versions(self) -> dict[str, str]:
        """The version of each distribution that runs.

        :raises RehearsalError: One is not installed.
        """
        nova, placement = self.nova, self.placement
        return {
            'nova': nova.version if nova else nova_overlay.installed(),
            'openstack-placement': (
                placement.version
                if placement
                else placement_overlay.installed()
            ),
        }

    def dumps(self) -> str:
        """Return them as an argument of a program."""
        return json.dumps(
            [
                overlay and [overlay.version, str(overlay.path)]
                for overlay in (self.nova, self.placement)
            ]
        )


def loads(text: str) -> Overlays:
    """Return what :meth:`Overlays.dumps` has returned."""
    nova, placement = json.loads(text)
    return Overlays(
        nova and nova_overlay.NovaOverlay(nova[0], pathlib.Path(nova[1])),
        placement
        and placement_overlay.PlacementOverlay(
            placement[0], pathlib.Path(placement[1])
        ),
    )
