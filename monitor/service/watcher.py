"""The watching thread of a process. It continues if the poll loop hangs or Redis cannot be reached."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

from monitor.errors import MonitorError, StoreError, StoreUnavailableError
from monitor.judging.drift import DriftWatch
from monitor.judging.watch import Watch
from monitor.service.canary import Canary
from monitor.store.verdicts import Notice

log = logging.getLogger(__name__)

Tell = Callable[[Mapping[str, str]], None]
"""Delivers an alert to the receivers directly, without Redis."""


class Watcher:
    """Runs a :class:`monitor.judging.watch.Watch` every few seconds, and raises an alert if Redis cannot be reached.

    Args:
        watch: the checks to run.
        tell: delivers the alert that Redis cannot be reached.
        group: the consumer group, part of the identity of that alert.
        redis_seconds: an alert is raised if Redis cannot be reached for this long.
        canary: sent by the process that judges; None if there is none.
        judges: whether this process judges now.
        drift: the drift watch, which only the process that judges runs.
        every: seconds between two checks.
    """

    def __init__(
        self,
        watch: Watch,
        tell: Tell,
        group: str,
        redis_seconds: float,
        canary: Canary | None = None,
        judges: Callable[[], bool] = lambda: False,
        drift: DriftWatch | None = None,
        every: float = 2.0,
    ) -> None:
        self._watch, self._tell, self._group = watch, tell, group
        self._redis_seconds, self._canary, self._judges, self._every = redis_seconds, canary, judges, every
        self._drift = drift
        self._away_since: float | None = None
        self._raised: dict[str, str] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def runs(self) -> bool:
        """Whether its thread is alive."""
        return self._thread.is_alive()

    def close(self, timeout: float = 2.0) -> None:
        """Stop the thread. A check in progress may be abandoned."""
        self._stop.set()
        self._thread.join(timeout)
        if self._canary is not None and not self._thread.is_alive():
            self._canary.close()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self.look(time.monotonic())
            except MonitorError as error:
                log.error("the monitor could not watch itself: %s", error)
            except Exception:
                log.exception("the monitor could not watch itself; it tries again")

    def look(self, monotonic: float) -> None:
        """Check once, at this time of a monotonic clock."""
        try:
            for notice in self._watch.step():
                log.log(
                    logging.ERROR if notice.firing else logging.INFO,
                    "%s %s: %s", notice.kind, notice.subject, notice.summary if notice.firing else "over",
                    extra={"alert": notice.fingerprint(self._group)},
                )  # fmt: skip
            if self._canary is not None and self._judges():
                self._canary.send_if_due()
            if self._drift is not None and self._judges():
                for notice in self._drift.step_if_due():
                    log.info("drift of stream %r: %s", notice.subject, notice.summary if notice.firing else "over")
            self._redis_answers()
        except StoreError as error:
            self._redis_is_away(monotonic, error)

    def _redis_is_away(self, monotonic: float, error: StoreError) -> None:
        if self._away_since is None:
            self._away_since = monotonic
            if not isinstance(error, StoreUnavailableError):
                log.error("the monitor cannot watch itself: %s", error)
        waited = monotonic - self._away_since
        if self._raised is not None or waited < self._redis_seconds:
            return
        summary = (
            f"Redis has not answered for {waited:.0f} seconds ({error}): nothing is counted or judged, and a surge "
            "would not be noticed. Bring Redis back; nothing is lost as long as the topic retains its records."
        )
        if not isinstance(error, StoreUnavailableError):
            summary = (
                f"Redis has refused for {waited:.0f} seconds what the monitor needs to watch itself ({error}): if a "
                "surge could not be noticed, nobody would be notified. Correct what Redis refuses."
            )
        notice = Notice("stalled", "redis", True, "critical", summary)
        name, now = notice.fingerprint(self._group), _moment()
        times = {"started_at": now, "onset_at": now, "updated_at": now, "ended_at": ""}
        self._raised = {**notice.fields(), **times, "fingerprint": name, "episode": f"{name}:{now}", "event": name}
        self._raised |= {"status": "firing", "change": "raised"}
        log.error("stalled redis: %s", summary, extra={"alert": name})
        self._tell(self._raised)

    def _redis_answers(self) -> None:
        self._away_since = None
        if self._raised is not None:
            raised, self._raised, now = self._raised, None, _moment()
            log.info("stalled redis: over", extra={"alert": raised["fingerprint"]})
            self._tell({**raised, "status": "resolved", "change": "resolved", "updated_at": now, "ended_at": now})


def _moment() -> str:
    return datetime.now(tz=timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
