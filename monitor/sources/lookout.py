"""Looks again and again, from a thread of its own, whether Kafka answers and the topic is still the one it was.

What it sees is at hand at any moment, however long a poll takes: the topic's id for the worker, and a sentence about
what is wrong for the log and for the watch. A sentence is logged once, then at most once a minute while it stays true.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone

from monitor.config import KafkaConfig
from monitor.errors import BrokerError, BrokerUnavailableError, TopicMissingError
from monitor.messages.record import Partition
from monitor.sources.diagnosis import Diagnosis, diagnose
from monitor.sources.protocol import Sight
from monitor.sources.topic import Description, TopicQuestions, missing

log = logging.getLogger(__name__)

REPEAT_SECONDS = 60.0
"""Trouble that lasts is logged again after this."""

GROUP_SECONDS = 3.0
"""Time between two looks at whether every partition has a worker."""


class Lookout:
    """Keeps the last sight of the topic, and what is wrong with it.

    Args:
        config: of Kafka.
        questions: asks the broker.
        ours: the partitions whose logs are looked at.
        clock: seconds of a clock that only rises.
        wall: Unix time, for people.
        watch_group: whether to look for partitions that the group has dealt to nobody.
        explain: finds out why Kafka does not answer.
    """

    def __init__(
        self,
        config: KafkaConfig,
        questions: TopicQuestions,
        ours: Callable[[], set[Partition]],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        watch_group: bool = False,
        explain: Callable[[KafkaConfig], Diagnosis | None] = diagnose,
    ) -> None:
        self._config, self._questions, self._ours = config, questions, ours
        self._clock, self._wall, self._explain = clock, wall, explain
        self._sight = Sight()
        self._trouble = ""
        self._kind = ""
        self._watch_group, self._group_at = watch_group, clock()
        self._without_worker: frozenset[int] = frozenset()
        self._orphans: frozenset[int] = frozenset()
        self._since = self._began = self._said_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    @property
    def sight(self) -> Sight:
        """The topic as it was last seen."""
        return self._sight

    @property
    def trouble(self) -> str:
        """What is wrong now, in one sentence; empty if nothing is."""
        return self._trouble

    def take_orphans(self) -> frozenset[int]:
        """Partitions that a settled group had dealt to nobody at two looks in a row, since the last call."""
        found, self._orphans = self._orphans, frozenset()
        return found

    def begin(self) -> None:
        """Look once, then from the thread. Kafka away is waited for; what waiting does not mend is raised.

        Raises:
            TopicMissingError: the topic does not exist.
            BrokerError: a setting is wrong; the message names it.
        """
        try:
            self._see()
        except BrokerUnavailableError as error:
            found = self._explain(self._config)
            if found is not None and found.fatal:
                raise BrokerError(f"Kafka cannot be used: {found.text}") from error
            self._worry("away", self._away(found, error))
        except TopicMissingError:
            raise
        except BrokerError as error:
            found = self._explain(self._config)
            if found is not None:
                raise BrokerError(f"Kafka cannot be used: {found.text}") from error
            raise
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
        self._questions.close()

    def _run(self) -> None:
        while not self._stop.wait(self._config.look_seconds):
            try:
                self.look()
            except Exception as error:
                log.warning(
                    "the topic %s could not be looked at (%s: %s); this is tried again in %g seconds",
                    self._config.topic, type(error).__name__, error, self._config.look_seconds,
                    exc_info=log.isEnabledFor(logging.DEBUG),
                )  # fmt: skip

    def look(self) -> None:
        """Look once, and log what has changed."""
        try:
            try:
                self._see()
            except BrokerUnavailableError:
                self._see()  # the connection may only have been closed for being idle
        except TopicMissingError:
            self._worry("missing", f"Topic {missing(self._config).removeprefix('topic ')}; it was there before")
        except BrokerError as error:
            if self._stop.is_set():
                return
            found = self._explain(self._config)
            if not isinstance(error, BrokerUnavailableError) or (found is not None and found.fatal):
                self._worry("refused", f"Kafka refuses this worker: {found.text if found else error}")
            else:
                self._worry("away", self._away(found, error))

    def _see(self) -> None:
        asked_at = self._clock()
        seen = self._questions.describe()
        readable = {p for p in self._ours() if p.number in seen.partitions - seen.leaderless}
        logs = self._questions.ends(sorted(readable), seen.topic_id)
        self._sight = Sight(seen.topic_id, len(seen.partitions), logs, asked_at)
        self._see_group()
        lost = self._leaderless(seen)
        if lost:
            self._worry("leaderless", lost)
        else:
            self._relax()

    def _see_group(self) -> None:
        if not self._watch_group or self._clock() - self._group_at < GROUP_SECONDS:
            return
        self._group_at = self._clock()
        before, self._without_worker = self._without_worker, self._questions.unassigned()
        self._orphans = before & self._without_worker

    def _leaderless(self, seen: Description) -> str:
        if not seen.leaderless:
            return ""
        names = ", ".join(str(Partition(self._config.topic, n)) for n in sorted(seen.leaderless)[:5])
        return (
            f"{len(seen.leaderless)} partitions of topic {self._config.topic!r} have no leader and cannot be read "
            f"({names}): look at the brokers; nothing is lost, counting goes on there if a leader is elected"
        )

    def _away(self, found: Diagnosis | None, error: Exception) -> str:
        why = found.text if found is not None else " ".join(str(error).split())[:200]
        return (
            f"Kafka cannot be reached at {self._config.bootstrap_servers}: {why}; nothing is lost, counting goes on if "
            "it returns"
        )

    def _worry(self, kind: str, text: str) -> None:
        now = self._clock()
        if kind != self._kind:
            self._kind, self._since, self._began, self._said_at = kind, self._wall(), now, now - REPEAT_SECONDS
        self._trouble = f"{text} (since {_moment(self._since)})"
        if now - self._said_at >= REPEAT_SECONDS:
            self._said_at = now
            log.error("%s", self._trouble, extra={"topic": self._config.topic})

    def _relax(self) -> None:
        if self._kind:
            log.warning(
                "topic %s can be read at %s again after %.0f seconds; counting goes on",
                self._config.topic, self._config.bootstrap_servers, self._clock() - self._began,
            )  # fmt: skip
        self._kind = self._trouble = ""


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
