"""Settings of Kafka: the topics that are read, and the topic of dead letters."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from monitor.config.sections.base import Section, from_file

MOST_TOPICS = 100
"""How many topics a group may have. Each has metrics of its own."""


class KafkaConnection(Section):
    """The connection to Kafka, for readers and writers."""

    bootstrap_servers: str = Field(description="host:port, comma separated")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="with SSL in it the connection is encrypted, with SASL in it there is a login"
    )
    ssl_cafile: str = Field(
        "", description="PEM certificates of the authorities that sign the broker's; empty: the system's"
    )
    ssl_certfile: str = Field("", description="PEM certificate of this client, if the broker asks for one")
    ssl_keyfile: str = Field("", description="PEM key of that certificate")
    ssl_key_password: SecretStr = Field(SecretStr(""), description="password of ssl_keyfile if it is encrypted")
    ssl_key_password_file: str = Field("", description="file that holds ssl_key_password")
    sasl_mechanism: str = Field("", description="how to log in: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    sasl_username: str = Field("", description="user of the login")
    sasl_password: SecretStr = Field(SecretStr(""), description="password of the login")
    sasl_password_file: str = Field("", description="file that holds sasl_password")

    @model_validator(mode="before")
    @classmethod
    def _secret(cls, data: Any) -> Any:
        return from_file(from_file(data, "sasl_password"), "ssl_key_password")


class KafkaConfig(KafkaConnection):
    """The topics with the embeddings."""

    topics: tuple[str, ...] = Field(
        (), max_length=MOST_TOPICS, description="several topics, in place of topic: one group counts them all"
    )
    topic: str = Field("", validate_default=True, description="the topic that is read; or topics, a list of several")
    group: str = Field("ood-monitor", description="consumer group; also names the keys in Redis")
    client: Literal["kafka-python", "confluent-kafka"] = Field(
        "kafka-python", description="library that reads the topic; confluent-kafka needs less CPU and is an extra"
    )
    start: Literal["earliest", "latest"] = Field("latest", description="the offset at which a new group begins")
    max_poll_records: int = Field(1000, ge=1, description="largest batch")
    max_partition_fetch_bytes: int = Field(
        1_048_576, ge=1, description="the most that one fetch takes from a partition"
    )
    max_poll_interval_ms: int = Field(
        300_000, ge=1000, description="a worker that has not polled for this long loses its partitions to the others"
    )
    session_timeout_ms: int = Field(
        45_000, ge=100, description="a worker that dies silently is replaced after this time"
    )
    heartbeat_interval_ms: int = Field(
        3_000,
        ge=10,
        description="how often a worker tells the group that it is alive; at most half of session_timeout_ms",
    )
    assignment: Literal["cooperative", "eager"] = Field(
        "cooperative", description="how partitions move: cooperative (KIP-429) stops those that move, eager stops all"
    )
    isolation_level: Literal["read_committed", "read_uncommitted"] = Field(
        "read_committed", description="read_committed leaves out records of aborted transactions, with either client"
    )
    metadata_max_age_ms: int = Field(
        10_000, ge=1000, le=30_000, description="new partitions are found within this time"
    )
    look_seconds: float = Field(2.0, gt=0, le=30, description="time between two checks that the topic exists")
    instance_id: str = Field("", description="static membership: after a restart the worker keeps its partitions")

    @field_validator("topics", mode="before")
    @classmethod
    def _a_list(cls, given: Any) -> Any:
        if isinstance(given, str):
            raise ValueError("expected a list, such as [birds, cars]; a single name belongs in topic")
        return given

    @field_validator("topics")
    @classmethod
    def _names(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in given if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", name) or name in (".", "..")]
        if wrong:
            raise ValueError(
                f"{wrong[0][:60]!r} is not a name for a topic, expected letters, digits and . _ - (249 at most)"
            )
        if twice := sorted(name for name, n in Counter(given).items() if n > 1):
            raise ValueError(f"{twice[0]!r} stands there twice, expected each topic once")
        return given

    @field_validator("topic")
    @classmethod
    def _one_or_several(cls, given: str, info: ValidationInfo) -> str:
        several = info.data.get("topics", (given,))  # missing if it has an error of its own
        if given and several and "topics" in info.data:
            raise ValueError(
                "topic and topics are both given, expected one of them: take one out, or empty the other with "
                "OOD_MONITOR__KAFKA__TOPIC= or OOD_MONITOR__KAFKA__TOPICS=[]"
            )
        if not given and not several:
            raise PydanticCustomError("missing", "topic is missing")
        return given

    @property
    def topic_names(self) -> tuple[str, ...]:
        """The topics that are read, at least one."""
        return self.topics or (self.topic,)

    @model_validator(mode="after")
    def _timing(self) -> KafkaConfig:
        if self.heartbeat_interval_ms * 2 > self.session_timeout_ms:
            raise ValueError(
                f"heartbeat_interval_ms {self.heartbeat_interval_ms} is over half of session_timeout_ms "
                f"{self.session_timeout_ms}: a third is usual"
            )
        return self


class DeadLetterConfig(Section):
    """The topic of records that cannot be scored."""

    topic: str = Field(
        "",
        description="empty: kafka.topic with .dead-letter behind it; must be named if kafka.topics names several",
    )
    max_share: float = Field(
        0.1, gt=0, le=1, description="share of a partition's recent records that may be bad before at_limit applies"
    )
    at_limit: Literal["continue", "stop"] = Field(
        "continue", description="continue raises an alert and counts the others; stop ends the worker"
    )
    window: int = Field(2000, ge=10, description="recent records over which the share is taken")
    max_bytes: int = Field(900_000, ge=1000, description="larger values are cut and marked")
