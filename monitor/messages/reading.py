"""Reads the records of a whole poll at once.

:meth:`Contract.read` defines how a record is read. :class:`Reader` gives the same result in columns, about three times
as fast if values are raw float32. All other records, and all that may be refused, are read by
:meth:`Contract.read`.

Whatever a record holds, it is counted, skipped, or refused with a named reason. No exception from reading one record
leaves this module.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

from monitor.errors import RecordError, RecordSkippedError
from monitor.messages.contract import Contract, named
from monitor.messages.limits import Limits
from monitor.messages.names import header_name
from monitor.messages.record import Record, place
from monitor.messages.text import printable
from monitor.messages.times import LATEST_MS, parse_time

Rejected = list[tuple[Record, str, str]]
"""``(record, reason, detail)``."""

REMEMBERED = 4096
"""How many entries a memory holds before it is emptied."""

LAYOUTS, PLAIN = 256, 64
"""How many sets of header names are remembered, and how much about each. Few senders differ in these."""

LONGEST = 256
"""The longest text or bytes that are remembered. Senders choose these, and they must not cost much memory."""

OF_THE_VALUE = ("content-type", "model", "dtype", "dim", "inference-header-content-length")
"""The headers that decide whether a value is itself the vector."""

UNFORESEEN = "unforeseen "
"""The begin of the detail for an exception that no decoder expects."""

DETAIL = 500
"""How many characters a detail may have."""

Headers = tuple[bytes | None, ...]
"""The values of headers, without their names."""

_T = TypeVar("_T")


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
        taken: how many records were read, whatever became of them.
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


@dataclass
class _Layout:
    """The positions of headers in records with these header names.

    Attributes:
        id, time: positions, -1 if absent.
        rest: positions of the other headers that the contract reads.
        plain: for such header values, whether a value with them is itself the vector.
    """

    id: int
    time: int
    rest: Callable[[Headers], Headers]
    plain: dict[Headers, bool] = field(default_factory=dict)


class Reader:
    """Reads records by a contract.

    Args:
        contract: what a record must be.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._limits: Limits = contract.limits
        self._size = 4 * contract.width if 4 * contract.width <= contract.max_bytes else -1
        self._id_length, self._max_age_ms = contract.limits.id_length, contract.max_age_ms
        self._by_key = contract.stream_from.kind == "key" and not contract.accept
        self._leads: list[int] = []  # of records stamped after now, by how much
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self._streams: dict[bytes | None, str] = {}
        self._times: dict[bytes, int] = {}

    @property
    def room(self) -> int:
        """How many vectors are read at once at most."""
        return max(1, min(self._limits.batch_rows, self._limits.batch_bytes // (4 * self._contract.width)))

    def read(
        self, records: Sequence[Record], rows: Rows, now_ms: int | None = None, room: int | None = None
    ) -> Rejected:
        """Append the vectors of ``records`` to ``rows``, and return the records that are refused.

        Args:
            records: the records, in the order of their log.
            rows: the vectors are appended here. ``rows.taken`` grows by the number of records that were read.
            now_ms: the time now; None when old records are read again.
            room: stop once this many vectors were added. The last record is read as a whole.
        """
        rejected: Rejected = []
        at = len(rows.records)
        now = LATEST_MS if now_ms is None else now_ms
        stop = len(rows) + (len(records) * self._limits.rows if room is None else room)
        size, vectors = self._size, rows.vectors
        taken = len(records)
        plain = self._plain if self._by_key else self._chosen
        for n, record in enumerate(records):
            if len(vectors) >= stop:
                taken = n
                break
            value = record.value
            found = plain(record, now) if value and len(value) == size else None
            if found is not None:
                name, stream, time_ms = found
                rows.ids.append(name)
                rows.streams.append(stream)
                rows.times_ms.append(time_ms)
                vectors.append(value)  # type: ignore[arg-type]  # not None: it has a length
                rows.record_of.append(at)
            elif not self._literal(record, now_ms, rows, rejected):
                continue
            rows.records.append(record)
            at += 1
        rows.taken += taken
        rows.ahead += len(self._leads)
        rows.ahead_ms = max([rows.ahead_ms, *self._leads])
        self._leads.clear()
        return rejected

    def _literal(self, record: Record, now_ms: int | None, rows: Rows, rejected: Rejected) -> bool:
        """Append what the contract reads from a record. Returns False if the record is skipped or refused."""
        try:
            embeddings = self._contract.read(record, now_ms)
        except RecordSkippedError:
            rows.skipped.append(record)
            return False
        except RecordError as error:
            if error.reason == "wrong-model" and self._contract.other_models == "skip":
                rows.skipped.append(record)
            else:
                rejected.append((record, error.reason, printable(error.detail, DETAIL)))
            return False
        except Exception as error:  # nobody foresaw it: one record's fault must not become everybody's
            rejected.append((record, "undecodable", printable(_unforeseen(error), DETAIL)))
            return False
        if isinstance(record.timestamp_ms, int) and now_ms is not None and record.timestamp_ms > now_ms:
            self._leads.append(record.timestamp_ms - now_ms)
        rows.record_of += [len(rows.records)] * len(embeddings)
        rows.ids += [e.id for e in embeddings]
        rows.streams += [e.stream for e in embeddings]
        rows.times_ms += [e.time_ms for e in embeddings]
        rows.vectors += [e.vector for e in embeddings]
        return True

    def _chosen(self, record: Record, now: int) -> tuple[str, str, int] | None:
        """Like :meth:`_plain`, for settings that skip records or do not take the stream from the key."""
        try:
            headers = named(record)
            if not self._contract.accepts(record, headers):
                return None
            stream = self._contract.stream(record, headers)
            if len(headers.get(self._contract.stream_from.name, b"")) > self._limits.header_bytes:
                return None
        except Exception:  # the contract says what is wrong, if anything is
            return None
        return self._plain(record, now, stream)

    def _plain(self, record: Record, now: int, stream: str | None = None) -> tuple[str, str, int] | None:
        """Return ``(id, stream, event time)`` if the value is the vector; ``None`` if the contract must read it."""
        try:
            stamp = record.timestamp_ms
            if stamp < 0:
                return None
            names, values = zip(*record.headers, strict=True) if record.headers else ((), ())
            layout = self._layouts.get(names)
            if layout is None:
                layout = self._laid_out(names)
            rest = layout.rest(values)
            plain = layout.plain.get(rest)
            if stream is None:
                stream = self._streams.get(record.key)
                if stream is None:
                    stream = self._stream(record.key)
            if plain is None:
                plain = self._is_plain(record, layout, names, rest)
            if not plain:
                return None
            arrived = stamp if stamp <= now else now
            time_ms = self._time(record, values[layout.time], arrived) if layout.time >= 0 else arrived
            name = (values[layout.id].decode() if layout.id >= 0 else "") or place(record)
        except Exception:  # the contract says what is wrong, if anything is
            return None
        if len(name) > self._id_length:
            return None
        if stamp > now:
            self._leads.append(stamp - now)
        return name, stream, time_ms

    def _is_plain(self, record: Record, layout: _Layout, names: tuple[str, ...], rest: Headers) -> bool:
        """Whether a value with these headers is itself the vector.

        Remembered, unless there are too many or they are long.
        """
        longest = max((len(value or b"") for value in rest), default=0)
        if (
            None in rest
            or any("\0" in name for name in names)
            or len(names) > self._limits.headers
            or longest > self._limits.header_bytes
        ):
            return False
        plain = self._contract.plain(named(record))
        return _remembered(layout.plain, rest, plain, PLAIN) if longest <= LONGEST else plain

    def _stream(self, key: bytes | None) -> str:
        stream = self._contract.stream_from.of_key(key, self._contract.default_stream, self._limits.stream_length)
        return _remembered(self._streams, key, stream) if len(key or b"") <= LONGEST else stream

    def _time(self, record: Record, given: bytes, arrived: int) -> int:
        time_ms = self._times.get(given)
        if time_ms is None:
            time_ms = parse_time(given.decode())
            if len(given) <= LONGEST:
                _remembered(self._times, given, time_ms)
        if 0 <= time_ms <= arrived <= time_ms + self._max_age_ms:
            return time_ms
        return self._contract.within(record, time_ms, arrived)

    def _laid_out(self, names: tuple[str, ...]) -> _Layout:
        """Find the positions of headers. If a header comes twice, the last one counts, as in the contract."""
        last = {header_name(name): n for n, name in enumerate(names)}
        rest = [last[name] for name in OF_THE_VALUE if name in last]
        several: Callable[[Headers], Headers] = (
            itemgetter(*rest) if len(rest) > 1 else lambda v: tuple(v[n] for n in rest)
        )
        layout = _Layout(last.get("id", -1), last.get("time", -1), several)
        if len(names) <= self._limits.headers and sum(map(len, names)) <= 4 * LONGEST:
            _remembered(self._layouts, names, layout, LAYOUTS)
        return layout


def _unforeseen(error: Exception) -> str:
    """Describe an exception by its type, text and origin, for whoever repairs the decoder."""
    frames = traceback.extract_tb(error.__traceback__)
    came = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{UNFORESEEN}{type(error).__name__}: {str(error)[:DETAIL] or 'no words'}{came}"


def _remembered(memory: dict[Any, _T], key: Any, value: _T, most: int = REMEMBERED) -> _T:
    """Remember a value. A full memory is emptied first, since what comes may never repeat."""
    if len(memory) >= min(most, REMEMBERED):
        memory.clear()
    memory[key] = value
    return value
