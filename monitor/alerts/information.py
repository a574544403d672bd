"""Receivers that are told alerts and not information: what never asks anybody to do something now stays in Redis."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.alerts.sink import TAKEN, Fields, Mode, Outcome, Sink

SEVERITY = "info"
"""An alert of this severity is information. It has it from its raise to its resolve."""


class WithoutInformation:
    """A sink that takes information for told and sends the rest.

    Args:
        sink: told the rest.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.name, self.shown = sink.name, sink.shown
        self.mode: Mode = sink.mode
        self.every = sink.every

    def send(self, alerts: Sequence[Fields]) -> Outcome:
        """Tell those that are alerts; a transition that is information is taken without a call."""
        told = [alert for alert in alerts if alert.get("severity") != SEVERITY]
        return TAKEN if alerts and not told and self.mode == "transitions" else self._sink.send(told)

    def check(self) -> str:
        """As the sink says."""
        return self._sink.check()
