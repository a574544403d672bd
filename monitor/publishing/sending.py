"""The thread that connects to Kafka and sends, so that serving never waits for either."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from monitor.publishing.complaints import Complaints
from monitor.publishing.messages import Encoder, Message, Unsendable
from monitor.publishing.outbox import Outbox
from monitor.publishing.producers import Producer, SendError

log = logging.getLogger("monitor.publishing")

MAX_IN_FLIGHT = 1000
"""How many messages a producer may have. The others wait in the outbox, which is bounded."""
MAX_ATTEMPTS = 5
"""A message is dropped after it was refused this often."""
BACKOFF_SECONDS = (0.2, 5.0)
"""The first and the longest pause between two attempts to connect."""
REST_SECONDS = 1.0
"""The pause after Kafka refused a message that may be taken later."""
SILENT_SECONDS = 10.0
"""After this many seconds without an acknowledgement, a log line says so."""

PROMPT_SECONDS = 1.0
"""After this many seconds without an acknowledgement, the thread looks for one less often."""


@dataclass(frozen=True)
class Wording:
    """The words that log lines use for what is sent, and for the sender's settings."""

    one: str = "an embedding"
    many: str = "embeddings"
    settings: str = "security_protocol, sasl_* and ssl_* of the publisher"


class Sending:
    """Takes messages from an outbox to Kafka until the outbox is closed and empty, or abandoned.

    Args:
        outbox: holds what to send.
        encoder: turns rows into messages.
        open_producer: connects. It may take long and raise anything.
        topic: where to.
        where: names the Kafka for people.
        complaints: writes rate-limited log lines.
        wording: the words in these lines.
        prompt: somebody waits for each answer, so look for answers often, and for the topic as soon as there is a
            connection, whether or not there is something to send.
        renew_seconds: after this long without an acknowledgement the producer is opened again, and what it had is sent
            again, so it may arrive twice. This is needed because a broker that lost its state refuses an old producer
            forever.

    Attributes:
        topic_found: whether the topic existed when last checked.
    """

    def __init__(
        self,
        outbox: Outbox,
        encoder: Encoder,
        open_producer: Callable[[], Producer],
        topic: str,
        where: str,
        complaints: Complaints,
        wording: Wording = Wording(),
        prompt: bool = False,
        renew_seconds: float = math.inf,
    ) -> None:
        self._outbox, self._encoder, self._open = outbox, encoder, open_producer
        self._topic, self._where, self._complaints = topic, where, complaints
        self._wording, self._prompt, self._renew_seconds = wording, prompt, renew_seconds
        self.topic_found = False
        self._turn = itertools.count()
        # Daemon: a Kafka that hangs must not keep the serving process from ending.
        self.thread = threading.Thread(target=self._run, name="ood-publisher", daemon=True)

    def _run(self) -> None:
        pause = BACKOFF_SECONDS[0]
        while not self._outbox.finished:
            began = time.monotonic()
            try:
                self._send_with(self._open())
            except Exception as error:  # whatever a library raises: the served model must not hear of it
                self.topic_found = False
                self._complain_of_connection(error)
            pause = BACKOFF_SECONDS[0] if time.monotonic() - began > 60 else min(2 * pause, BACKOFF_SECONDS[1])
            if not self._outbox.finished:
                self._rest(pause)

    def _rest(self, seconds: float) -> None:
        """Sleep; only for a short time while the publisher is being closed, since somebody waits for that."""
        self._outbox.wait_for_close(seconds)
        if self._outbox.closing:
            time.sleep(min(seconds, 0.1))

    def _send_with(self, producer: Producer) -> None:
        """Send until the outbox is finished.

        Raises:
            SendError: this producer can no longer be used.
        """
        about = f"topic {self._topic!r} of Kafka at {self._where}"
        flight = _Flight(self._outbox, self._complaints, about, self._wording)
        try:
            while self._prompt and not self._outbox.finished and not self._partitions(producer):
                self._serve(producer, 0)
            while not self._outbox.finished:
                self._serve(producer, 0)
                if flight.broken:
                    raise SendError(f"the producer gave up and is opened again: {flight.broken}")
                if time.monotonic() < flight.rest_until:
                    self._await_answers(producer, flight, 1)
                elif self._outbox.in_flight >= MAX_IN_FLIGHT:
                    self._await_answers(producer, flight, MAX_IN_FLIGHT)
                elif self._outbox.wait_for_work(0 if self._outbox.in_flight else 0.5):
                    self._send_some(producer, flight)
                elif self._outbox.in_flight:
                    self._await_any(producer, flight)
        finally:
            flight.closing = True
            producer.close(1.0)
            flight.put_back_rest()

    def _send_some(self, producer: Producer, flight: _Flight) -> None:
        """Send at most a hundred of the waiting messages."""
        partitions = self._partitions(producer)
        for _ in range(100 if partitions else 0):
            message = None if flight.broken else self._outbox.take(self._encoder)
            if message is None:
                return
            if isinstance(message, Unsendable):
                self._outbox.discard(message)
                self._complain("message", f"{self._wording.one} for topic {self._topic!r} was dropped: {message.why}")
                continue
            if message.alone and not self._await_at_most(producer, 1):
                self._outbox.put_back(message)
                return
            flight.begin(message)
            try:
                producer.send(self._topic, partitions[next(self._turn) % len(partitions)], message, flight.answer)
            except SendError as error:
                message.alone = message.alone or error.own_fault  # it was not even put into a batch
                flight.answer(message, error)
                return
            if message.alone:
                self._await_at_most(producer, 0)

    def _await_at_most(self, producer: Producer, flying: int) -> bool:
        """Wait at most a second until no more than ``most`` messages are in flight. Returns whether that is so."""
        until = time.monotonic() + 1.0
        while self._outbox.in_flight > flying and time.monotonic() < until:
            self._serve(producer, 0.005)
            self._outbox.wait_for_answers(flying + 1, 0.01)
        return self._outbox.in_flight <= flying

    def _partitions(self, producer: Producer) -> list[int]:
        """Return the topic's partitions. If the topic is missing, log that and wait for it."""
        try:
            found = producer.partitions(self._topic)
        except SendError as error:
            self.topic_found = False
            self._complain_of_connection(error)
            self._rest(1.0)
            return []
        self.topic_found = bool(found)
        if found:
            many = self._wording.many
            self._complaints.settle("topic", f"topic {self._topic!r} is there now, and {many} are sent to it")
            return found
        self._complain(
            "topic",
            f"topic {self._topic!r} does not exist on Kafka at {self._where}, or Kafka does not answer: "
            f"{self._waiting()}. If it is missing, create it: kafka-topics.sh --bootstrap-server {self._where} "
            f"--create --topic {self._topic} --partitions 6",
        )
        self._rest(1.0)
        return []

    def _await_any(self, producer: Producer, flight: _Flight) -> None:
        """Wait for an answer, or for more to send."""
        flying = self._outbox.in_flight
        if not self._prompt or flight.silent_seconds() > PROMPT_SECONDS:
            self._await_answers(producer, flight, flying)
            return
        self._serve(producer, 0.003)
        if self._outbox.in_flight >= flying:
            self._outbox.wait_for_answers(flying, 0.003, or_work=True)

    def _await_answers(self, producer: Producer, flight: _Flight, below: int) -> None:
        """Give Kafka a little time to answer."""
        self._serve(producer, 0.02)
        if self._outbox.in_flight:
            self._outbox.wait_for_answers(below, 0.03)
        else:
            time.sleep(0.03)
        silent = flight.silent_seconds()
        if silent > SILENT_SECONDS:
            self._complain(
                "connection",
                f"Kafka at {self._where} has acknowledged no {self._wording.many} of topic {self._topic!r} for "
                f"{silent:.0f} s: "
                f"{self._waiting()}. Check that the broker is up; it is tried again all the time",
            )
        if silent > self._renew_seconds:
            flight.broken = flight.broken or f"nothing was acknowledged for {silent:.0f} s"

    def _serve(self, producer: Producer, seconds: float) -> None:
        complaint = producer.serve(seconds)
        if complaint:
            self._complain_of_connection(SendError(complaint))

    def _complain(self, kind: str, text: str) -> None:
        self._complaints.warn(kind, text)

    def _complain_of_connection(self, error: Exception) -> None:
        about = str(error) if isinstance(error, SendError) else f"{type(error).__name__}: {error}"
        self._complain(
            "connection",
            f"{self._wording.many} cannot be sent to topic {self._topic!r} of Kafka at {self._where}: {about}. "
            f"It is tried again all the time; {self._waiting()}. Check that the broker is up, "
            f"and {self._wording.settings}",
        )

    def _waiting(self) -> str:
        pending, dropped = self._outbox.pending, self._outbox.dropped
        return f"{pending} {self._wording.many} are waiting, {dropped} were dropped so far"


