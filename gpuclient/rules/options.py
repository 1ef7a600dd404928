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

"""Rules about options that nobody reads: misspelled, or in the wrong file."""

import collections.abc
import posixpath
import re

from gpuclient.model import configuration
from gpuclient.model import deployment
from gpuclient.model import nova_options
from gpuclient.rules import finding

#: All else is something other than an option, such as a host of Ansible.
_NAME = re.compile('[a-z0-9_-]+', re.ASCII)
_COMPUTE = (configuration.COMPUTE,)
_READERS: dict[tuple[str, str], tuple[str, ...]] = {
    ('pci', 'alias'): (configuration.API, configuration.COMPUTE),
    ('pci', 'device_spec'): _COMPUTE,
    ('pci', 'passthrough_whitelist'): _COMPUTE,
    ('pci', 'report_in_placement'): _COMPUTE,
    ('compute', 'cpu_dedicated_set'): _COMPUTE,
    ('compute', 'cpu_shared_set'): _COMPUTE,
    ('DEFAULT', 'reserved_huge_pages'): _COMPUTE,
    ('devices', 'enabled_mdev_types'): _COMPUTE,
    ('devices', 'enabled_vgpu_types'): _COMPUTE,
    ('filter_scheduler', 'enabled_filters'): (configuration.SCHEDULER,),
}


def check(
    services: collections.abc.Sequence[deployment.Process],
) -> collections.abc.Iterator[finding.Located]:
    """Yield options that have no effect.

    A file may be read by several services: an option in it has an effect if
    one of them reads it. A nova.conf is often rendered alike for each
    service: a value that its readers have, too, is not in the wrong file.
    """
    in_effect = {
        (option.section, option.name, option.setting.text)
        for service in services
        for option in service.options
        if {*service.readers}
        & {*_READERS.get((option.section, option.name), ())}
    }
    texts: dict[configuration.Place, str] = {}
    readers: dict[configuration.Place, set[str]] = {}
    options: dict[configuration.Place, tuple[str, str]] = {}
    for service in services:
        for one in service.options:
            place = one.setting.place
            readers.setdefault(place, set()).update(service.readers)
            options[place] = one.section, one.name
            texts[place] = one.setting.text
    for place, (section, name) in options.items():
        if _NAME.fullmatch(name) and not nova_options.is_known(section, name):
            similar = nova_options.similar(section, name)
            hint = f'; it has {similar!r}' if similar else ''
            yield finding.Located(
                finding.warning(
                    'GPU312',
                    f'Nova has no option [{section}]{name}, and says nothing '
                    f'about it{hint}',
                ),
                place,
            )
        wanted = _READERS.get((section, name))
        if (
            wanted is not None
            # A layer of Kolla is for all, and another may replace a value.
            and len(readers[place]) == 1
            and not readers[place] & set(wanted)
            and not (
                posixpath.basename(place.path) == 'nova.conf'
                and (section, name, texts[place]) in in_effect
            )
        ):
            (reader,) = readers[place]
            yield finding.Located(
                finding.warning(
                    'GPU313',
                    f'{reader} does not read [{section}]{name}; '
                    f'{" and ".join(wanted)} does',
                ),
                place,
            )
