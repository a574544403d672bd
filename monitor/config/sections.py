"""Every setting of one monitor process, by section, with its default and its range.

A secret is a ``SecretStr``, or a ``SecretUrl`` if it is a URL: neither shows itself if the settings are printed. Each
secret may also stand in a file, which the key with ``_file`` behind it names (``redis.password_file``).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from monitor.config.redis_url import parse_redis_url
from monitor.config.secret_files import read_secret_file
from monitor.config.urls import SecretUrl
from monitor.math.budget import requests_in


class Section(BaseModel):
    """Frozen, and closed to unknown keys. Its errors never quote what was given: it may be a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _from_file(data: Any, secret: str) -> Any:
    """Fill ``secret`` from the file that ``<secret>_file`` names."""
    if not isinstance(data, Mapping) or not data.get(f"{secret}_file"):
        return data
    if data.get(secret):
        raise ValueError(f"{secret} and {secret}_file are both given: keep one")
    return {**data, secret: read_secret_file(f"{secret}_file", str(data[f"{secret}_file"]))}


class ModelConfig(Section):
    """What scores."""

    artifact: Path = Field(description="fitted and calibrated LINe artifact")
    device: str = Field("cpu", description="torch device: cpu, cuda, cuda:0")
    threads: int = Field(1, ge=0, description="torch CPU threads; 0 leaves torch's own choice")


class KafkaConfig(Section):
    """Where embeddings come from."""

    bootstrap_servers: str = Field(description="host:port, comma separated")
    topic: str
    group: str = Field("ood-monitor", description="consumer group; also names the keys in Redis")
    client: Literal["kafka-python", "confluent-kafka"] = Field(
        "kafka-python", description="library that reads the topic; confluent-kafka costs less CPU and is an extra"
    )
    start: Literal["earliest", "latest"] = Field("latest", description="where a group that never ran begins")
    max_poll_records: int = Field(1000, ge=1, description="largest batch")
    max_partition_fetch_bytes: int = Field(1_048_576, ge=1, description="most that one fetch takes from a partition")
    max_poll_interval_ms: int = Field(300_000, ge=1000)
    session_timeout_ms: int = Field(45_000, ge=100)
    heartbeat_interval_ms: int = Field(3_000, ge=10)
    assignment: Literal["cooperative", "eager"] = "cooperative"
    isolation_level: Literal["read_committed", "read_uncommitted"] = Field(
        "read_committed", description="read_committed leaves out records of aborted transactions, with either client"
    )
    metadata_max_age_ms: int = Field(
        10_000, ge=1000, le=30_000, description="partitions that are added are found within this"
    )
    look_seconds: float = Field(2.0, gt=0, le=30, description="time between two looks at whether the topic is there")
    instance_id: str = Field("", description="static membership: a restart keeps its partitions")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    ssl_key_password: SecretStr = Field(SecretStr(""), description="opens ssl_keyfile if it is encrypted")
    ssl_key_password_file: str = ""
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    sasl_password_file: str = ""

    @model_validator(mode="before")
    @classmethod
    def _secret(cls, data: Any) -> Any:
        return _from_file(_from_file(data, "sasl_password"), "ssl_key_password")

    @model_validator(mode="after")
    def _timing(self) -> KafkaConfig:
        if self.heartbeat_interval_ms * 2 > self.session_timeout_ms:
            raise ValueError(
                f"heartbeat_interval_ms {self.heartbeat_interval_ms} is over half of session_timeout_ms "
                f"{self.session_timeout_ms}: a third is usual"
            )
        return self


