"""A ping to a service that raises the alarm if it stops, such as healthchecks.io: lets others notice a dead monitor."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.alerts.addresses import address, shown
from monitor.alerts.exchange import Exchange
from monitor.alerts.sink import TAKEN, Context, Fields, Mode, Outcome


class Heartbeat:
    """One GET a call while the process makes progress, and none while it does not."""

    name = "heartbeat"
    mode: Mode = "pulse"

    def __init__(self, url: str, context: Context) -> None:
        self.shown, self.every = shown(url), context.delivery.heartbeat_seconds
        self._url, self._healthy = url, context.healthy
        self._exchange = Exchange(context.delivery.timeout_seconds)

    def send(self, alerts: Sequence[Fields]) -> Outcome:
        """Ping."""
        if not self._healthy():
            return TAKEN
        return self._exchange("GET", self._url).outcome

    def check(self) -> str:
        """It is not called: a check is no sign of life."""
        return "not called, because a check is not a sign of life"


def open(settings: None, context: Context) -> Heartbeat | None:  # noqa: A001  every sink has it
    """The heartbeat of ``delivery.heartbeat_url``."""
    url = address(context.delivery.heartbeat_url, "delivery.heartbeat_url")
    return Heartbeat(url, context) if url else None
