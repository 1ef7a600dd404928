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

"""Rules about the huge pages, the memory and the CPUs of a host."""

import collections.abc

from gpuclient import exceptions
from gpuclient.model import cpu
from gpuclient.model import kernel
from gpuclient.rules import check_result
from gpuclient.rules import passthrough_view

#: Share of the memory of a node in huge pages that leaves the host too little.
_MOST_IN_PAGES = 0.95


def check(view: passthrough_view.View) -> check_result.Results:
    """Check huge pages, memory and CPUs against configuration."""
    for rule in (_huge_pages, _memory, _cpus):
        yield from rule(view)


def _huge_pages(view: passthrough_view.View) -> check_result.Results:
    totals: dict[int, int] = {}
    for node in view.host.nodes:
        for pool in node.huge_pages:
            totals[pool.size_kib] = totals.get(pool.size_kib, 0) + pool.total
    problems = [
        *_ignored_arguments(view),
        *_missing_pages(view, totals),
        *_reserved_pages(view),
    ]
    yield from problems
    if not problems:
        shown = ', '.join(
            f'{count} of {cpu.render_size(size * cpu.KIB)}'
            for size, count in sorted(totals.items())
            if count
        )
        yield check_result.passed('huge pages', shown or 'none')


def _ignored_arguments(view: passthrough_view.View) -> check_result.Results:
    for problem in view.arguments.huge_pages.problems:
        yield check_result.warn(
            'GPU447',
            'huge pages',
            f'the kernel ignored an argument: {problem}',
            'Put hugepagesz before each hugepages',
        )


def _missing_pages(
    view: passthrough_view.View, totals: collections.abc.Mapping[int, int]
) -> check_result.Results:
    """Check that the kernel allocated the pages of its arguments.

    :param totals: Pages of the host, by size in KiB.
    """
    if not view.host.nodes:
        return
    for pool in view.arguments.huge_pages.pools:
        if _has_unknown_size(view, pool):
            continue
        total = totals.get(pool.size // cpu.KIB, 0)
        if total < pool.count:
            yield check_result.fail(
                'GPU447',
                'huge pages',
                f'the kernel arguments request {pool.count} of '
                f'{cpu.render_size(pool.size)}, but the host has {total}',
                'Request fewer, or find out what else uses memory at boot; '
                'pages of 1G can only be reserved at boot',
            )


def _has_unknown_size(
    view: passthrough_view.View, pool: kernel.HugePagePool
) -> bool:
    # The default size on Arm depends on the page size of the kernel.
    requested = view.arguments.huge_pages
    return (
        requested.unsized
        and pool.size == requested.default_size
        and view.host.cpu_vendor is cpu.Vendor.ARM
    )


def _reserved_pages(view: passthrough_view.View) -> check_result.Results:
    """Check that reserved_huge_pages reserves pages that exist."""
    nodes = {node.number: node for node in view.host.nodes}
    for reserved in view.intent.reserved_pages:
        node = nodes.get(reserved.node)
        total = sum(
            pool.total
            for pool in (() if node is None else node.huge_pages)
            if pool.size_kib == reserved.size_kib
        )
        if total < reserved.count:
            yield check_result.fail(
                'GPU448',
                'huge pages',
                f'reserved_huge_pages = {reserved.render()}, but '
                + (
                    f'node {reserved.node} has {total} of them'
                    if node is not None
                    else f'the host has no node {reserved.node}'
                ),
                'Reserve pages that exist, by node and size in KiB',
            )


def _memory(view: passthrough_view.View) -> check_result.Results:
    """Check that huge pages leave enough memory to the host."""
    check_name = 'memory'
    nodes = [node for node in view.host.nodes if node.memory_kib]
    if not nodes:
        return
    total = in_pages = 0
    problems = []
    for node in nodes:
        memory = node.memory_kib or 0
        pages = sum(pool.total * pool.size_kib for pool in node.huge_pages)
        total += memory
        in_pages += pages
        if pages > memory * _MOST_IN_PAGES:
            problems.append(
                check_result.warn(
                    'GPU449',
                    check_name,
                    f'huge pages use {pages >> 10} of {memory >> 10} MiB of '
                    f'node {node.number}',
                    'Allocate fewer huge pages: the host, QEMU and the '
                    'IOMMU page tables need the rest of the memory',
                )
            )
    left = (total - in_pages) >> 10
    reserved = view.intent.reserved_memory_mb
    if reserved is not None and left < reserved:
        problems.append(
            check_result.fail(
                'GPU449',
                check_name,
                f'reserved_host_memory_mb is {reserved}, but huge pages leave '
                f'{left} MiB of {total >> 10}',
                'Allocate fewer huge pages, or reserve less',
            )
        )
    yield from problems
    if not problems:
        yield check_result.passed(
            check_name, f'{left} of {total >> 10} MiB are not in huge pages'
        )


def _cpus(view: passthrough_view.View) -> check_result.Results:
    online = frozenset(processor.number for processor in view.host.cpus)
    problems = [*_cpus_of_tuned(view), *_cpus_of_nova(view, online)]
    if _isolation_is_known(view):
        problems += _isolation(view, online)
    yield from problems
    if not problems:
        isolated = cpu.render(view.isolated_cpus) or 'none'
        yield check_result.passed(
            'CPUs', f'{len(online)} online, {isolated} isolated'
        )


def _cpus_of_tuned(view: passthrough_view.View) -> check_result.Results:
    try:
        view.host.tuned_isolated_cpus  # noqa: B018
    except exceptions.InvalidCPUSet:
        yield check_result.warn(
            'GPU450',
            'CPUs',
            f'TuneD cannot parse isolated_cores = '
            f'{view.host.tuned_isolated_cores}, and isolates no CPU',
            'Write a list of CPUs, such as 2-15,18-31',
        )


def _isolation_is_known(view: passthrough_view.View) -> bool:
    """Whether it is known which CPUs TuneD isolates."""
    try:
        return view.host.tuned_isolated_cpus is not None
    except exceptions.InvalidCPUSet:
        return True


def _cpus_of_nova(
    view: passthrough_view.View, online: frozenset[int]
) -> check_result.Results:
    """Check that the CPUs in the CPU sets of Nova exist on the host."""
    for option, cpus in (
        ('cpu_dedicated_set', view.intent.dedicated_cpus),
        ('cpu_shared_set', view.intent.shared_cpus),
    ):
        missing = (cpus or frozenset()) - online
        if missing and online:
            yield check_result.fail(
                'GPU451',
                'CPUs',
                f'{cpu.render(missing)} in {option} do not exist on this host',
                f'Use CPUs of {cpu.render(online)} only',
            )


def _isolation(
    view: passthrough_view.View, online: frozenset[int]
) -> check_result.Results:
    """Check that exactly the CPUs for pinned servers are isolated."""
    dedicated = view.intent.dedicated_cpus
    if dedicated is None:
        return
    isolated = view.isolated_cpus
    for cpus, problem in (
        (
            (dedicated & online) - isolated,
            'are in cpu_dedicated_set, but not isolated: tasks of the host '
            'run on them, too',
        ),
        (
            isolated - dedicated,
            'are isolated, but not in cpu_dedicated_set: pinned servers do '
            'not use them',
        ),
    ):
        if cpus:
            yield check_result.warn(
                'GPU450',
                'CPUs',
                f'{cpu.render(cpus)} {problem}',
                'Use the same CPUs in isolated_cores of TuneD (or isolcpus) '
                'and in cpu_dedicated_set',
            )
