"""Metrics for Prometheus, in a registry of their own. ``monitor.service.catalogue`` describes each of them.

The loop only does a few additions per batch. Everything else is computed when somebody reads the metrics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from line_plugin.optional import say_missing
from monitor.alerts.runners import SinkStatus
from monitor.counting.observing import STAGES, Stage
from monitor.counting.scoring import Scored
from monitor.errors import MissingLibraryError
from monitor.math.lifecycle import Transition
from monitor.math.state import MonitorState, Rules
from monitor.messages.reasons import REASONS
from monitor.messages.record import Partition
from monitor.service.evidence_metrics import EvidenceCollector
from monitor.service.families import family, kept
from monitor.service.group_metrics import GroupCollector
from monitor.sources.deadletters import Sent
from monitor.store.partitions import PartitionState
from monitor.store.verdicts import Health, Notice


class Telemetry:
    """Collects metrics from the worker, the watch and the evaluator. :mod:`monitor.web.metrics` shows them.

    Args:
        artifact: content hash; its first twelve digits are shown.
        version: of this package.
        group: of this monitor.
        kafka_client: the library that reads the topics.
        topics: the topics that are read.
        redis_seconds: if Redis cannot be reached for this long, that counts as stalled.

    Raises:
        MissingLibraryError: ``prometheus-client`` is not installed.
    """

    def __init__(
        self,
        artifact: str,
        *,
        version: str = "",
        group: str = "",
        kafka_client: str = "",
        topics: Sequence[str] = (),
        redis_seconds: float = 30.0,
    ) -> None:
        try:
            from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
        except ImportError:
            raise MissingLibraryError(say_missing("prometheus_client", "http.port")) from None
        # Else every counter has a second series, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        kept("build_info", self.registry).labels(version, artifact[:12], group, kafka_client).set(1)
        self._samples = kept("samples_total", self.registry)
        self._scored = kept("scored_samples_total", self.registry)
        self._flagged = kept("flagged_samples_total", self.registry)
        rejected = kept("rejected_total", self.registry)
        self._rejected = {reason: rejected.labels(reason) for reason in REASONS}
        self._batch = kept("batch_seconds", self.registry)
        stages = kept("stage_seconds", self.registry)
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self._polled_at = time.monotonic()
        kept("last_poll_age_seconds", self.registry).set_function(lambda: time.monotonic() - self._polled_at)
        self._owned = kept("partitions_owned", self.registry)
        self._store_away = kept("store_away", self.registry)
        self._broker_away = kept("broker_away", self.registry)
        away = kept("topic_away", self.registry)
        self._topics_away = {topic: away.labels(topic) for topic in topics}
        self._clock = kept("clock_offset_seconds", self.registry)
        transitions = kept("alert_transitions_total", self.registry)
        self._transitions = {change: transitions.labels(change) for change in ("raised", "updated", "resolved")}
        self._flag_cells, self._flags_of = 0, list[Any]()
        self._group = GroupCollector(redis_seconds, tuple(topics))
        self.registry.register(self._group)

    # -- reported by the loop, once a batch ------------------------------------------------------------------------

    def polled(self, reachable: bool, partitions: int) -> None:
        """The loop has done one round."""
        self._polled_at = time.monotonic()
        self._broker_away.set(not reachable)
        self._owned.set(partitions)

    def unreadable(self, topics: Collection[str]) -> None:
        """The topics that cannot be read while others can."""
        for topic, away in self._topics_away.items():
            away.set(topic in topics)

    def took(self, stage: Stage, seconds: float) -> None:
        """A stage of a batch is over."""
        self._stages[stage].observe(seconds)

    def scored(self, batch: Scored) -> None:
        """A batch was scored. The scoring thread calls this, and it adds up flagged samples."""
        cells = batch.cells[batch.usable]
        self._scored.inc(len(cells))
        for flagged, n in zip(self._flags_of, (cells < self._flag_cells).sum(axis=0).tolist(), strict=False):
            flagged.inc(n)

    def counted(self, samples: int, rejected: Mapping[str, int], seconds: float) -> None:
        """A batch is in the store."""
        self._samples.inc(samples)
        self._batch.observe(seconds)
        for reason, n in rejected.items():
            self._rejected[reason].inc(n)

    def store_away(self, away: bool) -> None:
        """The store went away or came back."""
        self._store_away.set(away)

    # -- reported by the watch and the evaluator ---------------------------------------------------------------------

    def watched(self, health: Health, partitions: Mapping[Partition, PartitionState], found: Sequence[Notice]) -> None:
        """The watch has checked the group: its health, as every process sees it."""
        self._clock.set(time.time() - health.now_ms / 1000)
        self._group.watched(health, partitions, found)

    def evaluated(self, transitions: Iterable[Transition]) -> None:
        """This process has judged buckets and written these changes of alerts."""
        for t in transitions:
            self._transitions[t.change].inc()

    # -- read whenever somebody asks -----------------------------------------------------------------------------------

    def watch_evidence(self, state: Callable[[], MonitorState | None], rules: Rules) -> None:
        """Show evidence, alerts and budget. ``state`` gives ``None`` if another process judges."""
        self._flags_of = [self._flagged.labels(name) for name in rules.experts]
        self._flag_cells = rules.flag_cells
        self.registry.register(EvidenceCollector(state, rules))

    def watch_delivery(self, statuses: Callable[[], Mapping[str, SinkStatus]]) -> None:
        """Show the status of each sink."""
        self.registry.register(_DeliveryCollector(statuses))

    def watch_letters(self, sent: Sent) -> None:
        """Show what became of the dead letters."""
        self.registry.register(_LettersCollector(sent))


class _DeliveryCollector:
    """Makes metrics of the sinks from the numbers that their threads keep."""

    def __init__(self, statuses: Callable[[], Mapping[str, SinkStatus]]) -> None:
        self._statuses = statuses

    def collect(self) -> Iterator[Any]:
        """Collect the metrics, as prometheus-client asks."""
        now = self._statuses()
        yield family(
            "deliveries_total",
            {
                (sink, outcome): n
                for sink, s in now.items()
                for outcome, n in (("delivered", s.delivered), ("failed", s.failed), ("dropped", s.dropped))
            },
        )
        yield family("delivery_oldest_seconds", {(sink,): s.oldest_seconds for sink, s in now.items()})


class _LettersCollector:
    """Makes metrics of the dead letters from the numbers that the worker's loop keeps."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent

    def collect(self) -> Iterator[Any]:
        """Collect the metrics, as prometheus-client asks."""
        s = self._sent
        kinds: dict[tuple[str, ...], float] = {
            ("whole",): s.letters - s.stubs,
            ("stub",): s.stubs,
            ("nothing",): s.unsent,
        }
        yield family("dead_letters_total", kinds)
        yield family("dead_letter_failures_total", {(): s.failures})
