"""What a record must be to be scored, and the named reason for which it is not.

A record's key is its stream (a model or a tenant). Headers follow the CloudEvents Kafka binding (``ce_id``,
``ce_source``, ``ce_time``, and the extensions ``ce_model``, ``ce_dtype``, ``ce_dim``); the bare names are accepted
too. ``content-type`` chooses the decoder; without one the value is raw little-endian float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.errors import RecordError
from monitor.messages import decoders, dtypes
from monitor.messages.record import Embedding, Payload, Record, place
from monitor.messages.times import parse_time

REASONS: dict[str, str] = {
    "empty-value": "the record has no value",
    "bad-key": "the key is no UTF-8 text of 1 to 200 bytes",
    "bad-header": "a header that is needed cannot be read",
    "unknown-content-type": "no decoder reads this content type, or its library is not installed",
    "undecodable": "the value is not what its content type says",
    "wrong-model": "the record is of another model",
    "wrong-dtype": "the vector is not float32, float16 or bfloat16",
    "wrong-width": "the vector is not as wide as the head",
    "wrong-size": "the bytes are not dim elements of that dtype",
    "non-finite": "the vector holds NaN or Inf",
    "too-large": "the value is larger than allowed",
    "too-old": "the event time lies too far behind the record's timestamp",
    "from-the-future": "the event time lies too far before the record's timestamp",
}
"""Every reason a record can be rejected for."""

MAX_KEY_BYTES = 200


@dataclass(frozen=True)
class Contract:
    """The checks, in the order in which they are made.

    Attributes:
        width: D, the input of the head.
        model: refuse records of another model; empty accepts all.
        default_stream: stream of records without a key.
        max_bytes: largest value.
        max_age_ms, max_ahead_ms: event time against the record's timestamp, so that a redelivery is judged the same.
    """

    width: int
    model: str = ""
    default_stream: str = "default"
    max_bytes: int = 1_000_000
    max_age_ms: int = 86_400_000
    max_ahead_ms: int = 60_000

    def read(self, record: Record) -> list[Embedding]:
        """The embeddings of a record; finiteness is checked on the assembled batch (:mod:`monitor.counting.scoring`).

        Raises:
            RecordError: with a reason of :data:`REASONS`.
        """
        value = record.value
        if not value:
            raise RecordError("empty-value", "a record without a value was got, expected an embedding")
        if len(value) > self.max_bytes:
            raise RecordError("too-large", f"{len(value)} bytes, expected at most {self.max_bytes}")
        stream = self.stream(record.key)
        headers = named(record)
        payloads = decoders.decode(value, headers)
        if not payloads:
            raise RecordError("undecodable", "the record holds no vector")
        return [self._embedding(record, headers, stream, n, len(payloads), p) for n, p in enumerate(payloads)]

    def stream(self, key: bytes | None) -> str:
        """The stream that a record of this key belongs to.

        Raises:
            RecordError: ``bad-key``.
        """
        if not key:
            return self.default_stream
        if len(key) > MAX_KEY_BYTES:
            raise RecordError("bad-key", f"a key of {len(key)} bytes, expected at most {MAX_KEY_BYTES}")
        try:
            return key.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RecordError("bad-key", f"the key is no UTF-8 ({error.reason} at byte {error.start})") from None

    def _embedding(
        self, record: Record, headers: Mapping[str, bytes], stream: str, n: int, of: int, payload: Payload
    ) -> Embedding:
        model = payload.model if payload.model is not None else text(headers, "model")
        if self.model and model != self.model:
            raise RecordError("wrong-model", f"model {model!r}, expected {self.model!r}")
        dtype = payload.dtype or text(headers, "dtype") or "float32"
        dim = payload.dim if payload.dim is not None else _integer(headers, "dim")
        vector = self._vector(payload.vector, dtype, dim)
        time_ms = self._time(record, payload.time if payload.time is not None else text(headers, "time"))
        name = payload.id or text(headers, "id") or place(record)
        return Embedding(name if of == 1 or payload.id else f"{name}#{n}", stream, time_ms, vector)

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
            raise RecordError("wrong-dtype", f"dtype {dtype!r}, expected one of {', '.join(dtypes.SIZES)}")
        if dim is not None and dim != self.width:
            raise RecordError("wrong-width", f"dim {dim}, expected {self.width}, the input of the head")
        if dim is None and len(vector) % size == 0 and len(vector) != self.width * size:
            raise RecordError("wrong-width", f"{len(vector) // size} elements, expected {self.width}")
        if len(vector) != self.width * size:
            raise RecordError("wrong-size", f"{len(vector)} bytes, expected {self.width} {dtype}: {self.width * size}")
        return dtypes.to_float32(vector, dtype)

    def _time(self, record: Record, given: str | int | None) -> int:
        if given is None or given == "":
            return record.timestamp_ms
        return self.within(record, parse_time(given))

    def within(self, record: Record, time_ms: int) -> int:
        """The event time that counts, where one is given.

        Raises:
            RecordError: ``too-old`` or ``from-the-future``, against the record's timestamp.
        """
        if time_ms < record.timestamp_ms - self.max_age_ms:
            raise RecordError(
                "too-old", f"{(record.timestamp_ms - time_ms) / 1000:.0f} s behind the record's timestamp"
            )
        if time_ms > record.timestamp_ms + self.max_ahead_ms:
            raise RecordError(
                "from-the-future", f"{(time_ms - record.timestamp_ms) / 1000:.0f} s before the record's timestamp"
            )
        # A clock that runs ahead must not hold back its partition's bucket.
        return min(time_ms, record.timestamp_ms)


def header_name(name: str) -> str:
    """A header's name without case and without CloudEvents' prefix."""
    return name.lower().removeprefix("ce_")


def named(record: Record) -> dict[str, bytes]:
    """A record's headers by name; of one that comes twice the last counts."""
    return {header_name(k): v for k, v in record.headers if v is not None}


def text(headers: Mapping[str, bytes], name: str) -> str | None:
    """A header as text, ``None`` where it is absent."""
    value = headers.get(name)
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise RecordError("bad-header", f"header {name} is no UTF-8") from None


def _integer(headers: Mapping[str, bytes], name: str) -> int | None:
    value = text(headers, name)
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise RecordError("bad-header", f"header {name} is {value!r}, expected a whole number") from None
