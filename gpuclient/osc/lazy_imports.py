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

"""Import modules when they are used.

cliff loads the modules of all commands for each command that is run
(``cliff/commandmanager.py:CommandManager.add_command_group``), so their
imports slow down every ``openstack`` command.
"""

import collections.abc
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

_PACKAGE = 'gpuclient.'


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules of this package, which are executed at first use."""

    def find_spec(
        self,
        fullname: str,
        path: collections.abc.Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(_PACKAGE):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if (
            spec is None
            or spec.loader is None
            # The modules of a package need it.
            or spec.submodule_search_locations is not None
        ):
            return spec
        spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@contextlib.contextmanager
def deferred() -> collections.abc.Iterator[None]:
    """Defer the import of modules of this package.

    Write ``from gpuclient.cloud import usage`` below it: the module is read
    when a function first uses it. Annotations must not be evaluated
    (``from __future__ import annotations``).
    """
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
