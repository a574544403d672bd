"""Metrics for Prometheus, in a registry of their own. Every one carries the artifact's hash."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from monitor.errors import ConfigError, MissingLibraryError
from monitor.math.lifecycle import Transition
from monitor.math.state import MonitorState


class Telemetry:
    """Told by the worker and the evaluator; read over HTTP.

    Args:
        artifact: content hash, a label of every metric.

    Raises:
        MissingLibraryError: ``prometheus-client`` is not installed.
    """

    def __init__(self, artifact: str) -> None:
        try:
            from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
        except ImportError:
            raise MissingLibraryError("telemetry.port is set: pip install prometheus-client") from None
        self.registry = CollectorRegistry()
        self._artifact = artifact[:12]
        more: dict[str, Any] = {"labelnames": ["artifact"], "registry": self.registry}
        self._samples = Counter("ood_monitor_samples_total", "Embeddings counted", **more)
        self._rejected = Counter(
            "ood_monitor_rejected_total",
            "Records sent to the dead letters",
            ["artifact", "reason"],
            registry=self.registry,
        )
        self._seconds = Histogram("ood_monitor_batch_seconds", "From polled to counted", **more)
        self._away = Gauge("ood_monitor_store_away", "1 while Redis is away and partitions are paused", **more)
        self._firing = Gauge("ood_monitor_alerts_firing", "Alerts that fire, seen by the leaseholder", **more)
        self._transitions = Counter(
            "ood_monitor_alert_transitions_total",
            "Raised, updated, resolved",
            ["artifact", "change"],
            registry=self.registry,
        )
        self._charged = Gauge(
            "ood_monitor_budget_samples", "Samples charged to the budget", ["artifact", "level"], registry=self.registry
        )
        self._folded = Gauge("ood_monitor_last_bucket_end_seconds", "End of the last bucket judged (Unix time)", **more)

    def serve(self, host: str, port: int) -> None:
        """Answer ``/metrics`` from a thread of its own.

        Raises:
            ConfigError: the port is taken.
        """
        from prometheus_client import start_http_server

        try:
            start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise ConfigError(f"telemetry cannot listen on {host}:{port}: {error.strerror}") from error

    def counted(self, samples: int, rejected: dict[str, int], seconds: float) -> None:
        """A batch is in the store."""
        self._samples.labels(self._artifact).inc(samples)
        self._seconds.labels(self._artifact).observe(seconds)
        for reason, n in rejected.items():
            self._rejected.labels(self._artifact, reason).inc(n)

    def store_away(self, away: bool) -> None:
        """The store went away or came back."""
        self._away.labels(self._artifact).set(int(away))

    def evaluated(self, state: MonitorState | None, transitions: Iterable[Transition]) -> None:
        """Buckets were folded; ``state`` is ``None`` where another process holds the lease."""
        for t in transitions:
            self._transitions.labels(self._artifact, t.change).inc()
        self._firing.labels(self._artifact).set(len(state.alerts) if state else 0)
        for level, n in state.samples.items() if state else ():
            self._charged.labels(self._artifact, level).set(n)
        if state is not None and math.isfinite(state.last_end):
            self._folded.labels(self._artifact).set(state.last_end)
