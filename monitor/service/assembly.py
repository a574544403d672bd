"""Makes the parts of a process from its settings."""

from __future__ import annotations

from collections.abc import Callable

from line_plugin.math import conformal
from monitor.alerts.delivery import Delivery
from monitor.config import KafkaConfig, MonitorConfig
from monitor.counting.models import SEPARATOR, Model, Models
from monitor.counting.scoring import Scorer
from monitor.counting.settings import WorkerSettings
from monitor.judging.binding import Binding, binding_of
from monitor.judging.drift import DriftSettings, DriftWatch, Reference
from monitor.judging.evaluator import Evaluator
from monitor.judging.rules import rules
from monitor.judging.settings import EvaluatorSettings, Served
from monitor.judging.watch import WatchSettings
from monitor.math.drift import weights_of
from monitor.math.state import Rules
from monitor.messages.accepting import Rule
from monitor.messages.contract import Contract
from monitor.messages.limits import Limits
from monitor.messages.names import StreamFrom
from monitor.sources.kafka_python import KafkaSource
from monitor.sources.protocol import Source
from monitor.store.connection import connect_to
from monitor.store.redis import RedisStore
from monitor.store.redis.deliveries import RedisDeliveries
from monitor.store.server import find_risks
from monitor.store.verdicts import Notice


def open_delivery(config: MonitorConfig, holder: str, healthy: Callable[[], bool]) -> Delivery:
    """Open delivery to the receivers in the settings. It has a connection to Redis of its own."""
    return Delivery(config.delivery, config.kafka.group, open_deliveries(config), holder, healthy=healthy)


def open_deliveries(config: MonitorConfig) -> RedisDeliveries:
    """Open the store of delivery."""
    return RedisDeliveries(connect_to(config.redis), config.kafka.group)


def open_source(config: KafkaConfig) -> Source:
    """Open the source in the settings.

    Raises:
        MissingLibraryError: the library is not installed.
    """
    if config.client == "confluent-kafka":
        from monitor.sources.confluent import ConfluentSource

        return ConfluentSource(config)
    return KafkaSource(config)


EXAMPLES_MS, EXAMPLES_BUCKETS = 600_000, 60
"""Examples outlive the judging of their bucket by this, or by so many buckets if that is longer."""


def open_store(config: MonitorConfig) -> RedisStore:
    """Open the store in the settings."""
    return RedisStore(
        connect_to(config.redis),
        config.kafka.group,
        retention_ms=round(config.redis.bucket_retention_seconds * 1000),
        examples_ms=max(EXAMPLES_MS, EXAMPLES_BUCKETS * config.bucket_ms),
        history_length=config.redis.history_length,
        examples=config.alerts.examples,
        streams=config.streams.limit,
    )


def contract(config: MonitorConfig, width: int, prefix: str = "") -> Contract:
    """Make the contract of records for a head of this width. ``prefix`` is put before its streams.

    Raises:
        ConfigError: ``messages.stream_from`` or ``messages.accept`` is not valid.
    """
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
        m.format,
        m.output,
        StreamFrom.parse(m.stream_from, prefix),
        tuple(Rule.of(conditions) for conditions in m.accept),
    )


def open_models(config: MonitorConfig) -> Models:
    """Open the artifacts in the settings, ready to score.

    Raises:
        ModelError: an artifact cannot be used.
        ConfigError: several artifacts cannot be counted together.
    """
    device, threads = config.model.device, config.model.threads
    if config.model.artifact is not None:
        scorer = Scorer.load(config.model.artifact, device, threads)
        return Models.single(scorer, contract(config, scorer.width))
    loaded = []
    for m in config.models:
        scorer = Scorer.load(m.artifact, device, threads)
        accepted = contract(config, scorer.width, m.name + SEPARATOR)
        loaded.append(Model(scorer, accepted, m.name, frozenset(m.model), frozenset(m.topics)))
    return Models(loaded)


def rules_of(config: MonitorConfig, models: Models) -> Rules:
    """Make the rules of judging for these settings and artifacts.

    Raises:
        ConfigError: see :func:`monitor.judging.rules.rules`.
    """
    first = models.first.scorer
    return rules(
        config.alerts, models.sizes, artifact=models.artifact, tpr=first.calibration.tpr, experts=first.experts
    )


def binding(config: MonitorConfig, models: Models) -> Binding:
    """Make the binding: the settings that evidence is collected under.

    Raises:
        ConfigError: the class calibration cannot be read.
    """
    several = {m.name: m.scorer.artifact for m in models} if len(models) > 1 else None
    return binding_of(config, models.artifact, several)


def worker_settings(config: MonitorConfig) -> WorkerSettings:
    """Make the settings of the worker."""
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
    """Find settings of Redis that may lose counts unnoticed, in case they were changed while the monitor runs."""
    risks = find_risks(store.client)
    return [Notice("stalled", "redis-risk", True, "critical", " ".join(risks))] if risks else []


def watch_settings(config: MonitorConfig) -> WatchSettings:
    """Make the settings of the watch."""
    return WatchSettings(
        topics=frozenset(config.kafka.topic_names),
        stalled_ms=round(config.watch.stalled_seconds * 1000),
        lag_ms=round(config.watch.max_lag_seconds * 1000),
        gap_ms=round(config.watch.gap_seconds * 1000),
        grace_ms=config.kafka.session_timeout_ms + 15_000,
        canary_ms=round(config.canary.seconds * 1000),
        canary_timeout_ms=round(config.canary.timeout_seconds * 1000),
        streams=config.streams.limit,
    )


def _reference(scorer: Scorer) -> Reference:
    ranks = [conformal.rank(scorer.calibration.n, edge) for edge in conformal.CELL_EDGES]
    return Reference(
        scorer.artifact,
        weights_of([*ranks[:-1], scorer.calibration.n + 1], scorer.calibration.n),
        scorer.calibration.class_counts,
        scorer.class_name,
    )


def open_drift_watch(config: MonitorConfig, models: Models, store: RedisStore) -> DriftWatch | None:
    """Open the drift watch; None if the settings switch it off."""
    if not config.drift.window:
        return None
    references = {m.name: _reference(m.scorer) for m in models}

    def reference(stream: str) -> Reference | None:
        model = models.of_stream(stream)
        return references[model.name] if model is not None else None

    settings = DriftSettings(
        window=config.drift.window,
        size=config.drift.size,
        budget=config.drift.requests_per_false_information,
        every_ms=round(config.drift.look_seconds * 1000),
    )
    return DriftWatch(store, reference, settings)


def evaluator(config: MonitorConfig, models: Models, store: RedisStore, name: str, canary: str) -> Evaluator:
    """Make the evaluator of this process, with the name of the process."""

    def served(stream: str) -> Served | None:
        model = models.of_stream(stream)
        return Served(model.scorer.artifact, model.scorer.class_name) if model is not None else None

    settings = EvaluatorSettings(
        config.kafka.group,
        models.artifact,
        bucket_ms=config.bucket_ms,
        idle_ms=round(config.buckets.idle_seconds * 1000),
        hold_ms=round(config.buckets.hold_seconds * 1000),
        alert_ttl_ms=round(config.redis.alert_ttl_seconds * 1000),
        forget_ms=round(config.streams.forget_seconds * 1000),
        examples=config.alerts.examples,
        topics=frozenset(config.kafka.topic_names),
        canary=canary,
        served=served,
    )
    return Evaluator(store, rules_of(config, models), settings, name)
