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

"""Ask nova-api for aliases: ``openstack gpu alias verify``."""

from __future__ import annotations

import argparse
import typing

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.cloud.nova import alias_probe
    from gpuclient.cloud.nova import flavors as nova_flavors
    from gpuclient.model import partial_result
    from gpuclient.osc import columns
    from gpuclient.osc import options


class VerifyAlias(command.Lister):
    _description = """\
Ask the running nova-api whether it knows PCI aliases

No server is created: nova-api looks the alias up before it refuses the
request for another reason, such as a server group that does not exist. That
refusal is the expected one, and "Message" says so. Where no visible flavor
requests the alias, and you may make flavors, a private one is made for the
moment. Each attempt opens a connection of its own, so that several nova-api
behind a balancer are asked; answers that differ are shown with the number of
times each came.

The exit status is 0 if every answer is "defined", 3 if one is "not defined"
or "broken", and 1 if one is "unknown".

Example::

    openstack gpu alias verify nvidia_a2 --attempts 20"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'names',
            metavar='<alias>',
            nargs='+',
            help='Name of an alias (repeat for several)',
        )
        parser.add_argument(
            '--attempts',
            metavar='<number>',
            type=options.positive,
            default=1,
            help='Times to ask for each alias (default: 1)',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        rows: list[tuple[typing.Any, ...]] = []
        names = list(dict.fromkeys(parsed_args.names))
        for name in names:
            options.check_alias_name(name)
        compute = self.cloud.compute
        with alias_probe.Prober(
            compute, nova_flavors.list_flavors(compute)
        ) as prober:
            for name in names:
                replies = prober.ask(name, parsed_args.attempts)
                for reply, count in replies.items():
                    rows.append(
                        (
                            columns.TextColumn(name),
                            str(reply.state),
                            count,
                            columns.TextColumn(reply.message),
                        )
                    )
                    if reply.state is alias_probe.AliasState.UNKNOWN:
                        self.report(
                            [
                                partial_result.Failure(
                                    f'alias {name!r}', reply.explanation
                                )
                            ]
                        )
                    elif reply.state is not alias_probe.AliasState.DEFINED:
                        self.found()
        self.report(prober.failures)
        return ('Alias', 'Answer', 'Attempts', 'Message'), rows
