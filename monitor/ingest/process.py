"""Builds and runs ``ood-monitor ingest`` from its settings."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from monitor.config.ingest import IngestConfig
from monitor.ingest.binding import KeyFrom
from monitor.ingest.bodies import Bodies
from monitor.ingest.handover import Handover
from monitor.ingest.metrics import Metrics
from monitor.ingest.posts import Accepted
from monitor.ingest.site import Desk, build_site
from monitor.messages import decoders
from monitor.messages.limits import Limits
from monitor.publishing.complaints import Complaints
from monitor.publishing.messages import Encoder
from monitor.publishing.outbox import Outbox
from monitor.publishing.producers import open_producer
from monitor.publishing.sending import Sending
from monitor.publishing.sending_log import Wording
from monitor.sources.settings import connection, librdkafka_connection
from monitor.web.access import Access
from monitor.web.server import BoundedServer, Bounds, listen, make_server, serve

log = logging.getLogger(__name__)

LINGER_MS = 2
"""How long a batch waits for more events. It is short, because senders wait for the answer."""

RENEW_SECONDS = 15.0
"""After this many seconds without an acknowledgement, the producer may be opened again."""

WORDING = Wording("an event", "events", "kafka.security_protocol, kafka.sasl_* and kafka.ssl_* in the settings")


class Ingest:
    """The parts of ``ood-monitor ingest``: an event loop that answers posts, and a thread that writes to Kafka.

    Args:
        config: the settings.
    """

    def __init__(self, config: IngestConfig) -> None:
        from line_plugin.version import __version__

        self._config = config
        kafka, queue = config.kafka, config.queue
        self._outbox = Outbox(queue.max_events, queue.max_bytes)
        complaints = Complaints(log)
        self._sending = Sending(
            self._outbox,
            Encoder("", ""),
            functools.partial(open_producer, kafka.client, kafka.bootstrap_servers, producer_settings(config)),
            kafka.topic,
            kafka.bootstrap_servers,
            complaints,
            WORDING,
            prompt=True,
            renew_seconds=max(RENEW_SECONDS, 3 * queue.ack_seconds),
        )
        self._handover = Handover(
            self._outbox,
            max_events=queue.max_events,
            max_bytes=queue.max_bytes,
            ack_seconds=queue.ack_seconds,
            retry_after_seconds=queue.retry_after_seconds,
            where=kafka.bootstrap_servers,
        )
        bodies = Bodies(
            config.bounds.body_bytes,
            config.bounds.body_bytes_together,
            config.bounds.body_seconds,
            queue.retry_after_seconds,
        )
        metrics = Metrics(__version__)
        metrics.watch(
            pending=lambda: self._outbox.pending,
            pending_bytes=lambda: self._outbox.pending_bytes,
            reading=lambda: bodies.reading,
            away=lambda: self._handover.away is not None,
        )
        desk = Desk(bodies, accepted(config), key_from(config), self._handover, metrics, complaints)
        http = config.http
        access = Access(http.token.get_secret_value(), bool(http.tls_client_cafile), frozenset(http.allowed_hosts))
        site = build_site(desk, config.posts.path, access, metrics, self.why_not_ready, complaints)
        self._server = make_server(site, config.http, server_bounds(config))

    def why_not_ready(self) -> str:
        """A sentence on why events cannot be written now; empty if they can."""
        kafka = self._config.kafka
        if self._server.should_exit or self._handover.draining:
            return "this server is being stopped"
        if not self._sending.topic_found:
            return f"topic {kafka.topic!r} was not found on Kafka at {kafka.bootstrap_servers} yet: see the log"
        if self._handover.away is not None:
            return f"Kafka at {kafka.bootstrap_servers} does not acknowledge events: see the log"
        return ""

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C. Then finish the posts in progress and send what waits for Kafka.

        Raises:
            ConfigError: it is not possible to listen on the address.
        """
        http, kafka = self._config.http, self._config.kafka
        listening = listen(http.host, http.port)
        self._sending.thread.start()
        scheme = "https" if http.tls_certfile else "http"
        log.info(
            "ood-monitor ingest takes posts at %s://%s:%d%s and writes them to topic %s of Kafka at %s",
            scheme, http.host, http.port, self._config.posts.path, kafka.topic, kafka.bootstrap_servers,
        )  # fmt: skip
        try:
            serve(self._server, listening, self._config.bounds.header_seconds)
        finally:
            listening.close()
            self._drain()

    def _drain(self) -> None:
        """Send what is left in the queue if Kafka accepts it in time.

        It was not answered with 202, so its senders know.
        """
        until = time.monotonic() + self._config.queue.drain_seconds
        self._handover.draining = True
        self._outbox.close()
        seconds = self._config.queue.drain_seconds if self._handover.away is None else 1.0
        self._outbox.wait_until_empty(seconds)
        lost = self._outbox.abandon()
        if lost:
            log.warning(
                "%d events were dropped, because Kafka at %s did not acknowledge them; their senders did not get a 202",
                lost,
                self._config.kafka.bootstrap_servers,
            )
        self._sending.thread.join(max(0.0, min(5.0, until - time.monotonic())))
        log.info("stopped: %d events were acknowledged by Kafka, and no post is under way", self._outbox.sent)


def server_bounds(config: IngestConfig) -> Bounds:
    """Return the limits on clients."""
    b = config.bounds
    return Bounds(
        b.connections,
        b.header_bytes,
        b.header_seconds,
        b.idle_seconds,
        config.queue.drain_seconds,
        config.queue.retry_after_seconds,
        "as many connections are open as bounds.connections allows; retry",
    )


def accepted(config: IngestConfig) -> Accepted:
    """Which posts are accepted."""
    posts = config.posts
    known = frozenset(posts.content_types or decoders.known())
    return Accepted(
        known - {"application/cloudevents+json"},
        posts.source,
        posts.type,
        tuple(posts.id_headers),
        tuple(posts.carried_headers),
        posts.max_batch,
        Limits(depth=posts.max_depth, digits=posts.max_digits),
    )


def key_from(config: IngestConfig) -> KeyFrom:
    """Return the source of the key, which names the stream."""
    return KeyFrom(tuple(config.posts.key_attributes), tuple(config.posts.key_headers))


def producer_settings(config: IngestConfig) -> Mapping[str, Any]:
    """Return the connection settings under the names of the library that writes."""
    named: Callable[..., dict[str, Any]] = (
        librdkafka_connection if config.kafka.client == "confluent-kafka" else connection
    )
    given = {k: v for k, v in named(config.kafka).items() if k not in ("bootstrap_servers", "bootstrap.servers")}
    return {"linger_ms": LINGER_MS, **given}


__all__ = ["BoundedServer", "Ingest", "accepted", "key_from", "producer_settings"]
