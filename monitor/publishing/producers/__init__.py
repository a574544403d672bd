"""A Kafka producer as the publisher needs it, whichever library it comes from: one file a library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from monitor.errors import ConfigError
from monitor.publishing.messages import Message

CLIENTS = ("kafka-python", "confluent-kafka")


class SendError(Exception):
    """A message was not sent.

    Attributes:
        own_fault: no producer could send this message (it is too large); everything else can be tried again. If it
            comes as an answer it may be the fault of another message of the same batch.
        rebuild: the producer is of no use any more.
        patient: it is worth trying for ever (a missing topic or permission), whatever the number of attempts.
    """

    def __init__(self, text: str, *, own_fault: bool = False, rebuild: bool = False, patient: bool = False) -> None:
        super().__init__(text)
        self.own_fault, self.rebuild, self.patient = own_fault, rebuild, patient


Answer = Callable[[Message, SendError | None], None]
"""Called once for each message, from any thread, when Kafka acknowledged it (``None``) or it failed."""


class Producer(Protocol):
    """What a library's producer is wrapped into. Used by one thread."""

    def partitions(self, topic: str) -> list[int]:
        """The partitions of a topic, empty if it does not exist.

        Raises:
            SendError: they cannot be had now.
        """

    def send(self, topic: str, partition: int, message: Message, answer: Answer) -> None:
        """Hand a message over; ``answer`` is called later.

        Raises:
            SendError: it was not handed over; ``answer`` will not be called.
        """

    def serve(self, seconds: float) -> str:
        """Give a library that needs it the time to call ``answer``; what it complains of, empty for nothing."""

    def close(self, seconds: float) -> None:
        """Give up what is in flight and close, if this producer was opened here."""


def open_producer(client: str, bootstrap_servers: str, settings: Mapping[str, Any]) -> Producer:
    """Connect with the library that is named. May take long, and may raise anything that the library raises."""
    if client == "confluent-kafka":
        from monitor.publishing.producers.confluent import ConfluentProducer

        return ConfluentProducer.opened(bootstrap_servers, settings)
    from monitor.publishing.producers.kafka_python import KafkaPythonProducer

    return KafkaPythonProducer.opened(bootstrap_servers, settings)


def wrap_producer(producer: Any) -> Producer:
    """Wrap a producer that somebody else opened; it is told apart by its methods.

    Raises:
        ConfigError: it is of neither library.
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
