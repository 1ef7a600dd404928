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

"""Rules about the services and the machines of RHOSO node sets."""

import collections.abc
import posixpath

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.rules import finding

_NOVA = 'nova'
_REBOOT = 'reboot-os'
#: Services that have to come before others, and why. The order is that of the
#: operator's default (``openstack-operator``:
#: ``openstackdataplanenodeset_types.go``) and of ``architecture``:
#: ``examples/dt/nova/nova04delta``; edpm_kernel and edpm_tuned run in
#: ``bootstrap`` (``edpm-ansible``: ``playbooks/bootstrap.yml``).
_ORDER = (
    (
        'vfio-pci-bind',
        _REBOOT,
        'its files apply after the next reboot',
    ),
    (
        'bootstrap',
        _REBOOT,
        'it sets kernel arguments, which apply after the next reboot',
    ),
    (
        _REBOOT,
        _NOVA,
        'hosts that run Nova are not rebooted, unless edpm_reboot_strategy '
        'is force',
    ),
    ('install-certs', 'libvirt', 'libvirt needs the certificates'),
    ('libvirt', _NOVA, 'nova-compute needs libvirt'),
)

_Findings = collections.abc.Iterator[finding.Located]


def check_services(
    node_set: deployment.NodeSet,
    types: collections.abc.Mapping[str, str],
) -> _Findings:
    """Check which services are deployed on nodes, and in which order.

    :param types: ``edpmServiceType`` of known services.
    """
    if node_set.services is None:
        return
    known = [setting for setting in node_set.services if setting.is_known]
    first: dict[str, configuration.Setting] = {}
    for setting in known:
        kind = _type(setting.text, types)
        if kind not in first:
            first[kind] = setting
        elif setting.text != first[kind].text:
            # openstack-operator: internal/dataplane/service.go:dedupe
            yield finding.Located(
                finding.error(
                    'GPU316',
                    f'{setting.text!r} is not deployed: {first[kind].text!r} '
                    f'before it has the same type {kind!r}. Remove one of '
                    f'them',
                ),
                setting.place,
            )
    order = list(first)
    for earlier, later, reason in _ORDER:
        if (
            earlier in first
            and later in first
            and order.index(earlier) > order.index(later)
        ):
            yield finding.Located(
                finding.warning(
                    'GPU315',
                    f'{first[earlier].text!r} comes after '
                    f'{first[later].text!r}: {reason}. Move it before',
                ),
                first[earlier].place,
            )


def check_deployed(
    data_plane: deployment.DataPlane,
) -> _Findings:
    """Find configuration of nova-compute that is deployed on no host.

    The service ``nova`` only mounts ``nova-extra-config``; a custom service
    replaces it in the list of a node set.
    """
    types = {service.name: service.type for service in data_plane.services}
    deployed = {
        setting.text: setting
        for node_set in data_plane.node_sets
        for setting in (*(node_set.services or ()), *data_plane.overrides)
    }
    others = [
        setting
        for name, setting in deployed.items()
        if _type(name, types) == _NOVA
    ]
    defaults = [
        node_set
        for node_set in data_plane.node_sets
        if node_set.services is None and not node_set.partial
    ]
    if others:
        instead = f'{others[0].place} has {others[0].text!r}'
    elif defaults:
        instead = f'{defaults[0].place} has the default services'
    elif deployed:
        instead = 'no nova-compute is started'
    else:
        # There are no node sets.
        return
    # A service that is deployed may mount the same ConfigMaps.
    mounted = {
        name
        for service in data_plane.services
        if service.name in deployed
        for name in service.config_maps
    }
    for service in data_plane.services:
        if (
            service.type == _NOVA
            and service.process is not None
            and service.name not in deployed
            and not (
                service.config_maps and mounted >= set(service.config_maps)
            )
        ):
            yield finding.Located(
                finding.warning(
                    'GPU317',
                    f'No node set deploys {service.name!r}, so its '
                    f'configuration of nova-compute is not used: {instead}. '
                    f'Add {service.name} to the services of the node set',
                ),
                service.place,
            )


def _type(name: str, types: collections.abc.Mapping[str, str]) -> str:
    """Return the edpmServiceType of a service."""
    if name in types:
        return types[name]
    # The documentation of RHOSO names custom services so.
    return _NOVA if name.startswith('nova-custom') else name


def check_reboot(settings: configuration.HostSettings) -> _Findings:
    """Check that hosts with new kernel arguments are rebooted."""
    strategy, arguments = settings.reboot_strategy, settings.kernel_arguments
    if (
        strategy is not None
        and strategy.text.strip().lower() == 'never'
        and arguments is not None
        and arguments.text.strip()
    ):
        yield finding.Located(
            finding.warning(
                'GPU318',
                f'edpm_reboot_strategy is never, but hosts need a reboot for '
                f'their kernel arguments ({arguments.place}). Set it to auto, '
                f'or reboot them',
            ),
            strategy.place,
        )


