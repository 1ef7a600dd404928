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

"""The results of a rehearsal, compared with those that are expected."""

import collections.abc
import dataclasses
import os
import re
import typing

from gpuclient.config_rehearsal import device_simulation
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
# States of devices.
REPORTED = 'reported'
MISSING = 'missing'
UNTRACKED = 'untracked'
# States of aliases; also REFUSED.
BOOTS = 'boots'
SHORT = 'short'
FAILS = 'fails'
SKIPPED = 'skipped'
# State of documents.
UNREADABLE = 'unreadable'

#: Findings about several documents, by which devices are not tracked.
_OF_TRACKING = ('GPU308', 'GPU309', 'GPU310')
#: A warning, whose effect servers show.
_UNSET_FILTERS = 'GPU327'
#: Findings by which servers are not scheduled.
_OF_SCHEDULING = (*_OF_TRACKING, 'GPU326', _UNSET_FILTERS)
_ADDRESS = re.compile(r'[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]', re.ASCII)

#: A device, and the device spec that matches it.
_MatchedDevice: typing.TypeAlias = tuple[
    device_spec.HostDevice, device_simulation.LocatedSpec
]


@dataclasses.dataclass(frozen=True)
class Row:
    """One result."""

    kind: str
    host: str | None
    name: str
    state: str
    #: Units of a device, or servers of an alias; None for other kinds.
    expected: int | None = None
    actual: int | None = None
    #: Codes of the findings that predict the result.
    codes: tuple[str, ...] = ()
    detail: str = ''
    place: configuration.Place | None = None
    #: The result is not the expected one.
    bad: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of booting servers that request an alias."""

    #: Devices of each server.
    count: int
    expected: int
    booted: int
    #: Nova's message about the first server that did not boot.
    message: str


class Report:
    """Makes the rows of a report.

    :param plan: The plan of the cloud.
    :param located: The findings in the same documents.
    """

    def __init__(
        self,
        plan: planning.Plan,
        located: collections.abc.Iterable[finding.Located],
    ) -> None:
        self.plan = plan
        self._errors = [
            item
            for item in located
            if item.finding.severity is finding.Severity.ERROR
            or item.finding.code == _UNSET_FILTERS
        ]

    # -- documents ----------------------------------------------------------

    @staticmethod
    def unreadable(
        failures: collections.abc.Iterable[tuple[str, str, int | None]],
    ) -> list[Row]:
        """Return a row for each document that could not be read."""
        return [
            Row(
                DOCUMENT,
                None,
                os.path.basename(path),
                UNREADABLE,
                codes=(configuration_rules.unreadable(path, '').finding.code,),
                detail=reason,
                place=configuration.Place(path, line),
                bad=True,
            )
            for path, reason, line in failures
        ]

    def options(self) -> list[Row]:
        """Return a row for each option that has no effect in a rehearsal."""
        rows: dict[tuple[str, configuration.Place], Row] = {}
        for service in self.plan.services:
            for option in service.excluded:
                place = option.option.setting.place
                # A document that several services read is listed once.
                rows.setdefault(
                    (option.name, place),
                    Row(
                        OPTION,
                        None,
                        option.name,
                        option.state,
                        detail=option.reason,
                        place=place,
                    ),
                )
        return sorted(
            rows.values(),
            key=lambda row: (row.place or configuration.Place(''), row.name),
        )

    # -- services -----------------------------------------------------------

    def services(
        self, processes: collections.abc.Iterable[rehearsal.CloudProcess]
    ) -> list[Row]:
        """Return a row for each service of Nova."""
        process_of = {
            (process.name, process.host): process for process in processes
        }
        return [
            self._service(service, process_of[service.name, service.host])
            for service in self.plan.services
        ]

    def _service(
        self,
        service: planning.PlannedService,
        process: rehearsal.CloudProcess,
    ) -> Row:
        row = Row(
            SERVICE,
            service.host,
            service.name,
            STARTED,
            detail=_detail_of_started(service),
            place=service.place,
        )
        if process.state == rehearsal.READY:
            return row
        if process.state not in (rehearsal.REFUSED, rehearsal.ENDED):
            return dataclasses.replace(
                row, state=SKIPPED, detail='the cloud did not start'
            )
        codes, place = self._cause(service, process.message)
        message = _with_documents(service, process.message, place)
        return dataclasses.replace(
            row,
            state=ENDED if process.state == rehearsal.ENDED else REFUSED,
            codes=codes,
            detail=message or 'the service did not start',
            place=place,
            bad=True,
        )

    def _cause(
        self, service: planning.PlannedService, message: str
    ) -> tuple[tuple[str, ...], configuration.Place | None]:
        """Return the findings that predict a message, and its place."""
        errors = [
            error
            for error in self._errors
            if error.place.path in service.paths
        ]
        same = [error for error in errors if _quotes(error.finding, message)]
        if same:
            return _codes(same), same[0].place
        named = [
            option
            for option in service.process.options
            if _names(message, option)
        ]
        if not named:
            return (), service.place
        # Of several values, the one about the device that is named.
        option = max(
            named, key=lambda option: _common_addresses(message, option)
        )
        place = option.setting.place
        return _codes(error for error in errors if error.place == place), place

    # -- devices ------------------------------------------------------------

    def devices(
        self,
        processes: collections.abc.Iterable[rehearsal.CloudProcess],
        reported: collections.abc.Iterable[inventory.Device],
    ) -> list[Row]:
        """Return a row for each device that is expected or reported.

        :param reported: The devices in Placement.
        """
        refused = {
            row.host: row.codes
            for row in self.services(processes)
            if row.name == configuration.COMPUTE and row.state != STARTED
        }
        unexpected = {
            (device.host, device.address): device for device in reported
        }
        rows: list[Row] = []
        for host in self.plan.hosts:
            for address, matched in sorted(_providers(host).items()):
                device = unexpected.pop((host.name, address), None)
                if device is None:
                    rows.append(
                        self._not_reported(
                            host, address, matched, refused.get(host.name)
                        )
                    )
                else:
                    rows.append(
                        _reported(
                            device,
                            len(matched),
                            matched[0][1][1].place,
                            _assumption(host, address, matched),
                        )
                    )
            rows += self._not_simulated(host)
            rows += _not_matched(host)
        return rows + [
            _reported(device, 0, None) for device in unexpected.values()
        ]

    def _not_reported(
        self,
        host: planning.PlannedHost,
        address: str,
        matched: list[_MatchedDevice],
        refused: tuple[str, ...] | None,
    ) -> Row:
        """Return the row of a device that is not in Placement.

        :param refused: The findings that predict that its nova-compute did
            not start; None where it did.
        """
        setting = matched[0][1][1]
        state, detail = self._why_not_reported(
            host, address, matched, started=refused is None
        )
        row = Row(
            DEVICE,
            host.name,
            address,
            state,
            0,
            0,
            detail=detail,
            place=setting.place,
        )
        if state == UNTRACKED:
            return row
        return dataclasses.replace(
            row,
            expected=len(matched),
            codes=refused or self._codes_of(host.service, setting),
            bad=True,
        )

    def _why_not_reported(
        self,
        host: planning.PlannedHost,
        address: str,
        matched: list[_MatchedDevice],
        *,
        started: bool,
    ) -> tuple[str, str]:
        """Return the state and the reason of a device not in Placement."""
        if not any(spec.in_placement for _device, (spec, _) in matched):
            return UNTRACKED, 'Nova does not report devices of networks'
        if not started:
            return MISSING, f'nova-compute on {host.name} did not start'
        if not host.service.process.report_in_placement:
            tracked = any(
                service.process.pci_in_placement
                for service in self.plan.control_plane
            )
            return (
                MISSING if tracked else UNTRACKED,
                '[pci]report_in_placement is not enabled',
            )
        provider = f'{host.name}_{address.upper()}'
        return MISSING, f'Placement has no resource provider {provider}'

    def _not_simulated(
        self, host: planning.PlannedHost
    ) -> collections.abc.Iterator[Row]:
        for spec in host.unsimulated:
            yield Row(
                DEVICE,
                host.name,
                'unknown',
                MISSING,
                codes=self._codes_of(host.service, spec.setting),
                detail=spec.reason,
                place=spec.setting.place,
                bad=True,
            )

    def _codes_of(
        self,
        service: planning.PlannedService,
        setting: configuration.Setting,
    ) -> tuple[str, ...]:
        return _codes(
            error
            for error in self._errors
            if error.place.path in service.paths
            and (
                error.place == setting.place
                or error.finding.code in _OF_TRACKING
            )
        )

    # -- aliases ------------------------------------------------------------

    def aliases(self) -> dict[str, configuration.Place]:
        """Return all aliases, and the place of the first definition."""
        places: dict[str, configuration.Place] = {}
        computes = (host.service for host in self.plan.hosts)
        for service in (self.plan.api, *computes):
            for setting in service.process.aliases:
                try:
                    alias = alias_model.parse(setting.text)
                except exceptions.InvalidAlias:
                    continue
                places.setdefault(alias.name, setting.place)
        return places

    def counts(self, name: str) -> dict[str, int]:
        """Return the number of devices of each host that an alias matches.

        Servers boot with the definition that nova-api has.
        """
        api = self.plan.api
        in_placement = bool(api.process.pci_in_placement)
        definitions = [alias for alias in api.aliases() if alias.name == name]
        return {
            host.name: host.count(definitions, in_placement)
            for host in self.plan.hosts
        }

    def skipped(self, reason: str) -> list[Row]:
        """Return the rows of aliases where none could be tested."""
        return [
            Row(ALIAS, None, name, SKIPPED, detail=reason, place=place)
            for name, place in self.aliases().items()
        ]

    def refused_alias(self, name: str, message: str) -> Row:
        """Return the row of an alias that nova-api does not accept."""
        return Row(
            ALIAS,
            None,
            name,
            REFUSED,
            codes=self._codes_of_alias(name),
            detail=message,
            place=self.aliases()[name],
            bad=True,
        )

    def booted(self, name: str, outcome: Outcome) -> Row:
        """Return the row of an alias with which servers were booted."""
        row = Row(
            ALIAS,
            None,
            f'{name}:{outcome.count}',
            BOOTS,
            outcome.expected,
            outcome.booted,
            place=self.aliases()[name],
        )
        if outcome.booted and outcome.booted >= outcome.expected:
            return row
        return dataclasses.replace(
            row,
            state=SHORT if outcome.booted else FAILS,
            codes=self._codes_of_alias(name),
            detail=outcome.message,
            bad=True,
        )

    def _codes_of_alias(self, name: str) -> tuple[str, ...]:
        places = {
            setting.place
            for service in self.plan.services
            for setting in service.process.aliases
            if _may_define(setting.text, name)
        }
        return _codes(
            error
            for error in self._errors
            if error.place in places or error.finding.code in _OF_SCHEDULING
        )


def _may_define(text: str, name: str) -> bool:
    """Return whether an alias has a name, or cannot be parsed."""
    try:
        return alias_model.parse(text).name == name
    except exceptions.InvalidAlias:
        return True


def _detail_of_started(service: planning.PlannedService) -> str:
    if service.document is None:
        return 'no file configures it'
    if service.excluded:
        return f'options not rehearsed: {len(service.excluded)}'
    return ''


def _providers(
    host: planning.PlannedHost,
) -> dict[str, list[_MatchedDevice]]:
    """Return the matched devices by the addresses of their providers.

    The VFs of a PF share a resource provider
    (``nova/compute/pci_placement_translator.py``).
    """
    providers: dict[str, list[_MatchedDevice]] = {}
    for device, spec in host.matched():
        address = device.parent_address or device.address
        providers.setdefault(address, []).append((device, spec))
    return providers


def _assumption(
    host: planning.PlannedHost, address: str, matched: list[_MatchedDevice]
) -> tuple[str, ...]:
    """Return a note on the type of a device where it is assumed."""
    if address not in host.assumed:
        return ()
    return (
        f'device type {matched[0][0].device_type} assumed: see '
        'sriov_totalvfs of the card',
    )


def _reported(
    device: inventory.Device,
    expected: int,
    place: configuration.Place | None,
    notes: tuple[str, ...] = (),
) -> Row:
    traits = [name for name in device.traits if name not in inventory.OF_EACH]
    return Row(
        DEVICE,
        device.host,
        device.address or device.name,
        REPORTED,
        expected,
        device.total,
        detail=', '.join((str(device.resource_class), *traits, *notes)),
        place=place,
        bad=device.total != expected,
    )


def _not_matched(
    host: planning.PlannedHost,
) -> collections.abc.Iterator[Row]:
    """Yield a row for each described device that no device spec matches."""
    matched = {device.address for device, _spec in host.matched()}
    for device in host.described:
        addresses = [function.address for function in device.functions()]
        if matched.isdisjoint(addresses):
            yield Row(
                DEVICE,
                host.name,
                device.address,
                MISSING,
                1,
                0,
                detail=(
                    'no device_spec matches this device '
                    f'({device.vendor_id}:{device.product_id})'
                ),
                place=host.service.place,
                bad=True,
            )


def _codes(
    located: collections.abc.Iterable[finding.Located],
) -> tuple[str, ...]:
    return tuple(sorted({item.finding.code for item in located}))


def _quotes(problem: finding.Finding, message: str) -> bool:
    """Return whether a finding has the message of a service."""
    message = ' '.join(message.split())
    if not message:
        return False
    predicted = ' '.join(problem.service_message.split())
    # The message of a service is cut off at some length.
    return message in ' '.join(problem.message.split()) or (
        bool(predicted) and predicted in message
    )


def _names(message: str, option: configuration.Option) -> bool:
    """Return whether a message names an option."""
    name = re.escape(option.name)
    return bool(re.search(rf'(?<![\w.]){name}(?!\w)', message))


def _common_addresses(message: str, option: configuration.Option) -> int:
    """Return the number of addresses in both a message and a value."""
    return len(
        {*_ADDRESS.findall(message)} & {*_ADDRESS.findall(option.setting.text)}
    )


def _with_documents(
    service: planning.PlannedService,
    message: str,
    place: configuration.Place | None,
) -> str:
    """Replace the files of the cloud in a message with the user's documents.

    :param place: Of the option. oslo.config names the last file of a folder,
        whichever file has the option.
    """
    paths = {
        rehearsal.user_file(number): path
        for number, path in enumerate(service.paths)
    }
    if place is not None:
        paths[rehearsal.OWN_FILE] = place.path
    for name, path in paths.items():
        message = re.sub(
            rf'[^\s\'"(]*/{re.escape(name)}\b',
            path.replace('\\', r'\\'),
            message,
        )
    return message