class MessagesConfig(Section):
    """What a record must be to be scored."""

    model: str = Field("", description="records of another model are not scored; empty accepts all")
    other_models: Literal["reject", "skip"] = Field(
        "reject", description="what becomes of records of another model: dead letters, or nothing"
    )
    default_stream: str = Field("default", min_length=1, max_length=200, description="stream of records without a key")
    max_bytes: int = Field(1_000_000, ge=1, description="largest value of a record")
    max_rows: int = Field(10_000, ge=1, description="embeddings of one record, at most")
    max_decoded_bytes: int = Field(16_000_000, ge=1, description="what a value may become when it is decoded")
    max_batch_rows: int = Field(50_000, ge=1, description="embeddings read at once; the rest of a poll waits")
    max_batch_bytes: int = Field(64_000_000, ge=1, description="the same in bytes of float32")
    max_magnitude: float = Field(1e6, gt=0, le=1e30, description="largest absolute value of an element")
    max_depth: int = Field(32, ge=1, le=500, description="how deep JSON may nest")
    max_digits: int = Field(200, ge=20, le=4000, description="digits of one number in JSON")
    max_arrow_batches: int = Field(256, ge=1, description="record batches of one Arrow stream")
    max_headers: int = Field(64, ge=8, description="headers of a record; with more it is rejected")
    max_header_bytes: int = Field(4096, ge=256, description="value of a header that is read, at most")
    max_id_length: int = Field(200, ge=32, description="characters of a request id; longer ones are cut")
    max_stream_length: int = Field(200, ge=32, description="characters of a stream's name; longer ones are cut")
    max_age_seconds: float = Field(86_400, gt=0, description="event time behind the record's timestamp, at most")
    max_ahead_seconds: float = Field(60, ge=0, description="event time before the record's timestamp, at most")


class DeadLetterConfig(Section):
    """Where records go that cannot be scored."""

    topic: str = Field("", description="empty: the source topic with .dead-letter behind it")
    max_share: float = Field(
        0.1, gt=0, le=1, description="share of a partition's recent records that may be bad before at_limit applies"
    )
    at_limit: Literal["continue", "stop"] = Field(
        "continue", description="continue raises an alert and counts the others; stop ends the worker"
    )
    window: int = Field(2000, ge=10, description="recent records over which the share is taken")
    max_bytes: int = Field(900_000, ge=1000, description="larger values are cut, and say so")


class RedisConfig(Section):
    """Where counts and alerts live."""

    url: SecretUrl = Field(
        SecretUrl("redis://127.0.0.1:6379/0"),
        description="redis://, rediss:// (TLS), unix://, redis+cluster:// or redis+sentinel://HOST:26379/MASTER/DB",
    )
    username: str = Field("", description="user of Redis' ACL; empty for the default user")
    password: SecretStr = SecretStr("")
    password_file: str = ""
    ca_file: str = Field("", description="certificates that Redis' own is checked against; empty for the system's")
    cert_file: str = Field("", description="certificate of this client, if Redis asks for one")
    key_file: str = ""
    key_password: SecretStr = Field(SecretStr(""), description="opens key_file if it is encrypted")
    key_password_file: str = ""
    sentinel_password: SecretStr = Field(SecretStr(""), description="what the sentinels themselves ask for, if they do")
    sentinel_password_file: str = ""
    socket_timeout_seconds: float = Field(2.0, gt=0)
    bucket_retention_seconds: float = Field(86_400, gt=0, description="counts of a folded bucket stay this long")
    alert_ttl_seconds: float = Field(604_800, gt=0, description="a resolved alert stays readable this long")
    history_length: int = Field(10_000, ge=10, description="alert events kept, about")

    @model_validator(mode="before")
    @classmethod
    def _secret(cls, data: Any) -> Any:
        for secret in ("password", "key_password", "sentinel_password"):
            data = _from_file(data, secret)
        return data

    @model_validator(mode="after")
    def _connection(self) -> RedisConfig:
        address = parse_redis_url(self.url)
        for key in ("username", "password"):
            if getattr(address, key) and getattr(self, key):
                raise ValueError(f"a {key} is given in url and in {key}: keep the one in {key}")
        for key in ("ca_file", "cert_file", "key_file"):
            if getattr(self, key) and not address.tls:
                raise ValueError(f"{key} is given, but url is not one of TLS: let it begin with rediss")
        if self.key_file and not self.cert_file:
            raise ValueError("key_file is given without cert_file: a key needs its certificate")
        return self


class BucketConfig(Section):
    """How records are grouped in time before they are judged."""

    seconds: float = Field(1.0, gt=0, description="width of a bucket, in event time")
    idle_seconds: float = Field(10.0, gt=0, description="a partition silent for longer no longer holds buckets open")
    hold_seconds: float = Field(60.0, gt=0, description="a partition that others passed this long ago holds none open")


