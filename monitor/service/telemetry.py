"""Metrics for Prometheus, in a registry of their own. Every one carries the artifact's hash."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from monitor.alerts.runners import SinkStatus
from monitor.errors import ConfigError, MissingLibraryError
from monitor.math.lifecycle import Transition
from monitor.math.state import MonitorState
from monitor.messages.record import Partition
from monitor.sources.deadletters import Sent
from monitor.store.counts import PartitionState
from monitor.store.verdicts import Health, Notice

STALLED = ("judging", "partitions", "lag", "late", "kafka", "canary", "redis-risk")
"""Subjects of alerts of the kind ``stalled`` that are found in the store."""


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
        self._clock = Gauge("ood_monitor_clock_offset_seconds", "Clock of this host less the clock of Redis", **more)
        self._pending = Gauge("ood_monitor_pending_buckets", "Buckets counted and not judged yet", **more)
        self._streams = Gauge("ood_monitor_streams", "Streams counted by name", **more)
        self._lag = Gauge("ood_monitor_lag_records", "Records in the topic that are not counted yet", **more)
        self._moved = Gauge(
            "ood_monitor_moved_samples",
            "Samples not counted where they belong, since the beginning: late, ahead of the clock, overflow, skipped",
            ["artifact", "why"],
            registry=self.registry,
        )
        self._canary = Gauge(
            "ood_monitor_canary_age_seconds", "Since the last canary was noticed; -1 for never", **more
        )
        self._stalled = Gauge(
            "ood_monitor_stalled",
            "1 while the monitor cannot tell whether inputs surge, by what stalls it",
            ["artifact", "subject"],
            registry=self.registry,
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

    def watch_delivery(self, statuses: Callable[[], Mapping[str, SinkStatus]]) -> None:
        """Show how each sink fares, read whenever somebody asks."""
        self.registry.register(_DeliveryCollector(self._artifact, statuses))

    def watch_letters(self, sent: Sent) -> None:
        """Show what became of the dead letters, read whenever somebody asks."""
        self.registry.register(_LettersCollector(self._artifact, sent))

    def watched(self, health: Health, partitions: Mapping[Partition, PartitionState], found: Sequence[Notice]) -> None:
        """The monitor looked at itself: how the whole group is doing, as every process sees it."""
        by = self._artifact
        self._clock.labels(by).set(time.time() - health.now_ms / 1000)
        self._pending.labels(by).set(health.pending)
        self._streams.labels(by).set(health.streams)
        self._lag.labels(by).set(sum(max(0, p.lag) for p in partitions.values()))
        for why, n in health.sums.items():
            self._moved.labels(by, why).set(n)
        seen = health.times.get("canary_seen")
        self._canary.labels(by).set((health.now_ms - seen) / 1000 if seen else -1)
        firing = {n.subject for n in found if n.kind == "stalled"}
        for subject in STALLED:
            self._stalled.labels(by, subject).set(subject in firing)

    def evaluated(self, state: MonitorState | None, transitions: Iterable[Transition]) -> None:
        """Buckets were folded; ``state`` is ``None`` where another process holds the lease."""
        for t in transitions:
            self._transitions.labels(self._artifact, t.change).inc()
        self._firing.labels(self._artifact).set(len(state.alerts) if state else 0)
        for level, n in state.samples.items() if state else ():
            self._charged.labels(self._artifact, level).set(n)
        if state is not None and math.isfinite(state.last_end):
            self._folded.labels(self._artifact).set(state.last_end)


class _DeliveryCollector:
    """Metrics of the sinks, made from plain numbers that their threads keep."""

    def __init__(self, artifact: str, statuses: Callable[[], Mapping[str, SinkStatus]]) -> None:
        self._artifact, self._statuses = artifact, statuses

    def collect(self) -> Iterator[Any]:
        """What prometheus_client asks of a collector."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        sent = CounterMetricFamily(
            "ood_monitor_deliveries", "Attempts to tell a sink, by outcome", labels=["artifact", "sink", "outcome"]
        )
        waiting = GaugeMetricFamily(
            "ood_monitor_delivery_oldest_seconds",
            "Age of the oldest change that a sink has not taken; 0 if it has them all",
            labels=["artifact", "sink"],
        )
        for sink, status in self._statuses().items():
            for outcome, n in (("delivered", status.delivered), ("failed", status.failed), ("dropped", status.dropped)):
                sent.add_metric([self._artifact, sink, outcome], n)
            waiting.add_metric([self._artifact, sink], status.oldest_seconds)
        yield sent
        yield waiting


class _LettersCollector:
    """Metrics of the dead letters, made from plain numbers that the worker's loop keeps."""

    def __init__(self, artifact: str, sent: Sent) -> None:
        self._artifact, self._sent = artifact, sent

    def collect(self) -> Iterator[Any]:
        """What prometheus_client asks of a collector."""
        from prometheus_client.core import CounterMetricFamily

        found = CounterMetricFamily(
            "ood_monitor_dead_letters",
            "Dead letters by what was sent: whole records, stubs with place and reason, or nothing (see the log)",
            labels=["artifact", "sent"],
        )
        whole = self._sent.letters - self._sent.stubs
        for kind, n in (("whole", whole), ("stub", self._sent.stubs), ("nothing", self._sent.unsent)):
            found.add_metric([self._artifact, kind], n)
        yield found
