"""Reads records whose value is itself the vector. It is fast because it remembers the headers of earlier records.

Few senders differ in the names of their headers, in keys and in times, so most headers are equal to earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, TypeVar

from monitor.messages.contract import Contract
from monitor.messages.headers import named
from monitor.messages.names import header_name
from monitor.messages.record import Record, place
from monitor.messages.times import parse_time

REMEMBERED = 4096
"""How many entries a memory holds before it is emptied."""

LAYOUTS, PLAIN = 256, 64
"""How many sets of header names are remembered, and how much about each. Few senders differ in these."""

LONGEST = 256
"""The longest text or bytes that are remembered. Senders choose these, and they must not cost much memory."""

OF_THE_VALUE = ("content-type", "model", "dtype", "dim", "inference-header-content-length")
"""The headers that decide whether a value is itself the vector."""

Headers = tuple[bytes | None, ...]
"""The values of headers, without their names."""

_T = TypeVar("_T")


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


Found = tuple[str, str, int]
"""``(id, stream, event time)``."""


class PlainReader:
    """Reads records whose value is the vector.

    Args:
        contract: reads the records that this class cannot read. If both can, the result is the same.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract, self._limits = contract, contract.limits
        self._id_length, self._max_age_ms = contract.limits.id_length, contract.max_age_ms
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self._streams: dict[bytes | None, str] = {}
        self._times: dict[bytes, int] = {}
        self._by_key = contract.stream_from.kind == "key" and not contract.accept

    @property
    def read(self) -> Callable[[Record, int], Found | None]:
        """The function that reads a record whose value has the length of the vector.

        It takes the record and the time now.

        It returns ``None`` if the contract must read the record.
        """
        return self._read if self._by_key else self._read_chosen

    def _read_chosen(self, record: Record, now: int) -> Found | None:
        """Like :meth:`_read`, for settings that skip records or do not take the stream from the key."""
        try:
            headers = named(record)
            if not self._contract.accepts(record, headers):
                return None
            stream = self._contract.stream(record, headers)
            if len(headers.get(self._contract.stream_from.name, b"")) > self._limits.header_bytes:
                return None
        except Exception:  # the contract names the fault, if there is one
            return None
        return self._read(record, now, stream)

    def _read(self, record: Record, now: int, stream: str | None = None) -> Found | None:
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
        except Exception:  # the contract names the fault, if there is one
            return None
        if len(name) > self._id_length:
            return None
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


def _remembered(memory: dict[Any, _T], key: Any, value: _T, most: int = REMEMBERED) -> _T:
    """Remember a value. A full memory is emptied first, since what comes may never repeat."""
    if len(memory) >= min(most, REMEMBERED):
        memory.clear()
    memory[key] = value
    return value
