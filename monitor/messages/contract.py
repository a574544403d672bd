"""The contract: what a record must look like to be scored, and the named reasons to reject one.

A record's key is its stream (a model or a tenant), unless ``messages.stream_from`` names another part of it. Headers
follow the CloudEvents Kafka binding (``ce_id``, ``ce_source``, ``ce_time``, and the extensions ``ce_model``,
``ce_dtype``, ``ce_dim``); the bare names are accepted too. ``content-type`` chooses the decoder; without one
``messages.format`` does (raw little-endian float32 by default).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from monitor.errors import RecordError, RecordSkippedError
from monitor.messages import decoders, dtypes, times
from monitor.messages.accepting import Rule
from monitor.messages.decoders.cloudevents import open_envelope, read_data
from monitor.messages.documents import Document
from monitor.messages.headers import READ, named, unreadable, whole_number
from monitor.messages.limits import Limits
from monitor.messages.names import StreamFrom, is_canary, text
from monitor.messages.reasons import REASONS
from monitor.messages.record import Embedding, Payload, Record, place
from monitor.messages.text import bounded, valid
from monitor.messages.wanted import Wanted

__all__ = ["REASONS", "Contract"]


@dataclass(frozen=True)
class Contract:
    """Checks records against the settings.

    Attributes:
        width: D, the input of the head.
        model: records of other models are not scored; if empty, all models are accepted.
        default_stream: the stream of records that do not name one.
        max_bytes: the largest value of a record.
        max_age_ms, max_ahead_ms: how far the event time may lie before and after the record's timestamp. The clock of
            this process plays no part, so a redelivery has the same result.
        other_models: ``reject`` sends records of other models to the dead letters, ``skip`` ignores them.
        limits: how much a record may ask for.
        format: the format of values whose content type does not name one.
        output: the name of the tensor with the embeddings in a response of the Open Inference Protocol.
        stream_from: the part of a record that names its stream.
        accept: a record must meet one of these rules, else it is skipped. Without rules, all are accepted.
    """

    width: int
    model: str = ""
    default_stream: str = "default"
    max_bytes: int = 1_000_000
    max_age_ms: int = 86_400_000
    max_ahead_ms: int = 60_000
    other_models: Literal["reject", "skip"] = "reject"
    limits: Limits = field(default_factory=Limits)
    format: str = decoders.RAW
    output: str = "embedding"
    stream_from: StreamFrom = field(default_factory=StreamFrom)
    accept: tuple[Rule, ...] = ()

    def read(self, record: Record, now_ms: int | None = None) -> list[Embedding]:
        """Read the embeddings of a record. Their numbers are checked later, by :mod:`monitor.counting.scoring`.

        Args:
            record: any record.
            now_ms: the time now. Records without a timestamp count as arrived now, and no record counts as later than
                now.

        Raises:
            RecordSkippedError: the record is not meant for this monitor.
            RecordError: with a reason of :data:`REASONS`. Anything else that a decoder may raise is caught by
                :class:`monitor.messages.reading.Reader`.
        """
        headers = named(record)
        enveloped = decoders.is_envelope(headers, self.format)
        rules = self._fitting(record, headers, anything=enveloped)
        self._check_headers(record, headers)
        value = record.value
        if not value:
            raise RecordError("empty-value", "a record without a value was got, expected an embedding")
        if len(value) > self.max_bytes:
            raise RecordError("too-large", f"{len(value)} bytes, expected at most {self.max_bytes}")
        document: bytes | Document = value
        if enveloped:
            envelope, headers = open_envelope(value, headers, self.limits)
            rules = self._fitting(record, headers)
            self._check_headers(record, headers)
            document = read_data(envelope, self.limits)
        stream = None if self._stream_field else self.stream(record, headers)
        wanted = Wanted(self.limits, self.output, self._stream_field, partial(self._check_model, rules))
        payloads = decoders.decode(document, headers, wanted, self.format)
        if not payloads:
            raise RecordError("undecodable", "the record holds no embedding, expected at least one")
        if len(payloads) > self.limits.rows:
            raise RecordError("too-many-rows", f"{len(payloads)} embeddings, expected at most {self.limits.rows}")
        arrived = times.arrival(record.timestamp_ms, now_ms)
        return [
            self._embedding(record, headers, rules, stream, arrived, n, len(payloads), payload)
            for n, payload in enumerate(payloads)
        ]

    def stream(self, record: Record, headers: Mapping[str, bytes], given: str | None = None) -> str:
        """Return the stream that a record is counted under.

        Args:
            record: any record.
            headers: those of the record, or of the envelope in it.
            given: the content of the document's field that names the stream.

        Raises:
            RecordError: ``bad-key`` or ``bad-header``.
        """
        return self.stream_from.of(record, headers, given, self.default_stream, self.limits.stream_length)

    def accepts(self, record: Record, headers: Mapping[str, bytes]) -> bool:
        """Whether a record is meant for this monitor, if its headers are enough to tell."""
        try:
            self._check_model(self._fitting(record, headers), text(headers, "model"))
        except RecordSkippedError:
            return False
        return True

    def skips(self, record: Record) -> bool:
        """Whether the headers of a record already show that it is not meant for this monitor."""
        headers = named(record)
        try:
            self._fitting(record, headers, anything=decoders.is_envelope(headers, self.format))
        except RecordSkippedError:
            return True
        return False

    @property
    def _stream_field(self) -> str:
        return self.stream_from.name if self.stream_from.kind == "field" else ""

    def _fitting(self, record: Record, headers: Mapping[str, bytes], *, anything: bool = False) -> tuple[Rule, ...]:
        """Find the rules that the record meets. If no header names its model, that condition is checked later.

        Args:
            record: any record.
            headers: those of the record, or of the envelope in it.
            anything: the headers do not show yet what the record is, so only its topic is checked.

        Raises:
            RecordSkippedError: it meets no rule.
        """
        if not self.accept or is_canary(record):
            return ()
        fitting = [rule for rule in self.accept if rule.fits_topic(record.topic)]
        if not anything and not unreadable(headers):
            fitting = [rule for rule in fitting if rule.fits_headers(headers, self.limits.header_bytes)]
            if "model" in headers:
                model = headers["model"].decode("utf-8", "replace")
                fitting = [rule for rule in fitting if rule.fits_model(model)]
        if not fitting:
            raise RecordSkippedError("no rule of messages.accept fits the record")
        return tuple(fitting)

    def _check_headers(self, record: Record, headers: Mapping[str, bytes]) -> None:
        """Refuse too many headers. If some were ignored, the one that names the model could be among them."""
        if len(record.headers) > self.limits.headers:
            raise RecordError("bad-header", f"{len(record.headers)} headers, expected at most {self.limits.headers}")
        if unreadable(headers):
            raise RecordError("bad-header", "the name of a header is not UTF-8, expected one that is")
        looked_at = READ | {self.stream_from.name} if self.stream_from.kind == "header" else READ
        for name in looked_at & headers.keys():
            if len(headers[name]) > self.limits.header_bytes and name != "id":  # a long id is cut
                raise RecordError(
                    "bad-header",
                    f"header {name[:40]} has {len(headers[name])} bytes, expected at most {self.limits.header_bytes}",
                )
        given = text(headers, "model")
        if given is not None:
            self._check_model((), given)

    def _check_model(self, rules: tuple[Rule, ...], model: str | None) -> None:
        """Refuse or skip a record of another model.

        Args:
            rules: the rules that it meets otherwise; empty if any model is accepted.
            model: the model that a header or the document names.
        """
        if rules and not any(rule.fits_model(model) for rule in rules):
            raise RecordSkippedError(f"no rule of messages.accept allows model {(model or '')[:100]!r}")
        if self.model and model != self.model:
            raise RecordError("wrong-model", f"model {(model or '')[:100]!r}, expected {self.model!r}")

    def _embedding(
        self,
        record: Record,
        headers: Mapping[str, bytes],
        rules: tuple[Rule, ...],
        stream: str | None,
        arrived: int,
        n: int,
        of: int,
        payload: Payload,
    ) -> Embedding:
        self._check_model(rules, payload.model if payload.model is not None else text(headers, "model"))
        dtype = payload.dtype or text(headers, "dtype") or "float32"
        dim = payload.dim if payload.dim is not None else whole_number(headers, "dim")
        vector = self._vector(payload.vector, dtype, dim)
        given = payload.time if payload.time is not None else text(headers, "time")
        time_ms = arrived
        if given is not None and given != "":
            time_ms = self.within(record, times.parse_time(given), arrived)
        name = self._name(payload.id or text(headers, "id") or place(record))
        if stream is None:
            stream = self.stream(record, headers, payload.stream)
        return Embedding(name if of == 1 or payload.id else f"{name}#{n}", stream, time_ms, vector)

    def _name(self, given: str) -> str:
        return bounded(valid(given), self.limits.id_length)

    def plain(self, headers: Mapping[str, bytes]) -> bool:
        """Whether a value with these headers is itself the vector: raw float32, of the right width if they name one.

        The value may still have another size. The headers ``id`` and ``time`` are not checked.
        """
        try:
            return (
                decoders.format_of(headers, self.format) == decoders.RAW
                and self.model in ("", text(headers, "model"))
                and (text(headers, "dtype") or "float32") == "float32"
                and whole_number(headers, "dim") in (None, self.width)
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
        """Return the event time that counts, if the sender gave one.

        Args:
            record: for its timestamp.
            time_ms: the time that the sender gave.
            arrived_ms: the result of :func:`monitor.messages.times.arrival`; by default the timestamp.

        Raises:
            RecordError: ``too-old`` or ``from-the-future``, compared with the record's timestamp.
        """
        if arrived_ms is None:
            arrived_ms = times.arrival(record.timestamp_ms, None)
        return times.within(time_ms, record.timestamp_ms, arrived_ms, self.max_age_ms, self.max_ahead_ms)
