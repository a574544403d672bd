"""One monitor process put together from its settings: a worker that counts, an evaluator that takes turns."""

from __future__ import annotations

import gc
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from monitor.alerts.delivery import Delivery
from monitor.config import KafkaConfig, MonitorConfig
from monitor.counting.scoring import Scorer
from monitor.counting.worker import Worker, WorkerSettings, now_ms
from monitor.errors import StoreUnavailableError
from monitor.judging.binding import bind, binding_of
from monitor.judging.evaluator import Evaluator
from monitor.judging.rules import rules_of
from monitor.judging.settings import EvaluatorSettings
from monitor.judging.watch import Watch, WatchSettings, observe_nothing
from monitor.messages.contract import Contract
from monitor.messages.limits import Limits
from monitor.service.canary import Canary, find_canary
from monitor.service.watcher import Watcher
from monitor.sources.deadletters import KafkaDeadLetters
from monitor.sources.kafka_python import KafkaSource
from monitor.sources.protocol import Source
from monitor.sources.settings import connection
from monitor.store.connection import connect_to
from monitor.store.deliveries import RedisDeliveries
from monitor.store.protocol import Notice
from monitor.store.redis import RedisStore
from monitor.store.server import find_risks, refuse_eviction

if TYPE_CHECKING:
    from monitor.service.telemetry import Telemetry

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 60.0
"""A poll loop that has not come round for so long makes no progress: the heartbeat stops."""


class Process:
    """Everything ``ood-monitor run`` runs, in one thread beside the Kafka client's own.

    Args:
        config: the settings.
        clock: milliseconds since the epoch.
    """

    def __init__(self, config: MonitorConfig, clock: Callable[[], int] = now_ms) -> None:
        self._config, self._clock = config, clock
        self._scorer = Scorer.load(config.model.artifact, config.model.device, config.model.threads)
        self._scorer.score([bytes(4 * self._scorer.width)])  # compiles or loads the kernel before a group waits for it
        self.store = open_store(config)
        self.store.ping()
        refuse_eviction(self.store.client)
        bind(self.store, binding_of(config, self._scorer.artifact), config.kafka.group)
        for limit in self._scorer.calibration.limits():
            log.info("calibration: %s", limit)
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        canary = self.store.canary_stream(create=config.canary.seconds > 0)
        self._telemetry = self._open_telemetry()
        source = open_source(config.kafka)
        letters = KafkaDeadLetters(connection(config.kafka), config.dead_letter_topic, config.dead_letters.max_bytes)
        letters.check()
        self._worker = Worker(
            source,
            self.store,
            self._scorer,
            contract(config, self._scorer.width),
            letters,
            worker_settings(config),
            clock=clock,
            observer=self._telemetry,
            name=self._name,
        )
        self.evaluator = evaluator(config, self._scorer, self.store, self._name, canary)
        self._stepped = time.monotonic()
        self._delivery = open_delivery(config, self._name, self._moves)
        self._delivery.start()
        if self._telemetry:
            self._telemetry.watch_delivery(lambda: self._delivery.statuses)
        self._watcher = self._watch(canary)
        self._watcher.start()
        self._due = 0.0
        # What is loaded by now stays: else every full collection walks through all of torch again.
        gc.collect()
        gc.freeze()

    def _open_telemetry(self) -> Telemetry | None:
        if not self._config.telemetry.port:
            return None
        from monitor.service.telemetry import Telemetry

        telemetry = Telemetry(self._scorer.artifact)
        telemetry.serve(self._config.telemetry.host, self._config.telemetry.port)
        return telemetry

    def _watch(self, stream: str) -> Watcher:
        config, store = self._config, open_store(self._config)
        canary = None
        if config.canary.seconds:
            canary = Canary(config, store, stream, find_canary(self._scorer))
        return Watcher(
            Watch(
                store,
                watch_settings(config),
                lambda: redis_risks(store),
                observe=self._telemetry.watched if self._telemetry else observe_nothing,
            ),
            self._delivery.tell,
            config.kafka.group,
            config.watch.redis_seconds,
            canary,
            judges=lambda: self.evaluator.state is not None,
        )

    def step(self) -> int:
        """One batch, and the closed buckets when they are due."""
        self._stepped = time.monotonic()
        done = self._worker.step()
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + min(1.0, self._config.buckets.seconds)
            self._evaluate()
        return done

    def _evaluate(self) -> None:
        try:
            said = self.evaluator.step()
            if self._telemetry:
                self._telemetry.evaluated(self.evaluator.state, said)
        except StoreUnavailableError as error:
            log.debug("%s", error)

    def _moves(self) -> bool:
        """Whether the poll loop makes progress."""
        return time.monotonic() - self._stepped < PROGRESS_SECONDS

    def close(self) -> None:
        """Leave the group and give the lease back."""
        self._watcher.close()
        self._worker.close()
        try:
            self.evaluator.release()
        except StoreUnavailableError:
            log.info("the lease could not be given back; it expires by itself")
        self._delivery.close()


