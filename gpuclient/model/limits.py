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

"""Unified limits of Keystone, as Nova enforces them with oslo.limit."""

import dataclasses

#: ``nova/limit/placement.py:LEGACY_LIMITS``
_CLASS = 'class:'


def limit_name(resource_class: str) -> str:
    """Return the name of the limit on a resource class."""
    return f'{_CLASS}{resource_class}'


@dataclasses.dataclass(frozen=True)
class UnifiedLimits:
    """The limits that Nova reads: of its service, in its region.

    A limit of -1 does not limit.
    """

    #: Defaults by resource: ``class:CUSTOM_PCI_10DE_20F1``.
    registered: dict[str, int] = dataclasses.field(default_factory=dict)
    #: By project and resource.
    by_project: dict[tuple[str, str], int] = dataclasses.field(
        default_factory=dict
    )
    #: Registered for another service, or for no region or another one, so
    #: that Nova does not read them.
    elsewhere: frozenset[str] = frozenset()
    #: Why Nova does not use any limit; empty if it may.
    unused: str = ''
    #: The only project whose own limits Keystone may have shown; None if it
    #: showed those of all.
    only_of: str | None = None

    @property
    def are_in_use(self) -> bool:
        """Whether Nova may compare requests with them."""
        return bool(self.registered) and not self.unused

    def default_of(self, resource_class: str) -> int | None:
        """Return the registered limit on a class; None if there is none."""
        return self.registered.get(limit_name(resource_class))

    def of(self, project_id: str, resource_class: str) -> int | None:
        """Return the limit of a project.

        :returns: None if the class has none, or Keystone may not have shown
            that of the project.
        """
        name = limit_name(resource_class)
        if name not in self.registered:
            return None
        if (project_id, name) in self.by_project:
            return self.by_project[project_id, name]
        if self.only_of not in (None, project_id):
            return None
        return self.registered[name]
