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

"""Create flavors that request PCI devices, and change their requests."""

import collections.abc
import contextlib
import dataclasses
import typing

from openstack.compute.v2 import _proxy
from openstack import connection

from gpuclient.cloud import keystone
from gpuclient.cloud.nova import alias_probe
from gpuclient.cloud.nova import flavors as nova_flavors
from gpuclient import exceptions
from gpuclient.model import flavor as flavor_model
from gpuclient.model import release as release_model
from gpuclient.operations import flavor_check
from gpuclient.rules import finding
from gpuclient.rules import flavor as flavor_rules

_EXISTING_SERVERS = 'Existing servers keep the flavor that they booted with'


@dataclasses.dataclass(frozen=True)
class FlavorChange:
    """What to write to a flavor."""

    #: Number of devices by alias.
    requests: dict[str, int] = dataclasses.field(default_factory=dict)
    #: Remove all other aliases.
    no_alias: bool = False
    numa_policy: str | None = None
    properties: dict[str, str] = dataclasses.field(default_factory=dict)
    #: Write it in spite of findings, and of aliases that nova-api refuses.
    force: bool = False

    @property
    def is_empty(self) -> bool:
        return not (
            self.requests
            or self.no_alias
            or self.properties
            or self.numa_policy
        )

    def extra_specs(self, requests: dict[str, int]) -> dict[str, str]:
        """Return the extra specs to write.

        :param requests: All devices that the flavor requests then.
        :raises gpuclient.exceptions.InvalidValue: A property sets aliases.
        """
        specs = dict(self.properties)
        if flavor_model.ALIASES in specs:
            raise exceptions.InvalidValue(
                f'Use --alias instead of --property {flavor_model.ALIASES}'
            )
        if self.numa_policy is not None:
            specs[flavor_model.NUMA_POLICY] = self.numa_policy
        if requests:
            specs[flavor_model.ALIASES] = flavor_model.write_aliases(requests)
        return specs


@dataclasses.dataclass(frozen=True)
class EditedFlavor:
    """A flavor as it is now, with notes for the user."""

    flavor: flavor_model.Flavor
    notes: tuple[str, ...]
    #: What was done to it, ``created``; empty for nothing.
    done: str = ''


def change(
    cloud: connection.Connection,
    name_or_id: str,
    wanted: FlavorChange,
    release: release_model.Release | None = None,
) -> EditedFlavor:
    """Set extra specs of a flavor; aliases are merged by name.

    :raises gpuclient.exceptions.GPUError: Nothing was written, or the flavor
        was changed at the same time.
    """
    compute = cloud.compute
    nova_flavors.require_validation(compute)
    flavors = nova_flavors.list_flavors(compute)
    flavor = nova_flavors.find_flavor(compute, name_or_id, flavors)
    # The list may be outdated already.
    flavor = _refreshed(compute, flavor)
    specs = wanted.extra_specs(_merged_requests(flavor, wanted))
    _check_findings(
        cloud, _changed(flavor, specs, wanted), wanted.force, release
    )
    notes: list[str] = []
    if wanted.requests and not wanted.force:
        notes = _check_aliases(compute, wanted.requests, flavors)
    nova_flavors.write_extra_specs(compute, flavor, specs)
    written: dict[str, str | None] = dict(specs)
    if _clears_aliases(wanted) and flavor_model.ALIASES in (
        flavor.extra_specs or {}
    ):
        nova_flavors.delete_extra_spec(compute, flavor, flavor_model.ALIASES)
        written[flavor_model.ALIASES] = None
    return EditedFlavor(
        _read_back(compute, flavor, written),
        (*notes, _EXISTING_SERVERS),
        'changed',
    )


def _refreshed(
    compute: _proxy.Proxy, flavor: flavor_model.Flavor
) -> flavor_model.Flavor:
    return dataclasses.replace(
        flavor, extra_specs=nova_flavors.read_extra_specs(compute, flavor)
    )


def _clears_aliases(wanted: FlavorChange) -> bool:
    return wanted.no_alias and not wanted.requests


def _changed(
    flavor: flavor_model.Flavor, specs: dict[str, str], wanted: FlavorChange
) -> flavor_model.Flavor:
    """Return a flavor as it will be."""
    after = {**(flavor.extra_specs or {}), **specs}
    if _clears_aliases(wanted):
        after.pop(flavor_model.ALIASES, None)
    return dataclasses.replace(flavor, extra_specs=after)


