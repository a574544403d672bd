"""Our connection settings by the names of each client library."""

from __future__ import annotations

from typing import Any

from monitor.config import KafkaConfig

QUEUED_KBYTES = 32_768
"""What librdkafka may fetch ahead; its own default, 64 MB, only costs memory here."""


def connection(config: KafkaConfig) -> dict[str, Any]:
    """Settings that every kafka-python client takes."""
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


def librdkafka_settings(config: KafkaConfig) -> dict[str, Any]:
    """Our settings by librdkafka's names."""
    named: dict[str, Any] = {
        "bootstrap.servers": config.bootstrap_servers,
        "group.id": config.group,
        "group.instance.id": config.instance_id,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "max.poll.interval.ms": max(config.max_poll_interval_ms, config.session_timeout_ms),
        "session.timeout.ms": config.session_timeout_ms,
        "heartbeat.interval.ms": config.heartbeat_interval_ms,
        "partition.assignment.strategy": "cooperative-sticky" if config.assignment == "cooperative" else "range",
        "max.partition.fetch.bytes": config.max_partition_fetch_bytes,
        "queued.max.messages.kbytes": QUEUED_KBYTES,
        "fetch.queue.backoff.ms": 10,  # once that is full: its own default waits a whole second
        "reconnect.backoff.max.ms": 2000,
        "log_level": 2,  # it would write to stderr by itself; what matters comes as an error
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
