"""Asks the broker about the topics: do they exist, are they still the same, where do their logs begin and end.

The questions go through a kafka-python client of their own, whichever library reads the records, so the answers are the
same for all of them. Each question is answered or fails within seconds.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from monitor.config import KafkaConfig
from monitor.errors import BrokerError, BrokerUnavailableError, TopicMissingError
from monitor.messages.record import Partition
from monitor.messages.text import name_topics
from monitor.sources.kafka_errors import kafka_errors
from monitor.sources.protocol import Log
from monitor.sources.settings import ANSWER_MS, asking, reading

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 10.0
"""After this many seconds a question is abandoned, whatever its client does."""

EARLIEST, LATEST = -2, -1
"""Kafka's own names for the two ends of a log."""

UNKNOWN_TOPIC, NOT_AUTHORIZED, NOT_A_NAME = 3, 29, 17
"""Kafka's error codes."""


@dataclass(frozen=True)
class Description:
    """The broker's description of a topic: its id (empty if the broker has no ids), and its partitions by number.

    ``leaderless`` are the partitions that nobody can read now.
    """

    topic_id: str
    partitions: frozenset[int]
    leaderless: frozenset[int]


Described = Description | BrokerError
"""A topic, or what is wrong with this topic: it is missing, forbidden, or cannot be described now."""


