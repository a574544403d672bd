"""Delivers alerts to receivers. Each sink has a thread of its own, so the counting loop never waits for a receiver.

There are three modes of sinks:

- ``transitions`` (the webhook): each change of an alert is sent in order, at least once. Redis remembers how far the
  sink has come, and one process at a time sends to it.
- ``state`` (Alertmanager): all current alerts are sent after each change, and repeatedly in between.
- ``pulse`` (the heartbeat): the sink is called as long as the process makes progress.

``monitor/alerts/sinks`` has one file for each.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from monitor.alerts.information import WithoutInformation
from monitor.alerts.runners import PulseRunner, Runner, SinkStatus
from monitor.alerts.sink import Context, Fields, Sink
from monitor.alerts.sinks import open_sinks
from monitor.alerts.state import StateRunner
from monitor.alerts.transitions import LEASE_SECONDS, TransitionRunner
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from monitor.config import DeliveryConfig
    from monitor.store.deliveries import DeliveryStore

log = logging.getLogger(__name__)

KEEP_SECONDS = 30.0
"""How often a process notes in Redis that a sink is switched on, in seconds."""


class Delivery:
    """Sends alerts to every sink that the settings switch on, each from a thread of its own.

    Args:
        config: the receivers.
        group: the consumer group, a label of every alert.
        store: holds alerts, transitions, and how far each sink has come. It needs a connection of its own.
        holder: a unique name of this process.
        healthy: whether the process makes progress; the heartbeat stops if it does not.
        sinks: used instead of those in the settings.
        clock: gives seconds since the epoch.
        uniform: gives the random part of the waits.

    Raises:
        ConfigError: the settings of a sink cannot be used.
    """

    def __init__(
        self,
        config: DeliveryConfig,
        group: str,
        store: DeliveryStore,
        holder: str,
        *,
        healthy: Callable[[], bool] = lambda: True,
        sinks: Sequence[Sink] | None = None,
        clock: Callable[[], float] = time.time,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._store = store
        opened = open_sinks(Context(group, config, healthy, clock)) if sinks is None else sinks
        if not config.information:
            opened = [sink if sink.mode == "pulse" else WithoutInformation(sink) for sink in opened]
        self._runners = [_runner(sink, store, holder, config, uniform) for sink in opened]
        self._states: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="delivery-keeper", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        for runner in self._runners:
            runner.start()
            log.info("alerts go to %s at %s", runner.sink.name, runner.sink.shown)
        if self._runners:
            self._keeper.start()

    @property
    def receivers(self) -> list[str]:
        """The receivers, as people may see them."""
        return [f"{runner.sink.name} {runner.sink.shown}" for runner in self._runners]

    @property
    def addresses(self) -> Mapping[str, str]:
        """The receiver of each sink, as people may see it, by the sink's name."""
        return {runner.sink.name: runner.sink.shown for runner in self._runners}

    @property
    def statuses(self) -> Mapping[str, SinkStatus]:
        """The status of each sink, by its name. Any thread may read these numbers."""
        return {runner.sink.name: runner.status for runner in self._runners}

    def tell(self, alert: Fields) -> None:
        """Deliver an alert that could not be written to Redis. Returns at once. A repeat of the same alert is ignored.

        Args:
            alert: the fields that Redis would hold, ``fingerprint`` and ``status`` among them.
        """
        name, state = alert["fingerprint"], (alert["status"], alert.get("severity", ""))
        with self._lock:
            before = self._states.get(name, ("resolved", ""))
            changed = before != state and not before[0] == state[0] == "resolved"
            self._states[name] = state
            if state[0] == "resolved":
                del self._states[name]
        for runner in self._runners:
            if changed or runner.sink.mode == "state":
                runner.tell(dict(alert))

    def close(self, timeout: float = 3.0) -> None:
        """Stop within ``timeout`` seconds, whatever the receivers do. The next process sends what was not accepted."""
        self._stop.set()
        until = time.monotonic() + timeout
        for runner in self._runners:
            runner.stop(timeout / 2)
        behind = [r.sink.name for r in self._runners if not r.join(until - time.monotonic())]
        if behind:
            log.warning(
                "%s did not answer in time; what it did not get yet waits for the next process", ", ".join(behind)
            )

    def _keep(self) -> None:
        """Note that the sinks are switched on.

        Changes that are written while a sink is switched off are never sent to it.
        """
        while not self._stop.wait(KEEP_SECONDS):
            for runner in self._runners:
                try:
                    if runner.sink.mode == "transitions":
                        self._store.begin(runner.sink.name)
                except MonitorError as error:
                    log.debug("the status of %s could not be stored: %s", runner.sink.name, error)


def _runner(
    sink: Sink, store: DeliveryStore, holder: str, config: DeliveryConfig, uniform: Callable[[float, float], float]
) -> Runner:
    if sink.mode == "transitions":
        # The right to send must outlast a call, or every slow receiver would get everything twice.
        lease_seconds = max(LEASE_SECONDS, 2 * config.timeout_seconds + 5)
        return TransitionRunner(sink, store, holder, lease_seconds=lease_seconds, uniform=uniform)
    if sink.mode == "state":
        return StateRunner(sink, store, keep_seconds=config.keep_firing_seconds, uniform=uniform)
    return PulseRunner(sink, uniform)
