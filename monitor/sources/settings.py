"""Translates our settings into those of each client library: the connection, and how a topic is read."""

from __future__ import annotations

from typing import Any

from monitor.config import KafkaConfig, KafkaConnection

QUEUED_KBYTES = 32_768
"""How much librdkafka may fetch ahead, in kB. Its own default of 64 MB only costs memory here."""

BOOTSTRAP_MS = 3_000
"""How long a client looks for a first broker that answers, in milliseconds."""

ANSWER_MS = 5_000
"""How long a question about a topic may take, in milliseconds."""


def connection(config: KafkaConnection) -> dict[str, Any]:
    """Return the settings that every client of kafka-python has."""
    settings: dict[str, Any] = {
        "bootstrap_servers": [s.strip() for s in config.bootstrap_servers.split(",") if s.strip()],
        "security_protocol": config.security_protocol,
        "reconnect_backoff_max_ms": 2000,
    }
    for ours, theirs in (
        ("ssl_cafile", "ssl_cafile"),
        ("ssl_certfile", "ssl_certfile"),
        ("ssl_keyfile", "ssl_keyfile"),
    ):
        if getattr(config, ours):
            settings[theirs] = getattr(config, ours)
    if config.ssl_key_password.get_secret_value():
        settings["ssl_password"] = config.ssl_key_password.get_secret_value()
    if config.sasl_mechanism:
        settings |= {
            "sasl_mechanism": config.sasl_mechanism,
            "sasl_plain_username": config.sasl_username,
            "sasl_plain_password": config.sasl_password.get_secret_value(),
        }
    return settings


def reading(config: KafkaConfig) -> dict[str, Any]:
    """Return the settings of every kafka-python consumer: which records it sees, and that it creates no topic."""
    return {
        **connection(config),
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "isolation_level": config.isolation_level,
        "allow_auto_create_topics": False,
        "kafka_client": _make_client,
        "metadata_max_age_ms": config.metadata_max_age_ms,
        "bootstrap_timeout_ms": BOOTSTRAP_MS,
    }


def _make_client(**settings: Any) -> Any:
    """Make the network client of a consumer. kafka-python 3.0 forgets to tell it not to create topics."""
    from kafka import KafkaConsumer

    client = KafkaConsumer.DEFAULT_CONFIG["kafka_client"](**settings)
    client.cluster.config["allow_auto_create_topics"] = settings["allow_auto_create_topics"]
    return client


def asking(config: KafkaConfig) -> dict[str, Any]:
    """Return the settings of a kafka-python admin client that answers or fails soon."""
    return {**connection(config), "bootstrap_timeout_ms": BOOTSTRAP_MS, "request_timeout_ms": ANSWER_MS}


def librdkafka_settings(config: KafkaConfig) -> dict[str, Any]:
    """Return our settings under librdkafka's names."""
    named: dict[str, Any] = {
        **librdkafka_connection(config),
        "group.id": config.group,
        "group.instance.id": config.instance_id,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": config.isolation_level,
        "allow.auto.create.topics": False,
        "topic.metadata.refresh.interval.ms": config.metadata_max_age_ms,
        "max.poll.interval.ms": max(config.max_poll_interval_ms, config.session_timeout_ms),
        "session.timeout.ms": config.session_timeout_ms,
        "heartbeat.interval.ms": config.heartbeat_interval_ms,
        "partition.assignment.strategy": "cooperative-sticky" if config.assignment == "cooperative" else "range",
        "max.partition.fetch.bytes": config.max_partition_fetch_bytes,
        "queued.max.messages.kbytes": QUEUED_KBYTES,
        "fetch.queue.backoff.ms": 10,  # once that is full: its own default waits a whole second
        "reconnect.backoff.max.ms": 2000,
        "log_level": 2,  # it would write to stderr by itself; what matters comes as an error
    }
    return {name: value for name, value in named.items() if value != ""}


def librdkafka_connection(config: KafkaConnection) -> dict[str, Any]:
    """Return the settings that every client of librdkafka has."""
    named = {
        "bootstrap.servers": config.bootstrap_servers,
        "security.protocol": config.security_protocol,
        "ssl.ca.location": config.ssl_cafile,
        "ssl.certificate.location": config.ssl_certfile,
        "ssl.key.location": config.ssl_keyfile,
        "ssl.key.password": config.ssl_key_password.get_secret_value(),
        "sasl.mechanism": config.sasl_mechanism,
        "sasl.username": config.sasl_username,
        "sasl.password": config.sasl_password.get_secret_value(),
    }
    return {name: value for name, value in named.items() if value != ""}
