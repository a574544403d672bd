"""Questions to the broker through a client of their own, each answered or abandoned within seconds."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from monitor.config import KafkaConfig
from monitor.errors import BrokerUnavailableError
from monitor.messages.text import name_topics
from monitor.sources.kafka_errors import kafka_errors
from monitor.sources.settings import asking

T = TypeVar("T")

PATIENCE = 10.0
"""After this many seconds a question is abandoned, whatever its client does."""


class Admin:
    """One connection of kafka-python's admin client. It is opened by the first question.

    Args:
        config: the address of Kafka, and the topics that errors name.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._client: Any = None

    def ask(self, question: Callable[[Any], T]) -> T:
        """Return the answer to a question, which is called with the client.

        A client that fails or does not return is dropped, and the next question uses a new one.

        Raises:
            BrokerUnavailableError: Kafka does not answer. BrokerError: it refuses.
        """
        try:
            names = self._config.topic_names
            about = f"topic {names[0]!r}" if len(names) == 1 else name_topics(names)
            with kafka_errors(f"{about} at {self._config.bootstrap_servers}"):
                return _within(PATIENCE, lambda: question(self._connected()))
        except BaseException:
            self.close()
            raise

    def _connected(self) -> Any:
        if self._client is None:
            from kafka import KafkaAdminClient

            self._client = KafkaAdminClient(**asking(self._config))
        return self._client

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(BrokerUnavailableError):
                _within(1.0, client.close)


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Make a call in a thread of its own, which is abandoned if it does not return: libraries may hang."""
    answers: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=run, name="question", daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise BrokerUnavailableError(f"Kafka has not answered for {seconds:g} seconds") from None
    if error is not None:
        raise error
    return cast("T", answer)
