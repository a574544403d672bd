"""Keeps track of what is wrong with Kafka or a topic: logs it once, once a minute while it lasts, and when it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from monitor.config import KafkaConfig
from monitor.messages.text import name_topics

log = logging.getLogger(__name__)

REPEAT_SECONDS = 60.0
"""Trouble that lasts is logged again after this many seconds."""

SHOWN = 3
"""For how many topics the trouble is described. The others are only named."""


@dataclass
class _Worry:
    """One trouble: its kind, its text, when it began (Unix time and monotonic seconds), and when it was last logged."""

    kind: str
    text: str
    since: float
    began: float
    said_at: float


class Worries:
    """Remembers what is wrong with Kafka as a whole or with single topics.

    Args:
        config: the Kafka settings.
        clock: gives monotonic seconds.
        wall: gives Unix time, for people.
    """

    def __init__(self, config: KafkaConfig, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._config, self._clock, self._wall = config, clock, wall
        self._everything: _Worry | None = None
        self._topics: dict[str, _Worry] = {}
        self._words, self._names = "", tuple[str, ...]()
        self._over: list[tuple[str, float]] = []

    def words(self) -> str:
        """What is wrong now, in one sentence; empty if nothing is wrong."""
        return self._words

    def topics(self) -> tuple[str, ...]:
        """The topics in trouble, if others are not; otherwise empty."""
        return self._names

    def about_everything(self, kind: str, text: str) -> None:
        """Note that Kafka as a whole cannot be read. Trouble with single topics is not known then."""
        self._everything = self._worry(self._everything or next(iter(self._topics.values()), None), kind, text)
        self._topics.clear()
        self._publish()

    def about(self, topic: str, kind: str, text: str) -> None:
        """Note what is wrong with a topic; an empty ``kind`` if nothing is wrong."""
        held = self._topics.get(topic) or self._everything
        if kind:
            self._topics[topic] = self._worry(held, kind, text, topic)
        elif held is not None:
            self._topics.pop(topic, None)
            self._over.append((topic, held.began))

    def settle(self) -> None:
        """Log which troubles are over, after Kafka has answered about each topic."""
        self._everything = None
        over, self._over = self._over, []
        if over:
            log.warning(
                "%s can be read at %s again after %.0f seconds; counting goes on",
                name_topics([topic for topic, _ in over]), self._config.bootstrap_servers,
                self._clock() - min(began for _, began in over),
            )  # fmt: skip
        self._publish()

    def _worry(self, held: _Worry | None, kind: str, text: str, topic: str = "") -> _Worry:
        now = self._clock()
        if held is None or held.kind != kind:
            held = _Worry(kind, text, self._wall(), now, now - REPEAT_SECONDS)
        worry = _Worry(kind, f"{text} (since {_moment(held.since)})", held.since, held.began, held.said_at)
        if now - worry.said_at >= REPEAT_SECONDS:
            worry.said_at = now
            names = self._config.topic_names
            about = {"topic": topic or names[0]} if topic or len(names) == 1 else {}
            log.error("%s", worry.text, extra=about)
        return worry

    def _publish(self) -> None:
        """Write the text that other threads may read at any moment."""
        names = self._config.topic_names
        if self._everything is not None:
            self._words, self._names = self._everything.text, ()
            return
        troubled = [t for t in names if t in self._topics]
        more = f"; the same or other trouble with {name_topics(troubled[SHOWN:])}" if len(troubled) > SHOWN else ""
        self._words = "; ".join(self._topics[t].text for t in troubled[:SHOWN]) + more
        self._names = tuple(troubled) if len(troubled) < len(names) else ()


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
