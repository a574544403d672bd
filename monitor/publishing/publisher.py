"""Publishes the embeddings of a served model.

:class:`EmbeddingPublisher` sends arrays. :class:`monitor.publishing.tap.Tap` hooks into a network's head and sends its
input. Serving comes first: neither the constructor nor :meth:`EmbeddingPublisher.publish` waits for Kafka or raises
because of it. A thread connects, sends and tries again. Messages that do not fit into the bounded queue meanwhile are
dropped, counted, and logged once a minute.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from monitor.errors import ConfigError
from monitor.publishing.complaints import Complaints
from monitor.publishing.messages import Encoder, read_rows
from monitor.publishing.outbox import Outbox
from monitor.publishing.producers import CLIENTS, Producer, open_producer, require_library, wrap_producer
from monitor.publishing.sending import Sending

log = logging.getLogger("monitor.publishing")

AT_EXIT_SECONDS = 1.0
"""How long a process that ends without :meth:`EmbeddingPublisher.close` waits for pending messages, in seconds."""

_publishers: weakref.WeakSet[EmbeddingPublisher] = weakref.WeakSet()
_left_to_the_parent: list[Any] = []
"""Copies of the parent's connections after a fork. They are kept, because destroying them would disturb the parent."""


@functools.cache
def _watch_process() -> None:
    """Register once for the end of the process and for forks."""
    atexit.register(_close_all)
    os.register_at_fork(after_in_child=_renew_all)


def _close_all() -> None:
    for publisher in list(_publishers):
        publisher.close(AT_EXIT_SECONDS)


def _renew_all() -> None:
    for publisher in list(_publishers):
        publisher._renew()


class EmbeddingPublisher:
    """Sends one record per embedding: little-endian float32 (or float16) with CloudEvents headers.

    Records of a stream are spread over the partitions: the key names the stream, it does not choose the partition.
    Safe to use from several threads, and after a fork (the child begins with an empty queue of its own).

    Args:
        bootstrap_servers: host:port, comma separated. Not used if ``producer`` is given.
        topic: the topic. It is not created if it is missing; a log line says how to create it.
        source: the CloudEvents source: who sends (``"resnet50/replica-3"``).
        model: the model's name. The monitor checks it if its settings say so.
        producer: a ``kafka.KafkaProducer`` or ``confluent_kafka.Producer`` of your own, which you close yourself.
            Any object with the methods of :class:`monitor.publishing.producers.Producer` works, too.
        client: the library that sends, ``"kafka-python"`` or ``"confluent-kafka"``.
        max_pending: how many embeddings may wait for their acknowledgement. Further ones are dropped.
        max_pending_bytes: the same in bytes.
        settings: further settings of the library's producer; for confluent-kafka an underscore stands for a dot. If
            Kafka refuses them (a wrong password) or the library does not know them, that is logged and tried again,
            never raised.

    Attributes:
        sent, dropped, pending: how many embeddings Kafka acknowledged, were dropped, and are on their way.

    Raises:
        ConfigError: an argument that can never be right (an unknown client, a queue without room).
        MissingLibraryError: the library of ``client`` is not installed.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        source: str = "ood-monitor",
        model: str = "",
        producer: Any = None,
        client: str = "kafka-python",
        max_pending: int = 10_000,
        max_pending_bytes: int = 64 * 2**20,
        **settings: Any,
    ) -> None:
        if client not in CLIENTS:
            raise ConfigError(f"client {client!r} is not a known Kafka client, expected one of {', '.join(CLIENTS)}")
        if max_pending < 1 or max_pending_bytes < 1:
            raise ConfigError(
                f"max_pending {max_pending} and max_pending_bytes {max_pending_bytes} leave no room for an embedding: "
                "both must be at least 1"
            )
        if producer is None:
            require_library(client)
            opening = functools.partial(open_producer, client, bootstrap_servers, settings)
        else:
            opening = functools.partial(wrap_producer, producer)
            opening()  # what is not a producer is refused now
        self._opening: Callable[[], Producer] = opening
        self._topic, self._where = topic, bootstrap_servers or "the producer's brokers"
        self._bounds, self._encoder = (max_pending, max_pending_bytes), Encoder(source, model)
        self._renew()
        self._start()
        _publishers.add(self)
        _watch_process()

    def _renew(self) -> None:
        """Make an empty queue and a thread that is not started yet. After a fork, the old ones belong to the parent."""
        _left_to_the_parent.extend(vars(self).get(name) for name in ("_outbox", "_sending") if name in vars(self))
        self._outbox = Outbox(*self._bounds)
        self._complaints = Complaints(log)
        self._sending = Sending(self._outbox, self._encoder, self._opening, self._topic, self._where, self._complaints)
        self._starting, self._started = threading.Lock(), False

    def _start(self) -> None:
        with self._starting:
            if not self._started and not self._outbox.closing:
                self._sending.thread.start()
                self._started = True

    @property
    def sent(self) -> int:
        """How many embeddings Kafka has acknowledged."""
        return self._outbox.sent

    @property
    def dropped(self) -> int:
        """How many embeddings did not fit the queue, were refused by Kafka, or were dropped on closing."""
        return self._outbox.dropped

    @property
    def pending(self) -> int:
        """How many embeddings wait or are on their way."""
        return self._outbox.pending

    def publish(
        self,
        embeddings: Any,
        *,
        stream: str,
        ids: Sequence[str] | None = None,
        times_ms: Sequence[int] | None = None,
    ) -> int:
        """Copy (N, D) features, the input of the head, into the queue. Returns how many were accepted.

        This never waits for Kafka. A tensor on a GPU is copied to the host, which waits until it has been computed.

        Args:
            embeddings: array or tensor, float32 or float16; other floating types are sent as float32.
            stream: the model or tenant; alerts are raised per stream.
            ids: N request ids; by default they are made up.
            times_ms: N event times in milliseconds since the epoch; by default now.

        Raises:
            ValueError: the shape is not (N, D), or the number of ids or times is not N.
        """
        rows = read_rows(embeddings)
        for name, given in (("ids", ids), ("times_ms", times_ms)):
            if given is not None and len(given) != len(rows):
                raise ValueError(f"{len(given)} {name} given for {len(rows)} embeddings: expected one each")
        times = [time.time_ns() // 1_000_000] * len(rows) if times_ms is None else [int(t) for t in times_ms]
        if not self._started:
            self._start()
        taken = self._outbox.offer(rows, stream, () if ids is None else tuple(ids), times)
        if taken < len(rows):
            why = "the publisher is closed" if self._outbox.closing else f"{self.pending} are waiting for Kafka"
            self._complaints.warn(
                "queue",
                f"{len(rows) - taken} embeddings for topic {self._topic!r} were dropped, {why}: {self.dropped} so far",
                len(rows) - taken,
            )
        return taken

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait at most ``timeout`` seconds until nothing is pending. Returns whether nothing is."""
        return self._outbox.wait_until_empty(timeout)

    def close(self, timeout: float = 10.0) -> None:
        """Accept nothing more, wait at most ``timeout`` seconds for what is pending, and drop the rest."""
        until = time.monotonic() + timeout
        self._outbox.close()
        self._outbox.wait_until_empty(timeout)
        lost = self._outbox.abandon()
        if lost:
            log.warning(
                "%d embeddings for topic %r were dropped: Kafka at %s did not acknowledge them in %g s before closing",
                lost,
                self._topic,
                self._where,
                timeout,
            )
        if self._started:
            self._sending.thread.join(max(0.0, until - time.monotonic()))
        _publishers.discard(self)
