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

"""Options of Placement that concern PCI devices."""

import collections.abc
import os

from gpuclient.documents import nova_conf
from gpuclient.documents import tree
from gpuclient import exceptions
from gpuclient.model import configuration

_NAME = 'placement.conf'
#: Section and name of each option that is read.
_OPTIONS = (
    ('placement', 'max_allocation_candidates'),
    ('placement', 'allocation_candidates_generation_strategy'),
    ('workarounds', 'optimize_for_wide_provider_trees'),
)


def read(
    paths: collections.abc.Iterable[str],
) -> tuple[configuration.Option, ...]:
    """Return the options that files named ``placement.conf`` set.

    :param paths: Files, and folders with all that they contain.
    """
    options = []
    for path, _named in tree.named_files(paths, []):
        if os.path.basename(path) != _NAME:
            continue
        try:
            file = nova_conf.NovaConf.read(path)
        except exceptions.DocumentError:
            # Only Placement reads it; no rule depends on it.
            continue
        for section, name in _OPTIONS:
            for value in file.values((section, name)):
                options.append(
                    configuration.Option(
                        section,
                        name,
                        configuration.Setting(
                            value.text,
                            configuration.Place(path, value.line),
                            value.depends,
                        ),
                    )
                )
    return tuple(options)
