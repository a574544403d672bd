"""What a record must be to be scored, and the named reason for which it is not.

A record's key is its stream (a model or a tenant). Headers follow the CloudEvents Kafka binding (``ce_id``,
``ce_source``, ``ce_time``, and the extensions ``ce_model``, ``ce_dtype``, ``ce_dim``); the bare names are accepted
too. ``content-type`` chooses the decoder; without one the value is raw little-endian float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from monitor.errors import RecordError
from monitor.messages import decoders, dtypes, times
from monitor.messages.limits import Limits
from monitor.messages.reasons import REASONS
from monitor.messages.record import Embedding, Payload, Record, place
from monitor.messages.text import CANARY, bounded, stream_name, valid

__all__ = ["REASONS", "Contract"]

READ = frozenset({"content-type", "id", "time", "model", "dtype", "dim"})
"""Headers that the contract reads; others may be as long as they like."""


@dataclass(frozen=True)
class Contract:
    """The checks, in the order in which they are made.

    Attributes:
        width: D, the input of the head.
        model: records of another model are not scored; empty accepts all.
        default_stream: stream of records without a key.
        max_bytes: largest value.
        max_age_ms, max_ahead_ms: event time against the record's timestamp, so that a redelivery is judged the same.
        other_models: ``reject`` sends records of another model to the dead letters, ``skip`` passes over them.
        limits: how much a record may ask for.
        prefix: stands in front of every stream, but for the monitor's own.
    """

    width: int
    model: str = ""
    default_stream: str = "default"
    max_bytes: int = 1_000_000
    max_age_ms: int = 86_400_000
    max_ahead_ms: int = 60_000
    other_models: Literal["reject", "skip"] = "reject"
    limits: Limits = field(default_factory=Limits)
    prefix: str = ""

    def read(self, record: Record, now_ms: int | None = None) -> list[Embedding]:
        """The embeddings of a record. Their numbers are checked when they are scored (:mod:`monitor.counting.scoring`).

        Args:
            record: whatever came.
            now_ms: the time now. Records without a timestamp have arrived then, and none counts later than that.

        Raises:
            RecordError: with a reason of :data:`REASONS`. What else a decoder may raise is met by
                :class:`monitor.messages.reading.Reader`.
        """
        headers = self._headers(record)
        given = text(headers, "model")
        if given is not None:
            self._same_model(given)
        value = record.value
        if not value:
            raise RecordError("empty-value", "a record without a value was got, expected an embedding")
        if len(value) > self.max_bytes:
            raise RecordError("too-large", f"{len(value)} bytes, expected at most {self.max_bytes}")
        stream = self.stream(record.key)
        payloads = decoders.decode(value, headers, self.limits)
        if not payloads:
            raise RecordError("undecodable", "the record holds no embedding, expected at least one")
        if len(payloads) > self.limits.rows:
            raise RecordError("too-many-rows", f"{len(payloads)} embeddings, expected at most {self.limits.rows}")
        arrived = times.arrival(record.timestamp_ms, now_ms)
        return [self._embedding(record, headers, stream, arrived, n, len(payloads), p) for n, p in enumerate(payloads)]

    def stream(self, key: bytes | None) -> str:
        """The stream that a record of this key belongs to; a long one is cut, a reserved one is marked.

        Raises:
            RecordError: ``bad-key``.
        """
        if not key:
            return self.prefix + self.default_stream
        try:
            name = stream_name(key.decode("utf-8"), self.limits.stream_length)
        except UnicodeDecodeError as error:
            raise RecordError("bad-key", f"the key is not UTF-8 ({error.reason} at byte {error.start})") from None
        return name if name.startswith(CANARY) else self.prefix + name

    def _headers(self, record: Record) -> dict[str, bytes]:
        """The headers by name. Too many are refused: among those left out could be the one that names the model."""
        if len(record.headers) > self.limits.headers:
            raise RecordError("bad-header", f"{len(record.headers)} headers, expected at most {self.limits.headers}")
        headers = named(record)
        if any("\0" in name for name in headers):
            raise RecordError("bad-header", "the name of a header is not UTF-8, expected one that is")
        for name in READ & headers.keys():
            if len(headers[name]) > self.limits.header_bytes and name != "id":  # a long id is cut
                raise RecordError(
                    "bad-header",
                    f"header {name} has {len(headers[name])} bytes, expected at most {self.limits.header_bytes}",
                )
        return headers

    def _same_model(self, model: str | None) -> None:
        if self.model and model != self.model:
            raise RecordError("wrong-model", f"model {(model or '')[:100]!r}, expected {self.model!r}")

    def _embedding(
        self, record: Record, headers: Mapping[str, bytes], stream: str, arrived: int, n: int, of: int, payload: Payload
    ) -> Embedding:
        self._same_model(payload.model if payload.model is not None else text(headers, "model"))
        dtype = payload.dtype or text(headers, "dtype") or "float32"
        dim = payload.dim if payload.dim is not None else _integer(headers, "dim")
        vector = self._vector(payload.vector, dtype, dim)
        given = payload.time if payload.time is not None else text(headers, "time")
        time_ms = arrived
        if given is not None and given != "":
            time_ms = self.within(record, times.parse_time(given), arrived)
        name = self._name(payload.id or text(headers, "id") or place(record))
        return Embedding(name if of == 1 or payload.id else f"{name}#{n}", stream, time_ms, vector)

    def _name(self, given: str) -> str:
        return bounded(valid(given), self.limits.id_length)

    def plain(self, headers: Mapping[str, bytes]) -> bool:
        """Whether a value under these headers is its own vector: raw float32, of this width where they say one.

        The value may still be of another size, and the headers ``id`` and ``time`` are not looked at.
        """
        try:
            return (
                decoders.is_raw(headers)
                and self.model in ("", text(headers, "model"))
                and (text(headers, "dtype") or "float32") == "float32"
                and _integer(headers, "dim") in (None, self.width)
            )
        except RecordError:
            return False

    def _vector(self, vector: bytes, dtype: str, dim: int | None) -> bytes:
        size = dtypes.SIZES.get(dtype)
        if size is None:
            raise RecordError("wrong-dtype", f"dtype {dtype[:100]!r}, expected one of {', '.join(dtypes.SIZES)}")
        if dim is not None and dim != self.width:
            raise RecordError("wrong-width", f"dim {dim}, expected {self.width}, the input of the head")
        if dim is None and len(vector) % size == 0 and len(vector) != self.width * size:
            raise RecordError("wrong-width", f"{len(vector) // size} elements, expected {self.width}")
        if len(vector) != self.width * size:
            raise RecordError("wrong-size", f"{len(vector)} bytes, expected {self.width} {dtype}: {self.width * size}")
        return dtypes.to_float32(vector, dtype)

    def within(self, record: Record, time_ms: int, arrived_ms: int | None = None) -> int:
        """The event time that counts, if the sender gave one.

        Args:
            record: for its timestamp.
            time_ms: what the sender gave.
            arrived_ms: of :func:`monitor.messages.times.arrival`; taken from the timestamp if not given.

        Raises:
            RecordError: ``too-old`` or ``from-the-future``, against the record's timestamp.
        """
        if arrived_ms is None:
            arrived_ms = times.arrival(record.timestamp_ms, None)
        return times.within(time_ms, record.timestamp_ms, arrived_ms, self.max_age_ms, self.max_ahead_ms)


def header_name(name: str) -> str:
    """A header's name without case and without CloudEvents' prefix."""
    return name.lower().removeprefix("ce_")


def named(record: Record) -> dict[str, bytes]:
    """A record's headers by name; of one that comes twice the last counts."""
    return {header_name(k): v for k, v in record.headers if v is not None}


def text(headers: Mapping[str, bytes], name: str) -> str | None:
    """A header as text, ``None`` if it is absent."""
    value = headers.get(name)
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise RecordError("bad-header", f"header {name} is not UTF-8") from None


def _integer(headers: Mapping[str, bytes], name: str) -> int | None:
    value = text(headers, name)
    if value is None:
        return None
    digits = value.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise RecordError("bad-header", f"header {name} is {value[:40]!r}, expected a whole number")
    return int(digits)
