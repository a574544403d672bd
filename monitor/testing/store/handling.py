"""Mutes and acknowledgements in memory."""

from __future__ import annotations

from dataclasses import replace

from monitor.errors import HandlingError
from monitor.store.handling import (
    MOST_MUTES,
    MUTE_KEPT_MS,
    Acknowledgement,
    Handling,
    Mute,
    check_acknowledgement,
    check_mute,
    stale,
)
from monitor.testing.store.base import MemoryBase


class MemoryHandling(MemoryBase):
    """Mutes and acknowledgements."""

    def handling(self) -> Handling:
        """Return which alerts are muted and which are acknowledged."""
        self._reach()
        mutes = sorted(self._mutes.values(), key=lambda m: (m.ends_ms, m.id))
        return Handling(self._clock(), tuple(mutes), dict(self._acknowledged))

    def mute(self, wanted: Mute) -> Mute:
        """Set a mute, and return it as it is stored."""
        self._reach()
        now = self._clock()
        check_mute(wanted)
        self._mutes = {name: m for name, m in self._mutes.items() if m.ends_ms + MUTE_KEPT_MS > now}
        if wanted.id not in self._mutes:
            if sum(m.ends_ms > now for m in self._mutes.values()) >= MOST_MUTES:
                raise HandlingError(f"{MOST_MUTES} mutes are in force already: end one of them first")
            self._mutes[wanted.id] = wanted
        return wanted

    def unmute(self, name: str) -> bool:
        """End a mute now. Returns False if no mute with this id is in force."""
        self._reach()
        held = self._mutes.get(name)
        if held is None or held.ends_ms <= self._clock():
            return False
        self._mutes[name] = replace(held, ends_ms=self._clock())
        return True

    def unacknowledge(self, fingerprint: str) -> bool:
        """Withdraw the acknowledgement of an alert. Returns False if there was none."""
        self._reach()
        return self._acknowledged.pop(fingerprint, None) is not None

    def acknowledge(self, fingerprint: str, author: str, reason: str) -> Acknowledgement:
        """Note that somebody takes care of a firing alert."""
        self._reach()
        held = self._alerts.get(fingerprint, {})
        given = check_acknowledgement(Acknowledgement(held.get("episode", ""), author, reason, self._clock()))
        if held.get("status") != "firing":
            what = "fires no more" if held else "is not known"
            raise HandlingError(f"the alert {fingerprint[:64]!r} {what}: only one that fires can be acknowledged")
        self._acknowledged[fingerprint] = given
        firing = [a for a in self._alerts.values() if a["status"] == "firing"]
        for name in stale(self._acknowledged, firing):
            del self._acknowledged[name]
        return given
