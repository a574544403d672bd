"""The metrics of an ingest server, in a registry of their own. ``monitor.service.catalogue`` describes each."""

from __future__ import annotations

from collections.abc import Callable

from monitor.service.catalogue.ingest import STATUSES
from monitor.service.families import kept


class Metrics:
    """Metrics that the desk updates and that are read over HTTP.

    Args:
        version: of this package.
    """

    def __init__(self, version: str = "") -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics

        # Else every counter has a second series, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        kept("ingest_build_info", self._registry).labels(version).set(1)
        posts = kept("ingest_posts_total", self._registry)
        self._posts = {status: posts.labels(status) for status in STATUSES}
        self._events = kept("ingest_events_total", self._registry)
        self._seconds = kept("ingest_acknowledge_seconds", self._registry)

    def watch(
        self,
        *,
        pending: Callable[[], float],
        pending_bytes: Callable[[], float],
        reading: Callable[[], float],
        away: Callable[[], float],
    ) -> None:
        """Show the state of the queue. The functions are called whenever the metrics are read."""
        for name, asked in (
            ("ingest_pending_events", pending),
            ("ingest_pending_bytes", pending_bytes),
            ("ingest_reading_bytes", reading),
            ("ingest_kafka_away", away),
        ):
            kept(name, self._registry).set_function(asked)

    def answered(self, status: int) -> None:
        """A post was answered."""
        self._posts[str(status) if str(status) in self._posts else "other"].inc()

    def acknowledged(self, events: int, seconds: float) -> None:
        """Kafka has acknowledged the events of a post after ``seconds``."""
        self._events.inc(events)
        self._seconds.observe(seconds)

    def page(self) -> bytes:
        """Return the metrics in Prometheus' format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)
