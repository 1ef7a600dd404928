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

"""Options, artifacts and next steps that all targets have in common.

Pure: nothing is read or written.
"""

import collections.abc
import dataclasses
import typing

from gpuclient.documents.generate import conf_options
from gpuclient.documents.generate import host_files
from gpuclient.documents.generate import next_steps
from gpuclient.documents import yaml_merge
from gpuclient import exceptions
from gpuclient.model import configuration
from gpuclient.model import cpu
from gpuclient.model import description as description_model
from gpuclient.model import device_spec
from gpuclient.model import kernel
from gpuclient.model import scheduler_filters
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import catalogue as catalogue_rules
from gpuclient.rules import finding


@dataclasses.dataclass(frozen=True)
class TextArtifact:
    """A file that is written as a whole, unless it has settings."""

    #: Relative to the folder of the output.
    path: str
    content: str
    #: Services to restart; empty for files of the host itself.
    services: tuple[str, ...] = ()
    mode: int = 0o644
    #: It has ``key=value`` lines; other lines in it stay.
    settings: bool = False
    #: The kustomization that includes the file; if that is there and was not
    #: generated, neither is written.
    part_of: str = ''


@dataclasses.dataclass(frozen=True)
class ConfArtifact:
    """A nova.conf that must have some options."""

    path: str
    options: tuple[conf_options.ManagedOption, ...]
    services: tuple[str, ...]
    #: It is rendered with Jinja before a service reads it.
    template: bool = False


@dataclasses.dataclass(frozen=True)
class YamlArtifact:
    """A YAML file that must have some objects."""

    path: str
    objects: tuple[yaml_merge.KubernetesObject, ...]
    services: tuple[str, ...] = ()


Artifact: typing.TypeAlias = TextArtifact | ConfArtifact | YamlArtifact


@dataclasses.dataclass(frozen=True)
class Creation:
    """All files of a description, and what to do with them."""

    artifacts: tuple[Artifact, ...]
    #: In this order.
    next_steps: tuple[str, ...]
    warnings: tuple[str, ...]
    #: Resource providers that Placement will have for the devices whose
    #: addresses are known.
    providers: tuple[device_spec.Provider, ...]
    #: By path of a file that is kept because it was not generated: steps to
    #: replace, each by another one, or by nothing.
    steps_of_others: dict[str, dict[str, str]] = dataclasses.field(
        default_factory=dict
    )

    #: Folder with layers, where options replace those of earlier layers; empty
    #: if there are none.
    layers: str = ''

    def steps(
        self,
        others: collections.abc.Collection[str],
        description: str,
        folder: str,
    ) -> tuple[str, ...]:
        """Return the next steps.

        :param others: Files that are kept because they were not generated.
        :param description: Path of the description.
        :param folder: Folder of the output.
        """
        changes: dict[str, str] = {}
        for path in others:
            changes |= self.steps_of_others.get(path, {})
        return next_steps.render(
            (changes.get(step, step) for step in self.next_steps),
            description,
            folder,
        )


def check(wanted: description_model.Description) -> tuple[str, ...]:
    """Validate the aliases as the services will; return warnings.

    :raises gpuclient.exceptions.InvalidData: Nova would refuse them,
        or we do.
    """
    warnings = []
    for number, alias in enumerate(wanted.aliases):
        findings = tuple(alias_rules.check(alias))
        for error in finding.errors(findings):
            raise exceptions.InvalidData(f'aliases[{number}]: {error}')
        warnings += [str(warning) for warning in finding.warnings(findings)]
    for model in wanted.assumed.values():
        warnings += map(str, catalogue_rules.check_choice(model))
    return tuple(warnings)


def control_options(
    wanted: description_model.Description, service: str
) -> tuple[conf_options.ManagedOption, ...]:
    """Return the options of a service of the control plane."""
    tracking = conf_options.setting(
        'filter_scheduler', 'pci_in_placement', wanted.pci_in_placement
    )
    if service == configuration.API:
        return conf_options.aliases(wanted.aliases), tracking
    return (tracking,)


def filter_options(
    wanted: description_model.Description, service: str
) -> tuple[conf_options.ManagedOption, ...]:
    """Return the filters that nova-scheduler needs besides the default ones.

    Servers with pinned CPUs or huge pages need a filter, too.
    """
    if service != configuration.SCHEDULER:
        return ()
    names = [scheduler_filters.PCI]
    if any(host.dedicated or host.huge_pages for host in wanted.hosts):
        names.append(scheduler_filters.NUMA)
    return (conf_options.filters(tuple(names)),)


def pci_options(
    wanted: description_model.Description, host: description_model.ComputeHost
) -> tuple[conf_options.ManagedOption, ...]:
    """Return the options of a compute for its PCI devices."""
    ids = {
        (alias.vendor_id or '', alias.product_id or '')
        for alias in wanted.aliases
    }
    return (
        conf_options.device_specs(spec_entries(wanted, host), ids),
        conf_options.aliases(wanted.aliases),
        conf_options.setting(
            'pci', 'report_in_placement', wanted.report_in_placement
        ),
    )


def spec_entries(
    wanted: description_model.Description, host: description_model.ComputeHost
) -> list[dict[str, str]]:
    """Return the ``[pci]device_spec`` entries of a host."""
    entries = []
    for cards in host.cards:
        alias = wanted.alias(cards.alias)
        entry = {
            'vendor_id': alias.vendor_id or '',
            'product_id': alias.product_id or '',
        }
        # Alias and device spec must have the same names in Placement.
        if alias.resource_class is not None:
            entry['resource_class'] = alias.resource_class
        if alias.traits is not None:
            entry['traits'] = alias.traits
        if alias.live_migratable is not None:
            entry['live_migratable'] = ('no', 'yes')[alias.live_migratable]
        entries += [
            {**entry, 'address': address} for address in cards.addresses
        ] or [entry]
    return entries


