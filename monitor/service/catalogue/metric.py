"""The description of one metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

TOPICS = "each topic that is read, 100 at most"
"""The values of the label ``topic``."""

Scope = Literal["process", "group", "judge", "ingest"]
"""The subject of a metric.

``process``: only this process, so sum over processes. ``group``: the whole group, as this process last saw it in
Redis, so every process shows about the same: take the maximum. ``judge``: known to the one process that judges; the
others show 0 (or no series of a stream), so take the maximum, too. ``ingest``: of one ``ood-monitor ingest``, which is
another process than a worker.
"""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: the full name, with its unit and, for a counter, ``_total``.
        kind: its type for Prometheus.
        help: a sentence on what it is, for people.
        do: what to do if it looks wrong.
        scope: see :data:`Scope`.
        unit: the unit of its values.
        labels: name of each label to all its values, which are then there from the start, or to a description of them
            if they are only known later. Either way their number is bounded.
        buckets: the upper bounds of a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    do: str
    scope: Scope = "process"
    unit: str = ""
    labels: Mapping[str, tuple[str, ...] | str] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """The name for prometheus-client: a counter without ``_total``."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name

    def known(self) -> list[tuple[str, ...]]:
        """The label values of all series that exist from the start; empty if some are only known later."""
        values = [v for v in self.labels.values() if not isinstance(v, str)]
        return [] if len(values) < len(self.labels) else list(product(*values))