def _merged_requests(
    flavor: flavor_model.Flavor, wanted: FlavorChange
) -> dict[str, int]:
    """Return all requests to write; empty if aliases are not changed."""
    if wanted.no_alias or not wanted.requests:
        return wanted.requests
    value = (flavor.extra_specs or {}).get(flavor_model.ALIASES, '')
    if not value:
        return wanted.requests
    requests, broken = flavor_model.read_aliases(value)
    if broken:
        raise exceptions.InvalidValue(
            f'{flavor_model.ALIASES} of flavor {flavor.name!r} is {value!r}, '
            'which Nova cannot parse. Replace it with --no-alias --alias '
            'NAME:COUNT'
        )
    return {**requests, **wanted.requests}


def _check_findings(
    cloud: connection.Connection,
    flavor: flavor_model.Flavor,
    force: bool,
    release: release_model.Release | None,
) -> None:
    """Make sure that Nova can create servers of a flavor.

    :raises gpuclient.exceptions.InvalidValue: It cannot.
    """
    classes = flavor_check.device_classes(cloud, [flavor])
    errors = finding.errors(flavor_rules.check(flavor, classes, release))
    if errors and not force:
        raise exceptions.InvalidValue(
            f'Flavor {flavor.name!r} was not changed: '
            f'{"; ".join(map(str, errors))}. Use --force to write it '
            'anyway'
        )


def _check_aliases(
    compute: _proxy.Proxy,
    names: collections.abc.Iterable[str],
    flavors: collections.abc.Sequence[flavor_model.Flavor],
) -> list[str]:
    """Return notes about aliases that could not be checked.

    :raises gpuclient.exceptions.InvalidAlias: nova-api refuses an alias.
    """
    with alias_probe.Prober(compute, flavors) as prober:
        notes = [
            note
            for name in names
            for reply in prober.ask(name)
            for note in _note(name, reply)
        ]
    return [*notes, *map(str, prober.failures)]


def _note(
    name: str, reply: alias_probe.Reply
) -> collections.abc.Iterator[str]:
    if reply.state is alias_probe.AliasState.UNKNOWN:
        yield f'Alias {name!r} could not be checked: {reply.explanation}'
    elif reply.state is not alias_probe.AliasState.DEFINED:
        raise exceptions.InvalidAlias(
            f'nova-api refuses alias {name!r}: {reply.explanation}. Define it '
            'with "openstack gpu alias create" and restart nova-api, or use '
            '--force to write it anyway'
        )


def _read_back(
    compute: _proxy.Proxy,
    flavor: flavor_model.Flavor,
    written: collections.abc.Mapping[str, str | None],
) -> flavor_model.Flavor:
    """Return the flavor as it is now.

    :param written: What was set, or unset where it is None.
    :raises gpuclient.exceptions.Conflict: It is not what was written.
    """
    flavor = _refreshed(compute, flavor)
    specs = flavor.extra_specs or {}
    lost = [key for key, value in written.items() if specs.get(key) != value]
    if lost:
        raise exceptions.Conflict(
            f'Flavor {flavor.name!r} was changed by another user at the same '
            f'time: {lost[0]} is now {specs.get(lost[0])!r}. Run the command '
            'again'
        )
    return flavor


def unset(
    cloud: connection.Connection,
    name_or_id: str,
    *,
    aliases: collections.abc.Collection[str],
    keys: collections.abc.Collection[str],
) -> EditedFlavor:
    """Remove aliases and extra specs from a flavor.

    :raises gpuclient.exceptions.NotFound: It does not have one of them;
        nothing was changed.
    """
    compute = cloud.compute
    nova_flavors.require_validation(compute)
    flavor = _refreshed(compute, nova_flavors.find_flavor(compute, name_or_id))
    written = _without(flavor, aliases, keys)
    for key, value in written.items():
        if value is None:
            nova_flavors.delete_extra_spec(compute, flavor, key)
        else:
            nova_flavors.write_extra_specs(compute, flavor, {key: value})
    return EditedFlavor(
        _read_back(compute, flavor, written), (_EXISTING_SERVERS,), 'changed'
    )


def _without(
    flavor: flavor_model.Flavor,
    aliases: collections.abc.Collection[str],
    keys: collections.abc.Collection[str],
) -> dict[str, str | None]:
    """Return the extra specs to write, or to delete where they are None."""
    specs = flavor.extra_specs or {}
    value = specs.get(flavor_model.ALIASES)
    requests, broken = flavor_model.read_aliases(value) if value else ({}, ())
    missing = [name for name in aliases if name not in requests]
    missing += [key for key in keys if key not in specs]
    if missing:
        raise exceptions.NotFound(
            f'Flavor {flavor.name!r} has no '
            f'{", ".join(map(repr, missing))}; nothing was changed'
        )
    written: dict[str, str | None] = dict.fromkeys(keys)
    if aliases:
        if broken:
            raise exceptions.InvalidValue(
                f'{flavor_model.ALIASES} of flavor {flavor.name!r} is '
                f'{value!r}, which Nova cannot parse. Remove it with '
                f'"openstack gpu flavor set {flavor.name} --no-alias"'
            )
        remaining = {
            name: count
            for name, count in requests.items()
            if name not in aliases
        }
        written[flavor_model.ALIASES] = (
            flavor_model.write_aliases(remaining) or None
        )
    return written


