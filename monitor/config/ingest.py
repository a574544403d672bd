"""The settings of ``ood-monitor ingest``: the posts that it accepts, and the topic that it writes to."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from monitor.config.sections.base import ProcessSettings, Section
from monitor.config.sections.http import HttpConfig
from monitor.config.sections.kafka import KafkaConnection
from monitor.config.sections.logs import LoggingConfig

_ATTRIBUTE, _HEADER = r"[a-z0-9]{1,40}", r"[a-z0-9!#$%&'*+.^_`|~-]{1,80}"


class IngestKafkaConfig(KafkaConnection):
    """The topic that posts are written to. It is not created."""

    topic: str = Field(description="the topic that posts are written to; make it first")
    client: Literal["kafka-python", "confluent-kafka"] = Field(
        "kafka-python", description="library that writes; confluent-kafka needs less CPU and is an extra"
    )


class PostsConfig(Section):
    """Which posts are accepted, and how they become records."""

    path: str = Field(
        "/", description="the path that takes posts; every other path, except probes and metrics, is a 404"
    )
    content_types: list[str] = Field(
        default_factory=list, description="media types of data; empty: every one that the monitor decodes"
    )
    key_attributes: list[str] = Field(
        default_factory=lambda: ["partitionkey"],
        description="attributes of CloudEvents that name the stream (the record's key); an event's first one is used",
    )
    key_headers: list[str] = Field(
        default_factory=list, description="headers of HTTP that name the stream if no attribute does"
    )
    id_headers: list[str] = Field(
        default_factory=lambda: ["x-request-id"],
        description="headers whose value is the id of a plain post (one that is not a CloudEvent)",
    )
    carried_headers: list[str] = Field(
        default_factory=lambda: ["inference-header-content-length"],
        description="headers that become headers of the record, since its value cannot be read without them",
    )
    source: str = Field("ood-ingest", min_length=1, max_length=200, description="CloudEvents source of plain posts")
    type: str = Field("embedding", min_length=1, max_length=200, description="CloudEvents type of plain posts")
    max_batch: int = Field(1000, ge=1, le=100_000, description="events of one application/cloudevents-batch+json")
    max_depth: int = Field(32, ge=1, le=500, description="how deep the JSON of a CloudEvent may nest")
    max_digits: int = Field(200, ge=20, le=4000, description="digits of one number in it")

    @field_validator("path")
    @classmethod
    def _path(cls, given: str) -> str:
        if not re.fullmatch(r"/[A-Za-z0-9._~/-]{0,200}", given) or given in ("/metrics", "/-/healthy", "/-/ready"):
            raise ValueError(
                "a path begins with /, such as /v1/events, and is not one of /metrics, /-/healthy, /-/ready"
            )
        return given

    @field_validator("content_types")
    @classmethod
    def _media(cls, given: list[str]) -> list[str]:
        for name in given:
            if not re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", name):
                raise ValueError("expected media types in small letters, without parameters, such as application/json")
        return given

    @field_validator("key_attributes")
    @classmethod
    def _attributes(cls, given: list[str]) -> list[str]:
        if not all(re.fullmatch(_ATTRIBUTE, name) for name in given):
            raise ValueError("expected names of CloudEvents attributes: small letters and digits, without ce-")
        return given

    @field_validator("key_headers", "id_headers", "carried_headers")
    @classmethod
    def _headers(cls, given: list[str]) -> list[str]:
        if not all(re.fullmatch(_HEADER, name) for name in given):
            raise ValueError("expected names of HTTP headers in small letters, such as x-tenant")
        if any(name.startswith("ce-") for name in given):
            raise ValueError("a ce- header is an attribute: name it in key_attributes, without ce-")
        return given


class BoundsConfig(Section):
    """Limits on senders, each and together."""

    connections: int = Field(
        256,
        ge=1,
        le=10_000,
        description="open at once; a new one replaces an idle one, or is answered 503",
    )
    body_bytes: int = Field(1_000_000, ge=100, description="body of one post; a larger one is answered 413")
    body_bytes_together: int = Field(
        64_000_000, ge=100, description="bodies that are being read at once; further posts are answered 503"
    )
    header_bytes: int = Field(16_384, ge=1024, le=1_000_000, description="request line and headers of one post")
    header_seconds: float = Field(
        5.0, gt=0, le=300, description="the headers of a request must arrive within this time"
    )
    body_seconds: float = Field(10.0, gt=0, le=300, description="its body must arrive within this time")
    idle_seconds: int = Field(30, ge=1, le=3600, description="a connection without a request is closed after this time")

    @model_validator(mode="after")
    def _fits(self) -> BoundsConfig:
        if self.body_bytes_together < self.body_bytes:
            raise ValueError(
                f"body_bytes_together {self.body_bytes_together} is below body_bytes {self.body_bytes}, so a post "
                "of that size would never be read"
            )
        return self


class QueueConfig(Section):
    """The queue of events that wait for Kafka."""

    max_events: int = Field(
        10_000, ge=1, description="events that Kafka has not acknowledged; further ones are answered 503"
    )
    max_bytes: int = Field(64_000_000, ge=1000, description="the same in bytes")
    ack_seconds: float = Field(
        5.0, gt=0, le=60, description="a post that Kafka has not acknowledged after this time is answered 503"
    )
    retry_after_seconds: int = Field(2, ge=1, le=300, description="Retry-After of an answer 503")
    drain_seconds: float = Field(
        20.0, gt=0, le=600, description="how long a stopping process waits for posts in progress, and for Kafka"
    )


class IngestConfig(ProcessSettings):
    """All settings of one ``ood-monitor ingest``."""

    environment: ClassVar[str] = "OOD_INGEST"

    kafka: IngestKafkaConfig
    http: HttpConfig
    posts: PostsConfig = Field(default_factory=PostsConfig)
    bounds: BoundsConfig = Field(default_factory=BoundsConfig)
    queue: QueueConfig = Field(default_factory=QueueConfig)
    logging: LoggingConfig = Field(default_factory=LoggingConfig)

    @model_validator(mode="after")
    def _serves(self) -> IngestConfig:
        if not self.http.port:
            raise ValueError("http.port is 0: name the port on which posts are taken")
        if self.queue.max_bytes < self.bounds.body_bytes:
            raise ValueError(
                f"queue.max_bytes {self.queue.max_bytes} is below bounds.body_bytes {self.bounds.body_bytes}, so a "
                "post of that size would never be accepted"
            )
        return self
