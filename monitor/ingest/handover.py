"""Hands events to Kafka and waits until they are acknowledged.

Events of a post that is answered with 202 are in Kafka.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

from monitor.errors import PostError
from monitor.publishing.messages import Message
from monitor.publishing.outbox import CLOSED, Outbox


class Handover:
    """Puts messages into the queue and waits until Kafka has acknowledged them.

    While Kafka cannot be reached, only one post at a time waits for it, and all others are answered at once. So senders
    do not wait for our answer, and the queue does not fill with events that will be sent again anyway.

    Args:
        outbox: the queue.
        max_events, max_bytes: the limits of the queue, which show whether a batch never fits or only not now.
        ack_seconds: how long a post waits.
        retry_after_seconds: how long a sender must wait before it posts again.
        where: the name of the Kafka, for people.
        clock: seconds that only rise.

    Attributes:
        draining: the process is being stopped and accepts nothing more.
        acknowledged: how many events Kafka has acknowledged.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        max_events: int,
        max_bytes: int,
        ack_seconds: float,
        retry_after_seconds: int,
        where: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox, self._max_events, self._max_bytes = outbox, max_events, max_bytes
        self._seconds, self._retry = ack_seconds, {"retry-after": str(retry_after_seconds)}
        self._where, self._clock = where, clock
        self.draining = False
        self._away: float | None = None
        self.acknowledged = 0

    @property
    def away(self) -> float | None:
        """Since when Kafka has acknowledged nothing, by the clock; ``None`` if it does, or if nothing waits."""
        return self._away if self._outbox.pending else None

    async def hand_over(self, messages: Sequence[Message]) -> None:
        """Return when Kafka has acknowledged all messages.

        Raises:
            PostError: 503 with ``Retry-After`` if Kafka has not; some of them may be in Kafka all the same.
                413 if Kafka would refuse them again.
        """
        self._refuse_now(messages)
        receipt = _Receipt(len(messages), self._acknowledge)
        for n, message in enumerate(messages):
            message.answered = receipt.answer
            if not self._outbox.offer_message(message):
                for offered in messages[:n]:
                    self._outbox.withdraw(offered)
                raise self._later(f"{self._outbox.pending} events are waiting for Kafka already")
        try:
            why = await asyncio.wait_for(asyncio.shield(receipt.future), self._seconds)
        except asyncio.TimeoutError:
            for message in messages:
                self._outbox.withdraw(message)  # those that are with the producer stay there
            if self._away is None:
                self._away = self._clock() - self._seconds
            raise self._later(f"Kafka at {self._where} has not acknowledged it in {self._seconds:g} s") from None
        if why == CLOSED:
            raise self._later("this server is being stopped")
        if why:
            raise PostError(413, f"Kafka refuses the event for good: {why}")

    def _refuse_now(self, messages: Sequence[Message]) -> None:
        """Refuse at once a post that would be refused anyway.

        Raises:
            PostError: see :meth:`hand_over`.
        """
        if self.draining:
            raise self._later("this server is being stopped")
        if len(messages) > self._max_events or sum(m.size for m in messages) > self._max_bytes:
            raise PostError(
                413, f"{len(messages)} events at once, expected at most {self._max_events} and {self._max_bytes} bytes"
            )
        away = self.away
        if away is not None:
            seconds = self._clock() - away
            raise self._later(f"Kafka at {self._where} has acknowledged nothing for {seconds:.0f} s")

    def _later(self, why: str) -> PostError:
        return PostError(503, f"{why}: send it again after {self._retry['retry-after']} s", self._retry)

    def _acknowledge(self) -> None:
        self.acknowledged += 1
        self._away = None


class _Receipt:
    """Collects the answers to the messages of one post, which come from other threads.

    Attributes:
        future: done when all answers are here. Its result says why a message was dropped; empty if none was.
    """

    def __init__(self, messages: int, acknowledged: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._left, self._why, self._acknowledged = messages, "", acknowledged
        self._lock = threading.Lock()
        self.future: asyncio.Future[str] = self._loop.create_future()

    def answer(self, why: str) -> None:
        """Note that a message was acknowledged (``why`` is empty) or dropped."""
        with self._lock:
            self._left -= 1
            self._why = self._why or why
            last = not self._left
        try:
            if not why:
                self._loop.call_soon_threadsafe(self._acknowledged)
            if last:
                self._loop.call_soon_threadsafe(self._finish)
        except RuntimeError:  # the loop is closed, so nobody waits any more
            return

    def _finish(self) -> None:
        if not self.future.done():
            self.future.set_result(self._why)
