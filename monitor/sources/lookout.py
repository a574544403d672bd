"""The lookout: a thread that keeps checking that Kafka answers and that each topic is still the same one.

Its findings can be read at any moment, however long a poll takes: the topics' ids for the worker, and a sentence about
what is wrong for the log and the watch. A sentence is logged once, then at most once a minute while it stays true.
Trouble with one topic does not affect the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from monitor.config import KafkaConfig
from monitor.errors import BrokerError, BrokerUnavailableError, TopicMissingError
from monitor.messages.record import Partition
from monitor.messages.text import name_topics
from monitor.sources.connecting import Diagnosis
from monitor.sources.descriptions import Described, Description, missing
from monitor.sources.diagnosis import diagnose
from monitor.sources.protocol import Sight
from monitor.sources.topic import TopicQuestions
from monitor.sources.worries import Worries

log = logging.getLogger(__name__)

GROUP_SECONDS = 3.0
"""Seconds between two checks that every partition has a worker."""


class Lookout:
    """Remembers the last description of each topic, and what is wrong with it.

    Args:
        config: the Kafka settings.
        questions: asks the broker.
        ours: gives the partitions whose logs are checked.
        clock: gives monotonic seconds.
        wall: gives Unix time, for people.
        watch_group: whether to look for partitions that the group has assigned to nobody.
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
        self._clock, self._explain = clock, explain
        self._sights: dict[str, Sight] = {}
        self._worries = Worries(config, clock, wall)
        self._watch_group, self._group_at = watch_group, clock()
        self._without_worker: frozenset[Partition] = frozenset()
        self._orphans: frozenset[Partition] = frozenset()
        self._gone: set[str] = set()
        self._returned: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    @property
    def sights(self) -> Mapping[str, Sight]:
        """Returns the last description of each topic."""
        return self._sights

    @property
    def trouble(self) -> str:
        """What is wrong now, in one sentence; empty if nothing is wrong."""
        return self._worries.words()

    @property
    def unreadable(self) -> tuple[str, ...]:
        """The topics in trouble, if others are not."""
        return self._worries.topics()

    def take_orphans(self) -> frozenset[Partition]:
        """Return partitions that a stable group had assigned to nobody at two checks in a row, since the last call."""
        found, self._orphans = self._orphans, frozenset()
        return found

    def take_returned(self) -> list[str]:
        """Return topics that were missing, have been back for a while, and of which this worker has no partition."""
        due = [topic for topic, at in self._returned.items() if self._clock() - at >= GROUP_SECONDS]
        for topic in due:
            del self._returned[topic]
        ours = {p.topic for p in self._ours()} if due else set()
        return [topic for topic in due if topic not in ours]

    def begin(self) -> None:
        """Check once, then start the thread.

        If Kafka cannot be reached, wait for it. Trouble that does not pass is raised.

        If some of several topics are missing, the others are read, and a log line says so.

        Raises:
            TopicMissingError: no topic exists.
            BrokerError: a setting is wrong. The message names it.
        """
        try:
            seen = self._see()
            wrong = [d for d in seen.values() if isinstance(d, BrokerError)]
            if wrong and all(isinstance(d, TopicMissingError) for d in seen.values()):
                raise TopicMissingError("; ".join(map(str, wrong)))
            refused = [d for d in wrong if not isinstance(d, TopicMissingError | BrokerUnavailableError)]
            if refused or len(wrong) == len(seen):
                raise next(iter(refused), next(d for d in wrong if not isinstance(d, TopicMissingError)))
            self._settle(seen)
        except BrokerUnavailableError as error:
            found = self._explain(self._config)
            if found is not None and found.fatal:
                raise BrokerError(f"Kafka cannot be used: {found.text}") from error
            self._worries.about_everything("away", self._away(found, error))
        except TopicMissingError:
            raise
        except BrokerError as error:
            found = self._explain(self._config)
            if found is not None:
                raise BrokerError(f"Kafka cannot be used: {found.text}") from error
            raise
        self._thread.start()

    def close(self) -> None:
        """Stop the thread."""
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
                    "the %s could not be looked at (%s: %s); this is tried again in %g seconds",
                    name_topics(self._config.topic_names), type(error).__name__, error, self._config.look_seconds,
                    exc_info=log.isEnabledFor(logging.DEBUG),
                )  # fmt: skip

    def look(self) -> None:
        """Check once, and log what has changed."""
        try:
            try:
                seen = self._see()
                self._raise_if_nothing_answers(seen)
            except BrokerUnavailableError:
                seen = self._see()  # the connection may only have been closed for being idle
                self._raise_if_nothing_answers(seen)
        except BrokerError as error:
            if self._stop.is_set():
                return
            found = self._explain(self._config)
            if not isinstance(error, BrokerUnavailableError) or (found is not None and found.fatal):
                text = f"Kafka refuses this worker: {found.text if found else error}"
                self._worries.about_everything("refused", text)
            else:
                self._worries.about_everything("away", self._away(found, error))
        else:
            self._settle(seen)

    @staticmethod
    def _raise_if_nothing_answers(seen: Mapping[str, Described]) -> None:
        """Raise the trouble if all topics have it, unless they are just missing: then Kafka as a whole is at fault."""
        wrong = [d for d in seen.values() if isinstance(d, BrokerError) and not isinstance(d, TopicMissingError)]
        if len(wrong) == len(seen):
            raise wrong[0]

    def _see(self) -> dict[str, Described]:
        asked_at = self._clock()
        found = self._questions.describe()
        seen = {topic: d for topic, d in found.items() if isinstance(d, Description)}
        readable = {p for p in self._ours() if p.topic in seen and p.number in _readable(seen[p.topic])}
        logs = self._questions.ends(sorted(readable), {topic: d.topic_id for topic, d in seen.items()})
        sights = dict(self._sights)
        for topic, d in seen.items():
            its = {p: log for p, log in logs.items() if p.topic == topic}
            sights[topic] = Sight(d.topic_id, len(d.partitions), its, asked_at)
        self._sights = sights
        if seen:
            self._see_group()
        return found

    def _settle(self, found: Mapping[str, Described]) -> None:
        """Note what is wrong with each topic, and what is over."""
        for topic, seen in found.items():
            if isinstance(seen, TopicMissingError):
                self._gone.add(topic)
            elif topic in self._gone and isinstance(seen, Description):
                self._gone.remove(topic)
                self._returned[topic] = self._clock()
            kind, text = self._wrong(topic, seen)
            self._worries.about(topic, kind, text)
        self._worries.settle()

    def _wrong(self, topic: str, seen: Described) -> tuple[str, str]:
        """Return kind and text of what is wrong with a topic; empty if nothing is wrong."""
        if isinstance(seen, TopicMissingError):
            before = "it was there before" if topic in self._sights else "it did not exist when this worker began"
            return "missing", f"Topic {missing(self._config, topic).removeprefix('topic ')}; {before}"
        if isinstance(seen, BrokerUnavailableError):
            return "away", f"{seen}; nothing is lost, counting goes on there if it can be read"
        if isinstance(seen, BrokerError):
            return "refused", f"Kafka refuses this worker: {seen}"
        if seen.leaderless:
            names = ", ".join(str(Partition(topic, n)) for n in sorted(seen.leaderless)[:5])
            return "leaderless", (
                f"{len(seen.leaderless)} partitions of topic {topic!r} have no leader and cannot be read "
                f"({names}): look at the brokers; nothing is lost, counting goes on there if a leader is elected"
            )
        return "", ""

    def _see_group(self) -> None:
        if not self._watch_group or self._clock() - self._group_at < GROUP_SECONDS:
            return
        self._group_at = self._clock()
        before, self._without_worker = self._without_worker, self._questions.unassigned()
        self._orphans = before & self._without_worker

    def _away(self, found: Diagnosis | None, error: Exception) -> str:
        why = found.text if found is not None else " ".join(str(error).split())[:200]
        return (
            f"Kafka cannot be reached at {self._config.bootstrap_servers}: {why}; nothing is lost, counting goes on if "
            "it returns"
        )


def _readable(seen: Description) -> frozenset[int]:
    return seen.partitions - seen.leaderless
