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

"""The same answers without this project: ``openstack`` and osc-placement.

**Why does a flavor fit nowhere, host by host, and what frees a host?**
(:class:`Explain`)

1. What it requests: ``flavor show FLAVOR``; the resource class of its alias is
   in the nova.conf of nova-api.
2. Whether Placement returns a host: ``allocation candidate list --resource
   VCPU=... --resource MEMORY_MB=... --resource DISK_GB=... --required
   OWNER_NOVA --forbidden COMPUTE_STATUS_DISABLED``, and for each device
   ``--group N --resource CLASS=1 --required OWNER_NOVA``.
3. The hosts: ``hypervisor list``, ``compute service list --service
   nova-compute``, ``aggregate list --long``.
4. The hosts that meet each condition alone: ``resource provider list``, and
   the same with ``--resource VCPU=...``, ``--resource MEMORY_MB=...``,
   ``--resource DISK_GB=...`` and ``--required OWNER_NOVA``.
5. The devices: ``resource provider list --required
   COMPUTE_MANAGED_PCI_DEVICE``, and those with a free unit: ``resource class
   list``, and for each class of PCI devices ``resource provider list
   --resource CLASS=1``. These need not be looked at one by one.
6. What each host lacks: no list has the class of a device without a free unit,
   or whether it is in use or reserved. So for each of these ``resource
   provider inventory list DEVICE``.
7. What frees a host, on the five hosts with the most free devices (ours reads
   as many): ``resource provider inventory list HOST``, ``server list
   --all-projects --no-name-lookup --host HOST``, and for each of these servers
   ``resource provider allocation show SERVER``.

Somebody who needs no reason for each host can do step 6 for these five hosts
only; that is computed, too.

**Is all well with the devices in Placement?** (:class:`Check`) This is the
part of ``openstack gpu check`` that reads Placement: hosts that report no
device, classes that no flavor requests, free devices that no flavor can use,
memory that is overcommitted, too many candidates, and devices in use that no
server requests.

1. ``hypervisor list``, ``compute service list --service nova-compute``,
   ``flavor list --all --long``, ``server list --all-projects --long
   --no-name-lookup``, ``resource provider list``.
2. The devices, as above.
3. For each device without a free unit, and for each host with devices,
   ``resource provider inventory list``.

The flavors of servers are found in the list of flavors; hosts with servers
whose flavor was deleted need more commands, and are not compared.

What a person does in between, such as to join the output of these commands,
costs nothing here, nor does a token of Keystone. The commands are run in two
ways: each as a process, as in a shell or a script; and all in one interactive
``openstack``, which starts once. The lists are run as they are; what is asked
for each object is run for some hosts and multiplied, and the line says so.
"""

import collections
import collections.abc
import dataclasses
import typing

Command = tuple[str, ...]
Rows = list[dict[str, typing.Any]]
#: Runs a command and returns what it prints.
Run = collections.abc.Callable[..., typing.Any]

_PROVIDERS = ('resource', 'provider')
_INVENTORY = (*_PROVIDERS, 'inventory', 'list')
_MANAGED = 'COMPUTE_MANAGED_PCI_DEVICE'
_OWNER = 'OWNER_NOVA'
_PCI = 'CUSTOM_PCI_'
_ALIAS = 'pci_passthrough:alias'
#: Hosts of which servers are listed.
NEAR = 5


@dataclasses.dataclass
class Units:
    """Devices of one class on a host."""

    total: int = 0
    reserved: int = 0
    used: int = 0

    @property
    def free(self) -> int:
        return self.total - self.reserved - self.used


class Recipe:
    """What a person runs to know the devices of a cloud.

    :meth:`run_lists` first, then the commands of :meth:`by_host`, whose output
    goes to :meth:`take`, and :meth:`run_rest` at last.
    """

    def __init__(self) -> None:
        #: Provider ids and names of compute nodes.
        self.hosts: dict[str, str] = {}
        #: Hosts by device.
        self._roots: dict[str, str] = {}
        #: Devices with a free unit, by resource class.
        self._with_free: dict[str, list[str]] = {}
        #: Of each host, by resource class.
        self.units: dict[str, dict[str, Units]] = collections.defaultdict(
            lambda: collections.defaultdict(Units)
        )

    def run_lists(self, run: Run) -> None:
        """Run what lists the whole cloud."""
        names = {
            row['Hypervisor Hostname'] for row in run('hypervisor', 'list')
        }
        run('compute', 'service', 'list', '--service', 'nova-compute')
        # Others may share storage with them.
        self.hosts = {
            row['uuid']: row['name']
            for row in run(*_PROVIDERS, 'list')
            if row['name'] in names
        }
        self._roots = {
            row['uuid']: row['root_provider_uuid']
            for row in run(*_PROVIDERS, 'list', '--required', _MANAGED)
        }
        for row in run('resource', 'class', 'list'):
            name = row['name']
            if name.startswith(_PCI):
                self._with_free[name] = [
                    row['uuid']
                    for row in run(
                        *(*_PROVIDERS, 'list', '--resource', f'{name}=1')
                    )
                ]

    def by_host(self) -> dict[str, list[Command]]:
        """Return what is asked for each object, by host."""
        known = {
            device
            for devices in self._with_free.values()
            for device in devices
        }
        commands: dict[str, list[Command]] = {
            root: [] for root in self._roots.values()
        }
        for device, root in self._roots.items():
            if device not in known:
                commands[root].append((*_INVENTORY, device))
        return commands

    def take(self, command: Command, rows: Rows) -> None:
        """Take what a command of :meth:`by_host` printed."""
        root = self._roots.get(command[-1])
        if root is not None:
            for row in rows:
                units = self.units[root][row['resource_class']]
                units.total += row['total']
                units.reserved += row['reserved']
                units.used += row['used']

    def run_rest(self, run: Run) -> None:
        """Run what needs all that is known."""

    def free(self, resource_class: str) -> collections.Counter[str]:
        """Return how many devices of a class are free, by host.

        Of a device with several units, that it has a free one is all that is
        known.
        """
        return collections.Counter(
            self._roots[device]
            for device in self._with_free.get(resource_class, ())
            if device in self._roots
        )

    def count(self, host: str, resource_class: str) -> tuple[int, int]:
        """Return how many devices of a class are free, and there in all."""
        free = self.free(resource_class)[host]
        return free, free + self.units[host][resource_class].total


