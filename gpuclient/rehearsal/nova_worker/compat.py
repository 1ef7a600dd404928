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
"""What older releases of Nova need of libraries that no longer have it."""

import hashlib
import importlib
import importlib.util
import socket
import sys
import types
import typing


def install() -> None:
    """Add what is missing; call it before modules of Nova use it.

    Nova 31 and later need nothing of it.
    """
    _add_netifaces()
    _add_migrate()
    _add_md5()


def _add_netifaces() -> None:
    """Nova up to 29 uses it to warn about a wrong ``my_ip``."""
    if importlib.util.find_spec('netifaces') is not None:
        return
    module = types.ModuleType('netifaces', 'Enough of netifaces for Nova.')
    module.AF_INET = socket.AF_INET  # type: ignore[attr-defined]
    module.AF_INET6 = socket.AF_INET6  # type: ignore[attr-defined]
    module.interfaces = _interfaces  # type: ignore[attr-defined]
    module.ifaddresses = _ifaddresses  # type: ignore[attr-defined]
    sys.modules['netifaces'] = module


def _interfaces() -> list[str]:
    return [name for _index, name in socket.if_nameindex()]


def _ifaddresses(_name: str) -> dict[int, list[dict[str, str]]]:
    return {}


def _add_migrate() -> None:
    """Nova up to 27 uses it to find databases of sqlalchemy-migrate.

    Those of a rehearsal cloud never were of it.
    """
    if importlib.util.find_spec('migrate') is not None:
        return

    class DatabaseNotControlledError(Exception):
        """Not a database of sqlalchemy-migrate."""

    def db_version(engine: typing.Any, repository: str) -> typing.NoReturn:
        raise DatabaseNotControlledError

    modules: dict[str, dict[str, typing.Any]] = {
        'migrate': {},
        'migrate.exceptions': {
            'DatabaseNotControlledError': DatabaseNotControlledError
        },
        'migrate.versioning': {},
        'migrate.versioning.api': {'db_version': db_version},
        'migrate.versioning.repository': {'Repository': str},
    }
    for name, values in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(values)
        sys.modules[name] = module
        parent, _dot, child = name.rpartition('.')
        if parent:
            setattr(sys.modules[parent], child, module)


def _add_md5() -> None:
    """Nova up to 30 imports it; oslo.utils 10.2 has removed it."""
    secretutils = importlib.import_module('oslo_utils.secretutils')
    if not hasattr(secretutils, 'md5'):
        secretutils.md5 = hashlib.md5  # type: ignore[attr-defined]
