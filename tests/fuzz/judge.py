"""What has to hold of every record, whatever it is: the property that the fuzzing tests."""

from __future__ import annotations

import json
from collections import Counter as Tally

from monitor.alerts.alert import line
from monitor.counting.counter import Counter, Owned
from monitor.counting.models import Models
from monitor.counting.scoring import Scorer
from monitor.messages import REASONS, Contract, Record
from monitor.messages.limits import Limits
from monitor.messages.record import Partition
from monitor.messages.text import CANARY, RESERVED, printable
from monitor.sources.letters import letter_of, stub_of
from tests.fuzz.messages import NOW
from tests.monitor_support import WIDTH, small_line

P = Partition("t", 0)
BUCKET_MS = 1000
LIMITS = Limits(rows=2000, batch_rows=500)
MAX_LETTER = 100_000
ALERT = {
    "updated_at": "", "change": "raised", "severity": "warning", "kind": "ood", "classes": "[]", "rate": "0",
    "rate_low": "0", "rate_high": "1", "samples": "1", "onset_at": "", "evidence": "1", "evidence_needed": "1",
}  # fmt: skip


class Judge:
    """Sends records the way that the worker sends them, and looks at what became of each."""

    def __init__(self, **contract) -> None:
        settings = {"max_bytes": 300_000, "limits": LIMITS} | contract
        self.counter = Counter(Models.single(Scorer(small_line()), Contract(WIDTH, **settings)), BUCKET_MS, examples=5)
        self.became: Tally[str] = Tally()

    def judge(self, records: list[Record]) -> list[str]:
        """What became of each: ``counted``, ``skipped`` or the reason it was rejected for."""
        fates: dict[int, str] = {}
        waiting = records
        while waiting:
            read = self.counter.read({P: waiting}, NOW)
            scored = self.counter.score(read)
            batch, rejected = self.counter.count(read, scored, {P: Owned(1, waiting[0].offset, -1)})
            taken = read.records[P]
            assert taken == waiting[: len(taken)], "records were read out of order"
            assert len(read.rows) <= LIMITS.batch_rows + LIMITS.rows, "more was read than memory has room for"
            for name, some in (("skipped", read.rows.skipped), ("counted", self._counted(read, rejected))):
                fates |= {id(r): name for r in some}
            for record, reason, detail in rejected:
                assert id(record) not in fates, "a record has two fates"
                fates[id(record)] = reason
                self._can_be_told((record, reason, detail))
            self._rows_are_safe(read, batch)
            (moved,) = batch.progress
            assert moved.next == taken[-1].offset + 1
            assert -1 <= moved.bucket <= NOW // BUCKET_MS
            assert batch.samples == sum(fates[id(read.rows.records[at])] == "counted" for at in read.rows.record_of)
            waiting = waiting[len(taken) :]
        assert len(fates) == len(records), "a record has no fate"
        found = [fates[id(r)] for r in records]
        self.became.update(found)
        return found

    @staticmethod
    def _counted(read, rejected) -> list[Record]:
        refused = {id(record) for record, _, _ in rejected}
        return [r for r in read.rows.records if id(r) not in refused]

    @staticmethod
    def _can_be_told(rejection) -> None:
        record, reason, detail = rejection
        assert reason in REASONS, reason
        assert detail
        assert detail.isprintable()
        for letter in (letter_of(rejection, MAX_LETTER), stub_of(rejection)):
            size = len(letter.key or b"") + len(letter.value or b"")
            size += sum(len(k.encode()) + len(v) for k, v in letter.headers)
            assert size <= MAX_LETTER, "a dead letter is too large"
            assert letter.key is not None or letter.value is not None
            assert dict(letter.headers)["dead-letter-reason"] == reason.encode()
            assert dict(letter.headers)["dead-letter-offset"] == str(record.offset).encode()

    @staticmethod
    def _rows_are_safe(read, batch) -> None:
        for name, stream, time_ms in zip(read.rows.ids, read.rows.streams, read.rows.times_ms, strict=True):
            json.dumps([name, stream]).encode()
            assert len(name.encode()) <= 4 * (LIMITS.id_length + 12)
            assert len(stream.encode()) <= 4 * LIMITS.stream_length
            assert 0 <= time_ms <= NOW
            assert not stream.startswith("__") or stream.startswith(CANARY)
        shown = read.rows.ids[:3]
        if shown:
            alert = ALERT | {"stream": read.rows.streams[0], "examples": json.dumps([{"id": i} for i in shown])}
            assert line(alert).isprintable()
            assert all(printable(i).isprintable() for i in shown)
        assert all(isinstance(n, int) and n > 0 for cells in batch.counts.values() for n in cells.values())
        assert RESERVED


def words(record: Record) -> str:
    """A record in one short line."""
    value = record.value if record.value is None or len(record.value) < 200 else record.value[:200] + b"..."
    headers = [(k[:40], v if v is None else v[:60]) for k, v in record.headers[:8]]
    return f"key={record.key!r:.80} timestamp={record.timestamp_ms} headers={headers!r} value={value!r}"
