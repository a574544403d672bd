"""The broker's description of a topic, or what is wrong with the topic and what to do about it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from monitor.config import KafkaConfig
from monitor.errors import BrokerError, BrokerUnavailableError, TopicMissingError

UNKNOWN_TOPIC, NOT_AUTHORIZED, NOT_A_NAME = 3, 29, 17
"""Kafka's error codes."""


@dataclass(frozen=True)
class Description:
    """The broker's description of a topic: its id (empty if the broker has no ids), and its partitions by number.

    ``leaderless`` are the partitions that nobody can read now.
    """

    topic_id: str
    partitions: frozenset[int]
    leaderless: frozenset[int]


Described = Description | BrokerError
"""A topic, or what is wrong with this topic: it is missing, forbidden, or cannot be described now."""


def read_description(config: KafkaConfig, topic: str, answer: Any) -> Described:
    """Read the description of a topic from the broker's answer."""
    code = UNKNOWN_TOPIC if answer is None else answer["error_code"]
    if code == UNKNOWN_TOPIC:
        return TopicMissingError(missing(config, topic))
    if code == NOT_AUTHORIZED:
        return BrokerError(
            f"user {config.sasl_username!r} (kafka.sasl_username) may not see topic {topic!r}: "
            "grant it DESCRIBE and READ on the topic and READ on the group"
        )
    if code == NOT_A_NAME:
        return BrokerError(f"{key_of(config)} {topic!r} is not a valid name of a topic")
    if code:
        return BrokerUnavailableError(f"Kafka cannot describe topic {topic!r} now (error {code})")
    parts, given = answer["partitions"], answer.get("topic_id")
    topic_id = "" if given is None or uuid.UUID(str(given)).int == 0 else str(given)
    numbers = frozenset(p["partition_index"] for p in parts)
    return Description(topic_id, numbers, frozenset(p["partition_index"] for p in parts if p["leader_id"] < 0))


def key_of(config: KafkaConfig) -> str:
    """Return the settings key that names the topics."""
    return "kafka.topics" if config.topics else "kafka.topic"


def missing(config: KafkaConfig, topic: str) -> str:
    """Make the error for a topic that does not exist, with how to create it."""
    return f"topic {topic!r} does not exist on {config.bootstrap_servers}: {how_to_create(config, topic)}"


def how_to_create(config: KafkaConfig, topic: str) -> str:
    """Say what to do about a topic that does not exist."""
    server = config.bootstrap_servers.split(",")[0].strip()
    return (
        f"correct {key_of(config)}, or create it: kafka-topics.sh --bootstrap-server {server} --create "
        f"--topic {topic} --partitions 6"
    )
