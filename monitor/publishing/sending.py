"""The thread that connects to Kafka and sends, so that serving never waits for either."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable

from monitor.publishing.complaints import Complaints
from monitor.publishing.flight import Flight
from monitor.publishing.messages import Encoder, Unsendable
from monitor.publishing.outbox import Outbox
from monitor.publishing.producers import Producer, SendError
from monitor.publishing.sending_log import EMBEDDINGS, SendingLog, Wording

MAX_IN_FLIGHT = 1000
"""How many messages a producer may have. The others wait in the outbox, which is bounded."""
BACKOFF_SECONDS = (0.2, 5.0)
"""The first and the longest pause between two attempts to connect."""
SILENT_SECONDS = 10.0
"""After this many seconds without an acknowledgement, a log line says so."""

PROMPT_SECONDS = 1.0
"""After this many seconds without an acknowledgement, the thread looks for one less often."""


class Sending:
    """Takes messages from an outbox to Kafka until the outbox is closed and empty, or abandoned.

    Args:
        outbox: holds what to send.
        encoder: turns rows into messages.
        open_producer: connects. It may take long and raise anything.
        topic: where to.
        where: the name of the Kafka, for people.
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
        wording: Wording = EMBEDDINGS,
        prompt: bool = False,
        renew_seconds: float = math.inf,
    ) -> None:
        self._outbox, self._encoder, self._open = outbox, encoder, open_producer
        self._topic, self._prompt, self._renew_seconds = topic, prompt, renew_seconds
        self._lines = SendingLog(outbox, topic, where, complaints, wording)
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
                self._lines.cannot_send(error)
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
        flight = Flight(self._outbox, self._lines)
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

    def _send_some(self, producer: Producer, flight: Flight) -> None:
        """Send at most a hundred of the waiting messages."""
        partitions = self._partitions(producer)
        for _ in range(100 if partitions else 0):
            message = None if flight.broken else self._outbox.take(self._encoder)
            if message is None:
                return
            if isinstance(message, Unsendable):
                self._outbox.discard(message)
                self._lines.unsendable(message.why)
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
        """Wait at most a second until no more than ``flying`` messages are in flight. Returns whether that is so."""
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
            self._lines.cannot_send(error)
            self._rest(1.0)
            return []
        self.topic_found = bool(found)
        if found:
            self._lines.topic_found()
            return found
        self._lines.no_topic()
        self._rest(1.0)
        return []

    def _await_any(self, producer: Producer, flight: Flight) -> None:
        """Wait for an answer, or for more to send."""
        flying = self._outbox.in_flight
        if not self._prompt or flight.silent_seconds() > PROMPT_SECONDS:
            self._await_answers(producer, flight, flying)
            return
        self._serve(producer, 0.003)
        if self._outbox.in_flight >= flying:
            self._outbox.wait_for_answers(flying, 0.003, or_work=True)

    def _await_answers(self, producer: Producer, flight: Flight, below: int) -> None:
        """Give Kafka a little time to answer."""
        self._serve(producer, 0.02)
        if self._outbox.in_flight:
            self._outbox.wait_for_answers(below, 0.03)
        else:
            time.sleep(0.03)
        silent = flight.silent_seconds()
        if silent > SILENT_SECONDS:
            self._lines.is_silent(silent)
        if silent > self._renew_seconds:
            flight.broken = flight.broken or f"nothing was acknowledged for {silent:.0f} s"

    def _serve(self, producer: Producer, seconds: float) -> None:
        complaint = producer.serve(seconds)
        if complaint:
            self._lines.cannot_send(SendError(complaint))
