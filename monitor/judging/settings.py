"""Numbers and names of an evaluator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Served:
    """What an alert says of the model behind a stream: the artifact's content hash, and the class for people."""

    artifact: str
    class_name: Callable[[int], str] = str


@dataclass(frozen=True)
class EvaluatorSettings:
    """Numbers of an evaluator; times in milliseconds.

    Attributes:
        group: consumer group, part of every fingerprint.
        artifact: content hash, shown in every alert; of several models, of all together.
        bucket_ms: width of a bucket.
        idle_ms: a partition that moved nothing for so long holds no bucket open.
        hold_ms: no partition holds a bucket open for longer than this once another one has passed it.
        turn_ms: one call judges a backlog for about so long before it gives the poll loop its turn.
        lease_ms: a leaseholder that does not come back within this is replaced.
        alert_ttl_ms: an alert that nothing refreshes is forgotten after this.
        forget_ms: a stream from which nothing came for so long is forgotten.
        examples: most OOD samples kept of an alert.
        topics: partitions of other topics do not count; empty for all.
        canary: name of the stream that the monitor sends itself; empty for none.
        class_name: the class for people.
        served: the model of a stream if there are several, None if it has none.
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
        """The model behind an alert of this stream, or of everything together."""
        return (self.served(stream) if stream is not None else None) or Served(self.artifact, self.class_name)
