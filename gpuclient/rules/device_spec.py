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

"""Rules about ``[pci]device_spec``: what Nova accepts without a word."""

import collections.abc
import dataclasses

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import device_spec
from gpuclient.rules import finding


@dataclasses.dataclass(frozen=True)
class Entry:
    """A device spec, and who has it."""

    spec: device_spec.DeviceSpec
    setting: configuration.Setting
    service: deployment.Process


def check(
    spec: device_spec.DeviceSpec,
) -> collections.abc.Iterator[finding.Finding]:
    """Yield what is wrong with an entry that Nova itself accepts."""
    if _matches_all(spec):
        yield finding.stricter(
            'GPU201',
            'It names no address, vendor or product, so it matches every PCI '
            'device of the host: disks and network cards, too',
        )
    for key in spec.unknown_keys:
        # nova/pci/devspec.py:PciDeviceSpec keeps it as a tag.
        yield finding.warning(
            'GPU211',
            f'Nova does not know the key {key!r} and says nothing about it',
        )
    if spec.address is not None and spec.address.regex:
        for name, pattern in zip(
            ('domain', 'bus', 'slot', 'function'),
            spec.address.fields,
            strict=True,
        ):
            if pattern and pattern[-1] not in '$*' and pattern != '.*':
                yield finding.warning(
                    'GPU212',
                    f'The expression {pattern!r} for {name} matches whatever '
                    f'begins with it; end it with $ to match all of it',
                )


def check_new(
    entry: collections.abc.Mapping[str, str],
) -> collections.abc.Iterator[finding.Finding]:
    """Yield what must not be written, whatever Nova would make of it."""
    for key, value in entry.items():
        if not value.isprintable() or '$' in value:
            # oslo_config/cfg.py:ConfigOpts._substitute
            yield finding.stricter(
                'GPU202',
                f'{key} {value!r} has a control character, or a $, which '
                f'oslo.config takes for a reference to an option',
            )


def _matches_all(spec: device_spec.DeviceSpec) -> bool:
    return (
        spec.devname is None
        and spec.vendor_id == device_spec.ANY
        and spec.product_id == device_spec.ANY
        and spec.address is not None
        and set(spec.address.fields) <= {device_spec.ANY, '.*', ''}
    )


def shadowed(
    spec: device_spec.DeviceSpec,
    earlier: collections.abc.Iterable[device_spec.DeviceSpec],
) -> device_spec.DeviceSpec | None:
    """Return the entry before this one that matches all that it matches.

    The first entry that matches a device counts
    (``nova/pci/whitelist.py:Whitelist.device_assignable``). Regular
    expressions are compared by their text only.
    """
    for other in earlier:
        if (
            other.vendor_id in (device_spec.ANY, spec.vendor_id)
            and other.product_id in (device_spec.ANY, spec.product_id)
            and _covers(other.address, spec.address)
        ):
            return other
    return None


def _covers(
    wide: device_spec.Address | None, narrow: device_spec.Address | None
) -> bool:
    if wide is None or narrow is None:
        return False
    if wide.regex != narrow.regex:
        return not wide.regex and set(wide.fields) == {device_spec.ANY}
    return all(
        one in (other, '.*' if wide.regex else device_spec.ANY)
        for one, other in zip(wide.fields, narrow.fields, strict=True)
    )


def never_reached(where: str) -> finding.Finding:
    """Return the finding that another entry counts in its place.

    :param where: Where that stands.
    """
    return finding.warning(
        'GPU213',
        f'It is never reached: {where} matches all that it matches, and the '
        f'first entry that matches a device counts',
    )


def not_reported() -> finding.Finding:
    """Return the finding that the compute tells Placement nothing."""
    return finding.warning(
        'GPU214',
        '[pci]report_in_placement is not on here, so the devices do not '
        'reach Placement',
    )
