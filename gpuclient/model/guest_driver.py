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

"""Which driver a guest needs for a GPU that is passed through to it.

It is always the standard driver, never the vGPU guest driver. Distributions,
branches and packages are in ``gpuclient/data/guest/drivers.json``.
"""

import collections.abc
import dataclasses
import enum
import functools
import typing

from gpuclient import data
from gpuclient import exceptions
from gpuclient.model import catalogue


class Repository(enum.StrEnum):
    """Whose packages are installed."""

    #: Those of the distribution.
    DISTRIBUTION = 'distribution'
    #: Those of developer.download.nvidia.com.
    NVIDIA = 'nvidia'


class Modules(enum.StrEnum):
    """Kinds of NVIDIA's kernel modules."""

    OPEN = 'open'
    PROPRIETARY = 'proprietary'


class Family(enum.StrEnum):
    """Distributions with the same package manager and package names."""

    UBUNTU = 'ubuntu'
    DEBIAN = 'debian'
    RHEL = 'rhel'


@dataclasses.dataclass(frozen=True)
class Distribution:
    """A release of a distribution."""

    #: ``ubuntu-24.04``
    slug: str
    name: str
    family: Family
    #: Folder in NVIDIA's repository.
    repository: str
    #: Branches of the driver by repository, the oldest first.
    branches: dict[Repository, tuple[str, ...]]
    #: Codename of a release of Debian.
    codename: str = ''
    #: Its own packages of the open kernel modules cannot be installed.
    proprietary_only: bool = False

    @property
    def vendor(self) -> str:
        """``rocky``"""
        return self.slug.partition('-')[0]

    @property
    def version(self) -> str:
        """``24.04``"""
        return self.slug.partition('-')[2]


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What the user chose; None leaves the choice to the model."""

    branch: str | None = None
    modules: Modules | None = None
    repository: Repository | None = None
    fabric_manager: bool | None = None
    #: The guest boots with Secure Boot.
    secure_boot: bool = False


@dataclasses.dataclass(frozen=True)
class Driver:
    """The driver to install in a guest."""

    model: catalogue.Model
    distribution: Distribution
    repository: Repository
    #: Branch of NVIDIA's driver; None for a driver of the kernel.
    branch: str | None = None
    #: None for a driver of the kernel.
    modules: Modules | None = None
    fabric_manager: bool = False
    #: NVLSM, which Fabric Manager needs with NVLink 5.
    subnet_manager: bool = False

    @property
    def is_nvidia(self) -> bool:
        return self.branch is not None

    @property
    def has_external_fabric(self) -> bool:
        """Whether nothing in the guest configures the NVLink fabric."""
        return _has_external_fabric(self.model)

    @property
    def is_arm(self) -> bool:
        """Whether the host of the GPU has a Grace CPU."""
        return self.model.form_factor in _content()['arm']

    @property
    def is_built(self) -> bool:
        """Whether dkms builds the modules in the guest."""
        return self.is_nvidia and not self.is_signed

    @property
    def is_signed(self) -> bool:
        """Whether guests trust the modules under Secure Boot as they are."""
        return not self.is_nvidia or _has_signed(
            self.distribution, self.repository
        )


@functools.cache
def distributions() -> dict[str, Distribution]:
    """Return the distributions by their slugs."""
    return {
        slug: Distribution(
            slug,
            record['name'],
            Family(record['family']),
            record['repository'],
            {
                Repository(repository): tuple(branches)
                for repository, branches in record['branches'].items()
            },
            record.get('codename', ''),
            record.get('proprietary_only', False),
        )
        for slug, record in _content()['distributions'].items()
    }


@functools.cache
def _content() -> dict[str, typing.Any]:
    return data.load('guest/drivers.json')


def choose(
    model: catalogue.Model, distribution: Distribution, wishes: Wishes
) -> Driver:
    """Return the driver of a model for a distribution.

    :raises gpuclient.exceptions.InvalidValue: The model does not work with
        what was chosen, or with any driver of the distribution.
    """
    if model.driver != 'nvidia':
        return _of_kernel(model, distribution, wishes)
    kinds = _modules(model, wishes.modules)
    fabric_manager = (
        model.nvswitch and not _has_external_fabric(model)
        if wishes.fabric_manager is None
        else wishes.fabric_manager
    )
    subnet_manager = (
        fabric_manager and model.architecture in _content()['subnet_manager']
    )
    candidates = [
        Driver(
            model,
            distribution,
            repository,
            branch,
            modules,
            fabric_manager,
            subnet_manager,
        )
        for modules in kinds
        for repository in Repository
        if wishes.repository in (None, repository)
        for branch in distribution.branches.get(repository, ())
        if wishes.branch in (None, branch)
    ]
    refusals: list[str] = []
    fitting = []
    for candidate in candidates:
        refusal = _refusal(candidate, secure_boot=wishes.secure_boot)
        if refusal:
            refusals.append(refusal)
        else:
            fitting.append(candidate)
    if not fitting:
        raise exceptions.InvalidValue(
            f'No driver for {model.name} in {distribution.name}: '
            + _why(distribution, wishes, refusals)
        )
    return min(fitting, key=_rank)


def _has_external_fabric(model: catalogue.Model) -> bool:
    """Return whether switch trays of the rack configure the fabric."""
    return model.form_factor in _content()['external_fabric']


def _of_kernel(
    model: catalogue.Model, distribution: Distribution, wishes: Wishes
) -> Driver:
    """Return a driver that is part of the kernel."""
    if model.driver is None:
        raise exceptions.InvalidValue(
            f'The catalogue does not know the driver of {model.name}: add '
            '"driver" to your own catalogue (--catalogue)'
        )
    if (
        wishes.branch is not None
        or wishes.modules is not None
        or wishes.repository is Repository.NVIDIA
        or wishes.fabric_manager
    ):
        raise exceptions.InvalidValue(
            f'{model.name} has the driver {model.driver} of the kernel: '
            '--driver-branch, --modules, --repository nvidia and '
            '--fabric-manager are for NVIDIA only'
        )
    return Driver(model, distribution, Repository.DISTRIBUTION)


def _modules(
    model: catalogue.Model, wish: Modules | None
) -> tuple[Modules, ...]:
    """Return the kinds of modules that a model works with.

    :raises gpuclient.exceptions.InvalidValue: It does not work with those
        that were chosen.
    """
    need = model.open_kernel_modules
    if need == 'unsupported':
        if wish is Modules.OPEN:
            raise exceptions.InvalidValue(
                f'{model.name} does not work with the open kernel modules: '
                'use --modules proprietary'
            )
        return (Modules.PROPRIETARY,)
    if need == 'required':
        if wish is Modules.PROPRIETARY:
            raise exceptions.InvalidValue(
                f'{model.name} only works with the open kernel modules: use '
                '--modules open'
            )
        return (Modules.OPEN,)
    return tuple(Modules) if wish is None else (wish,)


def _refusal(driver: Driver, *, secure_boot: bool) -> str:
    """Return why a driver does not fit; empty if it does."""
    content = _content()
    branch = int(driver.branch or 0)
    floor = driver.model.driver_floor
    if floor is not None and branch < int(floor):
        return f'branch {branch} is older than {floor}, its first branch'
    last = content['last_branches'].get(driver.model.architecture)
    if last is not None and branch > int(last):
        return f'branch {branch} is newer than {last}, its last branch'
    if driver.modules is Modules.OPEN and branch < int(content['open_from']):
        return f'branch {branch} has no open kernel modules'
    if secure_boot and not driver.is_signed:
        return (
            f'the modules of the repository {driver.repository} are not '
            'signed with a key that guests trust (Secure Boot)'
        )
    if driver.repository is Repository.NVIDIA:
        return ''
    if driver.distribution.proprietary_only and (
        driver.modules is Modules.OPEN
    ):
        return 'the open kernel modules of the distribution are broken'
    if driver.subnet_manager:
        return 'the distribution has no NVLSM, which Fabric Manager needs'
    if driver.fabric_manager and driver.distribution.family is Family.DEBIAN:
        return 'the distribution has no Fabric Manager'
    return ''


def _why(
    distribution: Distribution,
    wishes: Wishes,
    refusals: collections.abc.Sequence[str],
) -> str:
    if refusals:
        return '; '.join(dict.fromkeys(refusals))
    known = '; '.join(
        f'{repository} {", ".join(branches)}'
        for repository, branches in distribution.branches.items()
    )
    chosen = ' '.join(
        part
        for part in (
            wishes.repository and f'repository {wishes.repository}',
            wishes.branch and f'branch {wishes.branch}',
        )
        if part
    )
    return f'it has no {chosen}; its branches: {known}'


def _rank(driver: Driver) -> tuple[bool, bool, bool, int]:
    """Return the rank of a driver that fits; the lowest is chosen."""
    return (
        driver.repository is not Repository.DISTRIBUTION,
        driver.modules is not Modules.OPEN,
        driver.branch != _content()['branch'],
        -int(driver.branch or 0),
    )


def _has_signed(distribution: Distribution, repository: Repository) -> bool:
    # Canonical signs the modules of its kernels; others are built in the
    # guest.
    return (
        distribution.family is Family.UBUNTU
        and repository is Repository.DISTRIBUTION
    )
