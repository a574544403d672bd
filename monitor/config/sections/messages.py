"""Settings of the contract: what a record must look like to be scored."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from monitor.config.sections.base import Section


class MessagesConfig(Section):
    """Settings of the contract: what a record must look like to be scored."""

    model: str = Field("", description="records of another model are not scored; empty accepts all")
    other_models: Literal["reject", "skip"] = Field(
        "reject", description="reject sends records of another model to the dead letters, skip ignores them"
    )
    accept: list[dict[str, str | list[str]]] = Field(
        default_factory=list,
        description="a record that fits none of these rules is skipped; without rules all are accepted",
    )
    format: Literal["raw", "json", "v2-json", "v2-protobuf", "cloudevents", "msgpack", "protobuf", "arrow"] = Field(
        "raw", description="format of values whose content type is missing or application/octet-stream"
    )
    output: str = Field(
        "embedding",
        min_length=1,
        max_length=200,
        description="name of the output tensor with the embeddings, in answers of a model server",
    )
    stream_from: str = Field("key", description="names the stream: key, topic, header:NAME, field:NAME or constant")
    default_stream: str = Field(
        "default", min_length=1, max_length=200, description="stream of records that do not name one"
    )
    max_bytes: int = Field(1_000_000, ge=1, description="largest value of a record")
    max_rows: int = Field(10_000, ge=1, description="the most embeddings of one record")
    max_decoded_bytes: int = Field(16_000_000, ge=1, description="the largest size of a value after decoding")
    max_batch_rows: int = Field(50_000, ge=1, description="embeddings read at once; the rest of a poll waits")
    max_batch_bytes: int = Field(64_000_000, ge=1, description="the same limit in bytes of float32")
    max_magnitude: float = Field(1e6, gt=0, le=1e30, description="largest absolute value of an element")
    max_depth: int = Field(32, ge=1, le=500, description="how deep JSON may nest")
    max_digits: int = Field(200, ge=20, le=4000, description="digits of one number in JSON")
    max_arrow_batches: int = Field(256, ge=1, description="record batches of one Arrow stream")
    max_headers: int = Field(64, ge=8, description="the most headers of a record; with more it is rejected")
    max_header_bytes: int = Field(4096, ge=256, description="the longest value of a header that is read")
    max_id_length: int = Field(200, ge=32, description="characters of a request id; longer ones are cut")
    max_stream_length: int = Field(200, ge=32, description="characters of a stream's name; longer ones are cut")
    max_age_seconds: float = Field(
        86_400, gt=0, description="how far the event time may lie before the record's timestamp"
    )
    max_ahead_seconds: float = Field(
        60, ge=0, description="how far the event time may lie after the record's timestamp"
    )

    @field_validator("stream_from")
    @classmethod
    def _part_of_a_record(cls, given: str) -> str:
        if not re.fullmatch(r"key|topic|constant|(header|field):\s*\S+", given):
            raise ValueError("expected key, topic, constant, header:NAME or field:NAME")
        return given

    @field_validator("accept")
    @classmethod
    def _rules(cls, given: list[dict[str, str | list[str]]]) -> list[dict[str, str | list[str]]]:
        if not all(rule and all(name.strip() and allowed for name, allowed in rule.items()) for rule in given):
            raise ValueError(
                "each rule needs conditions, and each condition a text or a list of texts, such as {ce_type: TEXT}"
            )
        return given
