"""Keeps notices that are only information (such as slow drift) from receivers that wake people."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.alerts.sink import TAKEN, Fields, Mode, Outcome, Sink

SEVERITY = "info"
"""Severity of information. It does not change between the raise and the resolve of an alert."""


class WithoutInformation:
    """A sink that passes on alerts, and accepts information without sending it.

    Args:
        sink: gets the alerts.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.name, self.shown = sink.name, sink.shown
        self.mode: Mode = sink.mode
        self.every = sink.every

    def send(self, alerts: Sequence[Fields]) -> Outcome:
        """Send the alerts among these. If nothing but information is left, nothing is sent."""
        sent = [alert for alert in alerts if alert.get("severity") != SEVERITY]
        return TAKEN if alerts and not sent and self.mode == "transitions" else self._sink.send(sent)

    def check(self) -> str:
        """Check the sink behind this one."""
        return self._sink.check()
