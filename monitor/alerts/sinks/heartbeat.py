"""A regular ping to a service such as healthchecks.io, which raises the alarm if the pings stop."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.alerts.addresses import address, shown
from monitor.alerts.exchange import Exchange
from monitor.alerts.sink import TAKEN, Context, Fields, Mode, Outcome


class Heartbeat:
    """Sends a GET request each time it is called, as long as the process makes progress."""

    name = "heartbeat"
    mode: Mode = "pulse"

    def __init__(self, url: str, context: Context) -> None:
        self.shown, self.every = shown(url), context.delivery.heartbeat_seconds
        self._url, self._healthy = url, context.healthy
        self._exchange = Exchange(context.delivery.timeout_seconds)

    def send(self, alerts: Sequence[Fields]) -> Outcome:
        """Send one ping."""
        if not self._healthy():
            return TAKEN
        return self._exchange("GET", self._url).outcome

    def check(self) -> str:
        """Describe the receiver without calling it: a check must not count as a sign of life."""
        return "not called, because a check is not a sign of life"


def open(settings: None, context: Context) -> Heartbeat | None:  # noqa: A001  every sink has it
    """Open the heartbeat of ``delivery.heartbeat_url``, if it is set."""
    url = address(context.delivery.heartbeat_url, "delivery.heartbeat_url")
    return Heartbeat(url, context) if url else None
