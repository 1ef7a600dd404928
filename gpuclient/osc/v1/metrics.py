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

"""Metrics for monitoring: ``openstack gpu metrics show``."""

from __future__ import annotations

import argparse

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.files import atomic
    from gpuclient.operations import gpu_metrics
    from gpuclient.osc import openmetrics
    from gpuclient.osc import options
    from gpuclient.osc import streams


class ShowMetrics(command.Command):
    _description = """\
Write metrics of GPUs as OpenMetrics text

For the textfile collector of the Prometheus node exporter: run the command
from a timer, with --output; the file is replaced atomically.
Names that the os-capacity exporter also uses have the same meaning. If some
hosts or devices cannot be read, they are reported on stderr, the metrics of
the others are written and the exit status is 1. If devices, flavors, servers
or compute nodes cannot be listed, nothing is written and the file is not
changed.

Requires the extra "metrics": pip install 'python-gpuclient[metrics]'

Example::

    openstack gpu metrics show --config /etc/nova/nova.conf \\
        --output /var/lib/node_exporter/gpu.prom"""

    reads_snapshots = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_alias_files(parser)
        parser.add_argument(
            '--output',
            metavar='<file>',
            help='File to write (default: standard output)',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        # Before any request: the library may not be installed.
        render = openmetrics.renderer()
        answer = gpu_metrics.read(self.cloud, parsed_args.files)
        self.report(answer.failures)
        content = render(answer.value)
        if parsed_args.output is None:
            with streams.guarded(self.app.stdout):
                streams.write_bytes(self.app.stdout, content)
        else:
            atomic.write(parsed_args.output, content)
