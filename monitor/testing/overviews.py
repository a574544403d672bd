"""Reads the store in memory for the status page."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.store.counts import CountKey, Example
from monitor.store.keys import STREAM_FIELD
from monitor.store.overviews import AT_ONCE, EVIDENCE_AT_ONCE, HEADER, MOST_ALERTS, Look, portions
from monitor.testing.deliveries import MemoryDeliveries
from monitor.testing.store import MemoryStore


class MemoryOverviews:
    """An :class:`monitor.store.overviews.OverviewStore` on a :class:`MemoryStore`, with its clock and its outages."""

    def __init__(self, store: MemoryStore, deliveries: MemoryDeliveries | None = None) -> None:
        self._store, self._deliveries = store, deliveries or MemoryDeliveries(store)

    def look(self, sinks: Sequence[str] = (), history: int = 100) -> Look:
        """Read the state of the group, with what is kept about ``sinks``."""
        store, alerts = self._store, self._store.alerts()
        return Look(
            store.health(),
            store.holder(),
            store.state().get(HEADER, ""),
            store.partitions(),
            store.streams(),
            alerts[:MOST_ALERTS],
            len(alerts),
            store.history(history),
            store.rejected(),
            {sink: self._deliveries.record(sink) for sink in sinks},
            store.handling(),
        )

    def alerts(self, fingerprints: Sequence[str]) -> list[dict[str, str]]:
        """Read these alerts. Those that do not exist are left out."""
        held = {alert["fingerprint"]: alert for alert in self._store.alerts()}
        return [held[f] for f in fingerprints if f in held]

    def evidence(self, streams: Sequence[str], most: int) -> dict[str, str]:
        """Read the packed evidence (JSON) of these streams, until ``most`` characters are read."""
        state, found = self._store.state(), dict[str, str]()
        for first in range(0, len(streams), EVIDENCE_AT_ONCE):
            found |= {s: state.get(STREAM_FIELD + s, "") for s in streams[first : first + EVIDENCE_AT_ONCE]}
            if sum(map(len, found.values())) >= most:
                break
        return found

    def counts(self, buckets: Sequence[int], most: int) -> dict[int, dict[CountKey, int]]:
        """Read counts of buckets, in the order given, until ``most`` fields are read."""
        held = {b: self._store.counts(b) for b in buckets}
        taken = portions({b: len(cells) for b, cells in held.items()}, most, AT_ONCE)
        return {b: held[b] for some in taken for b in some} | {b: {} for b, cells in held.items() if not cells}

    def examples(self, stream: str, buckets: Sequence[int]) -> list[Example]:
        """Read the most OOD samples of a stream in these buckets, the most OOD first."""
        return sorted((e for b in buckets for e in self._store.examples(b, stream)), key=lambda e: e.confidence)
