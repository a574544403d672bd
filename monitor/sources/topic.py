"""Asks the broker about the topics: do they exist, are they still the same, where do their logs begin and end.

The questions go through a kafka-python client of their own, whichever library reads the records, so the answers are the
same for all of them. Each question is answered or fails within seconds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence

from monitor.config import KafkaConfig
from monitor.errors import BrokerError, BrokerUnavailableError
from monitor.messages.record import Partition
from monitor.sources.admin import Admin
from monitor.sources.descriptions import Described, Description, read_description
from monitor.sources.ends_by_fetch import ends_by_fetch
from monitor.sources.protocol import Log
from monitor.sources.settings import ANSWER_MS

log = logging.getLogger(__name__)

EARLIEST, LATEST = -2, -1
"""Kafka's own names for the two ends of a log."""


class TopicQuestions:
    """Asks the broker about the topics of the settings. Several threads may use it."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._admin = Admin(config)
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
                answer = self._admin.ask(lambda client: client.describe_groups([group]))[group]
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
            (answer,) = self._admin.ask(lambda client: client.describe_topics([topic]))
        return bool(answer["error_code"] == 0)

    def settings(self, topic: str) -> dict[str, str]:
        """Return the settings of a topic including defaults; empty if they cannot be read."""
        from kafka.admin import ConfigResource, ConfigResourceType

        wanted = ConfigResource(ConfigResourceType.TOPIC, topic)
        try:
            with self._lock:
                answer = self._admin.ask(lambda client: client.describe_configs([wanted], config_filter="all"))
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
                found = {p: Log(reported.topic_id, reported.first, -1) for p, reported in found.items()}
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
            listed = {p: reported.end for p, reported in self._logs(wanted, {}).items()}
            fetched = ends_by_fetch(self._config, listed)
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

    def close(self) -> None:
        """Close the connection."""
        self._admin.close()

    def _described(self, topics: Sequence[str]) -> dict[str, Described]:
        answers = self._admin.ask(lambda client: client.describe_topics(list(topics)))
        by_name = {answer["name"]: answer for answer in answers}
        return {topic: read_description(self._config, topic, by_name.get(topic)) for topic in topics}

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
        found = self._admin.ask(lambda client: client.list_partition_offsets(asked, level, timeout_ms=ANSWER_MS))
        return {Partition(tp.topic, tp.partition): answer.offset for tp, answer in found.items()}

    def _lies_about_ends(self, doubted: Mapping[Partition, Log]) -> bool:
        """Whether a fetch finds records after the end that the broker names.

        Some brokers count batches, not records.
        """
        listed = {p: reported.end for p, reported in doubted.items()}
        fetched = ends_by_fetch(self._config, listed)
        if any(fetched[p] > listed[p] for p in listed) and self._confirm_lie(listed, fetched):
            log.warning(
                "%s: the broker names wrong ends of partitions (a fetch finds records behind them); "
                "a log that was cut off cannot be recognized on this broker", self._config.bootstrap_servers,
            )  # fmt: skip
        return self._ends_are_wrong
