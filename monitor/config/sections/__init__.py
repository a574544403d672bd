"""All settings of a monitor process, by section, with defaults and ranges.

A secret is a ``SecretStr``, or a ``SecretUrl`` if it is a URL. Neither shows its value if the settings are printed.
Each secret may also be in a file that the key ending in ``_file`` names (``redis.password_file``).
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from monitor.config.sections.base import ProcessSettings, Section
from monitor.config.sections.delivery import DeliveryConfig
from monitor.config.sections.drift import DriftConfig
from monitor.config.sections.http import StatusConfig
from monitor.config.sections.judging import (
    AlertConfig,
    BucketConfig,
    CanaryConfig,
    StreamConfig,
    WatchConfig,
)
from monitor.config.sections.kafka import DeadLetterConfig, KafkaConfig, KafkaConnection
from monitor.config.sections.logs import LoggingConfig
from monitor.config.sections.messages import MessagesConfig
from monitor.config.sections.models import ModelConfig, ServedModel, find_contradiction
from monitor.config.sections.redis import RedisConfig

__all__ = [
    "AlertConfig",
    "BucketConfig",
    "CanaryConfig",
    "DeadLetterConfig",
    "DeliveryConfig",
    "DriftConfig",
    "KafkaConfig",
    "KafkaConnection",
    "LoggingConfig",
    "MessagesConfig",
    "ModelConfig",
    "MonitorConfig",
    "ProcessSettings",
    "RedisConfig",
    "Section",
    "ServedModel",
    "StatusConfig",
    "StreamConfig",
    "WatchConfig",
]


class MonitorConfig(ProcessSettings):
    """All settings of one monitor process."""

    environment: ClassVar[str] = "OOD_MONITOR"

    model: ModelConfig = Field(default_factory=ModelConfig)
    models: tuple[ServedModel, ...] = Field((), description="several artifacts in one worker, under one budget")
    kafka: KafkaConfig
    messages: MessagesConfig = Field(default_factory=MessagesConfig)
    dead_letters: DeadLetterConfig = Field(default_factory=DeadLetterConfig)
    redis: RedisConfig = Field(default_factory=RedisConfig)
    buckets: BucketConfig = Field(default_factory=BucketConfig)
    streams: StreamConfig = Field(default_factory=StreamConfig)
    alerts: AlertConfig = Field(default_factory=AlertConfig)
    watch: WatchConfig = Field(default_factory=WatchConfig)
    drift: DriftConfig = Field(default_factory=DriftConfig)
    canary: CanaryConfig = Field(default_factory=CanaryConfig)
    http: StatusConfig = Field(default_factory=StatusConfig)
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    delivery: DeliveryConfig = Field(default_factory=DeliveryConfig)

    @model_validator(mode="after")
    def _no_loop(self) -> MonitorConfig:
        topics = self.kafka.topic_names
        if len(topics) > 1 and not self.dead_letters.topic:
            raise ValueError(
                "dead_letters.topic is missing: kafka.topics names several, and their records that cannot be scored "
                f"go to one topic. Name it, such as {topics[0]}.dead-letter; each letter names its own topic"
            )
        if self.dead_letter_topic in topics:
            which = "the topic that is read" if len(topics) == 1 else "one of the topics that are read"
            raise ValueError(
                f"dead_letters.topic is {self.dead_letter_topic!r}, {which}: each dead letter would come back "
                "as a record that cannot be scored; name another one"
            )
        return self

    @model_validator(mode="after")
    def _something_scores(self) -> MonitorConfig:
        if not self.models:
            if self.model.artifact is None:
                raise ValueError("model.artifact is missing: name the file that `openood calibrate` wrote")
            return self
        if self.model.artifact is not None:
            raise ValueError("model.artifact and models are both given: keep one")
        names = [m.name for m in self.models]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"models holds {', '.join(twice)} twice: names must differ, since they begin the names of streams"
            )
        if wrong := find_contradiction(self.models, self.kafka.topic_names):
            raise ValueError(wrong)
        if self.messages.model:
            raise ValueError(
                "messages.model and models are both given: each entry of models names the model that it takes"
            )
        if self.alerts.class_calibration:
            raise ValueError(
                "alerts.class_calibration belongs to one artifact, and models names "
                "several: leave it out, or run a worker "
                "for that artifact alone"
            )
        return self

    @property
    def dead_letter_topic(self) -> str:
        """The topic of rejected records."""
        return self.dead_letters.topic or f"{self.kafka.topic_names[0]}.dead-letter"

    @property
    def bucket_ms(self) -> int:
        """Width of a bucket in milliseconds."""
        return max(1, round(self.buckets.seconds * 1000))