class _Flight:
    """The messages that one producer has.

    Answers may come from any thread; they are ignored after the producer is gone.

    Attributes:
        broken: why the producer can no longer be used; empty if it can.
        rest_until: when to continue after Kafka refused something that somebody can repair.
        closing: the producer is being closed. What it abandons then is not the fault of a message.
    """

    def __init__(self, outbox: Outbox, complaints: Complaints, about: str, wording: Wording) -> None:
        self._outbox, self._complaints, self._about, self._wording = outbox, complaints, about, wording
        self._lock = threading.Lock()
        self._messages: dict[int, Message] = {}
        self._since = time.monotonic()
        self.broken = ""
        self.rest_until = 0.0
        self.closing = False

    def begin(self, message: Message) -> None:
        """Note that a message is about to be handed over."""
        with self._lock:
            if not self._messages:
                self._since = time.monotonic()
            self._messages[id(message)] = message

    def answer(self, message: Message, error: SendError | None) -> None:
        """Note that a message was acknowledged or failed."""
        with self._lock:
            if self._messages.pop(id(message), None) is None:
                return
        if error is None:
            self._since = time.monotonic()
            self._outbox.acknowledge(message)
            self._complaints.settle("connection", f"{self._wording.many} are acknowledged again by {self._about}")
            return
        if self.closing:
            self._outbox.put_back(message)
            return
        if error.rebuild:
            self.broken = str(error)
        message.attempts += not (error.patient or error.own_fault)
        if (error.own_fault and message.alone) or message.attempts >= MAX_ATTEMPTS:
            self._outbox.discard(message, str(error))
            self._complaints.warn("message", f"{self._wording.one} for {self._about} was dropped: {error}")
            return
        if error.own_fault:
            message.alone = True
        else:
            kept = f"{self._about} refuses {self._wording.many}, which are kept and sent again: {error}"
            self._complaints.warn("connection", kept)
            self.rest_until = time.monotonic() + REST_SECONDS
        self._outbox.put_back(message)

    def put_back_rest(self) -> None:
        """Put back all messages without an answer, for the next producer to send."""
        with self._lock:
            rest, self._messages = list(self._messages.values()), {}
        for message in rest:
            self._outbox.put_back(message)

    def silent_seconds(self) -> float:
        """For how long messages have been waiting without any answer."""
        with self._lock:
            return time.monotonic() - self._since if self._messages else 0.0
