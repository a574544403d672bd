"""A bounded range of a topic through the same code: what would have fired, and whether the calibration holds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from monitor.alerts.alert import moment
from monitor.config import MonitorConfig
from monitor.counting.counter import usable_rows
from monitor.counting.scoring import Scorer
from monitor.errors import RecordError, ReplayError
from monitor.judging.rules import rules_of
from monitor.math.replay_report import FlagOrder, ReplayReport, report
from monitor.math.state import Bucket
from monitor.messages.reading import Reader, Rows
from monitor.messages.record import Record
from monitor.messages.times import parse_time
from monitor.service.process import contract

BATCH = 1000


def replay(
    config: MonitorConfig,
    begin: str,
    end: str,
    *,
    arm: bool = False,
    save_classes: str | None = None,
    as_json: bool = False,
) -> int:
    """Judge ``[begin, end)`` of the topic and print it. Nothing is written to Redis, no group is joined.

    Args:
        config: settings of the monitor that would be armed.
        begin: RFC 3339 or ``earliest``.
        end: RFC 3339 or ``latest``.
        arm: return 1 where this traffic breaks the calibration.
        save_classes: write counts per class and cell here, for ``alerts.class_calibration``.
        as_json: one JSON object instead of text.

    Raises:
        ReplayError: an empty range, or one that cannot be read.
    """
    scorer = Scorer.load(config.model.artifact, config.model.device, config.model.threads)
    the_rules = rules_of(config.alerts, scorer.calibration, scorer.artifact)
    told = Tally(config, scorer, the_rules.cells, the_rules.flag_cells)
    for batch in _batches(config, scorer, begin, end, told):
        told.add(batch)
    if not told.buckets:
        raise ReplayError(f"no embedding in topic {config.kafka.topic!r} from {begin} to {end}: widen the range")
    judged = report(told.closed(), the_rules, told.order)
    if save_classes:
        Path(save_classes).write_text(json.dumps({"artifact": scorer.artifact, "classes": told.classes()}), "utf-8")
    print(_as_json(judged, told) if as_json else "\n".join(_lines(judged, told)))
    if arm and not judged.arm:
        print("ood-monitor: not armed: this traffic breaks the calibration", file=sys.stderr)
        return 1
    return 0


class Tally:
    """Counts and flag order of what is replayed."""

    def __init__(self, config: MonitorConfig, scorer: Scorer, cells: int, flag_cells: int) -> None:
        self._scorer, self._cells, self._flag_cells = scorer, cells, flag_cells
        self._width, self._magnitude = config.bucket_ms, config.messages.max_magnitude
        self.buckets: dict[int, dict[tuple[str, int], list[int]]] = {}
        self.order: dict[str, FlagOrder] = {}
        self.rejected: dict[str, int] = {}

    def add(self, rows: Rows) -> None:
        """Score and count what was read, in the order of the log; a record is scored whole or not at all."""
        scored = self._scorer.score(rows.vectors, self._magnitude)
        whole, rejected = usable_rows(rows, scored, self._magnitude)
        for _, reason, _ in rejected:
            self.reject(reason)
        flags: dict[str, list[bool]] = {}
        for n in whole.tolist():
            cell, stream = int(scored.cell[n]), rows.streams[n]
            row = self.buckets.setdefault(rows.times_ms[n] // self._width, {})
            row.setdefault((stream, int(scored.predicted[n])), [0] * self._cells)[cell] += 1
            flags.setdefault(stream, []).append(cell < self._flag_cells)
        for stream, run in flags.items():
            self.order[stream] = self.order.get(stream, FlagOrder()).then(run)

    def reject(self, reason: str) -> None:
        """Count a record that cannot be scored."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1

    def closed(self) -> Iterator[Bucket]:
        """Buckets in order of event time."""
        width = self._width / 1000
        for b in sorted(self.buckets):
            yield Bucket(b, b * width, (b + 1) * width, self.buckets[b])

    def classes(self) -> dict[int, list[int]]:
        """Samples in each cell, by predicted class over all streams."""
        table: dict[int, list[int]] = {}
        for counts in self.buckets.values():
            for (_, label), cells in counts.items():
                kept = table.setdefault(label, [0] * self._cells)
                for k, n in enumerate(cells):
                    kept[k] += n
        return dict(sorted(table.items()))


