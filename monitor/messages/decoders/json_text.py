"""Decodes JSON objects with ``embedding`` as a list of numbers, or ``embedding_base64`` as base64 of the raw bytes.

An object with neither that has ``outputs`` is a response of the Open Inference Protocol V2
(:mod:`monitor.messages.decoders.v2_json`): model servers send it under the same content type.
"""

from __future__ import annotations

from collections.abc import Mapping

from monitor.errors import RecordError
from monitor.messages import documents
from monitor.messages.decoders import v2_json
from monitor.messages.documents import Document
from monitor.messages.fields import check_model, payload
from monitor.messages.record import Payload
from monitor.messages.wanted import Wanted

CONTENT_TYPES = ("application/json",)
FORMAT = "json"


def decode(value: bytes | Document, headers: Mapping[str, bytes], wanted: Wanted) -> list[Payload]:
    """Decode one vector, or the rows of a V2 response."""
    if v2_json.JSON_LENGTH in headers:
        return v2_json.decode(value, headers, wanted)
    document = value if isinstance(value, dict) else documents.load(value, wanted.limits, "'embedding' or 'outputs'")
    if "embedding" not in document and "embedding_base64" not in document and "outputs" in document:
        return v2_json.read_response(document, b"", wanted)
    check_model(document, "model", wanted)
    return [payload(document, *_vector(document, wanted), wanted)]


def _vector(document: Document, wanted: Wanted) -> tuple[bytes, str | None]:
    if "embedding_base64" in document:
        return documents.unpack_base64(document["embedding_base64"], "embedding_base64", wanted.limits), None
    numbers = document.get("embedding")
    if not isinstance(numbers, list):
        raise RecordError(
            "undecodable", "JSON without 'embedding' (a list), 'embedding_base64' or 'outputs' (a V2 response)"
        )
    return documents.pack_numbers(numbers, "'embedding'"), "float32"
