"""Translates errors of kafka-python into this package's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from monitor.errors import BrokerError, BrokerUnavailableError


@contextmanager
def kafka_errors(what: str) -> Iterator[None]:
    """Translate Kafka errors into this package's, by whether trying again helps."""
    from kafka import errors

    try:
        yield
    except (errors.CommitFailedError, errors.RebalanceInProgressError, errors.IllegalGenerationError) as error:
        raise BrokerUnavailableError(f"Kafka rebalances ({what}): {error}") from error
    except errors.KafkaError as error:
        if error.retriable or isinstance(error, (errors.KafkaTimeoutError, errors.NodeNotReadyError)):
            raise BrokerUnavailableError(f"Kafka cannot be reached ({what}): {error}") from error
        raise BrokerError(f"Kafka refuses ({what}): {type(error).__name__}: {error}") from error
    except (OSError, AssertionError) as error:
        raise BrokerUnavailableError(f"Kafka cannot be reached ({what}): {error}") from error
