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

"""Files of YAML that are ours, read whole and strictly."""

import typing

import yaml

from gpuclient.documents import atomic
from gpuclient import exceptions
from gpuclient.i18n import _

#: What is larger is no file that somebody wrote.
LARGEST = 4 * 1024 * 1024


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a key that is given twice; YAML would take the last."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> typing.Any:
        seen = set()
        for key, _value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f'the key {key.value!r} is given twice',
                        problem_mark=key.start_mark,
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: str) -> typing.Any:
    """Return the data of a file with one document of YAML.

    :raises gpuclient.exceptions.DocumentError: It cannot be read, or is not
        YAML; the message is one line with the path and, where it has one, the
        line.
    """
    content = atomic.read(path)
    if len(content) > LARGEST:
        raise exceptions.DocumentError(
            _('Cannot read %(path)s: it is larger than %(size)d MiB')
            % {'path': path, 'size': LARGEST // 2**20}
        )
    try:
        return yaml.load(content.decode(), _Loader)  # noqa: S506
    except UnicodeDecodeError as exc:
        raise exceptions.DocumentError(
            _('Cannot read %(path)s: it is not UTF-8 (byte %(position)d)')
            % {'path': path, 'position': exc.start}
        ) from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        # ValueError: a date such as 2025-13-45.
        mark = getattr(exc, 'problem_mark', None)
        raise exceptions.DocumentError(
            _('%(where)s: %(reason)s')
            % {
                'where': path if mark is None else f'{path}:{mark.line + 1}',
                'reason': ' '.join(
                    str(getattr(exc, 'problem', None) or exc).split()
                ),
            }
        ) from exc
