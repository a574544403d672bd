"""Makes prometheus-client's metrics from the catalogue, so that nothing is described twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitor.service.catalogue import Metric, metric


def family(name: str, values: Mapping[tuple[str, ...], float]) -> Any:
    """Make a family for a collector from numbers by label values."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    m = metric(name)
    make = CounterMetricFamily if m.kind == "counter" else GaugeMetricFamily
    found = make(m.family, m.help, labels=list(m.labels))
    for labels, value in values.items():
        found.add_metric(list(labels), float(value))
    return found


def kept(name: str, registry: Any) -> Any:
    """Make a metric that the loop updates. All series that are known in advance exist from the start."""
    from prometheus_client import Counter, Gauge, Histogram

    m: Metric = metric(name)
    if m.kind == "histogram":
        made: Any = Histogram(m.name, m.help, list(m.labels), registry=registry, buckets=m.buckets)
    else:
        made = (Counter if m.kind == "counter" else Gauge)(m.family, m.help, list(m.labels), registry=registry)
    for values in m.known() if m.labels else ():
        made.labels(*values)
    return made