class StreamConfig(Section):
    """How many streams are watched, and for how long."""

    limit: int = Field(2000, ge=1, description="streams counted by name; those beyond it count together as one")
    forget_seconds: float = Field(604_800, gt=0, description="a stream that sent nothing for so long is forgotten")


class WatchConfig(Section):
    """When the monitor says of itself that it cannot tell whether inputs surge."""

    stalled_seconds: float = Field(120, gt=0, description="nothing judged, read or reported for so long is an alert")
    max_lag_seconds: float = Field(300, gt=0, description="a partition behind its end for so long is an alert")
    redis_seconds: float = Field(30, gt=0, description="Redis out of reach for so long is an alert")
    gap_seconds: float = Field(3600, gt=0, description="an alert on lost records is over after this")


class CanaryConfig(Section):
    """A few synthetic OOD embeddings that the monitor sends itself, to see whether it would notice a surge."""

    seconds: float = Field(0, ge=0, description="time between two canaries; 0: none")
    timeout_seconds: float = Field(120, gt=0, description="a canary that is not detected within this is an alert")
    samples: int = Field(20, ge=5, le=1000, description="embeddings in one canary")


class AlertConfig(Section):
    """How many false alerts are affordable."""

    requests_per_false_alert: float = Field(
        100_000, ge=100, description="budget: at most one false alert per this many requests, over everything watched"
    )
    days_per_false_alert: float | None = Field(None, gt=0, description="the same budget in days; needs the rate")
    requests_per_second: float | None = Field(None, gt=0)
    silence_seconds: float = Field(300, ge=0, description="alert when a stream sends nothing for so long; 0: never")
    masses: Literal["expectation", "nominal", "simultaneous"] = Field(
        "expectation", description="how far the calibration set is trusted; see docs/alerting.md"
    )
    class_calibration: str = Field(
        "", description="JSON of `ood-monitor replay --save-classes`; without it no single class raises by itself"
    )
    critical_rate: float = Field(0.25, gt=0, le=1, description="severity is critical above this flag rate")
    resolve_after: float = Field(100_000, gt=1, description="mean requests to a wrong resolve, at least")
    examples: int = Field(5, ge=0, le=100, description="most OOD request ids kept per stream and bucket")

    @model_validator(mode="after")
    def _budget(self) -> AlertConfig:
        if (self.days_per_false_alert is None) != (self.requests_per_second is None):
            raise ValueError("days_per_false_alert and requests_per_second go together: give both or neither")
        return self

    @property
    def requests(self) -> float:
        """Requests per affordable false alert."""
        if self.days_per_false_alert is not None and self.requests_per_second is not None:
            return requests_in(self.days_per_false_alert, self.requests_per_second)
        return self.requests_per_false_alert


class TelemetryConfig(Section):
    """Metrics for Prometheus."""

    port: int = Field(0, ge=0, le=65535, description="0: no metrics endpoint")
    host: str = "127.0.0.1"