def open_delivery(config: MonitorConfig, holder: str, healthy: Callable[[], bool]) -> Delivery:
    """Delivery to the receivers that the settings name, over a connection to Redis of its own."""
    return Delivery(config.delivery, config.kafka.group, open_deliveries(config), holder, healthy=healthy)


def open_deliveries(config: MonitorConfig) -> RedisDeliveries:
    """What delivery keeps in the store that the settings name."""
    return RedisDeliveries(connect_to(config.redis), config.kafka.group)


def open_source(config: KafkaConfig) -> Source:
    """The source that the settings name.

    Raises:
        MissingLibraryError: its library is not installed.
    """
    if config.client == "confluent-kafka":
        from monitor.sources.confluent import ConfluentSource

        return ConfluentSource(config)
    return KafkaSource(config)


def open_store(config: MonitorConfig) -> RedisStore:
    """The store that the settings name."""
    return RedisStore(
        connect_to(config.redis),
        config.kafka.group,
        retention_ms=round(config.redis.bucket_retention_seconds * 1000),
        history_length=config.redis.history_length,
        examples=config.alerts.examples,
        streams=config.streams.limit,
    )


def contract(config: MonitorConfig, width: int) -> Contract:
    """What a record must be."""
    m = config.messages
    limits = Limits(
        rows=m.max_rows,
        decoded_bytes=m.max_decoded_bytes,
        batch_rows=m.max_batch_rows,
        batch_bytes=m.max_batch_bytes,
        depth=m.max_depth,
        digits=m.max_digits,
        arrow_batches=m.max_arrow_batches,
        header_bytes=m.max_header_bytes,
        headers=m.max_headers,
        id_length=m.max_id_length,
        stream_length=m.max_stream_length,
        magnitude=m.max_magnitude,
    )
    return Contract(
        width,
        m.model,
        m.default_stream,
        m.max_bytes,
        round(m.max_age_seconds * 1000),
        round(m.max_ahead_seconds * 1000),
        m.other_models,
        limits,
    )


def worker_settings(config: MonitorConfig) -> WorkerSettings:
    """Numbers of the worker."""
    return WorkerSettings(
        bucket_ms=config.bucket_ms,
        max_records=config.kafka.max_poll_records,
        start=config.kafka.start,
        examples=config.alerts.examples,
        max_bad_share=config.dead_letters.max_share,
        bad_window=config.dead_letters.window,
        at_bad_share=config.dead_letters.at_limit,
        dead_letters=config.dead_letter_topic,
    )


def redis_risks(store: RedisStore) -> list[Notice]:
    """What makes Redis lose counts unseen, if it was changed while the monitor runs."""
    risks = find_risks(store.client)
    return [Notice("stalled", "redis-risk", True, "critical", " ".join(risks))] if risks else []


def watch_settings(config: MonitorConfig) -> WatchSettings:
    """Numbers of the watch."""
    return WatchSettings(
        topic=config.kafka.topic,
        stalled_ms=round(config.watch.stalled_seconds * 1000),
        lag_ms=round(config.watch.max_lag_seconds * 1000),
        gap_ms=round(config.watch.gap_seconds * 1000),
        grace_ms=config.kafka.session_timeout_ms + 15_000,
        canary_ms=round(config.canary.seconds * 1000),
        canary_timeout_ms=round(config.canary.timeout_seconds * 1000),
        streams=config.streams.limit,
    )


def evaluator(config: MonitorConfig, scorer: Scorer, store: RedisStore, name: str, canary: str) -> Evaluator:
    """The evaluator of this process, under the name of the process."""
    settings = EvaluatorSettings(
        config.kafka.group,
        scorer.artifact,
        bucket_ms=config.bucket_ms,
        idle_ms=round(config.buckets.idle_seconds * 1000),
        hold_ms=round(config.buckets.hold_seconds * 1000),
        alert_ttl_ms=round(config.redis.alert_ttl_seconds * 1000),
        forget_ms=round(config.streams.forget_seconds * 1000),
        examples=config.alerts.examples,
        topic=config.kafka.topic,
        canary=canary,
        class_name=scorer.class_name,
    )
    return Evaluator(store, rules_of(config.alerts, scorer.calibration, scorer.artifact), settings, name)
