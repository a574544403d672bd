"""Intervals, limits and names that the evaluator works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Served:
    """The model of a stream as alerts name it: the artifact's content hash and the names of its classes."""

    artifact: str
    class_name: Callable[[int], str] = str


@dataclass(frozen=True)
class EvaluatorSettings:
    """Intervals, limits and names of an evaluator. Times are in milliseconds.

    Attributes:
        group: the consumer group; it is part of every fingerprint.
        artifact: content hash that every alert shows; if there are several models, one hash over all of them.
        bucket_ms: width of a bucket.
        idle_ms: a partition that has received nothing for this long keeps no bucket open.
        hold_ms: once another partition has moved on, a partition keeps a bucket open for at most this long.
        turn_ms: one call judges a backlog for about this long, then the poll loop has its turn.
        lease_ms: a process that does not renew the lease within this time is replaced.
        alert_ttl_ms: an alert that is not updated for this long is deleted.
        forget_ms: a stream that has sent nothing for this long is forgotten.
        examples: how many of the most OOD samples an alert keeps.
        topics: only partitions of these topics count; if empty, all do.
        canary: name of the stream that the monitor sends to itself; empty if it sends none.
        class_name: gives the name of a class, for people.
        served: gives the model of a stream if there are several, or None if the stream has none.
    """

    group: str
    artifact: str
    bucket_ms: int = 1000
    idle_ms: int = 10_000
    hold_ms: int = 60_000
    turn_ms: float = 500
    lease_ms: int = 15_000
    alert_ttl_ms: int = 604_800_000
    forget_ms: int = 604_800_000
    examples: int = 5
    topics: frozenset[str] = frozenset()
    canary: str = ""
    class_name: Callable[[int], str] = field(default=str)
    served: Callable[[str], Served | None] = lambda _: None

    def of_stream(self, stream: str | None) -> Served:
        """The model behind an alert on this stream, or on all streams together if ``stream`` is None."""
        return (self.served(stream) if stream is not None else None) or Served(self.artifact, self.class_name)
