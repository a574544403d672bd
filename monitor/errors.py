"""All errors that this package raises, as one tree of exceptions.

::

    MonitorError
    ├── ConfigError                a setting that is unknown, missing or outside its range
    ├── MissingLibraryError        an optional library that the settings ask for is not installed
    ├── RecordError                a record that cannot be scored; carries its named reason (goes to the dead letters)
    ├── PostError                  a post that the ingest server refuses; carries its HTTP status
    ├── RecordSkippedError         a record that is not meant for this monitor; it is counted as skipped, no more
    ├── BadShareError              too many such records: the worker stops rather than drain the topic
    ├── ModelError                 the artifact cannot serve (no calibration, another width)
    ├── BrokerError                Kafka refused for good (authorisation, unknown topic, wrong settings)
    │   ├── TopicMissingError        the topic does not exist
    │   └── BrokerUnavailableError   Kafka cannot be reached now; trying again helps
    ├── StoreError                 Redis refused for good (wrong type, authentication, another schema)
    │   ├── StoreUnavailableError    Redis cannot be reached now; trying again helps
    │   └── ReboundError             the group was given other settings or another artifact: restart with those
    ├── HandlingError              a mute or an acknowledgement that cannot be made as it is asked for
    ├── LaunchError                a local broker or store did not start
    └── ReplayError                a range of the topic that cannot be read or judged

Each message says what was got, what was expected and how to go on, in one line.
"""

from __future__ import annotations

from collections.abc import Mapping


class MonitorError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(MonitorError, ValueError):
    """A setting is unknown, missing or outside its range."""


class MissingLibraryError(MonitorError, ImportError):
    """An optional library is needed and is not installed."""


class RecordError(MonitorError, ValueError):
    """A record cannot be scored.

    Attributes:
        reason: one of :data:`monitor.messages.contract.REASONS`.
        detail: what was got and what was expected.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class PostError(MonitorError, ValueError):
    """A post that the ingest server refuses.

    Attributes:
        status: of HTTP.
        sentence: what was got and what was expected.
        headers: of the answer.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})


class RecordSkippedError(MonitorError):
    """A record is not meant for this monitor: ``messages.accept`` leaves it out. It is counted as skipped, no more."""


class BadShareError(MonitorError, RuntimeError):
    """More records are rejected than the limit allows."""


class ModelError(MonitorError, ValueError):
    """The artifact cannot serve."""


class BrokerError(MonitorError, RuntimeError):
    """Kafka refused and will refuse again."""


class TopicMissingError(BrokerError):
    """The topic does not exist."""


class BrokerUnavailableError(BrokerError):
    """Kafka cannot be reached now."""


class StoreError(MonitorError, RuntimeError):
    """Redis refused and will refuse again."""


class StoreUnavailableError(StoreError):
    """Redis cannot be reached now."""


class ReboundError(StoreError):
    """The group was given other settings or another artifact while this process ran."""


class HandlingError(MonitorError, ValueError):
    """A mute or an acknowledgement cannot be made as it is asked for."""


class LaunchError(MonitorError, RuntimeError):
    """A local broker or store did not start."""


class ReplayError(MonitorError, ValueError):
    """A range of the topic cannot be read or judged."""
