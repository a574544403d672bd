"""What is known of one metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

TOPICS = "each topic that is read, 100 at most"
"""Values of the label ``topic``."""

Scope = Literal["process", "group", "judge", "ingest"]
"""Of what a metric speaks.

``process``: of this process alone, so sum over processes. ``group``: of the whole group, as this process last saw it in
Redis, so every process shows about the same: take the maximum. ``judge``: known to the one process that judges; the
others show 0 (or no series of a stream), so take the maximum, too. ``ingest``: of one ``ood-monitor ingest``, which is
another process than a worker.
"""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as it stands on the page, with its unit and, for a counter, ``_total``.
        kind: its type for Prometheus.
        help: what it is, in a sentence for people.
        do: what to do if it looks wrong.
        scope: see :data:`Scope`.
        unit: of its values.
        labels: name of each label to all its values, which are then there from the start, or to a description of them
            if they are only known later. Either way their number is bounded.
        buckets: of a histogram, upper bounds.
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
        """The name as prometheus-client wants it: a counter without ``_total``."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name

    def known(self) -> list[tuple[str, ...]]:
        """Label values of every series that is there from the start; none if some are only known later."""
        values = [v for v in self.labels.values() if not isinstance(v, str)]
        return [] if len(values) < len(self.labels) else list(product(*values))
