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

"""Rules about the node sets of RHOSO: what is deployed, in which order."""

import collections.abc
import posixpath

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.rules import finding

_NOVA = 'nova'
_REBOOT = 'reboot-os'
#: What has to come before what, and why. The order is that of the operator's
#: default (``openstack-operator``: ``openstackdataplanenodeset_types.go``)
#: and of ``architecture``: ``examples/dt/nova/nova04delta``; edpm_kernel and
#: edpm_tuned run in ``bootstrap`` (``edpm-ansible``:
#: ``playbooks/bootstrap.yml``).
_ORDER = (
    (
        'vfio-pci-bind',
        _REBOOT,
        'what it writes counts after the next reboot',
    ),
    (
        'bootstrap',
        _REBOOT,
        'it sets kernel arguments, which count after the next reboot',
    ),
    (
        _REBOOT,
        _NOVA,
        'hosts that run Nova are not rebooted, unless edpm_reboot_strategy '
        'is force',
    ),
    ('install-certs', 'libvirt', 'libvirt needs the certificates'),
    ('libvirt', _NOVA, 'nova-compute starts where libvirt runs'),
)

_Findings = collections.abc.Iterator[finding.Located]


def check_services(
    node_set: deployment.NodeSet,
    types: collections.abc.Mapping[str, str],
) -> _Findings:
    """Check what is deployed on the nodes, and in which order.

    :param types: ``edpmServiceType`` of the services that are known.
    """
    if node_set.services is None:
        return
    known = [one for one in node_set.services if one.is_known]
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
                    f'{setting.text!r} is not deployed: '
                    f'{first[kind].text!r} before it is of the type '
                    f'{kind!r}, too',
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
                    f'{first[later].text!r}: {reason}',
                ),
                first[earlier].place,
            )


def check_deployed(
    data_plane: deployment.DataPlane,
) -> _Findings:
    """Find configuration of nova-compute that reaches no host.

    The service ``nova`` mounts ``nova-extra-config`` alone; a service of
    one's own takes its place in the list of a node set.
    """
    types = {one.name: one.type for one in data_plane.services}
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
        # Node sets are not given.
        return
    #: The same ConfigMaps may be those of a service that is deployed.
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
                    f'No node set deploys {service.name!r}, which has '
                    f'configuration of nova-compute: {instead}. Add '
                    f'{service.name} to the services of the node set',
                ),
                service.place,
            )


def _type(name: str, types: collections.abc.Mapping[str, str]) -> str:
    """Return the edpmServiceType of a service."""
    if name in types:
        return types[name]
    # As those that the documentation of RHOSO has users make are called.
    return _NOVA if name.startswith('nova-custom') else name


def check_reboot(settings: configuration.HostSettings) -> _Findings:
    """Check that hosts that get kernel arguments are rebooted."""
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
                f'edpm_reboot_strategy is never, and hosts need a reboot for '
                f'their kernel arguments ({arguments.place})',
            ),
            strategy.place,
        )


def machines_of(
    node_set: deployment.NodeSet,
    machines: collections.abc.Iterable[configuration.Machine],
) -> list[configuration.Machine]:
    """Return the machines that the selector of a node set matches."""
    return [
        one
        for one in machines
        if _matches(node_set.selector, one.labels)
        and any(_matches(node.selector, one.labels) for node in node_set.nodes)
    ]


def _matches(
    selector: configuration.Labels, labels: configuration.Labels
) -> bool:
    return set(selector) <= set(labels)


class Machines:
    """Machines, by where they are written down."""

    def __init__(
        self, machines: collections.abc.Iterable[configuration.Machine]
    ) -> None:
        self._within: dict[str, list[configuration.Machine]] = {}
        self._below: dict[str, list[configuration.Machine]] = {}
        for one in machines:
            folder = posixpath.dirname(_path(one.place))
            self._within.setdefault(folder, []).append(one)
            above = posixpath.dirname(folder)
            self._below.setdefault(above, []).append(one)

    def of(self, node_set: deployment.NodeSet) -> list[configuration.Machine]:
        """Return the machines that are written down for a node set.

        They stand in its folder, or else in the one above, or in one that is
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
    """Check that each node finds a machine, as the operator looks for one.

    ``openstack-baremetal-operator``: ``openstackbaremetalset.go``, which
    takes machines with all labels of the set's selector, and of these one
    with all of the node's for each node.

    :param machines: Those of the node set; none where none are known.
    """
    if not machines or node_set.selector_place is None or not node_set.nodes:
        return
    available = [
        one for one in machines if _matches(node_set.selector, one.labels)
    ]
    if not available:
        yield finding.Located(
            finding.error(
                'GPU319',
                f'bmhLabelSelector {_render(node_set.selector)} matches no '
                f'machine: {_known(machines)}',
            ),
            node_set.selector_place,
        )
        return
    candidates = {
        node.name: [
            number
            for number, one in enumerate(available)
            if _matches(node.selector, one.labels)
        ]
        for node in node_set.nodes
    }
    lonely = [one for one in node_set.nodes if not candidates[one.name]]
    for node in lonely:
        yield finding.Located(
            finding.error(
                'GPU319',
                f'bmhLabelSelector {_render(node.selector)} of '
                f'{node.name!r} matches no machine: {_known(available)}',
            ),
            node.place,
        )
    if not lonely and not _assign(candidates):
        yield finding.Located(
            finding.error(
                'GPU320',
                f'There are {len(node_set.nodes)} nodes, and not a machine '
                f'for each ("unable to find {len(node_set.nodes)} requested '
                f'BaremetalHosts"): {_known(available)}',
            ),
            node_set.selector_place,
        )


def _render(labels: configuration.Labels) -> str:
    return ', '.join(f'{key}: {value}' for key, value in labels) or '{}'


def _known(
    machines: collections.abc.Sequence[configuration.Machine],
) -> str:
    text = '; '.join(
        f'{one.name} has {_render(one.labels)}' for one in machines[:3]
    )
    more = len(machines) - 3
    return f'{text}; {more} more' if more > 0 else text


def _assign(candidates: dict[str, list[int]]) -> bool:
    """Return whether each can have one of its own (augmenting paths)."""
    owner: dict[int, str] = {}
    assigned: dict[str, int] = {}
    for name in candidates:
        reached: dict[int, str] = {}
        number = _free_machine(name, candidates, owner, reached)
        if number is None:
            return False
        while True:
            # Along the path each takes what the next one had.
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
    """Return a machine that nobody has at the end of a path from a node.

    :param reached: Gets which node each machine was reached from.
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
