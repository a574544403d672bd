"""The first log line of a worker, and the line whenever its role changes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from monitor.config import MonitorConfig, show_url
from monitor.messages.text import list_topics, name_topics

if TYPE_CHECKING:
    from monitor.config.sections.http import HttpConfig
    from monitor.counting.models import Models

log = logging.getLogger(__name__)


def describe_start(config: MonitorConfig, models: Models, receivers: Iterable[str]) -> tuple[str, dict[str, Any]]:
    """Describe what runs here: one line for people, and the same as fields for a log collector. Neither holds a secret.

    Args:
        config: the settings.
        models: the models with their artifacts.
        receivers: the receivers, as people may see them.
    """
    from line_plugin.version import __version__

    k, h = config.kafka, config.http
    experts = ", ".join(models.first.scorer.experts)
    scored = f"artifact {models.artifact[:12]} scores"
    if len(models) > 1:
        scored = f"artifacts {', '.join(f'{m.name} {m.scorer.artifact[:12]}' for m in models)} score"
    fields: dict[str, Any] = {
        "version": __version__,
        "artifact": models.artifact[:12],
        "scores_with": experts,
        "topic": list_topics(k.topic_names),
        "group": k.group,
        "kafka": k.bootstrap_servers,
        "redis": show_url(config.redis.url),
        "http": address_of(h),
        "receivers": list(receivers),
        "requests_per_false_alert": config.alerts.requests,
        "role": "stands by",
    }
    notified = ", ".join(fields["receivers"]) or "nobody besides Redis"
    text = (
        f"ood-monitor {__version__} starts: {name_topics(k.topic_names)} (dead letters to {config.dead_letter_topic}) "
        f"on Kafka {k.bootstrap_servers}, group {k.group}, Redis {fields['redis']}; {scored} with "
        f"{experts}; at most 1 false alert per {config.alerts.requests:,.0f} requests; alerts go to {notified}; "
        f"status page, metrics and health: {fields['http'] or 'off (http.port)'}. "
        "It stands by until it is given partitions to count."
    )
    return text, fields


def address_of(http: HttpConfig) -> str:
    """Return the HTTP address of this process; empty if nothing is served."""
    if not http.port:
        return ""
    host = f"[{http.host}]" if ":" in http.host else http.host
    return f"{'https' if http.tls_certfile else 'http'}://{host}:{http.port}"


class Role:
    """The role of a worker in its group: it counts if it has partitions, and judges if it holds the lease.

    Args:
        topics: the topics that are read.
        group: the group that the worker belongs to.
    """

    def __init__(self, topics: Sequence[str], group: str) -> None:
        self._fields = {"topic": list_topics(topics), "group": group}
        self._topics = topics
        self._counts = self._judges = False

    def look(self, partitions: int, judges: bool) -> None:
        """Log the role if it changed.

        Args:
            partitions: how many partitions this worker has now.
            judges: whether it holds the lease.
        """
        counts = partitions > 0
        if (counts, judges) == (self._counts, self._judges):
            return
        parts = [] if judges == self._judges else [_judging(judges, self._fields["group"])]
        if counts != self._counts:
            parts.append(_counting(partitions, name_topics(self._topics)))
        self._counts, self._judges = counts, judges
        role = " and ".join(
            name for name, is_so in (("counts", counts), ("judges", judges)) if is_so
        ) or "stands by"  # fmt: skip
        log.info("this worker %s: %s", role, "; ".join(parts), extra={**self._fields, "role": role})


def _judging(judges: bool, group: str) -> str:
    if judges:
        return f"it took over judging for group {group}"
    return "it gave up judging, or lost the lease: another worker judges, or Redis cannot be reached"


def _counting(partitions: int, topics: str) -> str:
    if partitions:
        return f"it counts {partitions} partitions of {topics}"
    return f"it has no partition of {topics} now: there are more workers than partitions, or the group rebalances"
