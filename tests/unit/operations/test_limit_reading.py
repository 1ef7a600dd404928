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

"""Whose limits Keystone shows."""

import types
import typing

import ddt
from keystoneauth1 import identity
import testtools

from gpuclient.model import limits
from gpuclient.operations import limit_reading


class _Auth(identity.BaseIdentityPlugin):
    def __init__(self, project_id: str | None, system: bool) -> None:
        super().__init__()
        self._access: typing.Any = types.SimpleNamespace(
            project_id=project_id, system_scoped=system
        )

    def get_access(
        self, session: typing.Any, **kwargs: typing.Any
    ) -> typing.Any:
        return self._access

    def get_auth_ref(
        self, session: typing.Any, **kwargs: typing.Any
    ) -> typing.Any:
        raise NotImplementedError

    def get_cache_id_elements(self) -> dict[str, str]:
        return {}


@ddt.ddt
class TestProjects(testtools.TestCase):
    @ddt.data(
        # project and system of the token, projects shown: the only project
        ('p', False, ['p'], 'p'),
        ('p', False, [], 'p'),
        ('p', False, ['p', 'q'], None),
        ('p', True, [], None),
        (None, False, [], None),
    )
    @ddt.unpack
    def test_projects(
        self,
        project_id: str | None,
        system: bool,
        shown: list[str],
        expected: str | None,
    ) -> None:
        cloud: typing.Any = types.SimpleNamespace(
            session=types.SimpleNamespace(auth=_Auth(project_id, system))
        )
        self.assertEqual(
            expected, limit_reading._only_project(cloud, set(shown))
        )

    def test_fixed_token(self) -> None:
        cloud: typing.Any = types.SimpleNamespace(
            session=types.SimpleNamespace(auth=None)
        )
        self.assertIsNone(limit_reading._only_project(cloud, set()))

    def test_limits_of_others_are_unknown(self) -> None:
        known = limits.UnifiedLimits(
            {'class:A': 2}, {('q', 'class:A'): 1}, only_of='p'
        )
        self.assertEqual(2, known.of('p', 'A'))
        self.assertEqual(1, known.of('q', 'A'))
        self.assertIsNone(known.of('r', 'A'))
        self.assertIsNone(known.of('p', 'B'))
