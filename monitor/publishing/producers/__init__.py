"""The Kafka producer that the publisher needs, in one file for each client library."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from line_plugin.optional import say_missing
from monitor.errors import ConfigError, MissingLibraryError
from monitor.publishing.messages import Message

CLIENTS = ("kafka-python", "confluent-kafka")


class SendError(Exception):
    """A message was not sent.

    Attributes:
        own_fault: no producer could send this message (it is too large). All other failures can be tried again. If it
            comes as an answer, another message of the same batch may be at fault.
        rebuild: the producer can no longer be used.
        patient: try again without limit (a missing topic or permission).
    """

    def __init__(self, text: str, *, own_fault: bool = False, rebuild: bool = False, patient: bool = False) -> None:
        super().__init__(text)
        self.own_fault, self.rebuild, self.patient = own_fault, rebuild, patient


Answer = Callable[[Message, SendError | None], None]
"""Called once for each message, from any thread, when Kafka acknowledged it (``None``) or it failed."""


class Producer(Protocol):
    """The interface that a library's producer is wrapped into. Only one thread uses it."""

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic; empty if the topic does not exist.

        Raises:
            SendError: the partitions cannot be read now.
        """

    def send(self, topic: str, partition: int, message: Message, answer: Answer) -> None:
        """Hand a message to the library. ``answer`` is called later.

        Raises:
            SendError: the message was not handed over, and ``answer`` will not be called.
        """

    def serve(self, seconds: float) -> str:
        """Give the library time to call ``answer``, if it needs that. Returns its complaint; empty if it has none."""

    def close(self, seconds: float) -> None:
        """Abandon what is in flight. Close the producer if it was opened here."""


def require_library(client: str) -> None:
    """Refuse a client whose library is not installed.

    Raises:
        MissingLibraryError: with the extra that brings it.
    """
    module = client.replace("-", "_").removesuffix("_python")
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise MissingLibraryError(say_missing(module, f"monitor.publishing with client {client}"))


def open_producer(client: str, bootstrap_servers: str, settings: Mapping[str, Any]) -> Producer:
    """Connect with the named library. This may take long, and may raise anything that the library raises."""
    if client == "confluent-kafka":
        from monitor.publishing.producers.confluent import ConfluentProducer

        return ConfluentProducer.opened(bootstrap_servers, settings)
    from monitor.publishing.producers.kafka_python import KafkaPythonProducer

    return KafkaPythonProducer.opened(bootstrap_servers, settings)


def wrap_producer(producer: Any) -> Producer:
    """Wrap a producer that the caller opened. Its library is recognized by its methods.

    Raises:
        ConfigError: the producer belongs to neither library.
    """
    if hasattr(producer, "serve") and hasattr(producer, "partitions"):
        made: Producer = producer
        return made
    if hasattr(producer, "produce"):
        from monitor.publishing.producers.confluent import ConfluentProducer

        return ConfluentProducer(producer, own=False)
    if hasattr(producer, "send"):
        from monitor.publishing.producers.kafka_python import KafkaPythonProducer

        return KafkaPythonProducer(producer, own=False)
    raise ConfigError(
        f"producer is {type(producer).__name__}, expected a kafka.KafkaProducer or a confluent_kafka.Producer"
    )
