"""The thread of a sink of mode ``state``: it sends all current alerts on each change, and repeatedly in between.

Every process sends. They all read the same store, so they send the same, and the loss of one process changes nothing.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from monitor.alerts.alert import moment
from monitor.alerts.handled import Handled, standing
from monitor.alerts.keeping import KeepFiring
from monitor.alerts.runners import LONGEST_WAIT, POLL_SECONDS, Runner
from monitor.alerts.sink import Fields, Outcome, Sink
from monitor.errors import MonitorError
from monitor.store.deliveries import DeliveryStore, Snapshot

log = logging.getLogger(__name__)

RESOLVED_SECONDS = 900.0
"""For how many seconds a resolved alert is still sent, in case the receiver could not be reached."""

LOOK_BACK_SECONDS = 86_400.0
"""For how many seconds an alert that is over is still sent, if it could never be sent before."""


class StateRunner(Runner):
    """Sends all current alerts. While Redis cannot be reached, it sends what it last read.

    Args:
        sink: the receiver.
        store: holds the alerts.
        keep_seconds: see :class:`monitor.alerts.keeping.KeepFiring`.
        resolved_seconds: see :data:`RESOLVED_SECONDS`.
        uniform: gives the random part of the waits.
    """

    def __init__(
        self,
        sink: Sink,
        store: DeliveryStore,
        *,
        keep_seconds: float = 0.0,
        resolved_seconds: float = RESOLVED_SECONDS,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        super().__init__(sink, uniform)
        self._store = store
        self._handled, self._resolved_seconds = Handled(store), resolved_seconds
        self._keeping = KeepFiring(store, sink.name, keep_seconds, resolved_seconds)
        self._lock = threading.Lock()
        self._direct: dict[str, tuple[Fields, float]] = {}
        self._told_anew = False
        self._snapshot, self._seen = Snapshot(), ""
        self._due, self._not_before = 0.0, 0.0
        self._changed_at: float | None = None
        self._noted: bool | None = None  # an earlier process may have left a note that the sink fails

    def tell(self, alert: Fields) -> None:
        """Take an alert that could not be written to Redis.

        It counts from now on. Once it is resolved, the alert in Redis counts again.
        """
        with self._lock:
            self._direct[alert["fingerprint"]] = (alert, time.monotonic())
            self._told_anew = True
        self.wake()

    def turn(self) -> float:
        """Send if something changed, or if it is time to repeat."""
        trouble = self._look()
        now = time.monotonic()
        with self._lock:
            told_anew, self._told_anew = self._told_anew, False
        if told_anew:
            self._changed_at = self._changed_at or now
        self.status.waits(None if self._changed_at is None else now - self._changed_at)
        if now >= self._not_before and (now >= self._due or self._changed_at is not None):
            self._send()
        if trouble is not None:
            raise trouble
        following = max(self._due if self._changed_at is None else 0.0, self._not_before) - time.monotonic()
        return max(0.0, min(POLL_SECONDS, following))

    def _longest_wait(self) -> float:
        return min(LONGEST_WAIT, self.sink.every)

    def _look(self) -> MonitorError | None:
        """Read what changed.

        Returns the error if Redis cannot be reached; the last known alerts are then still sent.
        """
        try:
            self._keeping.begin()
            newest = self._store.newest()
            if self._handled.look():
                self._changed_at = self._changed_at or time.monotonic()
            if newest != self._seen:
                self._changed_at = self._changed_at or time.monotonic()
            if newest != self._seen or time.monotonic() >= self._due:
                self._snapshot = self._store.snapshot(round(LOOK_BACK_SECONDS * 1000))
                self._seen = newest
        except MonitorError as error:
            return error
        return None

    def _send(self) -> None:
        began = time.monotonic()
        standing = self._standing()
        outcome = self.attempt(standing)
        if outcome.status == "again":
            wait = self._backoff.fail(outcome.retry_after, 2 * self.sink.every)
            self._not_before = time.monotonic() + wait
            self.say_failed(outcome, "the alerts", wait)
            self._note(outcome)
            return
        self._backoff.succeed()
        self._keeping.note(standing)
        self._changed_at, self._due = None, began + self.sink.every
        self.status.waits(None)
        if outcome.status == "refused":
            self._say_refused(outcome)
        else:
            self.status.why = ""
        self._note(outcome)

    def _standing(self) -> list[Fields]:
        """All alerts, from Redis and delivered directly. An alert counts as firing if it fires in either."""
        with self._lock:
            old = time.monotonic() - LOOK_BACK_SECONDS
            for name in [n for n, (a, at) in self._direct.items() if a["status"] != "firing" and at < old]:
                del self._direct[name]
            direct = dict(self._direct)
        firing: dict[str, Fields] = {a.get("fingerprint", ""): a for a in self._snapshot.firing}
        firing |= {name: a for name, (a, _) in direct.items() if a["status"] == "firing"}
        now = time.monotonic()
        resolved: dict[str, tuple[Fields, float]] = {
            a.get("fingerprint", ""): (a, now) for a in self._snapshot.resolved
        }
        resolved |= {name: (a, at) for name, (a, at) in direct.items() if a["status"] != "firing"}
        over = self._keeping.shape(found for name, found in resolved.items() if name not in firing)
        shown = standing([*firing.values(), *over], self._handled, self._keeping.was_told, self._resolved_seconds)
        return [*shown]

    # -- what is logged about it -----------------------------------------------------------------------------------

    def _say_refused(self, outcome: Outcome) -> None:
        self.status.dropped += 1
        if outcome.why != self.status.why:
            log.error(
                "%s at %s refuses an alert: %s. The others are sent; it is sent again every %.0f seconds.",
                self.sink.name, self.sink.shown, outcome.why, self.sink.every,
            )  # fmt: skip
        self.status.why = outcome.why

    def _note(self, outcome: Outcome) -> None:
        failing = outcome.status != "taken"
        if failing is self._noted:
            return
        fields = {"failing_since": moment(time.time()) if failing else "", "failing_why": outcome.why}
        try:
            self._store.note(self.sink.name, fields, dropped=int(outcome.status == "refused"))
            self._noted = failing
        except MonitorError as error:
            log.debug("the status of %s could not be stored: %s", self.sink.name, error)
