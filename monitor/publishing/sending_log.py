"""Logs what Kafka does not take, how many messages wait for it, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.publishing.complaints import Complaints
from monitor.publishing.outbox import Outbox
from monitor.publishing.producers import SendError


@dataclass(frozen=True)
class Wording:
    """The words that log lines use for what is sent, and for the sender's settings."""

    one: str = "an embedding"
    many: str = "embeddings"
    settings: str = "security_protocol, sasl_* and ssl_* of the publisher"


EMBEDDINGS = Wording()


class SendingLog:
    """Writes the lines about one topic.

    Args:
        outbox: says how many messages are waiting and were dropped.
        topic: the topic that messages are sent to.
        where: the name of the Kafka, for people.
        complaints: writes rate-limited log lines.
        wording: the words for what is sent.
    """

    def __init__(self, outbox: Outbox, topic: str, where: str, complaints: Complaints, wording: Wording) -> None:
        self._outbox, self._topic, self._where = outbox, topic, where
        self._complaints, self._wording = complaints, wording
        self._about = f"topic {topic!r} of Kafka at {where}"

    def cannot_send(self, error: Exception) -> None:
        """Kafka cannot be reached, or a library fails."""
        about = str(error) if isinstance(error, SendError) else f"{type(error).__name__}: {error}"
        self._complaints.warn(
            "connection",
            f"{self._wording.many} cannot be sent to {self._about}: {about}. "
            f"It is tried again all the time; {self._waiting()}. Check that the broker is up, "
            f"and {self._wording.settings}",
        )

    def is_silent(self, seconds: float) -> None:
        """Nothing was acknowledged for so long."""
        self._complaints.warn(
            "connection",
            f"Kafka at {self._where} has acknowledged no {self._wording.many} of topic {self._topic!r} for "
            f"{seconds:.0f} s: {self._waiting()}. Check that the broker is up; it is tried again all the time",
        )

    def refuses(self, error: SendError) -> None:
        """Kafka refuses messages for a reason that somebody can repair."""
        kept = f"{self._about} refuses {self._wording.many}, which are kept and sent again: {error}"
        self._complaints.warn("connection", kept)

    def acknowledged(self) -> None:
        """A message was acknowledged, so the connection works."""
        self._complaints.settle("connection", f"{self._wording.many} are acknowledged again by {self._about}")

    def no_topic(self) -> None:
        """The topic does not exist, as far as the producer knows."""
        self._complaints.warn(
            "topic",
            f"topic {self._topic!r} does not exist on Kafka at {self._where}, or Kafka does not answer: "
            f"{self._waiting()}. If it is missing, create it: kafka-topics.sh --bootstrap-server {self._where} "
            f"--create --topic {self._topic} --partitions 6",
        )

    def topic_found(self) -> None:
        """The topic exists."""
        many = self._wording.many
        self._complaints.settle("topic", f"topic {self._topic!r} is there now, and {many} are sent to it")

    def unsendable(self, why: str) -> None:
        """A row was dropped that cannot be made a message of."""
        self._complaints.warn("message", f"{self._wording.one} for topic {self._topic!r} was dropped: {why}")

    def refused(self, error: SendError) -> None:
        """A message was dropped because Kafka refused it for good."""
        self._complaints.warn("message", f"{self._wording.one} for {self._about} was dropped: {error}")

    def _waiting(self) -> str:
        pending, dropped = self._outbox.pending, self._outbox.dropped
        return f"{pending} {self._wording.many} are waiting, {dropped} were dropped so far"
