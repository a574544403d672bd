"""Checks Kafka for `ood-monitor check`: whether it accepts us, and what the topic's settings mean for the monitor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from monitor.config import MonitorConfig
from monitor.errors import BrokerError, TopicMissingError
from monitor.messages.text import name_topics
from monitor.sources.descriptions import Description, how_to_create
from monitor.sources.diagnosis import diagnose
from monitor.sources.topic import TopicQuestions

HOUR_MS = 3_600_000
FOREVER_MS = 2**62


def check_kafka(config: MonitorConfig) -> str:
    """Check Kafka, and describe the result.

    Raises:
        BrokerError: Kafka cannot be used. The message names the setting to change.
    """
    k, parts, means = config.kafka, list[str](), dict[str, list[str]]()
    questions = TopicQuestions(k)
    try:
        for topic, seen in questions.describe().items():
            if isinstance(seen, TopicMissingError):
                raise TopicMissingError(f"no topic {topic!r} on {k.bootstrap_servers}: {how_to_create(k, topic)}")
            if isinstance(seen, BrokerError):
                raise seen
            parts += _describe(topic, seen)
            for text in _meaning(questions.settings(topic)):
                means.setdefault(text, []).append(topic)
        letters = questions.exists(config.dead_letter_topic)
    except TopicMissingError:
        raise
    except BrokerError as error:
        found = diagnose(k)
        raise BrokerError(f"Kafka cannot be used: {found.text if found else error}") from error
    finally:
        questions.close()
    if not letters:
        parts.append(
            f"topic {config.dead_letter_topic!r} for dead letters does not exist: create it. Otherwise the first "
            "record that cannot be scored creates it, or stops the worker if the broker creates no topics by itself"
        )
    of_all = len(k.topic_names)
    parts += [text if len(of) == of_all else f"{name_topics(of)}: {text}" for text, of in means.items()]
    return "; ".join(parts)


def _describe(topic: str, seen: Description) -> Iterator[str]:
    yield f"topic {topic!r} has {len(seen.partitions)} partitions"
    if seen.leaderless:
        yield f"{len(seen.leaderless)} of them have no leader and cannot be read now: look at the brokers"


def _meaning(settings: Mapping[str, str]) -> Iterator[str]:
    """Describe what the settings of the topic mean."""
    if not settings:
        yield "the settings of the topic cannot be read (grant DESCRIBE_CONFIGS, or look at them yourself)"
        return
    if settings.get("message.timestamp.type") == "LogAppendTime":
        yield "records are dated by the broker (LogAppendTime), so no sender's clock matters"
    elif "message.timestamp.type" in settings:
        ahead, behind = (
            _span(settings.get(f"message.timestamp.{side}.max.ms", ""), f"message.timestamp.{side}.max.ms")
            for side in ("after", "before")
        )
        yield (
            f"records are dated by their senders (CreateTime), up to {ahead} ahead and {behind} behind: a sender with "
            "a wrong clock has its samples counted at another time; message.timestamp.type=LogAppendTime prevents that"
        )
    if "compact" in settings.get("cleanup.policy", ""):
        yield (
            f"WARNING: cleanup.policy is {settings['cleanup.policy']}: compaction removes all but the last record of "
            "each key, and keys are streams here, so records are lost uncounted and unnoticed: set it to delete"
        )
    if "delete" in settings.get("cleanup.policy", ""):
        kept = _span(settings.get("retention.ms", ""), "retention.ms")
        size = settings.get("retention.bytes", "-1")
        more = "" if size == "-1" else f", and no more than {int(size):,} bytes a partition (retention.bytes)"
        yield f"records are kept for {kept}{more}: those of a longer outage are lost, and an alert (gap) says so"


def _span(ms: str, name: str) -> str:
    if not ms.lstrip("-").isdigit():
        return f"an unknown time ({name})"
    if int(ms) < 0 or int(ms) > FOREVER_MS:
        return f"any time ({name})"
    hours = int(ms) / HOUR_MS
    return f"{hours:.3g} hours ({name})" if hours >= 1 else f"{int(ms) / 1000:.3g} seconds ({name})"
