"""The vectors of many records, in columns."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitor.messages.record import Record

Rejected = list[tuple[Record, str, str]]
"""``(record, reason, detail)``."""


@dataclass
class Rows:
    """The vectors of many records, with one entry per vector, in the order of the records.

    Attributes:
        records: the records with at least one vector.
        record_of: the index of each vector's record.
        ids: the request ids.
        streams: the streams they are counted under.
        times_ms: the event times.
        vectors: D little-endian float32 each, as bytes.
        model_of: the index of each vector's model; empty if there is only one model.
        taken: how many records were read, with any result.
        skipped: how many records were skipped: those of another model, and those that ``messages.accept`` excludes.
        ahead: how many records had a timestamp after the time now; ``ahead_ms`` is by how much at most.
    """

    records: list[Record] = field(default_factory=list)
    record_of: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    vectors: list[bytes] = field(default_factory=list)
    model_of: list[int] = field(default_factory=list)
    taken: int = 0
    skipped: list[Record] = field(default_factory=list)
    ahead: int = 0
    ahead_ms: int = 0

    def __len__(self) -> int:
        return len(self.vectors)
