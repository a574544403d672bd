"""Alerts, notices and the health of the group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone

from monitor.store.deliveries import id_order
from monitor.store.verdicts import SUMS, Health, Notice
from monitor.testing.store.base import MemoryBase


class MemoryWatching(MemoryBase):
    """Alerts, notices and the health of the group."""

    def canary_stream(self, *, create: bool) -> str:
        """The stream of the canary; empty if there is none and none is created."""
        self._reach()
        if create and not self._canary:
            self._canary = "__canary__double"
        return self._canary

    def mark(self, name: str) -> None:
        """Note the time under a name."""
        self._reach()
        self._times[name] = self._clock()

    def health(self) -> Health:
        """Return the health of the group."""
        self._reach()
        return Health(
            now_ms=self._clock(),
            pending=len(self._unfolded),
            streams=len(self._streams),
            mutes=sum(m.is_in_force(self._clock()) for m in self._mutes.values()),
            workers=dict(self._workers),
            sums={name: self._sums.get(name, 0) for name in SUMS},
            times=dict(self._times),
        )

    def notice(self, notice: Notice, ttl_ms: int = 604_800_000) -> bool:
        """Raise, refresh or resolve an alert of the monitor about itself."""
        self._reach()
        name = notice.fingerprint("")
        held = self._alerts.get(name, {})
        fires = held.get("status") == "firing"
        if not notice.firing and not fires:
            return False
        change = "resolved" if not notice.firing else "updated" if fires else "raised"
        now = datetime.fromtimestamp(self._clock() / 1000, tz=timezone.utc).isoformat(timespec="milliseconds")
        now = now.replace("+00:00", "Z")
        started = held["started_at"] if fires else now
        fields = {
            "onset_at": started,
            **notice.fields(),
            "fingerprint": name,
            "status": "firing" if notice.firing else "resolved",
            "change": change,
            "started_at": started,
            "updated_at": now,
            "ended_at": "" if notice.firing else now,
            "episode": f"{name}:{started}",
            "event": f"{name}:{started}:{change}:{now}",
        }
        if change == "resolved":
            kept = ("severity", "summary") if notice.details else ("severity", "summary", "details")
            fields |= {key: held[key] for key in kept}
        self._alerts.pop(name, None)
        self._alerts[name] = fields
        if change == "updated" and held["severity"] == notice.severity:
            return False
        self._write_history(fields)
        return True

    def windows(self) -> dict[str, str]:
        """The time at which the window of each stream began."""
        self._reach()
        return dict(self._windows)

    def keep_windows(self, begun: Mapping[str, str], gone: Iterable[str] = ()) -> None:
        """Store the begins of drift windows by stream, and forget those of streams that are gone."""
        self._reach()
        self._windows.update(begun)
        for stream in gone:
            self._windows.pop(stream, None)

    def alerts(self) -> list[dict[str, str]]:
        """Return the current alerts, the latest transition first."""
        self._reach()
        return [dict(fields) for fields in reversed(self._alerts.values())]

    def alert(self, fingerprint: str) -> dict[str, str]:
        """Return the current alert with this fingerprint; empty if there is none."""
        self._reach()
        return dict(self._alerts.get(fingerprint, {}))

    def since(self, after: str, count: int = 100) -> list[dict[str, str]]:
        """Transitions behind a history id, the earliest first."""
        self._reach()
        return [dict(event) for event in self._history if id_order(event["id"]) > id_order(after)][:count]

    def history(self, count: int = 100) -> list[dict[str, str]]:
        """Transitions, the latest first."""
        self._reach()
        return [dict(event) for event in reversed(self._history)][:count]
