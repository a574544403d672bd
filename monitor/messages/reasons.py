"""The reasons to reject a record, as they appear in dead letters, metrics and logs, and what to do about each."""

from __future__ import annotations

REASONS: dict[str, str] = {
    "empty-value": "the record has no value",
    "bad-key": "the key, which names the stream, is not UTF-8 text",
    "bad-header": "a header that is needed cannot be read, or the record has too many headers",
    "bad-time": "the event time cannot be read, or the record has no time at all",
    "unknown-content-type": "no decoder reads this content type, or its library is not installed",
    "undecodable": "the value is not what its content type says",
    "too-complex": "the value nests too deep, or holds a number of too many digits or too many parts",
    "too-large": "the value is larger than allowed, or becomes so when it is decoded",
    "too-many-rows": "the record holds more embeddings than allowed",
    "wrong-model": "the record is of another model",
    "missing-output": "the response of the model server has no output tensor of the name that the settings give",
    "wrong-shape": "the output tensor is not [batch, D] or [D], or does not hold as many elements as its shape says",
    "wrong-dtype": "the vector is not of an element type that can be read",
    "wrong-width": "the vector is not as wide as the head",
    "wrong-size": "the bytes are not dim elements of that dtype",
    "non-finite": "the vector holds NaN or Inf",
    "out-of-range": "the vector holds a number that is too large to be part of an embedding",
    "too-old": "the event time lies too far behind the record's timestamp",
    "from-the-future": "the event time lies too far before the record's timestamp",
}
"""All reasons to reject a record, each with its meaning."""

_PUBLISHER = "look at the program that sends these records"

ADVICE: dict[str, str] = {
    "empty-value": "send no empty records to this topic",
    "bad-key": "send the stream's name as UTF-8, or no key",
    "bad-header": "docs/monitor.md lists the headers; messages.max_headers and messages.max_header_bytes bound them",
    "bad-time": "send ce_time as RFC 3339 such as 2026-01-31T12:00:00Z, or leave it out",
    "unknown-content-type": "send a content type that docs/monitor.md lists, or install its library on the worker",
    "undecodable": _PUBLISHER,
    "too-complex": f"{_PUBLISHER}; messages.max_depth, max_digits and max_arrow_batches are the bounds",
    "too-large": "send fewer embeddings a record; messages.max_bytes and max_decoded_bytes are the bounds",
    "too-many-rows": "send fewer embeddings a record; messages.max_rows is the bound",
    "wrong-model": "name the served model in messages.model or models, or set messages.other_models to skip",
    "missing-output": "set messages.output to the tensor that holds the embedding; the model has to return it",
    "wrong-shape": "let the model return one row of D numbers an input: no other dimension, and no empty one",
    "wrong-dtype": "send float32, float16 or bfloat16; in a response of a model server FP32, FP16, BF16 or FP64",
    "wrong-width": "check that the embeddings and model.artifact are of the same model",
    "wrong-size": "check ce_dtype and ce_dim against the bytes that are sent",
    "non-finite": "the served model computes NaN or Inf: look at its inputs and precision",
    "out-of-range": "send the embedding itself, not scaled; messages.max_magnitude is the bound",
    "too-old": "check the sender's clock; messages.max_age_seconds is the bound",
    "from-the-future": "check the sender's clock; messages.max_ahead_seconds is the bound",
}
"""What to do about each of :data:`REASONS`."""
