"""Builds and runs one monitor process: a worker that counts, and an evaluator that judges when it is its turn."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from monitor.config import MonitorConfig
from monitor.counting.worker import Worker
from monitor.errors import StoreUnavailableError
from monitor.judging.binding import bind
from monitor.judging.watch import Watch, observe_nothing
from monitor.messages.times import now_ms
from monitor.service.assembly import (
    binding,
    evaluator,
    open_delivery,
    open_drift_watch,
    open_models,
    open_source,
    open_store,
    redis_risks,
    watch_settings,
    worker_settings,
)
from monitor.service.canary import Canary, find_targets
from monitor.service.memory import settle
from monitor.service.progress import Progress
from monitor.service.starting import Role, describe_start
from monitor.service.watcher import Watcher
from monitor.sources.deadletters import KafkaDeadLetters
from monitor.sources.settings import connection
from monitor.store.server import refuse_eviction

if TYPE_CHECKING:
    from monitor.service.serving import Serving
    from monitor.service.telemetry import Telemetry
    from monitor.sources.protocol import Source

log = logging.getLogger(__name__)


class Process:
    """The parts of ``ood-monitor run``, put together from the settings.

    Args:
        config: the settings.
        clock: milliseconds since the epoch.
    """

    def __init__(self, config: MonitorConfig, clock: Callable[[], int] = now_ms) -> None:
        self._config, self._clock = config, clock
        self._models = open_models(config)
        for model in self._models:  # compiles or loads the kernels before a group waits for them
            model.scorer.score([bytes(4 * model.scorer.width)])
        self.store = open_store(config)
        self.store.ping()
        refuse_eviction(self.store.client)
        bind(self.store, binding(config, self._models), config.kafka.group)
        for model in self._models:
            for limit in model.scorer.calibration.limits():
                log.info("calibration%s: %s", f" of {model.name}" if model.name else "", limit)
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        canary = self.store.canary_stream(create=config.canary.seconds > 0)
        self._telemetry = self._open_telemetry()
        source = open_source(config.kafka)
        letters = KafkaDeadLetters(connection(config.kafka), config.dead_letter_topic, config.dead_letters.max_bytes)
        letters.check()
        self._worker = Worker(
            source,
            self.store,
            self._models,
            letters,
            worker_settings(config),
            clock=clock,
            observer=self._telemetry,
            name=self._name,
        )
        self.evaluator = evaluator(config, self._models, self.store, self._name, canary)
        self._progress = Progress(
            lambda: self._worker.trouble, lambda: self.evaluator.state is not None, lambda: self._watcher.runs
        )
        self._delivery = open_delivery(config, self._name, lambda: self._progress.moves)
        self._delivery.start()
        if self._telemetry:
            self._telemetry.watch_evidence(lambda: self.evaluator.state, self.evaluator.rules)
            self._telemetry.watch_delivery(lambda: self._delivery.statuses)
            self._telemetry.watch_letters(letters.sent)
        self._watcher = self._watch(canary)
        self._watcher.start()
        self._due = 0.0
        self._serving = self._serve(source)
        text, fields = describe_start(config, self._models, self._delivery.receivers)
        log.info("%s", text, extra=fields)
        self._role = Role(config.kafka.topic_names, config.kafka.group)
        settle()

    def _open_telemetry(self) -> Telemetry | None:
        if not self._config.http.port:
            return None
        from line_plugin.version import __version__
        from monitor.service.telemetry import Telemetry

        return Telemetry(
            self._models.artifact,
            version=__version__,
            group=self._config.kafka.group,
            kafka_client=self._config.kafka.client,
            topics=self._config.kafka.topic_names,
            redis_seconds=self._config.watch.redis_seconds,
        )

    def _serve(self, source: Source) -> Serving | None:
        """Start the HTTP server if the settings name a port."""
        if self._telemetry is None:
            return None
        from monitor.service.site import open_site

        serving = open_site(
            self._config,
            self._models,
            telemetry=self._telemetry,
            worker=self._worker,
            source=source,
            evaluator=self.evaluator,
            delivery=self._delivery,
            progress=self._progress,
        )
        serving.start()
        return serving

    def _watch(self, stream: str) -> Watcher:
        config, store = self._config, open_store(self._config)
        canary = None
        if config.canary.seconds:
            canary = Canary(config, store, stream, find_targets(config, self._models))
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
            drift=open_drift_watch(config, self._models, store),
        )

    def step(self) -> int:
        """Count one batch, and judge closed buckets if it is time."""
        self._progress.begin_round(len(self._worker.owned))
        done = self._worker.step()
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + min(1.0, self._config.buckets.seconds)
            self._evaluate()
            self._role.look(len(self._worker.owned), self.evaluator.state is not None)
        return done

    def _evaluate(self) -> None:
        try:
            judged = self.evaluator.step()
            self._progress.note_judged()
            if self._telemetry:
                self._telemetry.evaluated(judged)
        except StoreUnavailableError as error:
            log.debug("%s", error)

    def close(self) -> None:
        """Leave the group and release the lease. If one step fails, the others are still done."""
        self._progress.end()
        with ExitStack() as ending:
            if self._serving is not None:
                ending.callback(self._serving.close)
            ending.callback(self._delivery.close)
            ending.callback(self._release)
            ending.callback(self._worker.close)
            ending.callback(self._watcher.close)

    def _release(self) -> None:
        try:
            self.evaluator.release()
        except StoreUnavailableError:
            log.info("the lease could not be given back; it expires by itself")
