"""Tracks the messages that one producer has, and handles Kafka's answer to each."""

from __future__ import annotations

import threading
import time

from monitor.publishing.messages import Message
from monitor.publishing.outbox import Outbox
from monitor.publishing.producers import SendError
from monitor.publishing.sending_log import SendingLog

MAX_ATTEMPTS = 5
"""A message is dropped after it was refused this often."""

REST_SECONDS = 1.0
"""The pause after Kafka refused a message that may be taken later."""


class Flight:
    """The messages that one producer has.

    Answers may come from any thread; they are ignored after the producer is gone.

    Args:
        outbox: gets the result of each message.
        lines: writes log lines about them.

    Attributes:
        broken: why the producer can no longer be used; empty if it can.
        rest_until: when to continue after Kafka refused a message for a reason that can be repaired.
        closing: the producer is being closed. A message that is abandoned then is not at fault.
    """

    def __init__(self, outbox: Outbox, lines: SendingLog) -> None:
        self._outbox, self._lines = outbox, lines
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
            self._lines.acknowledged()
            return
        if self.closing:
            self._outbox.put_back(message)
            return
        if error.rebuild:
            self.broken = str(error)
        message.attempts += not (error.patient or error.own_fault)
        if (error.own_fault and message.alone) or message.attempts >= MAX_ATTEMPTS:
            self._outbox.discard(message, str(error))
            self._lines.refused(error)
            return
        if error.own_fault:
            message.alone = True
        else:
            self._lines.refuses(error)
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
