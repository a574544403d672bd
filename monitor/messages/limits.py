"""Limits on one record and on one batch of records. They are checked before anything is parsed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits on what senders send. ``configs/monitor.yml`` lists them all, with these defaults.

    Attributes:
        rows: embeddings in one record.
        decoded_bytes: size of one record's value after decoding.
        batch_rows: embeddings that are read at once. The rest of a poll waits for the next batch.
        batch_bytes: the same in bytes of float32.
        depth: nesting depth of JSON.
        digits: digits of a number in JSON.
        arrow_batches: record batches in one Arrow stream.
        header_bytes: size of a header that the contract reads.
        headers: headers in one record.
        id_length: characters of a request id. Longer ones are cut (:func:`monitor.messages.text.bounded`).
        stream_length: characters of a stream's name. Longer ones are cut in the same way.
        magnitude: absolute value of an element.
    """

    rows: int = 10_000
    decoded_bytes: int = 16_000_000
    batch_rows: int = 50_000
    batch_bytes: int = 64_000_000
    depth: int = 32
    digits: int = 200
    arrow_batches: int = 256
    header_bytes: int = 4096
    headers: int = 64
    id_length: int = 200
    stream_length: int = 200
    magnitude: float = 1e6
