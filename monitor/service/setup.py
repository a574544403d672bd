"""The steps of `ood-monitor init` after the choices: write settings, create topics, check everything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from line_plugin.shipped import config_dir
from monitor.config import MonitorConfig, load
from monitor.config.redis_url import parse_redis_url
from monitor.errors import BrokerError, ConfigError
from monitor.service.settings_file import refuse_existing, render, write_secret, write_settings

Say = Callable[[str], None]


@dataclass(frozen=True)
class Choices:
    """The choices of `ood-monitor init`. Empty ones stay at their defaults and are not written to the file.

    Attributes:
        topic: the topics with the embeddings, at least one.
        dead_letters: topic for records that cannot be scored; by default the first topic with ``.dead-letter``
            appended.
        secrets: the typed secrets by section and key. Each is written to a file of its own.
        secret_files: files that hold secrets already, by section and key.
    """

    output: Path
    artifact: Path
    bootstrap_servers: str
    topic: tuple[str, ...]
    group: str = "ood-monitor"
    start: str = "latest"
    redis_url: str = "redis://127.0.0.1:6379/0"
    requests_per_false_alert: float = 100_000
    http_port: int = 0
    alertmanager_url: str = ""
    log_format: str = "text"
    dead_letters: str = ""
    kafka: Mapping[str, str] = field(default_factory=dict)
    redis: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[tuple[str, str], str] = field(default_factory=dict)
    secret_files: Mapping[tuple[str, str], Path] = field(default_factory=dict)
    force: bool = False


def check_topic_name(name: str) -> str:
    """Return the name if Kafka allows it.

    Raises:
        ConfigError: Kafka does not allow it.
    """
    if not re.fullmatch(r"[a-zA-Z0-9._-]{1,236}", name) or name in (".", ".."):
        raise ConfigError(f"{name!r} is not a name for a topic: expected letters, digits and . _ - (236 at most)")
    return name


def check_topic_names(text: str) -> tuple[str, ...]:
    """Return the names in a comma-separated list if Kafka allows each of them.

    Raises:
        ConfigError: a name is not allowed, or is there twice.
    """
    names = tuple(check_topic_name(name.strip()) for name in text.split(","))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"topic {twice[0]!r} stands there twice, expected each topic once")
    return names


def check_servers(text: str) -> str:
    """Return the bootstrap servers if each has a port.

    Raises:
        ConfigError: one of them has no port.
    """
    servers = [s.strip() for s in text.split(",") if s.strip()]
    wrong = [s for s in servers if not re.fullmatch(r"[^\s:/@]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", s)]
    if wrong or not servers:
        raise ConfigError(f"{', '.join(wrong) or text!r} is not HOST:PORT: expected such as kafka-1:9092,kafka-2:9092")
    return ",".join(servers)


def check_artifact(text: str) -> str:
    """Return the path of an artifact if the file exists.

    Raises:
        ConfigError: there is no such file.
    """
    if not Path(text).expanduser().is_file():
        raise ConfigError(f"there is no file {text}: write the artifact with `openood fit` and `openood calibrate`")
    return str(Path(text).expanduser().resolve())


def split_redis_url(url: str) -> tuple[str, str, str]:
    """Split user and password from a URL, because they are kept in files of their own.

    Raises:
        ConfigError: the URL cannot be read. The message never quotes it.
    """
    try:
        address = parse_redis_url(url)
    except ValueError as error:
        raise ConfigError(f"redis {error}") from None
    head, mark, rest = url.partition("://")
    if "?" in rest and ("password=" in rest or "username=" in rest):
        raise ConfigError(
            "redis url holds a user or a password behind the ?: give it by --redis-username and in a file"
        )
    return f"{head}{mark}{rest.rpartition('@')[2]}", address.username, address.password


def write_files(choices: Choices, say: Say) -> MonitorConfig:
    """Write the settings and the files of secrets, and return the settings as a worker will read them.

    Raises:
        ConfigError: a file exists already, cannot be written, or is not valid. Then no settings are written.
    """
    output, secrets = choices.output, {}
    refuse_existing(output, choices.force)
    for (section, key), secret in choices.secrets.items():
        secrets[section, key] = output.with_name(f"{output.stem}.{section}-{key.replace('_', '-')}")
        write_secret(secrets[section, key], secret, force=choices.force)
    settings = _settings(choices, {**choices.secret_files, **secrets})
    try:
        write_settings(output, render(settings, config_dir() / "monitor.yml", output.name), force=choices.force)
    except ConfigError:
        for path in secrets.values():
            path.unlink(missing_ok=True)
        raise
    say(f"{output} holds the settings")
    for (section, key), path in secrets.items():
        say(f"{path} holds {section}.{key}; only you may read it")
    return load(output)


def _settings(choices: Choices, files: Mapping[tuple[str, str], Path]) -> dict[str, dict[str, Any]]:
    c = choices
    several = len(c.topic) > 1
    topics: dict[str, Any] = {"topics": list(c.topic)} if several else {"topic": c.topic[0]}
    letters = c.dead_letters or (f"{c.topic[0]}.dead-letter" if several else "")
    held: dict[str, dict[str, Any]] = {
        "model": {"artifact": str(c.artifact)},
        "kafka": {
            "bootstrap_servers": c.bootstrap_servers, **topics,
            "group": c.group, "start": c.start,
            **{key: value for key, value in c.kafka.items() if value},
        },
        "dead_letters": {"topic": letters} if letters else {},
        "redis": {"url": c.redis_url, **{key: value for key, value in c.redis.items() if value}},
        "alerts": {"requests_per_false_alert": c.requests_per_false_alert},
        "http": {"port": c.http_port} if c.http_port else {},
        "logging": {"format": c.log_format} if c.log_format != "text" else {},
        "delivery": {"alertmanager_url": c.alertmanager_url} if c.alertmanager_url else {},
    }  # fmt: skip
    for (section, key), path in files.items():
        held[section][f"{key}_file"] = str(path.resolve())
    return {section: values for section, values in held.items() if values}


def make_topics(config: MonitorConfig, partitions: int, replication: int) -> Iterator[str]:
    """Create the topics and the topic of dead letters. Returns sentences on what was done.

    Raises:
        BrokerError: Kafka cannot be used. The message says what to do.
    """
    from monitor.sources.creating import advise, create_topic
    from monitor.sources.diagnosis import diagnose

    for topic, wanted in (*((t, partitions) for t in config.kafka.topic_names), (config.dead_letter_topic, 1)):
        try:
            yield create_topic(config.kafka, topic, wanted, replication)
        except BrokerError as error:
            found = diagnose(config.kafka)
            if found is not None:
                raise BrokerError(f"Kafka cannot be used: {found.text}") from error
            raise BrokerError(advise(error, topic)) from error
