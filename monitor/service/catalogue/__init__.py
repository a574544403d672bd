"""The catalogue of all metrics as data. Code, docs, alert rules and dashboard are made from it or checked against it.

``python -m monitor.service.catalogue`` writes ``docs/metrics.md`` from it.
"""

from __future__ import annotations

from monitor.service.catalogue.group import GROUP
from monitor.service.catalogue.ingest import INGEST
from monitor.service.catalogue.judging import JUDGING
from monitor.service.catalogue.metric import Metric, Scope
from monitor.service.catalogue.worker import LIBRARY, WORKER

__all__ = ["CATALOGUE", "INGEST", "LIBRARY", "OWN", "Metric", "Scope", "metric"]

OWN: tuple[Metric, ...] = (*WORKER, *GROUP, *JUDGING)
"""The monitor's own metrics on a worker's page."""

CATALOGUE: tuple[Metric, ...] = (*OWN, *LIBRARY)
"""All metrics on a worker's page: the monitor's own, and prometheus-client's about the process."""

_BY_NAME = {m.name: m for m in (*CATALOGUE, *INGEST)}


def metric(name: str) -> Metric:
    """Find a metric by its name, such as ``ood_monitor_samples_total``; ``ood_monitor_`` may be left out.

    Raises:
        KeyError: there is no such metric.
    """
    return _BY_NAME.get(name) or _BY_NAME[f"ood_monitor_{name}"]
