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

"""Create user data that installs the driver of a GPU in a guest."""

import dataclasses

from gpuclient.documents.generate import guest_user_data
from gpuclient.model import catalogue
from gpuclient.model import guest_driver

DISTRIBUTIONS = tuple(guest_driver.distributions())
MODULES = tuple(map(str, guest_driver.Modules))
REPOSITORIES = tuple(map(str, guest_driver.Repository))


@dataclasses.dataclass(frozen=True)
class GuestConfig:
    """User data, and what it installs."""

    #: Slug.
    model: str
    distribution: str
    repository: str
    #: None for a driver of the kernel.
    branch: str | None
    modules: str | None
    fabric_manager: bool
    #: Guests trust the modules under Secure Boot.
    is_signed: bool
    notes: tuple[str, ...]
    user_data: str
    script: str


def create(
    model: catalogue.Model,
    distribution: str,
    *,
    branch: str | None = None,
    modules: str | None = None,
    repository: str | None = None,
    fabric_manager: bool | None = None,
    secure_boot: bool = False,
) -> GuestConfig:
    """Return the user data for a model.

    :param distribution: One of :data:`DISTRIBUTIONS`.
    :raises gpuclient.exceptions.InvalidValue: No driver fits.
    """
    driver = guest_driver.choose(
        model,
        guest_driver.distributions()[distribution],
        guest_driver.Wishes(
            branch,
            None if modules is None else guest_driver.Modules(modules),
            None
            if repository is None
            else guest_driver.Repository(repository),
            fabric_manager,
            secure_boot,
        ),
    )
    return GuestConfig(
        model.slug,
        distribution,
        str(driver.repository),
        driver.branch,
        None if driver.modules is None else str(driver.modules),
        driver.fabric_manager,
        driver.is_signed,
        guest_user_data.notes(driver),
        guest_user_data.user_data(driver),
        guest_user_data.script(driver),
    )