def _batches(config: MonitorConfig, scorer: Scorer, begin: str, end: str, told: Tally) -> Iterator[Rows]:
    reader = Reader(contract(config, scorer.width))
    records: list[Record] = []
    for record in read_topic(config, _moment(begin, "earliest"), _moment(end, "latest")):
        records.append(record)
        if len(records) >= BATCH:
            yield from _rows(reader, records, told)
            records = []
    yield from _rows(reader, records, told)


def _rows(reader: Reader, records: list[Record], told: Tally) -> Iterator[Rows]:
    """As much at once as memory has room for."""
    while records:
        rows = Rows()
        for _, reason, _ in reader.read(records, rows, room=reader.room):
            told.reject(reason)
        records = records[rows.taken :]
        if len(rows):
            yield rows


def _moment(given: str, word: str) -> int | None:
    if given == word:
        return None
    try:
        return parse_time(given)
    except RecordError:
        raise ReplayError(f"{given!r}: expected {word} or RFC 3339 such as 2026-01-31T12:00:00Z") from None


def read_topic(config: MonitorConfig, begin_ms: int | None = None, end_ms: int | None = None) -> Iterator[Record]:
    """Records of ``[begin_ms, end_ms)`` by Kafka timestamp, up to where the topic ended when it was opened.

    No group is joined and nothing is committed.
    """
    from kafka import KafkaConsumer, TopicPartition

    from monitor.sources.kafka_errors import kafka_errors
    from monitor.sources.settings import connection

    with kafka_errors("replay"):
        consumer = KafkaConsumer(**connection(config.kafka), enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        with kafka_errors("replay"):
            numbers = sorted(consumer.partitions_for_topic(config.kafka.topic) or ())
            if not numbers:
                raise ReplayError(f"no topic {config.kafka.topic!r} on {config.kafka.bootstrap_servers}")
            assigned = [TopicPartition(config.kafka.topic, n) for n in numbers]
            consumer.assign(assigned)
            consumer.seek_to_beginning(*assigned)
            if begin_ms is not None:
                _seek(consumer, assigned, begin_ms)
            yield from _read(consumer, begin_ms, end_ms)
    finally:
        consumer.close()


def _seek(consumer: Any, assigned: list[Any], begin_ms: int) -> None:
    for tp, found in consumer.offsets_for_times(dict.fromkeys(assigned, begin_ms)).items():
        if found is not None:
            consumer.seek(tp, found.offset)


def _read(consumer: Any, begin_ms: int | None, end_ms: int | None) -> Iterator[Record]:
    """Until every partition stands at the end it had when first fetched."""
    ends: dict[Any, int] = {}
    quiet = 0
    while quiet < 20:
        polled = consumer.poll(timeout_ms=250)
        for records in polled.values():
            for r in records:
                if (begin_ms is None or r.timestamp >= begin_ms) and (end_ms is None or r.timestamp < end_ms):
                    yield Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
        for tp in consumer.assignment():
            # end_offsets is wrong on some brokers; what a fetch says is right on all.
            high = consumer.highwater(tp)
            if high is not None:
                ends.setdefault(tp, high)
        if len(ends) == len(consumer.assignment()) and all(consumer.position(tp) >= ends[tp] for tp in ends):
            return
        quiet = 0 if polled else quiet + 1


def _lines(judged: ReplayReport, told: Tally) -> list[str]:
    said = judged.lines()
    if told.rejected:
        said.append("not scored: " + ", ".join(f"{n} {reason}" for reason, n in sorted(told.rejected.items())))
    for t in judged.transitions:
        name = "all streams together" if t.alert.stream is None else f"stream {t.alert.stream!r}"
        said.append(f"{moment(t.at)}  {t.change:<8} {t.alert.kind} {name}: flag rate {t.alert.rate:.1%}")
    return said


def _as_json(judged: ReplayReport, told: Tally) -> str:
    document = {
        "arm": judged.arm,
        "requests": judged.requests,
        "refusals": list(judged.refusals),
        "warnings": list(judged.warnings),
        "rates": [{**asdict(r), "rate": r.rate} for r in judged.rates],
        "autocorrelation": {s: o.autocorrelation for s, o in judged.order.items()},
        "transitions": [{"change": t.change, "at": moment(t.at), **asdict(t.alert)} for t in judged.transitions],
        "affordable": judged.affordable,
        "suggested_requests": judged.suggested_requests,
        "rejected": told.rejected,
    }
    return json.dumps(document)
