"""The canary: sends a few synthetic OOD embeddings through the whole path, to check that a surge would be noticed.

They are sent to the topic under a stream of their own, and are read, scored, counted and judged like all others, with
the same threshold of evidence. They are hidden from people, and they affect neither the budget nor any other stream.
Only their age is shown, and a canary that is not detected in time raises an alert (kind ``stalled``, subject
``canary``).
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.config import MonitorConfig
from monitor.counting.models import Models
from monitor.counting.scoring import Scorer
from monitor.errors import ConfigError
from monitor.judging.ages import age_of
from monitor.messages.record import Record
from monitor.sources.settings import connection
from monitor.store.protocol import Store

log = logging.getLogger(__name__)


def find_canary(scorer: Scorer) -> bytes:
    """Find the most OOD of a few synthetic embeddings: D little-endian float32.

    Raises:
        ConfigError: the artifact finds none of them more OOD than all its calibration samples.
    """
    rng = np.random.default_rng(0)
    width = scorer.width
    rows = [np.zeros(width), np.ones(width), *(s * rng.standard_normal(width) for s in (0.01, 0.1, 1.0, 10.0, 100.0))]
    rows += [-s * np.ones(width) for s in (0.1, 1.0, 10.0)]
    rows += [s * np.eye(1, width, k % width)[0] for s in (0.1, 1.0, 10.0) for k in range(0, width, max(1, width // 8))]
    vectors = [np.asarray(row, "<f4").tobytes() for row in rows]
    scored = scorer.score(vectors)
    cells = scored.cells  # one expert that sees it is enough, but best is what all of them see
    usable = [(int(c.min()), int(c.sum()), n) for n, c in enumerate(cells) if scored.usable[n]]
    cell, _, worst = min(usable, default=(1, 0, 0))
    if cell:
        raise ConfigError(
            "canary.seconds is set, but this artifact takes no synthetic embedding for more OOD than all its "
            "calibration samples: calibrate on more samples, or set canary.seconds to 0"
        )
    return vectors[worst]


@dataclass(frozen=True)
class Target:
    """The canary of one model: its embedding (:func:`find_canary`), its topic, and its model header."""

    vector: bytes
    topic: str
    model: str = ""


def find_targets(config: MonitorConfig, models: Models) -> list[Target]:
    """Make the canaries: one for each model and each of its topics.

    Raises:
        ConfigError: see :func:`find_canary`.
    """
    topics = config.kafka.topic_names
    if len(models) == 1:
        vector = find_canary(models.first.scorer)
        return [Target(vector, topic, config.messages.model) for topic in topics]
    targets = []
    for n, m in enumerate(models):
        try:
            vector = find_canary(m.scorer)
        except ConfigError as error:
            raise ConfigError(f"model {m.name}: {error}") from None
        for topic in topics:
            made = (Target(vector, topic, model) for model in sorted(m.takes) or [""])
            targets += [t for t in made if _goes_to(models, t) == n][:1]
    return targets


def _goes_to(models: Models, target: Target) -> int:
    """Return the model that would read a canary. If another model takes the whole topic, it is that one."""
    headers = (("ce_model", target.model.encode()),) if target.model else ()
    return models.index_of(Record(target.topic, 0, 0, 0, b"", b"", headers))


class Canary:
    """Sends a small surge to the monitor now and then, to one partition after the other.

    Args:
        config: the topic, and how often.
        store: remembers when it was sent, by the store's clock.
        stream: the stream it is counted under.
        targets: the canaries, which are sent in turn.
    """

    def __init__(self, config: MonitorConfig, store: Store, stream: str, targets: Sequence[Target]) -> None:
        self._config, self._store, self._stream, self._targets = config, store, stream, targets
        self._turn = itertools.count()
        self._producer: Any = None

    def send_if_due(self) -> bool:
        """Send a canary if the last one is long enough ago. Returns whether one was sent."""
        health = self._store.health()
        if age_of(health.times.get("canary_sent", 0), health.now_ms) < self._config.canary.seconds * 1000:
            return False
        if "canary_first" not in health.times:
            self._store.mark("canary_first")
        self._store.mark("canary_sent")
        self._send(health.now_ms)
        return True

    def _send(self, now_ms: int) -> None:
        """Send to the next target. If its topic does not accept it, try the one after it."""
        for _ in self._targets:
            turn = next(self._turn)
            target, partition = self._targets[turn % len(self._targets)], turn // len(self._targets)
            if self._send_to(target, partition, now_ms):
                return

    def _send_to(self, target: Target, turn: int, now_ms: int) -> bool:
        """Send to this target. Returns whether its topic accepted it."""
        from kafka.errors import KafkaError

        topic, model = target.topic, target.model
        try:
            if self._producer is None:
                from kafka import KafkaProducer

                self._producer = KafkaProducer(**connection(self._config.kafka), acks="all", max_block_ms=5000)
            partitions = sorted(self._producer.partitions_for(topic) or ())
            for n in range(self._config.canary.samples):
                headers = [("ce_id", f"canary-{now_ms}-{n}"), ("ce_type", "ood-monitor.canary"), ("ce_model", model)]
                headers.append(("content-type", "application/x-float32"))  # whatever messages.format is
                self._producer.send(
                    topic,
                    key=self._stream.encode(),
                    value=target.vector,
                    headers=[(name, text.encode()) for name, text in headers if text],
                    partition=partitions[turn % len(partitions)] if partitions else None,
                )
            self._producer.flush(timeout=5)
        except KafkaError as error:
            log.warning("the canary could not be sent to topic %s: %s", topic, error)
            self.close()
            return False
        return True

    def close(self) -> None:
        """Give the connection back."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=1)
