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

"""What came of a rehearsal, beside what its documents promised."""

import collections.abc
import dataclasses
import os
import re
import typing

from gpuclient.config_rehearsal import host_simulation
from gpuclient.config_rehearsal import plan as planning
from gpuclient import exceptions
from gpuclient.model import alias as alias_model
from gpuclient.model import configuration
from gpuclient.model import device_spec
from gpuclient.model import inventory
from gpuclient.rehearsal import api as rehearsal
from gpuclient.rules import configuration as configuration_rules
from gpuclient.rules import finding

DOCUMENT = 'document'
SERVICE = 'service'
OPTION = 'option'
DEVICE = 'device'
ALIAS = 'alias'

# States of services.
STARTED = 'started'
REFUSED = 'refused'
ENDED = 'ended'
# Of devices.
REPORTED = 'reported'
MISSING = 'missing'
UNTRACKED = 'untracked'
# Of aliases; REFUSED, too.
BOOTS = 'boots'
SHORT = 'short'
FAILS = 'fails'
SKIPPED = 'skipped'
UNREADABLE = 'unreadable'

#: What is wrong between documents, and stops devices from being found.
_OF_TRACKING = ('GPU308', 'GPU309', 'GPU310')
#: A warning that servers can bear out, and what stops nova-scheduler.
_UNSET_FILTERS = 'GPU327'
_OF_SCHEDULING = (*_OF_TRACKING, 'GPU326', _UNSET_FILTERS)
_ADDRESS = re.compile(r'[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]', re.ASCII)

#: A device, the entry that gives it away, and where that stands.
_Member: typing.TypeAlias = tuple[
    device_spec.HostDevice, host_simulation.Entry
]


