"""The store of delivery, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monitor.store.deliveries import (
    MOST_TOLD,
    SWITCHED_OFF_MS,
    Backlog,
    Done,
    Snapshot,
    Told,
    id_order,
    passed_over,
    snapshot_of,
)
from monitor.store.handling import Handling
from monitor.testing.store import MemoryStore


class MemoryDeliveries:
    """A :class:`monitor.store.deliveries.DeliveryStore` on a :class:`MemoryStore`, with its clock and its outages."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._records: dict[str, dict[str, str]] = {}
        self._leases: dict[str, tuple[str, int, int]] = {}
        self._held: dict[str, dict[str, str]] = {}
        self._told: dict[str, tuple[int, dict[str, int]]] = {}

    def _now(self) -> int:
        return self._store.now_ms()

    def newest(self) -> str:
        """Id of the newest transition."""
        found = self._store.history(1)
        return found[0]["id"] if found else "0-0"

    def snapshot(self, resolved_ms: int) -> Snapshot:
        """Return the current alerts and those resolved within the last ``resolved_ms``."""
        since = self._now() - resolved_ms
        late = [e for e in self._store.history(1000) if id_order(e["id"])[0] >= since]
        return snapshot_of(self._store.alerts(), late)

    def told(self, sink: str, episodes: Sequence[str], *, note: bool) -> Told:
        """When these episodes were first sent to a sink."""
        now = self._now()
        since, known = self._told.setdefault(sink, (now, {}))
        for episode in episodes if note else ():
            known.setdefault(episode, now)
        for oldest in sorted(known, key=lambda e: (known[e], e))[: max(0, len(known) - MOST_TOLD)]:
            del known[oldest]
        return Told(now, since, {e: known[e] for e in episodes if e in known})

    def begin(self, sink: str) -> None:
        """The sink is switched on."""
        now, record = self._now(), self._records.setdefault(sink, {})
        if "cursor" not in record:
            record["cursor"] = self.newest()
        elif now - int(record.get("on_ms", now)) > SWITCHED_OFF_MS:
            record |= {"off_from": str(int(record["on_ms"]) + SWITCHED_OFF_MS), "off_until": str(now)}
        record["on_ms"] = str(now)

    def lease(self, sink: str, holder: str, ttl_ms: int) -> int:
        """Take, keep or (``ttl_ms`` 0) give back the right to send to a sink."""
        now, held = self._now(), self._leases.get(sink)
        lasts = held[2] - now if held else 0
        if lasts <= 0 or 0 < 4 * ttl_ms < lasts:  # it is over, or was taken before the clock was set back
            held = None
        if held and held[0] != holder:
            return 0
        if not ttl_ms:
            self._leases.pop(sink, None)
            return 0
        record = self._records.setdefault(sink, {})
        if held is None:
            record["token"] = str(int(record.get("token", 0)) + 1)
        token = held[1] if held else int(record["token"])
        self._leases[sink] = (holder, token, now + ttl_ms)
        return token

    def backlog(self, sink: str, count: int = 20) -> Backlog:
        """The changes that the sink has not had yet."""
        record = self._records.get(sink, {})
        cursor = record.get("cursor", "0-0")
        history = list(reversed(self._store.history(10**9)))
        found = tuple(e for e in history if id_order(e["id"]) > id_order(cursor))[:count]
        if not found:
            return Backlog()
        if cursor == "0-0":  # entries are numbered from 1
            trimmed = id_order(history[0]["id"])[1] > 1
        else:
            trimmed = id_order(history[0]["id"]) > id_order(cursor)
        return Backlog(found, passed_over(found, record), trimmed, self._now() - id_order(found[0]["id"])[0])

    def advance(self, sink: str, token: int, event: str, what: Done, why: str = "") -> bool:
        """Move the sink past a transition. Returns False if the token is no longer valid."""
        held, record = self._leases.get(sink), self._records.setdefault(sink, {})
        if held is None or held[1] != token or held[2] <= self._now():
            return False
        cursor = id_order(record.get("cursor", "0-0"))
        if id_order(event) <= cursor:
            return id_order(event) == cursor
        record |= {"cursor": event, what: str(int(record.get(what, 0)) + 1)}
        if what == "dropped":
            record |= {"dropped_at": str(self._now()), "dropped_why": why}
        return True

    def note(self, sink: str, fields: Mapping[str, str], dropped: int = 0) -> None:
        """Keep a note about a sink, for people."""
        self._now()
        record = self._records.setdefault(sink, {})
        record |= fields
        if dropped:
            record["dropped"] = str(int(record.get("dropped", 0)) + dropped)

    def handling(self) -> Handling:
        """Return which alerts are muted and which are acknowledged."""
        return self._store.handling()

    def held_back(self, sink: str) -> dict[str, str]:
        """The changes that mutes keep from a sink."""
        self._now()
        return dict(self._held.get(sink, {}))

    def hold_back(self, sink: str, held: Mapping[str, str], gone: Sequence[str] = ()) -> None:
        """Add to what mutes hold back from a sink, and remove what they no longer hold back."""
        self._now()
        kept = {**self._held.get(sink, {}), **held}
        self._held[sink] = {name: text for name, text in kept.items() if name not in gone}

    def record(self, sink: str) -> dict[str, str]:
        """Return what is kept about a sink."""
        self._now()
        return dict(self._records.get(sink, {}))
