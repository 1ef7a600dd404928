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

"""Figures for monitoring: ``openstack gpu metrics show``."""

from __future__ import annotations

import argparse

from gpuclient.osc import command
from gpuclient.osc import lazy_imports

with lazy_imports.deferred():
    from gpuclient.cloud import keystone
    from gpuclient.cloud.nova import flavors as nova_flavors
    from gpuclient.cloud.nova import servers as nova_servers
    from gpuclient.cloud.placement import owners
    from gpuclient import exceptions
    from gpuclient.files import atomic
    from gpuclient.model import flavor as flavor_model
    from gpuclient.model import inventory
    from gpuclient.model import metrics
    from gpuclient.model import partial_result
    from gpuclient.operations import capacity_report
    from gpuclient.osc import openmetrics
    from gpuclient.osc import options
    from gpuclient.osc import streams


class ShowMetrics(command.Command):
    _description = """\
Write metrics of all GPUs as OpenMetrics text

For the textfile collector of the Prometheus node exporter: run it by a timer
and name the file with --output, which is replaced as a whole. Names that the
os-capacity exporter has, too, mean the same. If some hosts or devices cannot
be read, the others are written, they are named on stderr and the exit status
is 1; if there is no list of them at all, nothing is written.

Needs the extra "metrics": pip install 'python-gpuclient[metrics]'

Example::

    openstack gpu metrics show --config /etc/nova/nova.conf \\
        --output /var/lib/node_exporter/gpu.prom"""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        options.add_alias_files(parser)
        parser.add_argument(
            '--output',
            metavar='<file>',
            help='Write to this file instead of standard output',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        # Before anything is asked: it may not be installed.
        render = openmetrics.renderer()
        cloud = self.cloud
        servers = nova_servers.list_servers(cloud.compute, all_projects=True)
        found = capacity_report.read(
            cloud,
            tuple(
                filter(
                    flavor_model.is_for_devices,
                    nova_flavors.list_flavors(cloud.compute),
                )
            ),
            parsed_args.files,
            servers=servers,
        )
        owned = owners.read_owners(
            cloud.placement, found.value.devices, servers
        )
        self.report((*found.failures, *owned.failures))
        projects: dict[str, str] = {}
        try:
            projects = keystone.project_names(
                cloud, inventory.project_ids(owned.value)
            )
        except exceptions.CloudError as exc:
            self.report(
                [partial_result.Failure('names of projects', str(exc))]
            )
        content = render(
            metrics.families(
                owned.value,
                found.value.hosts,
                found.value.forecasts,
                projects,
            )
        )
        if parsed_args.output is None:
            with streams.guarded(self.app.stdout, ()):
                streams.write_bytes(self.app.stdout, content)
        else:
            atomic.write(parsed_args.output, content)
