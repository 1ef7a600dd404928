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

"""Collect the state of a host in a bundle."""

import dataclasses

from gpuclient.host import bundle
from gpuclient.host import reader


@dataclasses.dataclass(frozen=True)
class WrittenBundle:
    """A bundle that was written."""

    path: str
    host: str
    #: Bytes.
    size: int
    #: Number of files and links.
    files: int
    #: What could not be read, and why.
    unreadable: list[str]


def create(root: str, path: str | None) -> WrittenBundle:
    """Write the bundle of a host.

    :param root: Folder with the files of the host.
    :param path: File to write; named after the host if None.
    :raises gpuclient.exceptions.GPUError: It cannot be written.
    """
    tree = bundle.collect_from(root)
    host = reader.parse(tree, 'host')
    path = path or bundle.default_name(host)
    return WrittenBundle(
        path,
        host.name,
        bundle.write(path, tree),
        len(tree.files) + len(tree.links),
        list(map(str, host.unreadable)),
    )


def script() -> str:
    """Return a program that creates a bundle with nothing but Python."""
    return bundle.script()
