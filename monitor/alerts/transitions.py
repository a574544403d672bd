"""The thread of a sink of mode ``transitions``: it sends each change of an alert in order, at least once.

One process at a time sends, the one that holds the right to.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from monitor.alerts.alert import moment
from monitor.alerts.handled import Handled, HeldBack
from monitor.alerts.runners import POLL_SECONDS, Runner, describe
from monitor.alerts.sink import Fields, Outcome, Sink
from monitor.errors import MonitorError
from monitor.store.deliveries import Backlog, DeliveryStore, Done

log = logging.getLogger(__name__)

LEASE_SECONDS = 15.0
"""If the sending process was killed, another one takes over after this many seconds."""

OUTBOX = 100
"""How many alerts that are not in Redis may wait at most."""

STUCK_SECONDS = 60.0
"""If the receiver answers and one transition fails for longer than this, later ones are tried before it."""

SUSPICIONS = 3
"""A failing transition is dropped after so many later ones were accepted, each after one more failure of the first."""


class TransitionRunner(Runner):
    """Sends the history from the sink's position on, and moves the position, as long as it holds the right to send.

    Args:
        sink: the receiver.
        store: holds the history and the sink's position in it.
        holder: a unique name of this process.
        lease_seconds: another process may take over the right to send if it is not renewed for this long.
        stuck_seconds: see :data:`STUCK_SECONDS`.
        uniform: gives the random part of the waits.
    """

    def __init__(
        self,
        sink: Sink,
        store: DeliveryStore,
        holder: str,
        *,
        lease_seconds: float = LEASE_SECONDS,
        stuck_seconds: float = STUCK_SECONDS,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        super().__init__(sink, uniform)
        self._store, self._holder = store, holder
        self._lease_seconds, self._stuck_seconds = lease_seconds, stuck_seconds
        self._handled = Handled(store)
        self._held = HeldBack(store, sink.name, self._handled)
        self._outbox: deque[Fields] = deque()
        self._lock = threading.Lock()
        self._not_before = self._failing_since = 0.0
        self._ahead: set[str] = set()
        self._probe = self._suspicions = 0
        self._began = self._trimmed = False
        self._noted = True  # an earlier process may have left a note that the sink fails

    def tell(self, alert: Fields) -> None:
        """Take a transition that could not be written to Redis. It is sent before all others."""
        with self._lock:
            self._outbox.append(alert)
            lost = self._outbox.popleft() if len(self._outbox) > OUTBOX else None
        if lost is not None:
            self.status.dropped += 1
            log.error("%s never gets %s, since %d newer ones wait", self.sink.name, describe(lost), OUTBOX)
        self.wake()

    def turn(self) -> float:
        """Send everything that waits, until the sink fails."""
        waits = self._not_before - time.monotonic()
        if waits > 0:
            return waits
        if not self._send_outbox():
            return 0.0
        if not self._began:
            self._store.begin(self.sink.name)
            self._began = True
        token = self._token()
        if not token:
            self.status.waits(None)
            return POLL_SECONDS
        self._handled.look()
        self._held.look()
        if not self._send_due():
            return POLL_SECONDS / 10
        backlog = self._store.backlog(self.sink.name)
        self.status.waits(backlog.oldest_ms / 1000 if backlog.events else None)
        self._say_trimmed(backlog)
        if not backlog.events:
            return POLL_SECONDS
        return 0.0 if self._send_backlog(backlog) else POLL_SECONDS / 10

    def end(self) -> None:
        """Give the right to send back, so that another process need not wait for it."""
        self._store.lease(self.sink.name, self._holder, 0)

    def _token(self) -> int:
        return self._store.lease(self.sink.name, self._holder, round(self._lease_seconds * 1000))

    # -- without Redis ---------------------------------------------------------------------------------------------

    def _send_outbox(self) -> bool:
        with self._lock:
            self._outbox.extendleft(reversed(self._held.due_direct()))
        while not self.leaves():
            with self._lock:
                while self._outbox and self._held.withholds_direct(self._outbox[0]):
                    self._outbox.popleft()
                first = self._outbox[0] if self._outbox else None
            if first is None:
                return True
            outcome = self.attempt([first])
            if outcome.status == "again":
                self._failed(outcome, first)
                return False
            self._works()
            if outcome.status == "refused":
                self._say_dropped(first, outcome.why)
            with self._lock:
                if self._outbox and self._outbox[0] is first:
                    self._outbox.popleft()
        return False

    # -- what mutes held back ---------------------------------------------------------------------------------------

    def _send_due(self) -> bool:
        """Send alerts that still fire and are no longer muted.

        False if the sink failed or another process took over.
        """
        for alert in self._held.due():
            if self.leaves() or not self._token():
                return False
            outcome = self.attempt([self._handled.annotated(alert)])
            if outcome.status == "again":
                self._failed(outcome, alert)
                return False
            self._works()
            if outcome.status == "refused":
                self._say_dropped(alert, outcome.why)
            self._held.forget(alert["fingerprint"])
        return True

    # -- from the history ------------------------------------------------------------------------------------------

    def _send_backlog(self, backlog: Backlog) -> bool:
        """Send the waiting transitions in order. Returns False if the sink failed or another process took over."""
        for place, event in enumerate(backlog.events):
            token = 0 if self.leaves() else self._token()
            if not token or self._outbox:
                return bool(token)
            if event["id"] in backlog.passed:
                log.info("%s does not get %s, since it was switched off at that time", self.sink.name, describe(event))
                self._held.pass_over(event)
                done = self._done(token, event, "passed")
            elif self._held.withholds(event):
                done = self._done(token, event, "muted")
            else:
                done = self._send(token, event, backlog.events[place + 1 :])
            if not done:
                return False
        return True

    def _send(self, token: int, event: Fields, later: Sequence[Fields]) -> bool:
        if event["id"] in self._ahead:
            self._ahead.discard(event["id"])
            return self._done(token, event, "delivered")
        outcome = self.attempt([self._handled.annotated(event)])
        if outcome.status != "again":
            self._works()
            if outcome.status == "taken":
                return self._done(token, event, "delivered")
            self._say_dropped(event, outcome.why)
            return self._done(token, event, "dropped", outcome.why)
        stuck = self._failing_since and time.monotonic() - self._failing_since > self._stuck_seconds
        if stuck and self._is_to_blame(later):
            why = f"{outcome.why}, again and again, while later alerts were accepted"
            self._say_dropped(event, why)
            self._suspicions = 0
            return self._done(token, event, "dropped", why)
        self._failed(outcome, event)
        return False

    def _is_to_blame(self, later: Sequence[Fields]) -> bool:
        """Find out whether the first transition is at fault or the receiver, by sending a later transition.

        Without this, one transition (or a sender that chose the names in it) could hold back all others for good.
        """
        untold = [e for e in later if e["id"] not in self._ahead and not self._held.concerns(e)]
        if not untold:
            return False
        other = untold[self._probe % len(untold)]
        self._probe += 1
        if self.attempt([other]).status == "again":
            return False
        self._ahead.add(other["id"])
        self._suspicions += 1
        return self._suspicions >= SUSPICIONS

    def _works(self) -> None:
        self._failing_since = 0.0
        self._suspicions = 0
        self._backoff.succeed()

    def _done(self, token: int, event: Fields, what: Done, why: str = "") -> bool:
        if self._store.advance(self.sink.name, token, event["id"], what, why):
            if self._noted and what == "delivered":
                self._noted = not self._note({"failing_since": "", "failing_why": ""})
            return True
        log.info("another process sends to %s now; %s may reach it twice", self.sink.name, describe(event))
        return False

    # -- what is logged about it -----------------------------------------------------------------------------------

    def _failed(self, outcome: Outcome, event: Fields) -> None:
        if not self._failing_since:
            self._failing_since = time.monotonic()
            self._noted = self._note({"failing_since": moment(time.time()), "failing_why": outcome.why})
        wait = self._backoff.fail(outcome.retry_after)
        self._not_before = time.monotonic() + wait
        self.say_failed(outcome, describe(event), wait)
        if self._began:
            self.end()  # another process may reach the receiver

    def _say_dropped(self, event: Fields, why: str) -> None:
        self.status.dropped += 1
        log.error(
            "%s at %s refuses %s: %s. It is not sent again; look at the receiver and at delivery in the settings.",
            self.sink.name, self.sink.shown, describe(event), why,
        )  # fmt: skip

    def _say_trimmed(self, backlog: Backlog) -> None:
        if backlog.trimmed and not self._trimmed:
            log.error(
                "some alerts were trimmed from the history before %s took them, and are never sent; it goes on with "
                "%s. A larger redis.history_length keeps more.",
                self.sink.name, describe(backlog.events[0]),
            )  # fmt: skip
            self._note({"trimmed_at": backlog.events[0].get("updated_at", "")})
        self._trimmed = backlog.trimmed

    def _note(self, fields: dict[str, str]) -> bool:
        try:
            self._store.note(self.sink.name, fields)
        except MonitorError as error:
            log.debug("the status of %s could not be stored: %s", self.sink.name, error)
            return False
        return True
