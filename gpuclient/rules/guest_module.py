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

"""Modules of drivers that are not there, or that the kernel refuses.

What the kernel says of symbols is in ``kernel/module/main.c`` of Linux: -2 is
a symbol that it does not export to the module, -22 one of another version.
"""

import typing

from gpuclient.model import catalogue
from gpuclient.model import guest_log
from gpuclient.rules import guest_result

Kind = guest_log.Kind
Result = guest_result.Result

_HEADERS = (
    'Install the headers of the running kernel and let dkms build the modules '
    '("dkms autoinstall"), or install the packages with modules for this '
    'kernel, and reboot the guest'
)
#: Ends of the names of modules without which CUDA works.
_OPTIONAL = {
    '_drm': 'displays',
    '_modeset': 'displays',
    '_peermem': 'GPUDirect RDMA',
    '_peer_mem': 'GPUDirect RDMA',
    '_fs': 'GPUDirect Storage',
    '_vgpu_vfio': 'vGPUs of a host',
}
#: Symbols that the kernel exports to GPL modules only. Older branches of the
#: proprietary modules use them by macros and inline functions of the kernel.
_GPL_ONLY = frozenset(
    {
        '__rcu_read_lock',
        '__rcu_read_unlock',
        '__vma_start_write',
        'radix_tree_preloads',
        'rcu_read_unlock_strict',
    }
)


def check(
    log: guest_log.GuestLog, _models: catalogue.Catalogue
) -> guest_result.Results:
    """Report modules that are not there, or not those of this kernel."""
    refused = [*_missing(log), *_refused(log)]
    yield from refused
    for event in log.of(Kind.MODULE_NOT_BUILT)[:1]:
        yield guest_result.of_event(
            event,
            Result.WARN,
            'GPU788',
            'dkms could not build a module for a kernel of the guest',
            'Look into make.log below /var/lib/dkms, and install a branch of '
            f'the driver that supports this kernel. {_HEADERS}',
        )
    if log.shows_drivers and not refused:
        yield from _unbound(log)


def _unbound(log: guest_log.GuestLog) -> guest_result.Results:
    for device in log.gpus:
        if device.driver is None and device.is_listed:
            yield guest_result.GuestResult(
                Result.WARN,
                'No driver is bound to the GPU. The list of devices does not '
                'show why',
                'GPU788',
                device.text,
                device.line,
                'Install the driver if it is not installed ("openstack gpu '
                'guest config create" shows how), and look at "dmesg" after '
                '"modprobe nvidia"',
                device.address,
            )


def _name(event: guest_log.Event) -> str:
    name = event.value('module') or event.value('name')
    return name.replace('-', '_')


def _use(name: str) -> str:
    """Return what a module is for; empty if CUDA needs it."""
    return next(
        (use for end, use in _OPTIONAL.items() if name.endswith(end)), ''
    )


class _Verdict(typing.NamedTuple):
    """Why the kernel refuses a module."""

    result: Result
    cause: str
    remedy: str


def _result(
    event: guest_log.Event, verdict: _Verdict
) -> guest_result.GuestResult:
    use = _use(_name(event))
    cause = verdict.cause
    if use:
        cause += f'. CUDA works without it: it is for {use}'
    return guest_result.of_event(
        event,
        Result.WARN if use else verdict.result,
        'GPU788',
        cause,
        verdict.remedy,
    )


def _missing(log: guest_log.GuestLog) -> guest_result.Results:
    shown: set[str] = set()
    for event in log.of(Kind.MODULE_MISSING):
        name = _name(event)
        # One message for the driver, and one for each other module.
        key = name if _use(name) else ''
        if key not in shown:
            shown.add(key)
            yield _result(
                event,
                _Verdict(
                    Result.FAIL,
                    f'There is no module {name} for the running kernel',
                    _HEADERS,
                ),
            )


#: What says most comes first.
_KINDS = (
    Kind.MODULE_OF_OTHER_KERNEL,
    Kind.SYMBOL_OF_OTHER_VERSION,
    Kind.SYMBOL_MISSING,
    Kind.MODULE_NOT_LOADED,
)


def _refused(log: guest_log.GuestLog) -> guest_result.Results:
    """Report each module that the kernel refuses once."""
    shown: set[str] = set()
    for kind in _KINDS:
        for event in sorted(log.of(kind), key=_certainty):
            name = _name(event)
            if name in shown:
                continue
            shown.add(name)
            yield _result(event, _verdict(event, name))


def _certainty(event: guest_log.Event) -> int:
    """Return the rank of a symbol: which one says most."""
    symbol = event.value('symbol')
    if symbol in _GPL_ONLY:
        return 0
    return 1 if _owner(symbol) else 2


def _verdict(event: guest_log.Event, name: str) -> _Verdict:
    if event.kind is Kind.MODULE_NOT_LOADED:
        return _Verdict(
            Result.UNKNOWN,
            f'The kernel refused the module {name}. The log does not show why',
            'Add the output of "dmesg": the kernel names the symbol or the '
            'parameter',
        )
    symbol = event.value('symbol')
    if symbol.endswith('peer_memory_client'):
        return _Verdict(
            Result.WARN,
            f'The module {name} needs {symbol} of the InfiniBand modules of '
            'MLNX_OFED (DOCA-OFED), and was built without them or for others',
            'Install the driver again after MLNX_OFED, or do without: newer '
            'software uses DMA-BUF',
        )
    if event.kind is Kind.SYMBOL_MISSING and event.value('error') != '-22':
        return _missing_symbol(name, symbol)
    return _Verdict(
        Result.FAIL,
        f'The module {name} was built for another kernel than the running one',
        _HEADERS,
    )


def _missing_symbol(name: str, symbol: str) -> _Verdict:
    needs = f'The module {name} needs the symbol {symbol}'
    if symbol in _GPL_ONLY:
        return _Verdict(
            Result.FAIL,
            f'{needs}, which the kernel exports to GPL modules only: this '
            'branch of the proprietary modules does not support the running '
            'kernel',
            'Install a newer release of the driver, or the open kernel '
            'modules if the model works with them, or boot an older kernel',
        )
    owner = _owner(symbol)
    if owner == 'nvidia':
        return _Verdict(
            Result.FAIL,
            f'{needs} of the module nvidia, which is not loaded, is of '
            'another version, or does not export it to GPL modules',
            'Install all modules from one source, and reboot the guest. A '
            'GPL module needs the open kernel modules of NVIDIA',
        )
    if owner:
        return _Verdict(
            Result.FAIL,
            f'{needs} of the module {owner} of the kernel, which is not '
            'loaded',
            'Load the driver with modprobe, not with insmod. Install the '
            'package with the other modules of the kernel '
            '(linux-modules-extra, kernel-modules) if it is missing',
        )
    return _Verdict(
        Result.UNKNOWN,
        f'{needs}, which the running kernel does not export to it: the module '
        'was built for another kernel, or the branch does not support this '
        'one. The log does not show which',
        'Install a branch of the driver that supports the running kernel. '
        f'{_HEADERS}',
    )


#: Modules by the start of the names of their symbols.
_OWNERS = {
    'nvidia_': 'nvidia',
    'nvUvm': 'nvidia',
    'nvKms': 'nvidia',
    'drm_': 'drm',
    'ttm_': 'ttm',
    'i2c_': 'i2c-core',
    'ipmi_': 'ipmi_msghandler',
    'acpi_video_': 'video',
}


def _owner(symbol: str) -> str:
    """Return the module that exports a symbol; empty if not known."""
    return next(
        (
            module
            for start, module in _OWNERS.items()
            if symbol.startswith(start)
        ),
        '',
    )
