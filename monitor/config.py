"""The settings of one monitor process: one YAML file, overridden by the environment, validated once, then frozen.

Environment: ``OOD_MONITOR__SECTION__KEY=value`` (the value is read as YAML). A secret may also stand in a file, named
by the key with ``_file`` behind it (``redis.password_file``).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from monitor.errors import ConfigError
from monitor.math.budget import requests_in

PREFIX = "OOD_MONITOR__"


class Section(BaseModel):
    """Frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _from_file(data: Any, secret: str) -> Any:
    """Fill ``secret`` from the file that ``<secret>_file`` names."""
    if not isinstance(data, Mapping) or not data.get(f"{secret}_file"):
        return data
    if data.get(secret):
        raise ValueError(f"{secret} and {secret}_file are both given: keep one")
    path = Path(str(data[f"{secret}_file"]))
    try:
        return {**data, secret: path.read_text(encoding="utf-8").strip()}
    except OSError as error:
        raise ValueError(f"{secret}_file {path} cannot be read ({error.strerror})") from error


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
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    sasl_password_file: str = ""

    @model_validator(mode="before")
    @classmethod
    def _secret(cls, data: Any) -> Any:
        return _from_file(data, "sasl_password")

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

    model: str = Field("", description="refuse records of another model; empty accepts all")
    default_stream: str = Field("default", min_length=1, description="stream of records without a key")
    max_bytes: int = Field(1_000_000, ge=1, description="largest value of a record")
    max_age_seconds: float = Field(86_400, gt=0, description="event time behind the record's timestamp, at most")
    max_ahead_seconds: float = Field(60, ge=0, description="event time before the record's timestamp, at most")


class DeadLetterConfig(Section):
    """Where records go that cannot be scored."""

    topic: str = Field("", description="empty: the source topic with .dead-letter behind it")
    max_share: float = Field(0.1, gt=0, le=1, description="stop when more than this share of recent records is bad")
    window: int = Field(2000, ge=10, description="recent records over which the share is taken")
    max_bytes: int = Field(900_000, ge=1000, description="larger values are cut, and say so")


class RedisConfig(Section):
    """Where counts and alerts live."""

    url: str = Field("redis://127.0.0.1:6379/0", description="redis://, rediss:// or unix://")
    password: SecretStr = SecretStr("")
    password_file: str = ""
    socket_timeout_seconds: float = Field(2.0, gt=0)
    bucket_retention_seconds: float = Field(86_400, gt=0, description="counts of a folded bucket stay this long")
    alert_ttl_seconds: float = Field(604_800, gt=0, description="a resolved alert stays readable this long")
    history_length: int = Field(10_000, ge=10, description="alert events kept, about")

    @model_validator(mode="before")
    @classmethod
    def _secret(cls, data: Any) -> Any:
        return _from_file(data, "password")


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

    webhook_url: str = ""
    alertmanager_url: str = Field("", description="base URL; alerts go to /api/v2/alerts under it")
    timeout_seconds: float = Field(5.0, gt=0)


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

    @property
    def dead_letter_topic(self) -> str:
        """Where rejected records go."""
        return self.dead_letters.topic or f"{self.kafka.topic}.dead-letter"

    @property
    def bucket_ms(self) -> int:
        """Width of a bucket."""
        return max(1, round(self.buckets.seconds * 1000))


def load(path: str | Path, environment: Mapping[str, str] | None = None) -> MonitorConfig:
    """Read, override, validate.

    Args:
        path: the YAML file.
        environment: the process environment where not given.

    Raises:
        ConfigError: one line a problem, each naming the key.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {type(data).__name__}, expected sections such as kafka: and redis:")
    return validate(_overridden(data, os.environ if environment is None else environment), str(path))


def validate(data: Mapping[str, Any], where: str = "settings") -> MonitorConfig:
    """Validate a nested mapping; see :func:`load`."""
    try:
        return MonitorConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_said(e) for e in error.errors())) from None


def _overridden(data: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    merged = {k: dict(v) if isinstance(v, dict) else v for k, v in data.items()}
    for name, value in sorted(environment.items()):
        if not name.startswith(PREFIX):
            continue
        keys = [k.lower() for k in name[len(PREFIX) :].split("__")]
        if len(keys) != 2 or not all(keys):
            raise ConfigError(f"environment variable {name}: expected {PREFIX}SECTION__KEY")
        section = merged.setdefault(keys[0], {})
        if not isinstance(section, dict):
            raise ConfigError(f"{keys[0]} holds {type(section).__name__}, expected a section")
        section[keys[1]] = yaml.safe_load(value) if value else ""
    return merged


def _said(error: Any) -> str:
    """One pydantic error in one line, with the nearest known key for an unknown one."""
    location = [str(part) for part in error["loc"]]
    name = ".".join(location)
    if error["type"] == "extra_forbidden":
        known = _known(location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"unknown key {name!r}: {hint}known: {', '.join(known)}"
    if error["type"] == "missing":
        return f"{name} is missing"
    return f"{name}: {error['msg'].removeprefix('Value error, ')} (got {_shown(location, error.get('input'))})"


def _known(section: list[str]) -> list[str]:
    model: type[BaseModel] = MonitorConfig
    for part in section:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return sorted(model.model_fields)


def _shown(location: list[str], value: Any) -> str:
    """Never a secret, never a whole section."""
    if "password" in location[-1] or isinstance(value, dict):
        return "..."
    return repr(value)