class TopicQuestions:
    """Asks the broker about the topics of the settings. Several threads may use it.

    If a client fails, it is dropped, and the next question uses a new one.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._client: Any = None
        self._ends_are_wrong = False

    def describe(self) -> dict[str, Described]:
        """Describe each topic of the settings, by name.

        Raises:
            BrokerUnavailableError: Kafka as a whole does not answer. BrokerError: it refuses.
        """
        with self._lock:
            return self._described(self._config.topic_names)

    def unassigned(self) -> frozenset[Partition]:
        """Find partitions that no member of a stable group has; empty if that cannot be found out.

        A group without members is stable, too: a client may not know that the broker has removed it.
        """
        group = self._config.group
        with self._lock:
            seen = self._described(self._config.topic_names)
            try:
                answer = self._ask(lambda client: client.describe_groups([group]))[group]
            except (BrokerError, KeyError, ValueError):  # not every broker and not every user has an answer
                return frozenset()
        if answer.get("group_state") not in ("Stable", "Empty", "Dead"):
            return frozenset()
        dealt = [a for m in answer["members"] for a in (m["member_assignment"] or {}).get("assigned_partitions", ())]
        there = {Partition(t, n) for t, d in seen.items() if isinstance(d, Description) for n in d.partitions}
        return frozenset(there - {Partition(a["topic"], n) for a in dealt for n in a["partitions"]})

    def exists(self, topic: str) -> bool:
        """Whether a topic with this name exists. Asking does not create it."""
        with self._lock:
            (answer,) = self._ask(lambda client: client.describe_topics([topic]))
        return bool(answer["error_code"] == 0)

    def settings(self, topic: str) -> dict[str, str]:
        """Return the settings of a topic including defaults; empty if they cannot be read."""
        from kafka.admin import ConfigResource, ConfigResourceType

        wanted = ConfigResource(ConfigResourceType.TOPIC, topic)
        try:
            with self._lock:
                answer = self._ask(lambda client: client.describe_configs([wanted], config_filter="all"))
        except BrokerError:  # not every broker and not every user has an answer
            return {}
        found = answer.get("topic", {}).get(topic, {})
        return {name: str(entry["value"]) for name, entry in found.items()}

    def ends(self, partitions: Iterable[Partition], topic_ids: Mapping[str, str]) -> dict[Partition, Log]:
        """Find where the logs of these partitions begin and end.

        ``topic_ids`` are what :meth:`describe` just returned.
        """
        with self._lock:
            return self._logs(list(partitions), topic_ids)

    def logs(self, partitions: Iterable[Partition], read_up_to: Mapping[Partition, int]) -> dict[Partition, Log]:
        """See :meth:`monitor.sources.protocol.Source.logs`. The id is asked twice, so that it fits the offsets."""
        wanted = list(partitions)
        with self._lock:
            for _ in range(5):
                before = self._readable(wanted)
                found = self._logs([p for p in wanted if p in before], {p.topic: i for p, i in before.items()})
                after = self._readable(wanted)
                changed = sorted({p.topic for p in found if after.get(p) != before[p]})
                if not changed:
                    break
            else:
                raise BrokerUnavailableError(f"topic {changed[0]!r} is being made again: its id keeps changing")
            doubted = {p: found[p] for p, at in read_up_to.items() if p in found and 0 <= found[p].end < at}
            if doubted and self._lies_about_ends(doubted):
                found = {p: Log(said.topic_id, said.first, -1) for p, said in found.items()}
            return found

    def _readable(self, partitions: Iterable[Partition]) -> dict[Partition, str]:
        """Return the partitions that have a leader, each with the id of its topic.

        Raises:
            BrokerError: the only topic in question has an error. If there are several, topics with errors are left out.
        """
        wanted = list(partitions)
        topics = sorted({p.topic for p in wanted})
        seen = self._described(topics) if topics else {}
        first = next(iter(seen.values()), None)
        if len(self._config.topic_names) == 1 and isinstance(first, BrokerError):
            raise first
        return {
            p: d.topic_id
            for p in wanted
            if isinstance(d := seen[p.topic], Description) and p.number in d.partitions - d.leaderless
        }

    def real_ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Find where each partition ends now for a reader with these settings, even if the broker is wrong about it."""
        with self._lock:
            wanted = list(partitions)
            listed = {p: said.end for p, said in self._logs(wanted, {}).items()}
            fetched = _ends_by_fetch(self._config, listed)
            if any(fetched[p] > listed[p] for p in wanted) and self._confirm_lie(listed, fetched):
                return fetched
            if self._config.isolation_level == "read_committed":
                return self._listed(wanted, LATEST, committed=True)
            return listed

    def _confirm_lie(self, listed: Mapping[Partition, int], fetched: Mapping[Partition, int]) -> bool:
        """Whether the ends are still too low when asked again after the fetch. Otherwise records came in between."""
        again = self._logs(list(listed), {})
        self._ends_are_wrong = any(again[p].end < fetched[p] for p in listed)
        return self._ends_are_wrong

    def _described(self, topics: Sequence[str]) -> dict[str, Described]:
        answers = self._ask(lambda client: client.describe_topics(list(topics)))
        by_name = {answer["name"]: answer for answer in answers}
        return {topic: _description(self._config, topic, by_name.get(topic)) for topic in topics}

    def _logs(self, partitions: list[Partition], topic_ids: Mapping[str, str]) -> dict[Partition, Log]:
        if not partitions:
            return {}
        firsts, ends = self._listed(partitions, EARLIEST), self._listed(partitions, LATEST)
        wrong = self._ends_are_wrong
        return {p: Log(topic_ids.get(p.topic, ""), firsts[p], -1 if wrong else ends[p]) for p in partitions}

    def _listed(self, partitions: list[Partition], which: int, *, committed: bool = False) -> dict[Partition, int]:
        from kafka import IsolationLevel, TopicPartition

        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        asked = {TopicPartition(p.topic, p.number): which for p in partitions}
        found = self._ask(lambda client: client.list_partition_offsets(asked, level, timeout_ms=ANSWER_MS))
        return {Partition(tp.topic, tp.partition): answer.offset for tp, answer in found.items()}

    def _lies_about_ends(self, doubted: Mapping[Partition, Log]) -> bool:
        """Whether a fetch finds records after the end that the broker names.

        Some brokers count batches, not records.
        """
        listed = {p: said.end for p, said in doubted.items()}
        fetched = _ends_by_fetch(self._config, listed)
        if any(fetched[p] > listed[p] for p in listed) and self._confirm_lie(listed, fetched):
            log.warning(
                "%s: the broker names wrong ends of partitions (a fetch finds records behind them); "
                "a log that was cut off cannot be recognized on this broker", self._config.bootstrap_servers,
            )  # fmt: skip
        return self._ends_are_wrong

    def _ask(self, question: Callable[[Any], T]) -> T:
        """Ask the broker. A client that fails or does not return is dropped."""
        try:
            names = self._config.topic_names
            about = f"topic {names[0]!r}" if len(names) == 1 else name_topics(names)
            with kafka_errors(f"{about} at {self._config.bootstrap_servers}"):
                return _within(PATIENCE, lambda: question(self._connected()))
        except BaseException:
            self.close()
            raise

    def _connected(self) -> Any:
        if self._client is None:
            from kafka import KafkaAdminClient

            self._client = KafkaAdminClient(**asking(self._config))
        return self._client

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(BrokerUnavailableError):
                _within(1.0, client.close)


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Make a call in a thread of its own, which is abandoned if it does not return: libraries may hang."""
    answers: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=run, name="question", daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise BrokerUnavailableError(f"Kafka has not answered for {seconds:g} seconds") from None
    if error is not None:
        raise error
    return cast("T", answer)


def _description(config: KafkaConfig, topic: str, answer: Any) -> Described:
    """Read the description of a topic from the broker's answer."""
    code = UNKNOWN_TOPIC if answer is None else answer["error_code"]
    if code == UNKNOWN_TOPIC:
        return TopicMissingError(missing(config, topic))
    if code == NOT_AUTHORIZED:
        return BrokerError(
            f"user {config.sasl_username!r} (kafka.sasl_username) may not see topic {topic!r}: "
            "grant it DESCRIBE and READ on the topic and READ on the group"
        )
    if code == NOT_A_NAME:
        return BrokerError(f"{key_of(config)} {topic!r} is not a valid name of a topic")
    if code:
        return BrokerUnavailableError(f"Kafka cannot describe topic {topic!r} now (error {code})")
    parts, given = answer["partitions"], answer.get("topic_id")
    topic_id = "" if given is None or uuid.UUID(str(given)).int == 0 else str(given)
    numbers = frozenset(p["partition_index"] for p in parts)
    return Description(topic_id, numbers, frozenset(p["partition_index"] for p in parts if p["leader_id"] < 0))