class DeliveryConfig(Section):
    """Where alerts go besides Redis."""

    webhook_url: SecretUrl = SecretUrl("")
    webhook_url_file: str = ""
    alertmanager_url: SecretUrl = Field(SecretUrl(""), description="base URL; alerts go to /api/v2/alerts under it")
    timeout_seconds: float = Field(5.0, gt=0, description="one call to a receiver, from its name to its answer")
    resend_seconds: float = Field(30.0, gt=0, le=3600, description="Alertmanager hears of firing alerts again")
    keep_firing_seconds: float = Field(
        330.0, ge=0, le=86_400,
        description="Alertmanager hears of an alert as firing for at least so long, even if it is over sooner: it "
        "notifies nobody of what ends within its group_wait (30 s) or, in a group that exists, group_interval (5 min)",
    )  # fmt: skip
    labels: dict[str, str] = Field(default_factory=dict, description="fixed labels of every alert, such as team")
    heartbeat: bool = Field(True, description="Alertmanager gets an alert that always fires, MonitorHeartbeat")
    heartbeat_url: SecretUrl = Field(
        SecretUrl(""), description="called while the monitor makes progress, as healthchecks.io expects it"
    )
    heartbeat_url_file: str = ""
    heartbeat_seconds: float = Field(60.0, gt=0)
    sinks: dict[str, Any] = Field(
        default_factory=dict, description="settings of further sinks; delivery.NAME is read as delivery.sinks.NAME"
    )

    @model_validator(mode="before")
    @classmethod
    def _sections(cls, data: Any) -> Any:
        """Gather ``delivery.NAME`` of every sink that has settings of its own."""
        if not isinstance(data, Mapping):
            return data
        named = {name: data[name] for name in _sink_sections() if name in data and name not in cls.model_fields}
        if not named:
            return data
        return {k: v for k, v in data.items() if k not in named} | {"sinks": {**data.get("sinks", {}), **named}}

    @field_validator("sinks")
    @classmethod
    def _known_sinks(cls, given: dict[str, Any]) -> dict[str, Any]:
        from monitor.config.explaining import explain_error  # which knows this module

        known = _sink_sections()
        for name in given:
            if name not in known:
                raise ValueError(
                    f"there is no sink {name!r} with settings of its own, known: {', '.join(known) or 'none'}"
                )
        found = {}
        for name, value in given.items():
            try:
                found[name] = known[name].model_validate(value)
            except ValidationError as error:
                raise ValueError(
                    "; ".join(f"{name}: {explain_error(e, known[name])}" for e in error.errors())
                ) from None
        return found

    @field_validator("labels")
    @classmethod
    def _label_names(cls, given: dict[str, str]) -> dict[str, str]:
        for name, value in given.items():
            if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) or name.startswith("__"):
                raise ValueError(f"label {name!r}: expected letters, digits and underscore, such as team")
            if name in ("alertname", "group", "kind", "stream", "subject", "fingerprint"):
                raise ValueError(f"label {name!r} is set by the monitor: choose another name")
            if not value or len(value) > 200 or not value.isprintable():
                raise ValueError(f"label {name!r}: expected 1 to 200 printable characters")
        return given

    @model_validator(mode="before")
    @classmethod
    def _secret(cls, data: Any) -> Any:
        return _from_file(_from_file(data, "webhook_url"), "heartbeat_url")


def _sink_sections() -> dict[str, type[Section]]:
    """Settings of the sinks that have some. A sink is one file in a layer above: it is found, not imported."""
    found: dict[str, type[Section]] = importlib.import_module("monitor.alerts.sinks").sections()
    return found


class MonitorConfig(Section):
    """Everything one process needs."""

    model: ModelConfig
    kafka: KafkaConfig
    messages: MessagesConfig = Field(default_factory=MessagesConfig)
    dead_letters: DeadLetterConfig = Field(default_factory=DeadLetterConfig)
    redis: RedisConfig = Field(default_factory=RedisConfig)
    buckets: BucketConfig = Field(default_factory=BucketConfig)
    streams: StreamConfig = Field(default_factory=StreamConfig)
    alerts: AlertConfig = Field(default_factory=AlertConfig)
    watch: WatchConfig = Field(default_factory=WatchConfig)
    canary: CanaryConfig = Field(default_factory=CanaryConfig)
    telemetry: TelemetryConfig = Field(default_factory=TelemetryConfig)
    delivery: DeliveryConfig = Field(default_factory=DeliveryConfig)

    @model_validator(mode="after")
    def _no_loop(self) -> MonitorConfig:
        if self.dead_letter_topic == self.kafka.topic:
            raise ValueError(
                f"dead_letters.topic is {self.kafka.topic!r}, the topic that is read: each dead letter would come back "
                "as a record that cannot be scored; name another one"
            )
        return self

    @property
    def dead_letter_topic(self) -> str:
        """Where rejected records go."""
        return self.dead_letters.topic or f"{self.kafka.topic}.dead-letter"

    @property
    def bucket_ms(self) -> int:
        """Width of a bucket."""
        return max(1, round(self.buckets.seconds * 1000))
