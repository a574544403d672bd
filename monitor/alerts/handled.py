"""Applies mutes and acknowledgements to the alerts that are sent to receivers.

If a receiver was sent an alert, it is also sent its end, even if the alert is muted. An end wakes nobody, and an
incident that is never closed misleads. An alert that begins and ends while it is muted is never sent. An alert that
still fires when its mute ends is sent then.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from monitor.alerts.sink import Fields
from monitor.store.deliveries import DeliveryStore, id_order
from monitor.store.handling import Handling, Mute, moment

log = logging.getLogger(__name__)


class Handled:
    """Mutes and acknowledgements as they were last read. A mute ends in time even if Redis cannot be reached.

    Args:
        store: holds them.
    """

    def __init__(self, store: DeliveryStore) -> None:
        self._store, self._read, self._read_at = store, Handling(), time.monotonic()

    def look(self) -> bool:
        """Read them again, and return whether a change may have to be sent to receivers.

        Raises:
            StoreUnavailableError: the last reading stays in effect.
        """
        before, self._read = self._read, self._store.handling()
        self._read_at = time.monotonic()
        return self._read.differs(before)

    @property
    def now_ms(self) -> int:
        """Time by the store's clock, estimated from the last reading."""
        return self._read.now_ms + round(1000 * (time.monotonic() - self._read_at))

    def mute_of(self, alert: Fields) -> Mute | None:
        """The mute that applies to this alert now, or (for a transition of the history) applied when it was written."""
        found = self._read.mute_of(alert, self.now_ms)
        if found is None and "id" in alert:
            return self._read.mute_of(alert, id_order(alert["id"])[0])
        return found

    def annotated(self, alert: Fields) -> dict[str, str]:
        """The alert with the name of the person who acknowledged it, if somebody has."""
        return self._read.annotated(alert)


class HeldBack:
    """The transitions that were not sent to one sink because they were muted. All processes share them.

    Args:
        store: remembers them.
        sink: name of the sink.
        handled: the mutes.
    """

    def __init__(self, store: DeliveryStore, sink: str, handled: Handled) -> None:
        self._store, self._sink, self._handled = store, sink, handled
        self._held: dict[str, dict[str, str]] = {}
        self._direct: dict[str, Fields] = {}

    def look(self) -> None:
        """Read what any process has held back.

        Raises:
            StoreUnavailableError: try again.
        """
        self._held = {name: json.loads(text) for name, text in self._store.held_back(self._sink).items()}

    def withholds(self, event: Fields) -> bool:
        """Whether this transition is muted. If so it is noted, so that it can be sent when the mute ends.

        Raises:
            StoreUnavailableError: try again.
        """
        name = event.get("fingerprint", "")
        held = self._held.get(name, {})
        held = held if held.get("episode") == event.get("episode") else {}
        if event.get("status") != "firing":
            self.pass_over(event)
            return held.get("change") == "raised"
        mute = self._handled.mute_of(event)
        if mute is None:
            return False
        self._held[name] = {
            **event,
            "change": "raised" if "raised" in (held.get("change"), event.get("change")) else "updated",
        }
        self._store.hold_back(self._sink, {name: json.dumps(self._held[name])})
        log.info("%s does not get alert %s (%s): %s", self._sink, name, event.get("change", "?"), mute.words())
        return True

    def pass_over(self, event: Fields) -> None:
        """Note that this transition is never sent. If it ends an alert that is held back, that is forgotten too.

        Raises:
            StoreUnavailableError: try again.
        """
        if event.get("status") != "firing" and event.get("fingerprint", "") in self._held:
            self.forget(event["fingerprint"])

    def concerns(self, event: Fields) -> bool:
        """Whether this alert is held back now, or would be."""
        return event.get("fingerprint", "") in self._held or self._handled.mute_of(event) is not None

    def due(self) -> list[Fields]:
        """Alerts that were held back, still fire, and are no longer muted, in their present state.

        Raises:
            StoreUnavailableError: try again.
        """
        over = {name: held for name, held in self._held.items() if self._handled.mute_of(_without_id(held)) is None}
        if not over:
            return []
        standing = {a.get("fingerprint", ""): a for a in self._store.snapshot(0).firing}
        found = [
            {**standing[name], "id": held["id"], "change": held["change"]}
            for name, held in over.items()
            if name in standing and standing[name].get("episode") == held.get("episode")
        ]
        return sorted(found, key=lambda alert: id_order(alert["id"]))

    def forget(self, name: str) -> None:
        """Forget that the alert with this fingerprint is held back.

        Raises:
            StoreUnavailableError: try again.
        """
        self._store.hold_back(self._sink, {}, [name])
        self._held.pop(name, None)

    # -- alerts that are handed over without Redis -----------------------------------------------------------------

    def withholds_direct(self, alert: Fields) -> bool:
        """Like :meth:`withholds`, for an alert that Redis does not hold."""
        name = alert["fingerprint"]
        if alert.get("status") != "firing":
            return self._direct.pop(name, None) is not None
        if self._handled.mute_of(alert) is None:
            return False
        self._direct[name] = alert
        return True

    def due_direct(self) -> list[Fields]:
        """Like :meth:`due`, for alerts that Redis does not hold."""
        over = [name for name, alert in self._direct.items() if self._handled.mute_of(alert) is None]
        return [self._direct.pop(name) for name in over]


def standing(
    alerts: Iterable[Fields],
    handled: Handled,
    was_told: Callable[[Sequence[Fields]], frozenset[str]],
    resolved_seconds: float,
) -> Iterator[Fields]:
    """Select the alerts that a sink of mode ``state`` is sent.

    Args:
        alerts: in their present state.
        handled: the mutes.
        was_told: fingerprints of the alerts that were sent to the receiver in this episode.
        resolved_seconds: if an alert was sent and is now muted, it is sent as resolved for this long.
    """
    given = [(alert, handled.mute_of(alert)) for alert in alerts]
    muted = [alert for alert, mute in given if mute is not None]
    told = was_told(muted) if muted else frozenset()
    for alert, mute in given:
        if mute is None:
            yield handled.annotated(alert)
        elif alert.get("fingerprint", "") not in told:
            continue
        elif alert.get("ended_at"):
            yield {**alert, "status": "resolved"}
        elif handled.now_ms - mute.begun_ms <= 1000 * resolved_seconds:
            # For this receiver the alert ends. Otherwise it would go on notifying people, against the mute.
            yield {**alert, "status": "resolved", "ended_at": moment(mute.begun_ms), "muted": mute.words()}


def _without_id(alert: Fields) -> Fields:
    """The alert in its present state, without the id of a transition in the history."""
    return {k: v for k, v in alert.items() if k != "id"}
