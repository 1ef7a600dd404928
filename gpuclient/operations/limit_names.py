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

"""From what a user calls a device to the name of its limit."""

import collections.abc
import functools

from openstack import connection

from gpuclient.cloud import aliases as cloud_aliases
from gpuclient.cloud.nova import hypervisors
from gpuclient.cloud.placement import devices as placement_devices
from gpuclient.cloud.placement import usages
from gpuclient.documents import aliases as alias_documents
from gpuclient.documents import catalogue as catalogue_documents
from gpuclient import exceptions
from gpuclient.model import inventory
from gpuclient.model import naming
from gpuclient.model import project as project_model

#: Classes whose names show that they are of devices.
_OF_DEVICES = ('CUSTOM_PCI_', 'VGPU', 'PGPU')


class LimitNames:
    """The names of limits, resolved with files and a cloud.

    The cloud is read only for names that need it, once for all of them.

    :param files: Configuration that defines aliases.
    """

    def __init__(
        self,
        cloud: connection.Connection,
        files: collections.abc.Iterable[str] = (),
        *,
        force: bool = False,
    ) -> None:
        self._cloud = cloud
        self._force = force
        #: What a user has to know about a name.
        self.notes: list[str] = []
        self._resolved: dict[str, str] = {}
        self._defined: dict[str, set[str]] = {}
        for document in alias_documents.read_all(files):
            for defined in document.aliases:
                name = defined.alias.placement_class
                if name is not None:
                    self._defined.setdefault(defined.alias.name, set()).add(
                        name
                    )

    @functools.cached_property
    def devices(self) -> tuple[inventory.Device, ...]:
        return placement_devices.read_devices(
            self._cloud.placement,
            count_hosts=lambda: hypervisors.count(self._cloud.compute),
        ).value

    @functools.cached_property
    def _classes(self) -> frozenset[str]:
        return usages.list_classes(self._cloud)

    @functools.cached_property
    def of_devices(self) -> frozenset[str]:
        """The resource classes of devices in Placement."""
        return frozenset(
            device.resource_class
            for device in self.devices
            if device.resource_class is not None
        )

    def are_devices(
        self, limit_names: collections.abc.Iterable[str]
    ) -> frozenset[str]:
        """Return the resource classes of limits that are of devices."""
        classes = {
            name.removeprefix(project_model.CLASS)
            for name in limit_names
            if name.startswith(project_model.CLASS)
        }
        by_name = {name for name in classes if name.startswith(_OF_DEVICES)}
        others = {
            name for name in classes - by_name if name.startswith('CUSTOM_')
        }
        if others:
            by_name |= others & (
                self.of_devices
                | frozenset(
                    name for names in self._defined.values() for name in names
                )
            )
        return frozenset(by_name)

    def resolve(self, text: str) -> str:
        """Return the name of the limit that a text names.

        :param text: A limit, a resource class, an alias or a GPU model.
        :raises gpuclient.exceptions.GPUError: It names none, or several.
        """
        name = self._resolved.get(text) or project_model.limit_name(text)
        if name is None:
            name = project_model.CLASS + self._class_of(text)
        self._resolved[text] = name
        return name

    def check_class(self, name: str) -> None:
        """Make sure that Placement has the class of a limit to set.

        :raises gpuclient.exceptions.NotFound: It does not.
        """
        resource_class = name.removeprefix(project_model.CLASS)
        if resource_class == name or not name.startswith('class:CUSTOM_'):
            return
        if not self._force and resource_class not in self._classes:
            raise exceptions.NotFound(
                f'Placement has no resource class {resource_class}, so that '
                f'a limit of it would limit nothing. Its classes of devices: '
                f'{self._listed()}. Use --force to set it anyway'
            )

    def _class_of(self, text: str) -> str:
        classes = self._defined.get(text)
        if classes is None:
            inferred = self._inferred(text)
            classes = {inferred} if inferred else None
        if classes is None:
            return self._class_of_model(text)
        if len(classes) > 1:
            raise exceptions.Ambiguous(
                f'Alias {text!r} has several resource classes: name one of '
                f'{", ".join(sorted(classes))}'
            )
        (name,) = classes
        return name

    def _inferred(self, text: str) -> str | None:
        alias = cloud_aliases.infer(self._cloud, [text], self.devices).get(
            text
        )
        return None if alias is None else alias.placement_class

    def _class_of_model(self, text: str) -> str:
        unknown = (
            f'The resource class of {text!r} is not known: no server shows '
            f'it as an alias'
        )
        remedy = (
            f'Pass --config with the nova.conf that defines the alias, or '
            f'name the class. Classes of devices: {self._listed()}'
        )
        models = catalogue_documents.load(None).find(text)
        if not models:
            raise exceptions.NotFound(
                f'{unknown}, and the catalogue has no such model. {remedy}'
            )
        by_class = {
            naming.resource_class(model.vendor_id, model.product_id): model
            for model in models
        }
        names = by_class.keys() & self.of_devices
        if not names and self._force and len(by_class) == 1:
            names = set(by_class)
        if not names:
            raise exceptions.NotFound(
                f'{unknown}, and no device in Placement has the class of a '
                f'model of this name ({", ".join(sorted(by_class))}). {remedy}'
            )
        if len(names) > 1:
            raise exceptions.Ambiguous(
                f'{text!r} matches models of several resource classes: name '
                f'one of {", ".join(sorted(names))}'
            )
        (name,) = names
        self.notes.append(
            f'{text!r} is taken as the model {by_class[name].name}: its limit '
            f'is {project_model.CLASS}{name}'
        )
        return name

    def _listed(self) -> str:
        try:
            return ', '.join(sorted(self.of_devices)) or 'none'
        except exceptions.CloudError as exc:
            return f'unknown ({exc})'