def compute_options(
    host: description_model.ComputeHost,
) -> tuple[conf_options.ManagedOption, ...]:
    """Return the options of a compute for CPUs and memory."""
    options = []
    if host.reserved_host_memory_mb is not None:
        options.append(
            conf_options.setting(
                'DEFAULT',
                'reserved_host_memory_mb',
                host.reserved_host_memory_mb,
            )
        )
    pages = host.huge_pages
    if pages is not None and pages.reserved is not None:
        options.append(
            conf_options.reserved_pages(pages.size // cpu.KIB, pages.reserved)
        )
    for name, cpus in (
        ('cpu_shared_set', host.shared),
        ('cpu_dedicated_set', host.dedicated),
    ):
        if cpus is not None:
            options.append(conf_options.cpu_set('compute', name, cpus))
    return tuple(options)


def passthrough(
    wanted: description_model.Description, host: description_model.ComputeHost
) -> host_files.Passthrough:
    """Return the devices that a host is prepared for."""
    ids: list[str] = []
    for cards in host.cards:
        alias = wanted.alias(cards.alias)
        ids.append(f'{alias.vendor_id}:{alias.product_id}')
        # The audio function is in the IOMMU group of its GPU.
        if alias.name in wanted.audio:
            ids.append(f'{alias.vendor_id}:{wanted.audio[alias.name]}')
    return host_files.Passthrough(
        cpu_vendor=host.cpu_vendor,
        ids=tuple(dict.fromkeys(ids)),
        arguments=(*huge_page_arguments(host.huge_pages), *host.kernel_args),
        isolated_cores=(
            None if host.dedicated is None else cpu.render(host.dedicated)
        ),
        tuned_profile=wanted.rhoso.tuned_profile,
    )


def huge_page_arguments(
    pages: description_model.HugePageRequest | None,
) -> tuple[str, ...]:
    """Return the kernel arguments that reserve huge pages.

    The kernel spreads a single number evenly over the NUMA nodes; a number for
    each node needs kernel 5.16 (``kernel-parameters.txt``: ``hugepages=``).
    """
    if pages is None:
        return ()
    size = cpu.render_size(pages.size)
    count = (
        str(sum(pages.counts))
        if len(set(pages.counts)) == 1
        else ','.join(
            f'{node}:{count}' for node, count in enumerate(pages.counts)
        )
    )
    return (
        f'default_hugepagesz={size}',
        f'hugepagesz={size}',
        f'hugepages={count}',
    )


@dataclasses.dataclass(frozen=True)
class KernelArguments(yaml_merge.Merge):
    """A kernel command line that must have some arguments; others stay."""

    arguments: tuple[str, ...]

    def merged(self, old: typing.Any) -> str:
        text = old if isinstance(old, str) else ''
        if '--' in text.split():
            raise exceptions.InvalidKernelArgument(
                f'{text!r} has arguments for init after "--": remove them'
            )
        present = kernel.parse(text)
        wanted = kernel.parse(' '.join(self.arguments))
        line = present
        if wanted.has('hugepages') and wanted.huge_pages != line.huge_pages:
            line = _with_huge_pages(line, wanted)
        for argument in wanted.arguments:
            line = _with_argument(line, argument)
        return text if line == present else line.render()


_HUGE_PAGES = ('default_hugepagesz', 'hugepagesz', 'hugepages')


def _with_huge_pages(
    line: kernel.CommandLine, wanted: kernel.CommandLine
) -> kernel.CommandLine:
    """Return a command line with the huge pages of another one."""
    kept = [arg for arg in line.arguments if arg.key not in _HUGE_PAGES]
    new = [arg for arg in wanted.arguments if arg.key in _HUGE_PAGES]
    return kernel.CommandLine((*kept, *new))


def _with_argument(
    line: kernel.CommandLine, wanted: kernel.Argument
) -> kernel.CommandLine:
    """Return a command line with one more argument, merged if needed."""
    key, value = wanted.key, wanted.value
    if key in _HUGE_PAGES:
        return line
    if key == 'rd.driver.pre' and value is not None:
        if value.replace('-', '_') in line.early_drivers:
            return line
        return kernel.CommandLine((*line.arguments, wanted))
    if key == 'vfio_pci.ids' and value is not None:
        present = [ids.render() for ids in line.vfio_ids]
        missing = [ids for ids in value.split(',') if ids not in present]
        if not missing and present:
            return line
        return line.with_argument(wanted.name, ','.join([*present, *missing]))
    if key in ('intel_iommu', 'iommu') and value in line.items(wanted.name):
        return line
    if value in line.values(wanted.name) or (
        value is None and line.has(wanted.name)
    ):
        return line
    return line.with_argument(wanted.name, value)


def providers(
    wanted: description_model.Description,
) -> tuple[device_spec.Provider, ...]:
    """Return the resource providers of devices with known addresses."""
    result: list[device_spec.Provider] = []
    for host in wanted.hosts if wanted.report_in_placement else ():
        devices = []
        for cards in host.cards:
            alias = wanted.alias(cards.alias)
            devices += [
                device_spec.HostDevice(
                    address,
                    alias.vendor_id or '',
                    alias.product_id or '',
                    alias.device_type or '',
                )
                for address in cards.addresses
            ]
        (option, *_others) = pci_options(wanted, host)
        result += device_spec.providers(
            host.hypervisor_hostname,
            device_spec.parse_all(option.values),
            devices,
        )
    return tuple(result)
