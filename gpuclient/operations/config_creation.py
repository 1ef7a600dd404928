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

"""Create the configuration of a deployment from a description."""

import dataclasses
import typing

from gpuclient.documents.generate import created_files
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import catalogue
from gpuclient.model import release as release_model
from gpuclient.operations import configuration_edits
from gpuclient.operations import device_names
from gpuclient.operations import release_choice
from gpuclient.rules import nova_release


@dataclasses.dataclass(frozen=True)
class CreatedConfiguration:
    """The files of a deployment, to be written, and what follows."""

    name: str
    #: The release of Nova that reads the files.
    release: release_choice.ChosenRelease
    target: str
    edits: list[configuration_edits.Edit[typing.Any]]
    #: Names of the resource providers that compute hosts will report.
    providers: list[str]
    next_steps: list[str]
    warnings: list[str]


def create(
    path: str,
    folder: str,
    models: catalogue.Catalogue,
    given: str | None = None,
) -> CreatedConfiguration:
    """Return the files that a description asks for.

    :param path: The description.
    :param folder: Where the files go; existing ones are edited.
    :param given: The release of Nova that reads them (``--release``); by
        default what existing files, or the target, imply.
    :raises gpuclient.exceptions.GPUError: A file cannot be read or edited, or
        the release refuses an alias.
    """
    description = created_files.read_description(path, models)
    chosen = release_choice.choose(given, (folder,), target=description.target)
    for alias in description.aliases:
        _check_alias(path, alias, chosen.release)
    creation = created_files.create(description)
    files, others = created_files.read_creation(folder, creation)
    return CreatedConfiguration(
        name=description.name,
        release=chosen,
        target=description.target,
        edits=[
            configuration_edits.Edit(
                file,
                services=file.services,
                restart=set(file.services) if file.changed else set(),
            )
            for file in files
        ],
        providers=[provider.name for provider in creation.providers],
        next_steps=list(creation.steps(others, path, folder)),
        warnings=[
            *creation.warnings,
            *(
                warning
                for alias in description.aliases
                for warning in device_names.check_alias(alias, models)
            ),
            *map(created_files.not_ours, others),
        ],
    )


def _check_alias(
    path: str, alias: alias_model.Alias, release: release_model.Release
) -> None:
    try:
        nova_release.parse_alias(alias.render(), release)
    except exceptions.InvalidAlias as exc:
        raise exceptions.InvalidAlias(
            f'{path}: alias {alias.name!r} is invalid in {release}: {exc}'
        ) from exc
