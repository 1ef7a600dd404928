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

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.operations import alias_verification
    from gpuclient.osc import columns
    from gpuclient.osc import options


class VerifyAlias(command.Lister):
    _description = """\
Ask the running nova-api whether it knows PCI aliases

No server is created: the request cannot succeed (it attaches one volume to two
servers, in a server group that does not exist), so nova-api refuses it after
it has looked up the alias. "Message" shows that refusal. If no flavor that you
can see requests the alias, a private flavor is created for the request and
deleted again, provided that you may create flavors. Each attempt opens a new
connection, to reach each nova-api behind a load balancer; "Attempts" counts
the attempts with the same result.

The exit status is 0 if all results are "defined", 3 if one is "not defined" or
"broken", and 1 if one is "unknown".

Example::

    openstack gpu alias verify nvidia_a2 --attempts 20"""

    fits_terminal = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'names',
            metavar='<alias>',
            nargs='+',
            help='Alias(es) to look up',
        )
        parser.add_argument(
            '--attempts',
            metavar='<number>',
            type=options.positive,
            default=1,
            help='Number of attempts for each alias (default: 1)',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> command.Rows:
        for name in parsed_args.names:
            options.check_alias_name(name)
        answer = alias_verification.verify(
            self.cloud, parsed_args.names, parsed_args.attempts
        )
        self.report(answer.failures)
        if any(verified.is_refused for verified in answer.value):
            self.found()
        return columns.table(
            {
                'Alias': lambda verified: columns.TextColumn(verified.name),
                'Answer': lambda verified: str(verified.reply.state),
                'Attempts': lambda verified: verified.count,
                'Message': lambda verified: columns.TextColumn(
                    verified.reply.message
                ),
            },
            answer.value,
        )
