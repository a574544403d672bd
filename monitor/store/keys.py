"""The names of everything the monitor keeps in Redis; the contract is written out in ``docs/redis-keys.md``.

All keys of one group share the hash tag ``{group}``: one slot of a cluster, so one script may touch them all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEMA_VERSION = 1

STREAM_FIELD = "s:"
"""Before the name of a stream in the hash of evidence states."""


@dataclass(frozen=True)
class Keys:
    """Key names of one consumer group."""

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
        """HASH: reason to the number of records ever rejected."""
        return self._name("rejected")

    @property
    def streams(self) -> str:
        """HASH: stream to the time (ms) of its last count."""
        return self._name("streams")

    @property
    def buckets(self) -> str:
        """ZSET: buckets that hold counts and are not folded yet."""
        return self._name("buckets")

    @property
    def leads(self) -> str:
        """ZSET: open buckets by the time (ms) at which the first partition reached them."""
        return self._name("leads")

    @property
    def workers(self) -> str:
        """HASH: worker to the time (ms) of its last report, and the report (JSON)."""
        return self._name("workers")

    @property
    def asked(self) -> str:
        """SET: streams that somebody wants forgotten."""
        return self._name("retire")

    @property
    def epochs(self) -> str:
        """STREAM: every new start of the evidence, with its settings."""
        return self._name("epochs")

    @property
    def lease(self) -> str:
        """HASH with TTL: the evaluator's ``holder`` and ``token``."""
        return self._name("lease")

    @property
    def state(self) -> str:
        """HASH: key of the evidence to its state (JSON)."""
        return self._name("state")

    @property
    def drift(self) -> str:
        """HASH: stream to where its window began and what the last one showed (JSON)."""
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
        """HASH: id to a mute (JSON), those that are over for less than two days included."""
        return self._name("mutes")

    @property
    def acknowledged(self) -> str:
        """HASH: fingerprint to who took that alert on (JSON)."""
        return self._name("acknowledged")

    def held_back(self, sink: str) -> str:
        """HASH: fingerprint to what a mute keeps from a receiver of transitions (JSON)."""
        return self._name("held", sink)

    def delivered(self, sink: str) -> str:
        """HASH: how far a sink has been told, and what went wrong with it."""
        return self._name("delivered", sink)

    def told(self, sink: str) -> str:
        """ZSET: episode to the time (ms) at which a receiver of all alerts as they stand was first told of it."""
        return self._name("told", sink)

    def delivering(self, sink: str) -> str:
        """HASH with TTL: ``holder`` and ``token`` of the process that sends to a sink."""
        return self._name("delivering", sink)


def field(stream: str, predicted: int, cell: int) -> str:
    """Field of a count; the stream comes last as it may hold colons."""
    return f"{predicted}:{cell}:{stream}"


def parse_field(text: str) -> tuple[str, int, int]:
    """``(stream, predicted class, cell)`` of :func:`field`."""
    predicted, cell, stream = text.split(":", 2)
    return stream, int(predicted), int(cell)
