"""The thread of one sink: what it is told, when, and what happens if it does not take it.

Nothing that a sink does reaches another sink or the loop that counts. A thread never ends before it is told to: what a
sink or the store raises is one more failed attempt.
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
"""A transition in the store is seen within this."""

LONGEST_WAIT = 60.0
"""Between two attempts, in seconds, unless a receiver asks for more."""

LONGEST_ASKED = 300.0
"""A receiver that asks to wait longer is asked again after this."""

SAY_AGAIN_SECONDS = 300.0
"""A sink that goes on failing is named in the log this often."""


@dataclass
class SinkStatus:
    """How one sink of this process fares; plain numbers, to be read from any thread.

    Attributes:
        delivered: transitions (or, for sinks that are told everything as it stands, posts) that were taken.
        failed: attempts that have to be repeated.
        dropped: transitions that the sink refuses, and that are never sent again.
        why: why the last attempt failed, empty if it did not.
    """

    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    why: str = ""
    _oldest: float = field(default=0.0, repr=False)

    @property
    def oldest_seconds(self) -> float:
        """Age of the oldest change that the sink has not taken yet; 0 if it has them all."""
        return max(0.0, time.monotonic() - self._oldest) if self._oldest else 0.0

    def waits(self, seconds: float | None) -> None:
        """Something has been waiting for so long; ``None`` if nothing waits."""
        self._oldest = 0.0 if seconds is None else time.monotonic() - seconds


class Backoff:
    """How long to wait after failures: twice as long each time, with jitter so that processes do not call in step.

    It is a few lines of its own because the wait is shared with other work: the loop must renew the right to send, end
    when it is told to, and respect what the receiver asks for.
    """

    def __init__(self, cap: float = LONGEST_WAIT, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._cap, self._uniform = cap, uniform
        self.failures = 0

    def fail(self, asked: float | None = None, most_asked: float = LONGEST_ASKED) -> float:
        """One more failure; seconds to wait."""
        longest = min(self._cap, 2.0 ** min(self.failures, 16))
        self.failures += 1
        waited = self._uniform(longest / 2, longest)
        return max(waited, min(asked, most_asked)) if asked is not None else waited

    def succeed(self) -> None:
        """It works."""
        self.failures = 0


class Runner:
    """What the threads of all sinks share; subclasses have :meth:`turn`.

    Args:
        sink: who is told.
        uniform: randomness of the waits.
    """

    def __init__(self, sink: Sink, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self.sink, self.status = sink, SinkStatus()
        self._backoff = Backoff(self._longest_wait(), uniform)
        self._stop, self._wake = threading.Event(), threading.Event()
        self._said_at, self._leave_at, self._store_away = float("-inf"), float("inf"), False
        self._thread = threading.Thread(target=self._run, name=f"delivery-{sink.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Ask it to end: it tells what has just changed, and begins nothing after so many seconds."""
        self._leave_at = time.monotonic() + seconds
        self._stop.set()
        self._wake.set()

    def leaves(self) -> bool:
        """Whether nothing more may be begun."""
        return time.monotonic() > self._leave_at

    def join(self, timeout: float) -> bool:
        """Wait for its end; False if it is left behind."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    def tell(self, alert: Fields) -> None:
        """An alert changed that is handed over directly."""
        raise NotImplementedError

    def turn(self) -> float:
        """One round; seconds until the next one is due."""
        raise NotImplementedError

    def last(self) -> None:
        """One more round before it ends: the process may be ending because of what has just changed."""
        self.turn()

    def end(self) -> None:
        """The last thing it does."""

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
            log.warning("delivery to %s cannot read new alerts, and goes on trying: %s", self.sink.name, error)
        return POLL_SECONDS

    def attempt(self, alerts: Sequence[Fields]) -> Outcome:
        """Send once. What the sink raises is a failure that is repeated."""
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
        """Log a failure, when it begins and now and then while it lasts."""
        self.status.why = outcome.why
        if time.monotonic() - self._said_at < SAY_AGAIN_SECONDS:
            return
        self._said_at = time.monotonic()
        log.warning(
            "%s at %s did not take %s: %s. It is sent again until it is taken, next in %.0f seconds; other receivers "
            "are told meanwhile.",
            self.sink.name, self.sink.shown, what, outcome.why, wait,
        )  # fmt: skip


class PulseRunner(Runner):
    """Calls the sink every so often, and looks at nothing."""

    def _longest_wait(self) -> float:
        return min(LONGEST_WAIT, self.sink.every)

    def tell(self, alert: Fields) -> None:
        """It tells no alerts."""

    def last(self) -> None:
        """A process that ends gives no sign of life."""

    def turn(self) -> float:
        """One pulse."""
        began = time.monotonic()
        outcome = self.attempt(())
        if outcome.status == "taken":
            self._backoff.succeed()
            return self.sink.every - (time.monotonic() - began)
        wait = self._backoff.fail(outcome.retry_after, self.sink.every)
        self.say_failed(outcome, "the sign of life", wait)
        return wait


def describe(event: Fields) -> str:
    """A transition, for the log."""
    return f"the alert {title(event)}"