def machines_of(
    node_set: deployment.NodeSet,
    machines: collections.abc.Iterable[configuration.Machine],
) -> list[configuration.Machine]:
    """Return the machines that the selector of a node set matches."""
    return [
        machine
        for machine in machines
        if _matches(node_set.selector, machine.labels)
        and any(
            _matches(node.selector, machine.labels) for node in node_set.nodes
        )
    ]


def _matches(
    selector: configuration.Labels, labels: configuration.Labels
) -> bool:
    return set(selector) <= set(labels)


class Machines:
    """Machines, by the folders of their files."""

    def __init__(
        self, machines: collections.abc.Iterable[configuration.Machine]
    ) -> None:
        self._within: dict[str, list[configuration.Machine]] = {}
        self._below: dict[str, list[configuration.Machine]] = {}
        for machine in machines:
            folder = posixpath.dirname(_path(machine.place))
            self._within.setdefault(folder, []).append(machine)
            above = posixpath.dirname(folder)
            self._below.setdefault(above, []).append(machine)

    def of(self, node_set: deployment.NodeSet) -> list[configuration.Machine]:
        """Return the machines for a node set.

        Their files are in its folder, or else in the one above, or in one
        beside it.
        """
        folder = posixpath.dirname(_path(node_set.place))
        above = posixpath.dirname(folder)
        return (
            self._within.get(folder)
            or self._within.get(above)
            or self._below.get(above, [])
        )


def _path(place: configuration.Place) -> str:
    return posixpath.normpath(place.path)


def check_machines(
    node_set: deployment.NodeSet,
    machines: collections.abc.Sequence[configuration.Machine],
) -> _Findings:
    """Check that the operator can find a machine for each node.

    ``openstack-baremetal-operator``: ``openstackbaremetalset.go``, which
    selects machines with all labels of the set's selector, and for each node
    one of these with all labels of the node's.

    :param machines: Of the node set; empty if unknown.
    """
    if not machines or node_set.selector_place is None or not node_set.nodes:
        return
    available = [
        machine
        for machine in machines
        if _matches(node_set.selector, machine.labels)
    ]
    if not available:
        yield finding.Located(
            finding.error(
                'GPU319',
                f'bmhLabelSelector {_render(node_set.selector)} matches no '
                f'bare metal host: {_known(machines)}',
            ),
            node_set.selector_place,
        )
        return
    candidates = {
        node.name: [
            number
            for number, machine in enumerate(available)
            if _matches(node.selector, machine.labels)
        ]
        for node in node_set.nodes
    }
    unmatched = [node for node in node_set.nodes if not candidates[node.name]]
    for node in unmatched:
        yield finding.Located(
            finding.error(
                'GPU319',
                f'bmhLabelSelector {_render(node.selector)} of '
                f'{node.name!r} matches no bare metal host: '
                f'{_known(available)}',
            ),
            node.place,
        )
    if not unmatched and not _assign(candidates):
        yield finding.Located(
            finding.error(
                'GPU320',
                f'Not enough matching bare metal hosts for '
                f'{len(node_set.nodes)} nodes ("unable to find '
                f'{len(node_set.nodes)} requested BaremetalHosts"): '
                f'{_known(available)}',
            ),
            node_set.selector_place,
        )


def _render(labels: configuration.Labels) -> str:
    return ', '.join(f'{key}: {value}' for key, value in labels) or '{}'


def _known(
    machines: collections.abc.Sequence[configuration.Machine],
) -> str:
    text = '; '.join(
        f'{machine.name} has {_render(machine.labels)}'
        for machine in machines[:3]
    )
    more = len(machines) - 3
    return f'{text}; {more} more' if more > 0 else text


def _assign(candidates: dict[str, list[int]]) -> bool:
    """Return whether each node can have its own machine (augmenting paths)."""
    owner: dict[int, str] = {}
    assigned: dict[str, int] = {}
    for name in candidates:
        reached: dict[int, str] = {}
        number = _free_machine(name, candidates, owner, reached)
        if number is None:
            return False
        while True:
            # Each node on the path gets the machine of the next one.
            node = reached[number]
            before = assigned.get(node)
            owner[number] = node
            assigned[node] = number
            if node == name or before is None:
                break
            number = before
    return True


def _free_machine(
    name: str,
    candidates: dict[str, list[int]],
    owner: dict[int, str],
    reached: dict[int, str],
) -> int | None:
    """Return a free machine at the end of a path from a node.

    :param reached: Set to the node from which each machine was reached.
    """
    nodes = [name]
    while nodes:
        node = nodes.pop()
        for number in candidates[node]:
            if number in reached:
                continue
            reached[number] = node
            if number not in owner:
                return number
            nodes.append(owner[number])
    return None
