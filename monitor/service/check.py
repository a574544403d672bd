"""Reach everything a process will need, and say of each whether it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from line_plugin.errors import LinePluginError
from monitor.config import MonitorConfig
from monitor.errors import MonitorError

Finding = tuple[str, bool, str]
"""``(what, failed, detail)``."""


def check(config: MonitorConfig) -> Iterator[Finding]:
    """One finding an endpoint; the settings themselves are valid by now."""
    yield ("settings", False, f"valid; {_budget(config)}")
    for name, reach in (("model", _model), ("kafka", _kafka), ("redis", _redis), ("delivery", _delivery)):
        yield _finding(name, reach, config)


def _finding(name: str, reach: Callable[[MonitorConfig], str], config: MonitorConfig) -> Finding:
    try:
        return (name, False, reach(config))
    except (MonitorError, LinePluginError) as error:
        return (name, True, str(error))


def _budget(config: MonitorConfig) -> str:
    return f"budget of 1 false alert per {config.alerts.requests:,.0f} requests"


def _model(config: MonitorConfig) -> str:
    from monitor.counting.scoring import Scorer
    from monitor.judging.rules import rules_of

    scorer = Scorer.load(config.model.artifact, config.model.device)
    words = rules_of(config.alerts, scorer.calibration, scorer.artifact).budget.words()
    return f"{scorer.line!r}, artifact {scorer.artifact[:12]}, {scorer.calibration.n} calibration samples; {words}"


def _kafka(config: MonitorConfig) -> str:
    from monitor.errors import BrokerError
    from monitor.sources.kafka_errors import kafka_errors
    from monitor.sources.settings import connection

    with kafka_errors(config.kafka.bootstrap_servers):
        from kafka import KafkaConsumer

        consumer = KafkaConsumer(**connection(config.kafka), bootstrap_timeout_ms=5000)
        try:
            topics = consumer.topics()
            found = consumer.partitions_for_topic(config.kafka.topic) if config.kafka.topic in topics else None
        finally:
            consumer.close()
    if not found:
        raise BrokerError(f"no topic {config.kafka.topic!r} on {config.kafka.bootstrap_servers}: create it first")
    letters = config.dead_letter_topic
    note = "" if letters in topics else f"; {letters!r} does not exist yet, create it unless the broker does so itself"
    return f"topic {config.kafka.topic!r} has {len(found)} partitions{note}"


def _redis(config: MonitorConfig) -> str:
    from monitor.service.process import open_store

    store = open_store(config)
    store.ping()
    partitions = store.partitions()
    counted = sum(store.totals().values())
    return f"{config.redis.url.split('@')[-1]} answers; {len(partitions)} partitions claimed, {counted} samples counted"


def _delivery(config: MonitorConfig) -> str:
    from urllib.error import URLError
    from urllib.request import urlopen

    d = config.delivery
    if not (d.webhook_url or d.alertmanager_url):
        return "none besides Redis"
    if not d.alertmanager_url:
        return f"webhook {d.webhook_url} (not called: it would be taken for an alert)"
    url = f"{d.alertmanager_url.rstrip('/')}/-/ready"
    try:
        with urlopen(url, timeout=d.timeout_seconds) as reply:  # noqa: S310  the operator's own URL
            return f"{url} answers {reply.status}"
    except (URLError, OSError, ValueError) as error:
        raise MonitorError(f"{url} does not answer: {error}") from error
