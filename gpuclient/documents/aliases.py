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
import typing
from gpuclient.documents import services
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import nova_changes
from gpuclient.model import nova_options
from gpuclient.model import release as release_model
from gpuclient.rules import alias as alias_rules
from gpuclient.rules import nova_release


@dataclasses.dataclass(frozen=True)
class DefinedAlias(services.DefinedValue):
    """One ``[pci]alias`` value of a file."""

    alias: alias_model.Alias


@dataclasses.dataclass(frozen=True)
class AliasDocument(services.ServiceConfiguration):
    """The aliases in the configuration of a service."""

    #: The release of Nova that reads them.
    release: release_model.Release = dataclasses.field(
        default_factory=release_model.newest
    )

    @property
    def aliases(self) -> tuple[DefinedAlias, ...]:
        """The aliases, without those that depend on a template.

        :raises gpuclient.exceptions.InvalidAlias: One is invalid; the message
            has its line and Nova's own text.
        """
        defined = []
        for conf, value in self.values(*nova_options.ALIAS):
            if value.depends:
                continue
            try:
                alias = alias_model.parse(value.text, self.release)
            except exceptions.InvalidAlias as exc:
                raise exceptions.InvalidAlias(
                    services.located(conf, value, exc)
                ) from exc
            defined.append(DefinedAlias(value, conf, conf.path, alias))
        return tuple(defined)

    @property
    def has_unknown(self) -> bool:
        """Whether some aliases depend on a template."""
        return any(
            value.depends for _conf, value in self.values(*nova_options.ALIAS)
        )

    @property
    def pci_in_placement(self) -> bool | None:
        """``[filter_scheduler]pci_in_placement``; None if it is unset."""
        return self.boolean(*nova_options.PCI_IN_PLACEMENT)


def read(
    path: str, release: release_model.Release | None = None
) -> tuple[AliasDocument, ...]:
    """Read the aliases of a file: of nova-api and nova-compute.

    :param release: The release of Nova that reads it; the newest by default.
    :raises gpuclient.exceptions.DocumentError: See :func:`services.read`.
    :raises gpuclient.exceptions.InvalidAlias: One of its aliases is invalid;
        the message has its line and Nova's own text.
    """
    documents = tuple(
        AliasDocument(
            configuration.file,
            configuration.reading,
            release or release_model.newest(),
        )
        for configuration in services.read(path)
    )
    for document in documents:
        # Report invalid aliases before anything is done.
        _aliases = document.aliases
    return documents


def read_all(
    paths: collections.abc.Iterable[str],
) -> tuple[AliasDocument, ...]:
    """Read the aliases of several files, see :func:`read`."""
    return tuple(document for path in paths for document in read(path))


def add(
    document: AliasDocument,
    alias: alias_model.Alias,
    *,
    pci_in_placement: bool = False,
) -> bool:
    """Add an alias to a document, in memory; ``document.file`` writes it.

    :param pci_in_placement: Value of the option if the file does not set it.
    :returns: False if the document has the alias already.
    :raises gpuclient.exceptions.InvalidAlias: The service would refuse to
        start with it, or the name is defined otherwise.
    """
    aliases = document.aliases
    same, different = alias_rules.same_name(
        alias, [defined.alias for defined in aliases]
    )
    if different is not None:
        where = next(
            defined.where for defined in aliases if defined.alias is different
        )
        raise exceptions.InvalidAlias(
            str(alias_rules.clash(alias, different, where))
        )
    texts = [defined.text for defined in aliases]
    if same is None:
        texts.append(alias.render())
    _validate(document, texts, alias, pci_in_placement)
    if same is None:
        document.best(*nova_options.ALIAS).add('pci', 'alias', alias.render())
        services.check_effect(document, nova_options.ALIAS, texts)
    return same is None


def change(
    document: AliasDocument,
    name: str,
    changes: collections.abc.Mapping[str, typing.Any],
    *,
    pci_in_placement: bool = False,
) -> alias_model.Alias | None:
    """Change keys of an alias in a document, in memory.

    :param changes: New values of fields of the alias; None removes a key.
    :returns: The changed alias; None if the document has none of that name.
    :raises gpuclient.exceptions.InvalidAlias: The service would refuse to
        start with it, or several values have the name.
    """
    aliases = document.aliases
    same_name = [defined for defined in aliases if defined.alias.name == name]
    if not same_name:
        return None
    if len(same_name) > 1:
        raise exceptions.InvalidAlias(
            f'{document.where} defines {name!r} {len(same_name)} times, as '
            'alternatives; change the lines by hand'
        )
    (defined,) = same_name
    changed = nova_release.parse_alias(
        dataclasses.replace(defined.alias, **changes).render(),
        document.release,
    )
    texts = [
        changed.render() if other is defined else other.text
        for other in aliases
    ]
    _validate(document, texts, changed, pci_in_placement)
    if changed != defined.alias:
        defined.conf.replace(defined.value, changed.render())
    return changed


def remove(document: AliasDocument, name: str) -> bool:
    """Remove an alias from a document, in memory.

    :returns: Whether it had one of that name.
    """
    aliases = document.aliases
    removed = [alias for alias in aliases if alias.alias.name == name]
    # From the end, so that the line numbers of the others stay valid.
    for defined in reversed(removed):
        defined.conf.remove(defined.value)
    if removed:
        services.check_effect(
            document,
            nova_options.ALIAS,
            [alias.text for alias in aliases if alias not in removed],
        )
    return bool(removed)


def _validate(
    document: AliasDocument,
    texts: list[str],
    alias: alias_model.Alias,
    pci_in_placement: bool,
) -> None:
    for process in document.processes:
        own = process.boolean(*nova_options.PCI_IN_PLACEMENT)
        _validate_process(
            document,
            [
                *process.texts_beside(document.confs, *nova_options.ALIAS),
                *texts,
            ],
            alias,
            pci_in_placement if own is None else own,
        )


def _validate_process(
    document: AliasDocument,
    texts: list[str],
    alias: alias_model.Alias,
    in_placement: bool,
) -> None:
    try:
        alias_model.merge(texts, in_placement, document.release)
    except exceptions.InvalidAlias as exc:
        hint = ''
        if not in_placement and not alias.has_ids:
            hint = (
                '; an alias without IDs requires [filter_scheduler]'
                'pci_in_placement = True (pass --pci-in-placement if another '
                'file of the service sets it)'
            )
        reason = ' '.join(str(exc).split())
        consequence = (
            'would not start'
            if document.release.has(nova_changes.ALIASES_READ_AT_START)
            else 'would refuse all requests by alias (HTTP 400)'
        )
        raise exceptions.InvalidAlias(
            f'The service of {document.where} {consequence}: {reason}{hint}'
        ) from exc
