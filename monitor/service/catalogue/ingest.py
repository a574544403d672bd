"""The metrics of ``ood-monitor ingest``, which has a page of its own."""

from __future__ import annotations

from monitor.service.catalogue.metric import Metric

STATUSES = ("202", "400", "401", "403", "408", "413", "415", "421", "500", "503", "other")

INGEST: tuple[Metric, ...] = (
    Metric(
        "ood_monitor_ingest_build_info",
        "gauge",
        "Always 1; its label says which version runs",
        "Nothing to do",
        "ingest",
        labels={"version": "of this package"},
    ),
    Metric(
        "ood_monitor_ingest_posts_total",
        "counter",
        "Requests to the ingest server by what they were answered: 202 means that Kafka has the events",
        "400, 413 or 415: a sender is set up wrongly, and the log says how. 401 or 403: its token or certificate is "
        "wrong. 503: Kafka cannot be reached, or takes less than is posted. Senders that do not send again lose events",
        "ingest",
        labels={"status": STATUSES},
    ),
    Metric(
        "ood_monitor_ingest_events_total",
        "counter",
        "Events that Kafka has acknowledged",
        "If it stands still while the model answers requests, the server does not post: look at its logger's settings",
        "ingest",
    ),
    Metric(
        "ood_monitor_ingest_acknowledge_seconds",
        "histogram",
        "How long posts that were answered 202 waited for Kafka",
        "If it nears queue.ack_seconds, Kafka is slow: look at its brokers, then raise queue.ack_seconds",
        "ingest",
        "seconds",
        buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
    ),
    Metric(
        "ood_monitor_ingest_pending_events",
        "gauge",
        "Events that Kafka has not acknowledged",
        "If it stays at queue.max_events, posts are answered 503: Kafka is unreachable or too slow",
        "ingest",
    ),
    Metric(
        "ood_monitor_ingest_pending_bytes",
        "gauge",
        "The same in bytes",
        "If it stays at queue.max_bytes, posts are answered 503: Kafka is unreachable or too slow",
        "ingest",
        "bytes",
    ),
    Metric(
        "ood_monitor_ingest_reading_bytes",
        "gauge",
        "Bytes that are set aside for bodies that are being read",
        "If it stays at bounds.body_bytes_together, senders are slow or too many",
        "ingest",
        "bytes",
    ),
    Metric(
        "ood_monitor_ingest_kafka_away",
        "gauge",
        "1 while Kafka has not acknowledged what was handed to it within queue.ack_seconds",
        "If it is 1, posts are answered 503: bring Kafka back; the log says what is wrong with it",
        "ingest",
    ),
)
