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

"""The aliases that configuration files define."""

import collections.abc
import dataclasses

from gpuclient.documents import nova_conf
from gpuclient import exceptions
from gpuclient.i18n import _
from gpuclient.model import alias as alias_model
from gpuclient.rules import alias as alias_rules


@dataclasses.dataclass(frozen=True)
class DefinedAlias:
    """One ``[pci]alias`` value of a file."""

    alias: alias_model.Alias
    #: As the file has it.
    text: str
    path: str
    line: int

    @property
    def where(self) -> str:
        return f'{self.path}, line {self.line}'


@dataclasses.dataclass(frozen=True)
class AliasDocument:
    """A configuration file, as far as aliases are concerned."""

    document: nova_conf.NovaConf
    aliases: tuple[DefinedAlias, ...]
    #: ``[filter_scheduler]pci_in_placement``; None where it is not set.
    pci_in_placement: bool | None

    @property
    def path(self) -> str:
        return self.document.path


def read(path: str) -> AliasDocument:
    """Read the aliases of a file.

    :raises gpuclient.exceptions.DocumentError: The file cannot be read.
    :raises gpuclient.exceptions.InvalidAlias: One of its aliases is broken,
        with its line and Nova's own words.
    """
    document = nova_conf.NovaConf.read(path)
    defined = []
    for value in document.values(*nova_conf.ALIAS):
        try:
            alias = alias_model.parse(value.text)
        except exceptions.InvalidAlias as exc:
            raise exceptions.InvalidAlias(
                _('%(path)s, line %(line)d: %(words)s')
                % {'path': path, 'line': value.line, 'words': exc}
            ) from exc
        defined.append(
            DefinedAlias(alias, value.text, document.path, value.line)
        )
    return AliasDocument(
        document,
        tuple(defined),
        nova_conf.boolean(document.values(*nova_conf.PCI_IN_PLACEMENT)),
    )


def read_all(
    paths: collections.abc.Iterable[str],
) -> tuple[AliasDocument, ...]:
    """Read the aliases of several files, see :func:`read`."""
    return tuple(read(path) for path in paths)


def add(
    document: AliasDocument,
    alias: alias_model.Alias,
    *,
    pci_in_placement: bool = False,
) -> bool:
    """Add an alias to a file, in memory; write it with ``document.write()``.

    :param pci_in_placement: What the service has where its file does not say.
    :returns: False where the file has the alias already.
    :raises gpuclient.exceptions.InvalidAlias: The service would refuse to
        start with it, or the name has another meaning there.
    """
    same, different = alias_rules.same_name(
        alias, [defined.alias for defined in document.aliases]
    )
    if different is not None:
        where = next(
            defined.where
            for defined in document.aliases
            if defined.alias is different
        )
        raise exceptions.InvalidAlias(
            str(alias_rules.clash(alias, different, where))
        )
    texts = [defined.text for defined in document.aliases]
    if same is None:
        texts.append(alias.render())
    in_placement = (
        pci_in_placement
        if document.pci_in_placement is None
        else document.pci_in_placement
    )
    try:
        alias_model.merge(texts, in_placement)
    except exceptions.InvalidAlias as exc:
        hint = ''
        if not in_placement and not alias.has_ids:
            hint = _(
                '; it takes an alias without ids only with '
                '[filter_scheduler]pci_in_placement = True (if another file '
                'of the service has it, say --pci-in-placement)'
            )
        raise exceptions.InvalidAlias(
            _('The service of %(path)s would not start: %(words)s%(hint)s')
            % {'path': document.path, 'words': exc, 'hint': hint}
        ) from exc
    if same is None:
        document.document.add('pci', 'alias', alias.render())
    return same is None
