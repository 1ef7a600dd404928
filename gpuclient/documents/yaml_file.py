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

"""Read YAML, in the two dialects that are needed.

Our own files, and files that are edited, are read strictly (:class:`Loader`);
files of deployment tools as these tools read them
(:func:`compose_as_tools`).
"""

import collections.abc
import json
import math
import re
import typing

import yaml

from gpuclient import exceptions
from gpuclient.files import atomic
from gpuclient.model import quoting


_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
#: What a parser expected or found: a mark, or the name of a token.
_GRAMMAR = re.compile('.{0,2}|<[a-z ]+>')
_DUPLICATE_KEY = re.compile(r"duplicate key '[\w./ -]{1,200}'", re.ASCII)

#: A tag without a constructor; another one may be a password without quotes.
_TAG = re.compile(
    r"(?P<problem>could not determine a constructor for the tag) '(?P<tag>.*)'"
)
_KNOWN_TAG = re.compile(
    r'tag:yaml\.org,2002:python/[\w/.:]{1,200}|!(vault|unsafe|include)',
    re.ASCII,
)
_YAML_TAG = 'tag:yaml.org,2002:'
_TEMPLATE = (
    'it looks like a template that was not rendered: render it first, and '
    'read the result'
)
_TEMPLATE_MARK = re.compile(r'\{\{|\{%')

#: ``yaml/scanner.py:Scanner.stale_possible_simple_keys``
_SIMPLE_KEY = 'while scanning a simple key'

#: For files of deployment tools; the C parser is ten times as fast.
_TOOL_LOADER: typing.Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads scalars as YAML 1.2 does, and refuses duplicate keys.

    In YAML 1.1 ``0000:04:00.0`` is a number in base 60, and of duplicate keys
    the last one counts.
    """

    yaml_implicit_resolvers: typing.ClassVar[dict[str, typing.Any]] = {}

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> typing.Any:
        seen = set()
        for key, _value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        problem=f'duplicate key {key.value!r}',
                        problem_mark=key.start_mark,
                    )
                seen.add(key.value)
            elif _is_expression(node, key):
                raise yaml.constructor.ConstructorError(
                    problem=_TEMPLATE, problem_mark=key.start_mark
                )
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ('null', r'~|null|Null|NULL|', ['~', 'n', 'N', '']),
    ('bool', r'true|True|TRUE|false|False|FALSE', list('tTfF')),
    ('int', r'[-+]?(0|[1-9][0-9]*)', list('-+0123456789')),
    (
        'float',
        # Without a dot it is a product id: 20e5.
        r'[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?',
        list('-+.0123456789'),
    ),
    ('merge', '<<', ['<']),
):
    Loader.add_implicit_resolver(
        f'tag:yaml.org,2002:{_tag}', re.compile(f'^(?:{_pattern})$'), _first
    )


#: Composes large files of ours, with the scalars of :class:`Loader`.
_FAST_COMPOSER: typing.Any = type(
    'FastComposer',
    (_TOOL_LOADER,),
    {'yaml_implicit_resolvers': Loader.yaml_implicit_resolvers},
)


def load(path: str) -> typing.Any:
    """Return the data of a file with one YAML document.

    :raises gpuclient.exceptions.DocumentError: It cannot be read, or is not
        YAML; the message is one line with the path and, if known, the line.
    """
    return parse(
        path, atomic.decode(path, atomic.read(path, or_standard_input=False))
    )


def parse(path: str, text: str) -> typing.Any:
    """Return the data of a text with one document; None if it is empty.

    :param path: For messages.
    :raises gpuclient.exceptions.DocumentError: See :func:`load`.
    """
    if '\t' in text and _is_json(text):
        # YAML has no tabs here, and JSON has none within strings.
        text = text.replace('\t', ' ')
    (node,) = _guarded(path, lambda: [yaml.compose(text, Loader)], text)
    if node is None:
        return None
    _check_size(path, [node])
    (data,) = _guarded(path, lambda: [construct(node)])
    return data


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def parse_all(path: str, text: str) -> list[typing.Any]:
    """Return the data of all documents.

    :raises gpuclient.exceptions.DocumentError: See :func:`load`.
    """
    return _guarded(
        path, lambda: [construct(node) for node in compose_all(path, text)]
    )


def construct(node: yaml.Node) -> typing.Any:
    """Return the data of a node."""
    return Loader('').construct_document(node)


def construct_document(path: str, node: yaml.Node) -> typing.Any:
    """Return the data of a document.

    :raises gpuclient.exceptions.DocumentError: A value does not match its tag.
    """
    (data,) = _guarded(path, lambda: [construct(node)])
    return data


def compose_all(
    path: str, text: str, *, fast: bool = False
) -> list[yaml.Node]:
    """Return the nodes of all documents, with their positions in the text.

    :param fast: Use the C parser, whose messages tell less.
    :raises gpuclient.exceptions.DocumentError: It is not YAML, or grows
        without limit because it refers to its own parts.
    """
    loader = _FAST_COMPOSER if fast else Loader
    nodes = _guarded(path, lambda: list(yaml.compose_all(text, loader)), text)
    _check_size(path, nodes)
    return nodes


def compose_as_tools(path: str, text: str) -> list[yaml.Node]:
    """Return the nodes of all documents, as deployment tools read them.

    Most tools read YAML 1.1 (PyYAML, Psych, ``sigs.k8s.io/yaml``): ``yes`` is
    a boolean, ``0071`` a number, and of duplicate keys the last counts.

    :raises gpuclient.exceptions.DocumentError: It is not YAML.
    """
    return _guarded(path, lambda: list(yaml.compose_all(text, _TOOL_LOADER)))


def compose_mappings(
    path: str, content: bytes, *, any_key: bool = False
) -> list[yaml.MappingNode]:
    """Return the documents of a file that are mappings, as tools read them.

    :param any_key: The tool accepts mappings and lists as keys.
    :raises gpuclient.exceptions.DocumentError: It is not YAML, or the tool
        refuses a key.
    """
    documents = compose_as_tools(path, atomic.decode(path, content))
    if not any_key:
        _check_keys(path, documents)
    return [node for node in documents if isinstance(node, yaml.MappingNode)]


def _check_keys(path: str, documents: list[yaml.Node]) -> None:
    """Refuse keys that are mappings or lists, as tools do.

    PyYAML cannot construct them (``SafeConstructor.construct_mapping``:
    unhashable key), and JSON, into which tools in Go convert YAML, has none.
    """
    seen: set[int] = set()
    nodes = list(documents)
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if isinstance(key, yaml.CollectionNode) and not (
                    _is_expression(node, key)
                ):
                    raise _bad_key(path, key)
                nodes.append(value)


def _is_expression(node: yaml.Node, key: yaml.Node) -> bool:
    """Return whether a mapping and its key are ``{{ name }}`` of a template.

    The file may be rendered before a tool reads it as YAML.
    """
    return bool(
        node.flow_style
        and isinstance(key, yaml.MappingNode)
        and key.flow_style
        and key.start_mark.index == node.start_mark.index + 1
    )


def _bad_key(path: str, key: yaml.Node) -> exceptions.DocumentError:
    line = int(key.start_mark.line) + 1
    kind = 'mapping' if isinstance(key, yaml.MappingNode) else 'list'
    return exceptions.DocumentError(
        f'Cannot read {path}, line {line}: a {kind} is a key, which YAML '
        f'parsers refuse (unhashable key). Remove the question mark that '
        f'makes it a key',
        line,
    )


def anchored_scalars(text: str) -> set[int]:
    """Return the start indexes of the scalars that have an anchor."""
    if '&' not in text:
        return set()
    return {
        event.start_mark.index
        for event in yaml.parse(text, _TOOL_LOADER)
        if isinstance(event, yaml.ScalarEvent) and event.anchor
    }


def _check_size(path: str, nodes: list[yaml.Node]) -> None:
    sizes: dict[int, float] = {}
    (size,) = _guarded(
        path, lambda: [sum(_size(node, sizes) for node in nodes)]
    )
    if size > atomic.MOST:
        raise exceptions.DocumentError(
            f'Cannot read {path}: it has more than {atomic.MOST} lines or '
            'items'
        )


def _size(node: yaml.Node, sizes: dict[int, float]) -> float:
    """Return the number of nodes when all references are resolved."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in sizes:
        # The result for a node that contains itself.
        sizes[id(node)] = math.inf
        sizes[id(node)] = 1 + sum(
            _size(part, sizes)
            for item in node.value
            for part in (item if isinstance(item, tuple) else (item,))
        )
    return sizes[id(node)]


