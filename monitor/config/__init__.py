"""The settings of a process: a YAML file, overridden by the environment, validated once, then frozen."""

from __future__ import annotations

from monitor.config.loading import PREFIX, load, load_as, validate, validate_as
from monitor.config.redaction import Redactor, secrets_of
from monitor.config.sections import (
    AlertConfig,
    BucketConfig,
    CanaryConfig,
    DeadLetterConfig,
    DeliveryConfig,
    DriftConfig,
    KafkaConfig,
    KafkaConnection,
    LoggingConfig,
    MessagesConfig,
    ModelConfig,
    MonitorConfig,
    RedisConfig,
    Section,
    ServedModel,
    StatusConfig,
    StreamConfig,
    WatchConfig,
)
from monitor.config.urls import SecretUrl, show_url

__all__ = [
    "PREFIX",
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
    "Redactor",
    "RedisConfig",
    "SecretUrl",
    "Section",
    "ServedModel",
    "StatusConfig",
    "StreamConfig",
    "WatchConfig",
    "load",
    "load_as",
    "secrets_of",
    "show_url",
    "validate",
    "validate_as",
]
