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

"""The text format of Prometheus and OpenMetrics."""

import collections.abc
import typing

from gpuclient import exceptions
from gpuclient.model import metrics

Renderer: typing.TypeAlias = collections.abc.Callable[
    [collections.abc.Iterable[metrics.MetricFamily]], bytes
]


def renderer() -> Renderer:
    """Return a function that renders metrics as text.

    :raises gpuclient.exceptions.GPUError: prometheus_client is not installed.
    """
    try:
        from prometheus_client import core
        from prometheus_client import registry
        from prometheus_client.openmetrics import exposition
    except ImportError as exc:
        raise exceptions.GPUError(
            'prometheus_client is not installed: '
            "pip install 'python-gpuclient[metrics]'"
        ) from exc

    def render(
        families: collections.abc.Iterable[metrics.MetricFamily],
    ) -> bytes:
        gauges = []
        for family in families:
            gauge = core.GaugeMetricFamily(
                family.name, family.help, labels=family.labels
            )
            for labels, value in family.samples:
                gauge.add_metric(labels, value)
            gauges.append(gauge)

        class Collector(registry.Collector):
            def collect(self) -> list[core.GaugeMetricFamily]:
                return gauges

        collected = registry.CollectorRegistry()
        collected.register(Collector())
        generate: typing.Any = exposition.generate_latest
        return typing.cast(bytes, generate(collected))

    return render