def _guarded(
    path: str,
    read: collections.abc.Callable[[], list[typing.Any]],
    text: str = '',
) -> list[typing.Any]:
    """Return what a parser returns, with its errors in one line.

    :param text: The text that is parsed, if it should be no template.
    """
    try:
        return read()
    except (AttributeError, LookupError) as exc:
        # PyYAML does not handle every wrong tag: !!bool x
        raise exceptions.DocumentError(
            f'Cannot read {path}: a value does not match its tag'
        ) from exc
    except (
        yaml.YAMLError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as exc:
        # OverflowError, ValueError: "\UFFFFFFFF" is not a character.
        # TypeError: a key that is a mapping.
        mark = getattr(exc, 'problem_mark', None)
        if getattr(exc, 'context', None) == _SIMPLE_KEY:
            # The parser notices a missing colon in a later line.
            mark = getattr(exc, 'context_mark', None) or mark
        line = None if mark is None else int(mark.line) + 1
        where = path if line is None else f'{path}, line {line}'
        reason = _without_values(str(getattr(exc, 'problem', None) or exc))
        if line is not None and _is_template(text, line):
            reason += f'; {_TEMPLATE}'
        raise exceptions.DocumentError(
            f'Cannot read {where}: {reason}', line
        ) from exc


def _is_template(text: str, line: int) -> bool:
    """Return whether a line has an expression of a template."""
    lines = text.splitlines()
    return line <= len(lines) and bool(_TEMPLATE_MARK.search(lines[line - 1]))


def _without_values(message: str) -> str:
    """Return the message of a parser without the values that it quotes."""
    message = ' '.join(message.split())
    tag = _TAG.fullmatch(message)
    if tag is not None:
        if not _KNOWN_TAG.fullmatch(tag['tag']):
            return (
                f"{tag['problem']} '{quoting.MASK}'; a value that begins with "
                f'! needs quotes'
            )
        return f"{tag['problem']} '{tag['tag'].replace(_YAML_TAG, '!!')}'"
    if _DUPLICATE_KEY.fullmatch(message):
        return quoting.cut(message)
    return _QUOTED.sub(
        lambda match: (
            match[0]
            if _GRAMMAR.fullmatch(match[0][1:-1])
            else f"'{quoting.MASK}'"
        ),
        message,
    )
