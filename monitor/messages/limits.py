"""How much one record, and one batch of records, may ask of the monitor; checked before anything is parsed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on what senders send. ``configs/monitor.yml`` names them all, with these defaults.

    Attributes:
        rows: embeddings of one record.
        decoded_bytes: what the value of one record may become when it is decoded.
        batch_rows: embeddings that are read at once; the rest of a poll waits for the next batch.
        batch_bytes: the same in bytes of float32.
        depth: how deep JSON may nest.
        digits: digits of one number in JSON.
        arrow_batches: record batches of one Arrow stream.
        header_bytes: value of one header that the contract reads.
        headers: headers of one record.
        id_length: characters of a request id; longer ones are cut (:func:`monitor.messages.text.bounded`).
        stream_length: characters of a stream's name; longer ones are cut likewise.
        magnitude: largest absolute value of an element.
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
