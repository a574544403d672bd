"""The names of all keys that the monitor has in Redis. ``docs/redis-keys.md`` describes them.

All keys of a group share the hash tag ``{group}``, so in a cluster they are in one slot and one script may use them
all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEMA_VERSION = 1

STREAM_FIELD = "s:"
"""Stands before the name of a stream in the hash of evidence states."""


@dataclass(frozen=True)
class Keys:
    """The key names of one consumer group."""

    group: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", self.group):
            raise ValueError(f"group {self.group!r}: expected letters, digits, dot, dash, underscore")

    def _name(self, *parts: str) -> str:
        return ":".join(["ood", str(SCHEMA_VERSION), f"{{{self.group}}}", *parts])

    @property
    def partitions(self) -> str:
        """HASH: ``next:``, ``epoch:``, ``bucket:`` and ``at:`` of each ``topic/partition``."""
        return self._name("partitions")

    @property
    def meta(self) -> str:
        """HASH: settings, progress and times of the group; ``docs/redis-keys.md`` lists its fields."""
        return self._name("meta")

    @property
    def totals(self) -> str:
        """HASH: ``class:cell:stream`` to the number of samples ever counted."""
        return self._name("totals")

    @property
    def rejected(self) -> str:
        """HASH: the number of records ever rejected, by reason."""
        return self._name("rejected")

    @property
    def streams(self) -> str:
        """HASH: the time (ms) of the last count, by stream."""
        return self._name("streams")

    @property
    def buckets(self) -> str:
        """ZSET: buckets that hold counts and are not judged yet."""
        return self._name("buckets")

    @property
    def leads(self) -> str:
        """ZSET: open buckets by the time (ms) at which the first partition reached them."""
        return self._name("leads")

    @property
    def workers(self) -> str:
        """HASH: the time (ms) of the last report and the report (JSON), by worker."""
        return self._name("workers")

    @property
    def asked(self) -> str:
        """SET: streams that somebody asked to forget."""
        return self._name("retire")

    @property
    def epochs(self) -> str:
        """STREAM: each time the evidence was started afresh, with its settings."""
        return self._name("epochs")

    @property
    def lease(self) -> str:
        """HASH with TTL: the evaluator's ``holder`` and ``token``."""
        return self._name("lease")

    @property
    def state(self) -> str:
        """HASH: the state (JSON) of each key of the evidence."""
        return self._name("state")

    @property
    def drift(self) -> str:
        """HASH: the counts at the begin of the current drift window (JSON), by stream."""
        return self._name("drift")

    @property
    def history(self) -> str:
        """STREAM, capped: every transition."""
        return self._name("history")

    @property
    def index(self) -> str:
        """ZSET: fingerprints of alerts by the time of their last transition."""
        return self._name("alerts")

    @property
    def channel(self) -> str:
        """Pub/sub channel: a fingerprint on each transition; only a wake-up."""
        return self._name("wake")

    def counts(self, bucket: int) -> str:
        """HASH: ``class:cell:stream`` to the number of samples of this bucket."""
        return self._name("counts", str(bucket))

    def examples(self, bucket: int, stream: str) -> str:
        """ZSET: the most OOD samples of a stream in a bucket, by confidence."""
        return self._name("examples", str(bucket), stream)

    def alert(self, fingerprint: str) -> str:
        """HASH with TTL: the current state of one alert."""
        return self._name("alert", fingerprint)

    @property
    def mutes(self) -> str:
        """HASH: mutes (JSON) by id, including those that ended less than two days ago."""
        return self._name("mutes")

    @property
    def acknowledged(self) -> str:
        """HASH: acknowledgements (JSON) by fingerprint."""
        return self._name("acknowledged")

    def held_back(self, sink: str) -> str:
        """HASH: what a mute holds back from a receiver of transitions (JSON), by fingerprint."""
        return self._name("held", sink)

    def delivered(self, sink: str) -> str:
        """HASH: how far a sink has come in the history, and what went wrong with it."""
        return self._name("delivered", sink)

    def told(self, sink: str) -> str:
        """ZSET: when (ms) a receiver of mode ``state`` first heard of each episode."""
        return self._name("told", sink)

    def delivering(self, sink: str) -> str:
        """HASH with TTL: ``holder`` and ``token`` of the process that sends to a sink."""
        return self._name("delivering", sink)


def field(stream: str, predicted: int, cell: int) -> str:
    """Name the field of a count. The stream comes last because it may hold colons."""
    return f"{predicted}:{cell}:{stream}"


def parse_field(text: str) -> tuple[str, int, int]:
    """Read ``(stream, predicted class, cell)`` back from the name of a field."""
    predicted, cell, stream = text.split(":", 2)
    return stream, int(predicted), int(cell)