def key_of(config: KafkaConfig) -> str:
    """Return the settings key that names the topics."""
    return "kafka.topics" if config.topics else "kafka.topic"


def missing(config: KafkaConfig, topic: str) -> str:
    """Make the error for a topic that does not exist, with how to create it."""
    return f"topic {topic!r} does not exist on {config.bootstrap_servers}: {how_to_create(config, topic)}"


def how_to_create(config: KafkaConfig, topic: str) -> str:
    """Say what to do about a topic that does not exist."""
    server = config.bootstrap_servers.split(",")[0].strip()
    return (
        f"correct {key_of(config)}, or create it: kafka-topics.sh --bootstrap-server {server} --create "
        f"--topic {topic} --partitions 6"
    )


def _ends_by_fetch(config: KafkaConfig, listed: Mapping[Partition, int]) -> dict[Partition, int]:
    """Find the ends of partitions by a fetch at the listed end. A fetch gives the right end on every broker."""
    from kafka import KafkaConsumer, TopicPartition

    native = {p: TopicPartition(p.topic, p.number) for p in listed}
    with kafka_errors(f"ends of {', '.join(str(p) for p in listed)}"):
        consumer = KafkaConsumer(**reading(config))
        try:
            consumer.assign(list(native.values()))
            for p, offset in listed.items():
                consumer.seek(native[p], offset)
            until = time.monotonic() + ANSWER_MS / 1000
            found: dict[Partition, int] = {}
            while len(found) < len(listed):
                if time.monotonic() > until:
                    names = ", ".join(repr(topic) for topic in sorted({p.topic for p in listed}))
                    raise BrokerUnavailableError(f"Kafka does not answer a fetch of {names} in time")
                consumer.poll(timeout_ms=100, max_records=1)
                found = {p: high for p, tp in native.items() if (high := consumer.highwater(tp)) is not None}
        finally:
            consumer.close()
    return found