class Explain(Recipe):
    """Why a flavor fits nowhere, host by host, and what frees a host.

    :param classes: Resource classes by alias, as in nova.conf.
    """

    def __init__(self, flavor: str, classes: dict[str, str]) -> None:
        super().__init__()
        self._flavor = flavor
        self._classes = classes
        self.resource_class = ''
        #: How many hosts meet each condition alone.
        self.meeting: dict[str, int] = {}
        #: The hosts that lack least.
        self.near: list[str] = []
        #: What servers of them hold, by provider.
        self.held: dict[str, Rows] = {}

    def run_lists(self, run: Run) -> None:
        flavor = run('flavor', 'show', self._flavor)
        alias, _colon, number = flavor['properties'][_ALIAS].partition(':')
        self.resource_class = self._classes[alias]
        resources = {
            'VCPU': flavor['vcpus'],
            'MEMORY_MB': flavor['ram'],
            'DISK_GB': flavor['disk'],
        }
        amounts = [f'{name}={value}' for name, value in resources.items()]
        self._run_candidates(run, amounts, int(number))
        run('aggregate', 'list', '--long')
        super().run_lists(run)
        for amount in amounts:
            self._run_condition(run, '--resource', amount)
        self._run_condition(run, '--required', _OWNER)
        free = self.free(self.resource_class)
        self.meeting[self.resource_class] = sum(
            count >= int(number) for count in free.values()
        )
        self.near = [host for host, _count in free.most_common(NEAR)]

    def _run_candidates(
        self, run: Run, amounts: list[str], number: int
    ) -> None:
        arguments = [*('allocation', 'candidate', 'list')]
        for amount in amounts:
            arguments += ('--resource', amount)
        arguments += ('--required', _OWNER)
        arguments += ('--forbidden', 'COMPUTE_STATUS_DISABLED')
        for group in range(1, number + 1):
            arguments += ('--group', str(group))
            arguments += ('--resource', f'{self.resource_class}=1')
            arguments += ('--required', _OWNER)
        self.candidates: Rows = run(*arguments)

    def _run_condition(self, run: Run, option: str, value: str) -> None:
        self.meeting[value] = sum(
            row['uuid'] in self.hosts
            for row in run(*_PROVIDERS, 'list', option, value)
        )

    def run_rest(self, run: Run) -> None:
        for host in self.near:
            run(*_INVENTORY, host)
            for server in run(
                *('server', 'list', '--all-projects', '--no-name-lookup'),
                *('--host', self.hosts[host]),
            ):
                self.held[server['ID']] = run(
                    *(*_PROVIDERS, 'allocation', 'show', server['ID'])
                )


class Check(Recipe):
    """Whether the devices in Placement are as they have to be."""

    def __init__(self) -> None:
        super().__init__()
        #: Devices that each flavor requests.
        self._requested: dict[str, int] = {}
        self._servers: Rows = []
        #: Allocation ratios of memory, by host.
        self.ratios: dict[str, float] = {}

    def run_lists(self, run: Run) -> None:
        for row in run('flavor', 'list', '--all', '--long'):
            aliases = (row['Properties'] or {}).get(_ALIAS, '')
            self._requested[row['Name']] = sum(
                int(part.partition(':')[2] or 1)
                for part in aliases.split(',')
                if part
            )
        self._servers = run(
            *('server', 'list', '--all-projects', '--long'),
            '--no-name-lookup',
        )
        super().run_lists(run)

    def by_host(self) -> dict[str, list[Command]]:
        return {
            host: [(*_INVENTORY, host), *commands]
            for host, commands in super().by_host().items()
        }

    def take(self, command: Command, rows: Rows) -> None:
        super().take(command, rows)
        if command[-1] in self.hosts:
            for row in rows:
                if row['resource_class'] == 'MEMORY_MB':
                    self.ratios[command[-1]] = row['allocation_ratio']

    def requested(self, host: str) -> int | None:
        """Return how many devices the servers of a host request.

        None if the flavor of a server is not listed because it was deleted.
        """
        flavors = [
            server['Flavor']
            for server in self._servers
            if server['Host'] == self.hosts[host]
        ]
        if not self._requested.keys() >= set(flavors):
            return None
        return sum(map(self._requested.__getitem__, flavors))

    def used(self, host: str) -> int:
        """Return how many devices of a host are in use."""
        return sum(units.used for units in self.units[host].values())
