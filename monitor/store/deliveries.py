"""The store of delivery: how far each sink has come, which process may send to it, and what is held back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from monitor.store.handling import Handling

SWITCHED_OFF_MS = 600_000
"""If no process has had a sink switched on for this long, it was switched off, not just between two processes."""

MOST_TOLD = 10_000
"""For how many episodes the store remembers when a receiver first heard of them. The oldest are forgotten."""


Done = Literal["delivered", "dropped", "passed", "muted"]
"""Why a sink moves past a transition: it was accepted, refused, written while the sink was off, or is muted."""

Event = Mapping[str, str]
"""A transition in the history: the fields of an alert, and its ``id`` in the history."""


@dataclass(frozen=True)
class Backlog:
    """Transitions that were not sent to a sink yet.

    Attributes:
        events: the transitions, the earliest first, each with its ``id``.
        passed: ids of those written while the sink was switched off. They are not sent.
        trimmed: True if the history no longer reaches back to the sink's position, so some may never be sent.
        oldest_ms: age of the earliest, by the store's clock; 0 if there are none.
    """

    events: tuple[dict[str, str], ...] = ()
    passed: frozenset[str] = frozenset()
    trimmed: bool = False
    oldest_ms: int = 0


@dataclass(frozen=True)
class Snapshot:
    """The current alerts.

    Attributes:
        firing: all firing alerts.
        resolved: recently resolved alerts that do not fire again, from the history, each with its ``id``.
    """

    firing: tuple[dict[str, str], ...] = ()
    resolved: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Told:
    """When a receiver of mode ``state`` first heard of which alerts, in ms by the store's clock.

    Attributes:
        now: the time of this answer.
        since: when it first heard of anything.
        episodes: when it first heard of each episode. Episodes it never heard of are missing.
    """

    now: int
    since: int
    episodes: Mapping[str, int]


class DeliveryStore(Protocol):
    """The interface of the store that delivery uses. Every method may raise ``StoreUnavailableError``."""

    def newest(self) -> str:
        """Return the id of the newest transition. It changes with every transition."""

    def snapshot(self, resolved_ms: int) -> Snapshot:
        """Return the current alerts and those resolved within the last ``resolved_ms``."""

    def told(self, sink: str, episodes: Sequence[str], *, note: bool) -> Told:
        """Return when a sink first heard of these episodes. With ``note``, new ones are noted as heard just now."""

    def begin(self, sink: str) -> None:
        """Note that the sink is switched on. It begins at the newest transition, or continues at its position."""

    def lease(self, sink: str, holder: str, ttl_ms: int) -> int:
        """Take, renew or (``ttl_ms`` 0) release the right to send to a sink.

        Returns the token; 0 if another holds it.
        """

    def backlog(self, sink: str, count: int = 20) -> Backlog:
        """Return the transitions that were not sent to the sink yet, at most ``count``."""

    def advance(self, sink: str, token: int, event: str, what: Done, why: str = "") -> bool:
        """Move the sink past a transition. Returns False if the token is no longer valid."""

    def note(self, sink: str, fields: Mapping[str, str], dropped: int = 0) -> None:
        """Keep a note about a sink, for people."""

    def handling(self) -> Handling:
        """Return which alerts are muted and which are acknowledged."""

    def held_back(self, sink: str) -> dict[str, str]:
        """Return what mutes hold back from a sink: text by fingerprint."""

    def hold_back(self, sink: str, held: Mapping[str, str], gone: Sequence[str] = ()) -> None:
        """Add to what mutes hold back from a sink, and remove what they no longer hold back."""

    def record(self, sink: str) -> dict[str, str]:
        """Return what is kept about a sink."""


def snapshot_of(held: list[dict[str, str]], late: list[dict[str, str]]) -> Snapshot:
    """Build a snapshot from the current alerts and the latest transitions, the newest first."""
    firing = tuple(alert for alert in held if alert.get("status") == "firing")
    seen = {alert.get("fingerprint", "") for alert in firing}
    resolved = []
    for event in late:
        name = event.get("fingerprint", "")
        if name not in seen and event.get("status") == "resolved":
            resolved.append(event)
        seen.add(name)
    return Snapshot(firing, tuple(resolved))


def passed_over(events: tuple[dict[str, str], ...], record: Mapping[str, str]) -> frozenset[str]:
    """Find the transitions that were written while the sink was switched off."""
    since, until = int(record.get("off_from", 0)), int(record.get("off_until", 0))
    return frozenset(e["id"] for e in events if since < id_order(e["id"])[0] < until)


def id_order(entry: str) -> tuple[int, int]:
    """Read an id of the history as two numbers: milliseconds by the store's clock, and a counter."""
    ms, _, sequence = entry.partition("-")
    return int(ms), int(sequence or 0)
