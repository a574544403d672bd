"""Every metric that a process shows, as data: one place that the code, the docs, the rules and the dashboard go by.

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
"""The monitor's own metrics, on the page of a worker."""

CATALOGUE: tuple[Metric, ...] = (*OWN, *LIBRARY)
"""Everything on the page of a worker: the monitor's own metrics, and what prometheus-client says of the process."""

_BY_NAME = {m.name: m for m in (*CATALOGUE, *INGEST)}


def metric(name: str) -> Metric:
    """The metric of this name, such as ``ood_monitor_samples_total``; ``ood_monitor_`` may be left out.

    Raises:
        KeyError: there is none.
    """
    return _BY_NAME.get(name) or _BY_NAME[f"ood_monitor_{name}"]
