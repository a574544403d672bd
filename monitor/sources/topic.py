"""Questions about the topic: is it there, is it still the same one, where do its logs begin and end.

They go through a client of kafka-python of its own, whichever library reads the records, so that every client is
answered the same. Each question is answered or fails within seconds.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from monitor.config import KafkaConfig
from monitor.errors import BrokerError, BrokerUnavailableError, TopicMissingError
from monitor.messages.record import Partition
from monitor.sources.kafka_errors import kafka_errors
from monitor.sources.protocol import Log
from monitor.sources.settings import ANSWER_MS, asking, reading

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds after which a question is given up, whatever its client thinks of it."""

EARLIEST, LATEST = -2, -1
"""Kafka's own names for the two ends of a log."""

UNKNOWN_TOPIC, NOT_AUTHORIZED, NOT_A_NAME = 3, 29, 17
"""Kafka's error codes."""


@dataclass(frozen=True)
class Description:
    """A topic as the broker describes it: its id (empty if the broker has none), and its partitions by number.

    ``leaderless`` are partitions that nobody can read now.
    """

    topic_id: str
    partitions: frozenset[int]
    leaderless: frozenset[int]


class TopicQuestions:
    """Asks the broker about the topic of the settings; safe to use from several threads.

    A client that failed is thrown away, and the next question begins with a new one.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._client: Any = None
        self._ends_are_wrong = False

    def describe(self) -> Description:
        """The topic now.

        Raises:
            TopicMissingError: it does not exist.
            BrokerUnavailableError: trying again may help. BrokerError: it will not.
        """
        with self._lock:
            return self._described()

    def unassigned(self) -> frozenset[int]:
        """Partitions that no member of the group has though the group is settled; empty if that cannot be told.

        A group without members is settled, too: a client may read on without knowing that the broker has put it out.
        """
        group, topic = self._config.group, self._config.topic
        with self._lock:
            seen = self._described()
            try:
                answer = self._ask(lambda client: client.describe_groups([group]))[group]
            except (BrokerError, KeyError, ValueError):  # not every broker and not every user has an answer
                return frozenset()
        if answer.get("group_state") not in ("Stable", "Empty", "Dead"):
            return frozenset()
        dealt = [a for m in answer["members"] for a in (m["member_assignment"] or {}).get("assigned_partitions", ())]
        return seen.partitions - {n for a in dealt if a["topic"] == topic for n in a["partitions"]}

    def exists(self, topic: str) -> bool:
        """Whether a topic of this name exists; asking does not make it."""
        with self._lock:
            (answer,) = self._ask(lambda client: client.describe_topics([topic]))
        return bool(answer["error_code"] == 0)

    def settings(self) -> dict[str, str]:
        """The settings of the topic, defaults included; empty if they cannot be read."""
        from kafka.admin import ConfigResource, ConfigResourceType

        wanted = ConfigResource(ConfigResourceType.TOPIC, self._config.topic)
        try:
            with self._lock:
                answer = self._ask(lambda client: client.describe_configs([wanted], config_filter="all"))
        except BrokerError:  # not every broker and not every user has an answer
            return {}
        found = answer.get("topic", {}).get(self._config.topic, {})
        return {name: str(entry["value"]) for name, entry in found.items()}

    def ends(self, partitions: Iterable[Partition], topic_id: str) -> dict[Partition, Log]:
        """Where the logs of these partitions begin and end; ``topic_id`` is what :meth:`describe` just said."""
        with self._lock:
            return self._logs(list(partitions), topic_id)

    def logs(self, partitions: Iterable[Partition], read_up_to: Mapping[Partition, int]) -> dict[Partition, Log]:
        """As :meth:`monitor.sources.protocol.Source.logs`. Ids and offsets are of one topic: the id is asked twice."""
        with self._lock:
            for _ in range(5):
                before = self._described()
                wanted = [p for p in partitions if p.number in before.partitions - before.leaderless]
                found = self._logs(wanted, before.topic_id)
                if self._described().topic_id == before.topic_id:
                    break
            else:
                raise BrokerUnavailableError(f"topic {self._config.topic!r} is being made again: its id keeps changing")
            doubted = {p: found[p] for p, at in read_up_to.items() if p in found and 0 <= found[p].end < at}
            if doubted and self._lies_about_ends(doubted):
                found = {p: Log(said.topic_id, said.first, -1) for p, said in found.items()}
            return found

    def real_ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Where each partition ends now for a reader of these settings, even if the broker's own answer is wrong."""
        with self._lock:
            wanted = list(partitions)
            listed = {p: said.end for p, said in self._logs(wanted, "").items()}
            fetched = _ends_by_fetch(self._config, listed)
            if any(fetched[p] > listed[p] for p in wanted) and self._confirm_lie(listed, fetched):
                return fetched
            if self._config.isolation_level == "read_committed":
                return self._listed(wanted, LATEST, committed=True)
            return listed

    def _confirm_lie(self, listed: Mapping[Partition, int], fetched: Mapping[Partition, int]) -> bool:
        """Whether the ends are still too low if asked again after the fetch; else records came in between."""
        again = self._logs(list(listed), "")
        self._ends_are_wrong = any(again[p].end < fetched[p] for p in listed)
        return self._ends_are_wrong

    def _described(self) -> Description:
        (answer,) = self._ask(lambda client: client.describe_topics([self._config.topic]))
        code = answer["error_code"]
        if code == UNKNOWN_TOPIC:
            raise TopicMissingError(missing(self._config))
        if code == NOT_AUTHORIZED:
            raise BrokerError(
                f"user {self._config.sasl_username!r} (kafka.sasl_username) may not see topic {self._config.topic!r}: "
                "grant it DESCRIBE and READ on the topic and READ on the group"
            )
        if code == NOT_A_NAME:
            raise BrokerError(f"kafka.topic {self._config.topic!r} is not a valid name of a topic")
        if code:
            raise BrokerUnavailableError(f"Kafka cannot describe topic {self._config.topic!r} now (error {code})")
        parts = answer["partitions"]
        given = answer.get("topic_id")
        topic_id = "" if given is None or uuid.UUID(str(given)).int == 0 else str(given)
        numbers = frozenset(p["partition_index"] for p in parts)
        return Description(topic_id, numbers, frozenset(p["partition_index"] for p in parts if p["leader_id"] < 0))

    def _logs(self, partitions: list[Partition], topic_id: str) -> dict[Partition, Log]:
        if not partitions:
            return {}
        firsts, ends = self._listed(partitions, EARLIEST), self._listed(partitions, LATEST)
        return {p: Log(topic_id, firsts[p], -1 if self._ends_are_wrong else ends[p]) for p in partitions}

    def _listed(self, partitions: list[Partition], which: int, *, committed: bool = False) -> dict[Partition, int]:
        from kafka import IsolationLevel, TopicPartition

        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        asked = {TopicPartition(p.topic, p.number): which for p in partitions}
        found = self._ask(lambda client: client.list_partition_offsets(asked, level, timeout_ms=ANSWER_MS))
        return {Partition(tp.topic, tp.partition): answer.offset for tp, answer in found.items()}

    def _lies_about_ends(self, doubted: Mapping[Partition, Log]) -> bool:
        """Whether a fetch finds records behind the end that the broker names. Some brokers count batches there."""
        listed = {p: said.end for p, said in doubted.items()}
        fetched = _ends_by_fetch(self._config, listed)
        if any(fetched[p] > listed[p] for p in listed) and self._confirm_lie(listed, fetched):
            log.warning(
                "%s: the broker names wrong ends of partitions (a fetch finds records behind them); "
                "a log that was cut off cannot be told on this broker", self._config.bootstrap_servers,
            )  # fmt: skip
        return self._ends_are_wrong

    def _ask(self, question: Callable[[Any], T]) -> T:
        """Put a question to the broker; a client that fails or does not come back is thrown away."""
        try:
            with kafka_errors(f"topic {self._config.topic!r} at {self._config.bootstrap_servers}"):
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
        """Give the connection back."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(BrokerUnavailableError):
                _within(1.0, client.close)


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Make a call in a thread of its own, which is left behind if it does not come back: libraries may hang."""
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


def missing(config: KafkaConfig) -> str:
    """That the topic does not exist, and how to make it."""
    return f"topic {config.topic!r} does not exist on {config.bootstrap_servers}: {how_to_create(config)}"


def how_to_create(config: KafkaConfig) -> str:
    """What to do about a topic that does not exist."""
    server = config.bootstrap_servers.split(",")[0].strip()
    return (
        f"correct kafka.topic, or create it: kafka-topics.sh --bootstrap-server {server} --create "
        f"--topic {config.topic} --partitions 6"
    )


def _ends_by_fetch(config: KafkaConfig, listed: Mapping[Partition, int]) -> dict[Partition, int]:
    """Where partitions end by what a fetch at the listed end says; what a fetch says is right on every broker."""
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
                    raise BrokerUnavailableError(f"Kafka does not answer a fetch of {config.topic!r} in time")
                consumer.poll(timeout_ms=100, max_records=1)
                found = {p: high for p, tp in native.items() if (high := consumer.highwater(tp)) is not None}
        finally:
            consumer.close()
    return found