@dataclasses.dataclass(frozen=True)
class Row:
    """One thing that was tried."""

    kind: str
    host: str | None
    name: str
    state: str
    #: Units of a device, or servers of an alias; None for others.
    expected: int | None = None
    actual: int | None = None
    #: Findings of the checks that told of it before.
    codes: tuple[str, ...] = ()
    detail: str = ''
    place: configuration.Place | None = None
    #: It is not as it should be.
    bad: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of booting servers that ask for an alias."""

    #: Devices of each server.
    count: int
    expected: int
    booted: int
    #: Why no more booted, in Nova's own words.
    words: str


class Report:
    """Makes the rows.

    :param plan: What was rehearsed.
    :param located: What the checks found in the same documents.
    """

    def __init__(
        self,
        plan: planning.Plan,
        located: collections.abc.Iterable[finding.Located],
    ) -> None:
        self._plan = plan
        self._errors = [
            one
            for one in located
            if one.finding.severity is finding.Severity.ERROR
            or one.finding.code == _UNSET_FILTERS
        ]

    # -- documents ----------------------------------------------------------

    @staticmethod
    def unreadable(
        failures: collections.abc.Iterable[tuple[str, str]],
    ) -> list[Row]:
        """Return a row for each document that no service was given."""
        return [
            Row(
                DOCUMENT,
                None,
                os.path.basename(path),
                UNREADABLE,
                codes=(configuration_rules.unreadable(path, '').finding.code,),
                detail=reason,
                place=configuration.Place(path),
                bad=True,
            )
            for path, reason in failures
        ]

    def options(self) -> list[Row]:
        """Return a row for each option that has no effect in a rehearsal."""
        found: dict[tuple[str, configuration.Place], Row] = {}
        for part in self._plan.parts:
            for one in part.not_rehearsed:
                place = one.option.setting.place
                # A document of several services is shown once.
                found.setdefault(
                    (one.name, place),
                    Row(
                        OPTION,
                        None,
                        one.name,
                        one.state,
                        detail=one.reason,
                        place=place,
                    ),
                )
        return sorted(
            found.values(),
            key=lambda row: (row.place or configuration.Place(''), row.name),
        )

    # -- services -----------------------------------------------------------

    def services(
        self, processes: collections.abc.Iterable[rehearsal.CloudProcess]
    ) -> list[Row]:
        """Return a row for each service of Nova."""
        known = {(one.name, one.host): one for one in processes}
        return [
            self._service(part, known[part.name, part.host])
            for part in self._plan.parts
        ]

    def _service(
        self, part: planning.Part, process: rehearsal.CloudProcess
    ) -> Row:
        if process.state == rehearsal.READY:
            left_out = len(part.not_rehearsed)
            if part.process is None:
                detail = 'there is no document for it'
            elif left_out:
                detail = f'options not rehearsed: {left_out}'
            else:
                detail = ''
            return Row(
                SERVICE,
                part.host,
                part.name,
                STARTED,
                detail=detail,
                place=part.place,
            )
        if process.state not in (rehearsal.REFUSED, rehearsal.ENDED):
            return Row(
                SERVICE,
                part.host,
                part.name,
                SKIPPED,
                detail='the cloud did not start',
                place=part.place,
            )
        known, place = self._cause(part, process.message)
        words = _with_documents(part, process.message, place)
        return Row(
            SERVICE,
            part.host,
            part.name,
            ENDED if process.state == rehearsal.ENDED else REFUSED,
            codes=known,
            detail=words or 'it did not start',
            place=place,
            bad=True,
        )

    def _cause(
        self, part: planning.Part, words: str
    ) -> tuple[tuple[str, ...], configuration.Place | None]:
        """Return which findings told of a refusal, and where it is from."""
        inside = [one for one in self._errors if one.place.path in part.paths]
        same = [one for one in inside if _says(one.finding.message, words)]
        if same:
            return _codes(same), same[0].place
        named = [
            option for option in part.service.options if _names(words, option)
        ]
        if not named:
            return (), part.place
        # Of several values, the one about the device that is named.
        place = max(named, key=lambda one: _shared(words, one)).setting.place
        return _codes(one for one in inside if one.place == place), place

    # -- devices ------------------------------------------------------------

    def devices(
        self,
        processes: collections.abc.Iterable[rehearsal.CloudProcess],
        found: collections.abc.Iterable[inventory.Device],
    ) -> list[Row]:
        """Return a row for each provider that should be, or is, reported.

        :param found: What Placement has.
        """
        refused = {
            row.host: row.codes
            for row in self.services(processes)
            if row.name == configuration.COMPUTE and row.state != STARTED
        }
        present = {(one.host, one.address): one for one in found}
        rows: list[Row] = []
        for host in self._plan.hosts:
            for address, members in sorted(_providers(host).items()):
                record = present.pop((host.name, address), None)
                rows.append(
                    self._absent(
                        host, address, members, refused.get(host.name)
                    )
                    if record is None
                    else _present(
                        record,
                        len(members),
                        members[0][1][1].place,
                        _assumed(host, address, members),
                    )
                )
            rows += self._without_device(host)
            rows += _without_spec(host)
        # Nobody expected these.
        return rows + [_present(one, 0, None) for one in present.values()]

    def _absent(
        self,
        host: planning.Host,
        address: str,
        members: list[_Member],
        refused: tuple[str, ...] | None,
    ) -> Row:
        """Return the row of a device that Placement has not.

        :param refused: The findings about its nova-compute where that did
            not start; None where it did.
        """
        setting = members[0][1][1]
        state_ = MISSING
        if not any(
            entry.in_placement for _device, (entry, _setting) in members
        ):
            state_, detail = UNTRACKED, "it is a network's"
        elif refused is not None:
            detail = f'nova-compute on {host.name} did not start'
        elif not host.part.service.report_in_placement:
            detail = '[pci]report_in_placement is off'
            if not any(
                part.service.pci_in_placement
                for part in self._plan.control_plane
            ):
                state_ = UNTRACKED
        else:
            detail = 'Placement has no provider {}'.format(
                f'{host.name}_{address.upper()}'
            )
        bad = state_ == MISSING
        return Row(
            DEVICE,
            host.name,
            address,
            state_,
            len(members) if bad else 0,
            0,
            codes=(refused or self._codes_of(host.part, setting))
            if bad
            else (),
            detail=detail,
            place=setting.place,
            bad=bad,
        )

    def _without_device(
        self, host: planning.Host
    ) -> collections.abc.Iterator[Row]:
        for one in host.unknown:
            yield Row(
                DEVICE,
                host.name,
                'unknown',
                MISSING,
                codes=self._codes_of(host.part, one.setting),
                detail=one.reason,
                place=one.setting.place,
                bad=True,
            )

    def _codes_of(
        self, part: planning.Part, setting: configuration.Setting
    ) -> tuple[str, ...]:
        return _codes(
            one
            for one in self._errors
            if one.place.path in part.paths
            and (
                one.place == setting.place or one.finding.code in _OF_TRACKING
            )
        )

    # -- aliases ------------------------------------------------------------

    def aliases(self) -> dict[str, configuration.Place]:
        """Return the aliases of all documents, and where each stands first."""
        found: dict[str, configuration.Place] = {}
        parts = (self._plan.api, *(host.part for host in self._plan.hosts))
        for part in parts:
            for setting in part.service.aliases:
                try:
                    alias = alias_model.parse(setting.text)
                except exceptions.InvalidAlias:
                    continue
                found.setdefault(alias.name, setting.place)
        return found

    def counts(self, name: str) -> dict[str, int]:
        """Return how many devices of an alias each host has.

        nova-api's alias counts, which is what servers boot by.
        """
        api = self._plan.api
        in_placement = bool(api.service.pci_in_placement)
        meanings = [one for one in api.aliases() if one.name == name]
        return {
            host.name: host.count(meanings, in_placement)
            for host in self._plan.hosts
        }

    def skipped(self, why: str) -> list[Row]:
        """Return the rows of aliases where none could be tried."""
        return [
            Row(ALIAS, None, name, SKIPPED, detail=why, place=place)
            for name, place in self.aliases().items()
        ]

    def refused_alias(self, name: str, words: str) -> Row:
        """Return the row of an alias that nova-api knows nothing of."""
        place = self.aliases()[name]
        return Row(
            ALIAS,
            None,
            name,
            REFUSED,
            codes=self._codes_of_alias(name),
            detail=words,
            place=place,
            bad=True,
        )

    def booted(self, name: str, outcome: Outcome) -> Row:
        """Return the row of an alias that servers were booted with."""
        if outcome.booted and outcome.booted >= outcome.expected:
            state_, bad = BOOTS, False
        else:
            state_, bad = (SHORT if outcome.booted else FAILS), True
        return Row(
            ALIAS,
            None,
            f'{name}:{outcome.count}',
            state_,
            outcome.expected,
            outcome.booted,
            codes=self._codes_of_alias(name) if bad else (),
            detail=outcome.words if bad else '',
            place=self.aliases()[name],
            bad=bad,
        )

    def _codes_of_alias(self, name: str) -> tuple[str, ...]:
        places = set()
        for part in self._plan.parts:
            for setting in part.service.aliases:
                try:
                    if alias_model.parse(setting.text).name == name:
                        places.add(setting.place)
                except exceptions.InvalidAlias:
                    places.add(setting.place)
        return _codes(
            one
            for one in self._errors
            if one.place in places or one.finding.code in _OF_SCHEDULING
        )


def _providers(host: planning.Host) -> dict[str, list[_Member]]:
    """Return the devices that a host gives away, by their providers.

    Nova makes one of a PF for all its VFs
    (``nova/compute/pci_placement_translator.py``).
    """
    found: dict[str, list[_Member]] = {}
    for device, entry in host.matched():
        address = device.parent_address or device.address
        found.setdefault(address, []).append((device, entry))
    return found


def _assumed(
    host: planning.Host, address: str, members: list[_Member]
) -> tuple[str, ...]:
    """Return that nothing but an alias told the type of a device."""
    if address not in host.assumed:
        return ()
    return (
        f'device type {members[0][0].device_type} assumed: see '
        'sriov_totalvfs of the card',
    )


def _present(
    record: inventory.Device,
    expected: int,
    place: configuration.Place | None,
    assumed: tuple[str, ...] = (),
) -> Row:
    traits = [name for name in record.traits if name not in inventory.OF_EACH]
    return Row(
        DEVICE,
        record.host,
        record.address or record.name,
        REPORTED,
        expected,
        record.total,
        detail=', '.join((str(record.resource_class), *traits, *assumed)),
        place=place,
        bad=record.total != expected,
    )


def _without_spec(
    host: planning.Host,
) -> collections.abc.Iterator[Row]:
    """Yield a row for each device that was described for nothing."""
    matched = {device.address for device, _entry in host.matched()}
    for device in host.described:
        if matched.isdisjoint(one.address for one in device.functions()):
            yield Row(
                DEVICE,
                host.name,
                device.address,
                MISSING,
                1,
                0,
                detail='no device spec matches {ids} there'.format(
                    ids=f'{device.vendor_id}:{device.product_id}'
                ),
                place=host.part.place,
                bad=True,
            )


def _codes(
    located: collections.abc.Iterable[finding.Located],
) -> tuple[str, ...]:
    return tuple(sorted({one.finding.code for one in located}))


def _says(message: str, words: str) -> bool:
    """Return whether a finding has a service's own words in it."""
    message, words = ' '.join(message.split()), ' '.join(words.split())
    _who, found, rest = message.partition(' would not start: ')
    # The words of a service are cut off at some length.
    return bool(words) and (
        words in message or bool(found and rest and rest in words)
    )


def _names(words: str, option: configuration.Option) -> bool:
    """Return whether a message is about an option."""
    return bool(re.search(rf'(?<![\w.]){re.escape(option.name)}(?!\w)', words))


def _shared(words: str, option: configuration.Option) -> int:
    """Return how many addresses a message and a value have in common."""
    return len(
        {*_ADDRESS.findall(words)} & {*_ADDRESS.findall(option.setting.text)}
    )


def _with_documents(
    part: planning.Part, words: str, place: configuration.Place | None
) -> str:
    """Put the names of documents where a message has those of our files.

    :param place: What the message is about. oslo.config names the last file
        of a folder, whichever has the option.
    """
    names = {
        rehearsal.user_file(number): path
        for number, path in enumerate(part.paths)
    }
    if place is not None:
        names[rehearsal.OWN_FILE] = place.path
    for name, path in names.items():
        words = re.sub(
            rf'[^\s\'"(]*/{re.escape(name)}\b',
            path.replace('\\', r'\\'),
            words,
        )
    return words
