"""Decides how long a resolved alert is still sent as firing: until the receiver can have notified people.

Alertmanager notifies only after ``group_wait``, or with the next ``group_interval`` of a group that exists already, and
only of alerts that fire at that moment. But a surge that is read late, after an outage, is raised and resolved within
seconds. A surge during an outage of Alertmanager is resolved before it can be sent at all. So an alert is sent as
firing for some minutes after it was first sent to the receiver. The store keeps that time, so every process sends the
same, even one that has just started.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence

from monitor.alerts.sink import Fields
from monitor.errors import MonitorError
from monitor.store.deliveries import DeliveryStore, Told, id_order

log = logging.getLogger(__name__)


class KeepFiring:
    """Decides which alerts a receiver is sent, and whether as firing or as resolved.

    Args:
        store: keeps when each episode was first sent to the receiver.
        sink: name of the sink.
        seconds: a resolved alert is sent as firing until this long after it was first sent; 0 sends it as it is.
        resolved_seconds: after that it is sent as resolved for this long, in case the receiver could not be reached.
    """

    def __init__(self, store: DeliveryStore, sink: str, seconds: float, resolved_seconds: float) -> None:
        self._store, self._sink = store, sink
        self._seconds, self._resolved_seconds = seconds, resolved_seconds
        self._first: dict[str, float] = {}  # for each episode the monotonic time at which it was first sent
        self._since = float("-inf")  # alerts that ended before anything was sent to the receiver are not for it
        self._apart: float | None = None  # the monotonic clock minus the store's, in seconds

    def begin(self) -> None:
        """Note that the receiver is switched on. Alerts that ended before it was first switched on are not sent to it.

        Raises:
            StoreUnavailableError: call it again.
        """
        if self._apart is None:
            self._take(self._store.told(self._sink, (), note=False))

    def shape(self, resolved: Iterable[tuple[Fields, float]]) -> Iterator[Fields]:
        """Decide how resolved alerts are sent.

        Args:
            resolved: alerts, and the monotonic time at which each was handed over; that of an alert with an ``id`` of
                the history is not used.
        """
        given = [*resolved]
        if given:
            self._ask([episode(alert) for alert, _ in given], note=False)
        now = time.monotonic()
        for alert, at in given:
            ended = self._ended(alert, at)
            until = self._until(alert, ended)
            if now < until:
                yield {**alert, "status": "firing"}
            elif now - max(ended, until) <= self._resolved_seconds:
                yield alert

    def was_told(self, alerts: Sequence[Fields]) -> frozenset[str]:
        """The fingerprints of the alerts that were sent to the receiver in this episode."""
        unknown = [episode(alert) for alert in alerts if episode(alert) not in self._first]
        if unknown:
            self._ask(unknown, note=False)
        return frozenset(a.get("fingerprint", "") for a in alerts if episode(a) in self._first)

    def note(self, sent: Sequence[Fields]) -> None:
        """Note that these alerts were just sent to the receiver."""
        new = [episode(a) for a in sent if a.get("status") == "firing" and episode(a) not in self._first]
        if new:
            self._ask(new, note=True)
        for name in new:
            self._first.setdefault(name, time.monotonic())
        standing = {episode(a) for a in sent}
        for name in [name for name in self._first if name not in standing]:
            del self._first[name]

    def _ask(self, episodes: Sequence[str], *, note: bool) -> None:
        try:
            self._take(self._store.told(self._sink, episodes, note=note))
        except MonitorError as error:
            log.debug("it is not known when alerts were first sent to %s: %s", self._sink, error)

    def _take(self, found: Told) -> None:
        self._apart = time.monotonic() - found.now / 1000
        self._since = found.since / 1000 + self._apart
        for name, ms in found.episodes.items():
            self._first.setdefault(name, ms / 1000 + self._apart)

    def _ended(self, alert: Fields, handed_over: float) -> float:
        if "id" not in alert or self._apart is None:
            return handed_over
        return id_order(alert["id"])[0] / 1000 + self._apart

    def _until(self, alert: Fields, ended: float) -> float:
        if not self._seconds:
            return float("-inf")
        first = self._first.get(episode(alert))
        if first is not None:
            return first + self._seconds
        return float("-inf") if "id" in alert and ended < self._since else float("inf")


def episode(alert: Fields) -> str:
    """Return the identity of one episode: an alert from its raise to its resolve."""
    return alert.get("episode") or f"{alert.get('fingerprint', '')}:{alert.get('started_at', '')}"