def create(
    cloud: connection.Connection,
    wanted: flavor_model.Flavor,
    projects: collections.abc.Iterable[str] = (),
    project_domain: str | None = None,
    *,
    force: bool = False,
    release: release_model.Release | None = None,
) -> EditedFlavor:
    """Create a flavor; it is deleted again if Nova refuses a part of it.

    :param wanted: Its id is empty where Nova is to choose one.
    :param projects: Names or ids of the projects that get access to it.
    :raises gpuclient.exceptions.Conflict: Another flavor has the name.
    """
    compute = cloud.compute
    _check_findings(cloud, wanted, force, release)
    nova_flavors.require_validation(compute)
    project_ids = [
        keystone.find_project(cloud, project, project_domain)
        for project in projects
    ]
    flavors = nova_flavors.list_flavors(compute)
    for flavor in flavors:
        if flavor.name == wanted.name:
            _check_same(compute, flavor, wanted, project_ids)
            return EditedFlavor(flavor, ('The flavor already exists',))
    notes = []
    if not wanted.is_public and not project_ids:
        notes.append(
            'No project has access, so only administrators see the flavor. '
            'Grant access with "openstack flavor set --project PROJECT '
            f'{wanted.name}"'
        )
    if not force:
        notes += _check_aliases(compute, wanted.aliases or {}, flavors)
    return EditedFlavor(
        _create(compute, wanted, project_ids), tuple(notes), 'created'
    )


def _create(
    compute: _proxy.Proxy,
    wanted: flavor_model.Flavor,
    project_ids: collections.abc.Iterable[str],
) -> flavor_model.Flavor:
    specs = wanted.extra_specs or {}
    flavor = nova_flavors.create_flavor(
        compute,
        wanted.name,
        vcpus=wanted.vcpus,
        ram=wanted.ram,
        disk=wanted.disk,
        is_public=wanted.is_public,
        flavor_id=wanted.id or None,
        swap=wanted.swap,
        **{'OS-FLV-EXT-DATA:ephemeral': wanted.ephemeral},
    )
    with _deleted_on_failure(compute, flavor):
        nova_flavors.write_extra_specs(compute, flavor, specs)
        for project_id in project_ids:
            nova_flavors.add_access(compute, flavor, project_id)
        return _read_back(compute, flavor, specs)


@contextlib.contextmanager
def _deleted_on_failure(
    compute: _proxy.Proxy, flavor: flavor_model.Flavor
) -> typing.Iterator[None]:
    try:
        yield
    except BaseException as exc:
        try:
            nova_flavors.delete_flavor(compute, flavor.id, missing_ok=True)
        except exceptions.CloudError as failure:
            raise exceptions.CloudError(
                f'{str(exc) or type(exc).__name__}; flavor {flavor.name!r} '
                f'was not deleted: {failure}'
            ) from exc
        raise


def _check_same(
    compute: _proxy.Proxy,
    flavor: flavor_model.Flavor,
    wanted: flavor_model.Flavor,
    project_ids: collections.abc.Collection[str],
) -> None:
    """Make sure that an existing flavor equals the one to create.

    :raises gpuclient.exceptions.Conflict: It differs; nothing was changed.
    """
    differences = [
        f'{field.name} {getattr(flavor, field.name)!r}'
        for field in dataclasses.fields(wanted)
        if field.name not in ('id', 'extra_specs')
        and getattr(flavor, field.name) != getattr(wanted, field.name)
    ]
    if wanted.id and wanted.id != flavor.id:
        differences.append(f'id {flavor.id!r}')
    specs = flavor.extra_specs or {}
    wanted_specs = wanted.extra_specs or {}
    differences += [
        f'{key} {specs.get(key)!r}'
        for key in sorted({*specs, *wanted_specs})
        if specs.get(key) != wanted_specs.get(key)
    ]
    if project_ids and not flavor.is_public:
        access = nova_flavors.list_access(compute, flavor)
        differences += [
            f'no access for project {project_id}'
            for project_id in project_ids
            if project_id not in access
        ]
    if differences:
        raise exceptions.Conflict(
            f'Flavor {flavor.name!r} exists, but differs: it has '
            f'{", ".join(differences)}. Change it with "openstack gpu flavor '
            'set" or "openstack flavor set", or choose another name'
        )
