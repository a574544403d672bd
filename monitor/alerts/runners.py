"""The thread that serves one sink: it sends, and if the receiver does not accept, it waits and tries again.

Nothing that a sink does affects another sink or the counting loop. A thread runs until it is stopped: an error that a
sink or the store raises counts as one more failed attempt.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from monitor.alerts.addresses import hide_addresses
from monitor.alerts.layout import title
from monitor.alerts.sink import Fields, Outcome, Sink
from monitor.errors import MonitorError

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""A new transition in the store is noticed within this many seconds."""

LONGEST_WAIT = 60.0
"""The longest wait between two attempts, in seconds, unless a receiver asks for more."""

LONGEST_ASKED = 300.0
"""The longest wait in seconds that a receiver may ask for."""

SAY_AGAIN_SECONDS = 300.0
"""If a sink goes on failing, the log says so once in this many seconds."""


@dataclass
class SinkStatus:
    """The status of one sink of this process. Any thread may read these numbers.

    Attributes:
        delivered: transitions that were accepted; for sinks of mode ``state``, posts.
        failed: attempts that failed and are repeated.
        dropped: transitions that the receiver refuses and that are never sent again.
        why: why the last attempt failed; empty if it did not.
    """

    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    why: str = ""
    _oldest: float = field(default=0.0, repr=False)

    @property
    def oldest_seconds(self) -> float:
        """Age of the oldest change that the receiver has not accepted yet; 0 if it has accepted all."""
        return max(0.0, time.monotonic() - self._oldest) if self._oldest else 0.0

    def waits(self, seconds: float | None) -> None:
        """Note for how long the oldest change has been waiting; ``None`` if nothing waits."""
        self._oldest = 0.0 if seconds is None else time.monotonic() - seconds


class Backoff:
    """How long to wait after a failure: twice as long each time, with jitter so that processes do not call in step.

    A library's retry loop does not fit here, because other work goes on during the wait. The thread must renew the
    right to send, stop on request, and respect the delay that the receiver asks for.
    """

    def __init__(self, cap: float = LONGEST_WAIT, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._cap, self._uniform = cap, uniform
        self.failures = 0

    def fail(self, asked: float | None = None, most_asked: float = LONGEST_ASKED) -> float:
        """Note a failure, and return how many seconds to wait."""
        longest = min(self._cap, 2.0 ** min(self.failures, 16))
        self.failures += 1
        waited = self._uniform(longest / 2, longest)
        return max(waited, min(asked, most_asked)) if asked is not None else waited

    def succeed(self) -> None:
        """Note a success: the next wait is short again."""
        self.failures = 0


class Runner:
    """The base class of the threads of all sinks. Subclasses implement :meth:`turn`.

    Args:
        sink: the receiver.
        uniform: gives the random part of the waits.
    """

    def __init__(self, sink: Sink, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self.sink, self.status = sink, SinkStatus()
        self._backoff = Backoff(self._longest_wait(), uniform)
        self._stop, self._wake = threading.Event(), threading.Event()
        self._said_at, self._leave_at, self._store_away = float("-inf"), float("inf"), False
        self._thread = threading.Thread(target=self._run, name=f"delivery-{sink.name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Ask the thread to stop. It still sends the last changes, but starts nothing after ``seconds``."""
        self._leave_at = time.monotonic() + seconds
        self._stop.set()
        self._wake.set()

    def leaves(self) -> bool:
        """Whether the thread is stopping and may start nothing more."""
        return time.monotonic() > self._leave_at

    def join(self, timeout: float) -> bool:
        """Wait until the thread has ended. Returns False if it has not ended in time and is abandoned."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def wake(self) -> None:
        """Wake the thread: there is something new to send."""
        self._wake.set()

    def tell(self, alert: Fields) -> None:
        """Take an alert that is delivered directly, without Redis."""
        raise NotImplementedError

    def turn(self) -> float:
        """Do one round, and return the seconds until the next one."""
        raise NotImplementedError

    def last(self) -> None:
        """Do one more round before the thread ends, since the last change may be the reason why the process stops."""
        self.turn()

    def end(self) -> None:
        """Called once, at the very end of the thread."""

    def _longest_wait(self) -> float:
        return LONGEST_WAIT

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                pause = self.turn()
                self._store_away = False
            except MonitorError as error:
                pause = self._store_failed(error)
            except Exception:
                log.exception("delivery to %s goes on after an error of its own", self.sink.name)
                pause = self._backoff.fail()
            self._wake.wait(max(0.0, pause))
            self._wake.clear()
        for last in (self.last, self.end):
            try:
                last()
            except Exception as error:
                log.info("delivery to %s ends: %s", self.sink.name, hide_addresses(str(error)))

    def _store_failed(self, error: MonitorError) -> float:
        if not self._store_away:
            self._store_away = True
            log.warning("delivery to %s cannot read new alerts, and keeps trying: %s", self.sink.name, error)
        return POLL_SECONDS

    def attempt(self, alerts: Sequence[Fields]) -> Outcome:
        """Send once. An error that the sink raises counts as a failure and is tried again."""
        try:
            outcome = self.sink.send(alerts)
        except Exception as error:
            detail = hide_addresses(" ".join(str(error).split()))[:200]
            outcome = Outcome("again", f"it raised {type(error).__name__}: {detail}")
        if outcome.status == "taken":
            if self.status.why:
                log.info("%s at %s takes alerts again", self.sink.name, self.sink.shown)
            self.status.delivered += 1
            self.status.why = ""
            self._said_at = float("-inf")
        elif outcome.status == "again":
            self.status.failed += 1
        return outcome

    def say_failed(self, outcome: Outcome, what: str, wait: float) -> None:
        """Log a failure when it begins, and now and then while it lasts."""
        self.status.why = outcome.why
        if time.monotonic() - self._said_at < SAY_AGAIN_SECONDS:
            return
        self._said_at = time.monotonic()
        log.warning(
            "%s at %s did not accept %s: %s. It is sent again until it is accepted, next in %.0f seconds; other "
            "receivers are notified meanwhile.",
            self.sink.name, self.sink.shown, what, outcome.why, wait,
        )  # fmt: skip


class PulseRunner(Runner):
    """Calls a sink of mode ``pulse`` at regular intervals. It reads nothing from the store."""

    def _longest_wait(self) -> float:
        return min(LONGEST_WAIT, self.sink.every)

    def tell(self, alert: Fields) -> None:
        """Do nothing: a heartbeat carries no alerts."""

    def last(self) -> None:
        """Do nothing: a process that is stopping gives no sign of life."""

    def turn(self) -> float:
        """Call the sink once."""
        began = time.monotonic()
        outcome = self.attempt(())
        if outcome.status == "taken":
            self._backoff.succeed()
            return self.sink.every - (time.monotonic() - began)
        wait = self._backoff.fail(outcome.retry_after, self.sink.every)
        self.say_failed(outcome, "the sign of life", wait)
        return wait


def describe(event: Fields) -> str:
    """Describe a transition for the log."""
    return f"the alert {title(event)}"
