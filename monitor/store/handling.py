"""Mutes and acknowledgements: what people did about alerts.

Neither changes what is counted, judged or stored. A muted alert is not sent to receivers. An acknowledgement shows
receivers, and everybody who looks, that somebody takes care of the alert.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from typing import TypeVar

from monitor.errors import HandlingError
from monitor.messages.text import printable

log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_MUTE_MS = 7 * 86_400_000
"""The longest mute. It ends even if the person who set it has left."""

MOST_MUTES = 100
"""How many mutes may be in force at once."""

MUTE_KEPT_MS = 2 * 86_400_000
"""How long a mute is remembered after its end: alerts that began and ended under it must not be sent later."""

LONGEST_REASON, LONGEST_NAME = 500, 200

ABOUT_INPUTS = ("drift",)
"""Kinds whose subject is a stream. They are about its inputs, unlike alerts of the monitor about itself."""


@dataclass(frozen=True)
class Mute:
    """A mute: until it ends, receivers are not sent the alerts that it covers.

    Attributes:
        id: its id in the store.
        reason, author: for people.
        begun_ms, ends_ms: by the store's clock.
        stream: alerts on the inputs of this stream; None for any.
        alert: the alert of this fingerprint; empty for any.
        kind: alerts of this kind; if empty, all alerts on inputs. Alerts of the monitor about itself (that it is blind,
            or has lost records) are only muted if their kind is named here.
    """

    id: str
    reason: str
    author: str
    begun_ms: int
    ends_ms: int
    stream: str | None = None
    alert: str = ""
    kind: str = ""

    def covers(self, alert: Mapping[str, str]) -> bool:
        """Whether the mute covers this alert."""
        kind = alert.get("kind", "")
        own = "subject" in alert and kind not in ABOUT_INPUTS
        if (own or self.kind) and self.kind != kind:
            return False
        if self.alert and self.alert != alert.get("fingerprint"):
            return False
        return self.stream is None or self.stream == stream_of(alert)

    def is_in_force(self, at_ms: int) -> bool:
        """Whether the mute is in force at this time."""
        return self.begun_ms <= at_ms < self.ends_ms

    def words(self) -> str:
        """Describe what is muted, until when, by whom and why, for people."""
        about = [] if self.stream is None else [f"stream {self.stream!r}"]
        about += [f"alert {self.alert}"] if self.alert else []
        about += [f"kind {self.kind}"] if self.kind else []
        until = moment(self.ends_ms)
        return printable(f"{self.id}  {', '.join(about)} until {until} by {self.author}: {self.reason}", 1200)

    def text(self) -> str:
        """As it is stored."""
        return json.dumps({k: v for k, v in asdict(self).items() if v not in ("", None) or k == "stream"})


def _read(kind: type[T], text: str) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    try:
        made = kind(**{name: value for name, value in json.loads(text).items() if name in known})
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None
    if not all(isinstance(getattr(made, name), int) for name in known if name.endswith("_ms")):
        raise ValueError("a time is not a whole number of milliseconds")
    return made


def stream_of(alert: Mapping[str, str]) -> str | None:
    """Return the stream that an alert is about; None for all streams together, and for the monitor's own alerts."""
    if "subject" in alert:
        return alert["subject"] if alert.get("kind") in ABOUT_INPUTS else None
    return None if alert.get("level") == "everything" else alert.get("stream")


@dataclass(frozen=True)
class Acknowledgement:
    """An acknowledgement: somebody takes care of an alert.

    Attributes:
        episode: the episode of the alert. Later episodes are not acknowledged by it.
        author, reason: for people.
        at_ms: by the store's clock.
    """

    episode: str
    author: str
    reason: str
    at_ms: int

    def text(self) -> str:
        """As it is stored."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Handling:
    """All mutes and acknowledgements in the store.

    Attributes:
        now_ms: when this was read, by the store's clock.
        mutes: in force, in the future, or over for less than :data:`MUTE_KEPT_MS`; the earliest end first.
        acknowledged: acknowledgements by fingerprint.
    """

    now_ms: int = 0
    mutes: tuple[Mute, ...] = ()
    acknowledged: Mapping[str, Acknowledgement] = field(default_factory=dict)

    def in_force(self, at_ms: int | None = None) -> tuple[Mute, ...]:
        """The mutes that are in force now, or were at a given time."""
        at = self.now_ms if at_ms is None else at_ms
        return tuple(m for m in self.mutes if m.is_in_force(at))

    def mute_of(self, alert: Mapping[str, str], at_ms: int | None = None) -> Mute | None:
        """The mute that covers an alert now, or did at a given time.

        If there are several, the one that lasts longest.
        """
        return next((m for m in reversed(self.in_force(at_ms)) if m.covers(alert)), None)

    def annotated(self, alert: Mapping[str, str]) -> dict[str, str]:
        """The alert with the name of the person who acknowledged this episode of it, if somebody has."""
        found = self.acknowledged.get(alert.get("fingerprint", ""))
        if found is None or found.episode != alert.get("episode"):
            return dict(alert)
        at = moment(found.at_ms)
        by = {"acknowledged_by": found.author, "acknowledged_at": at, "acknowledged_reason": found.reason}
        return {**alert, **by}

    def differs(self, other: Handling) -> bool:
        """Whether receivers may have to be sent something else than under ``other``."""
        return self.in_force() != other.in_force() or self.acknowledged != other.acknowledged


def read_handling(now_ms: int, mutes: Mapping[str, str], acknowledged: Mapping[str, str]) -> Handling:
    """Read the stored mutes and acknowledgements. Entries that cannot be read are ignored, so alerts are still sent."""
    read = sorted(_readable(Mute, mutes).values(), key=lambda m: (m.ends_ms, m.id))
    return Handling(now_ms, tuple(read), _readable(Acknowledgement, acknowledged))


def _readable(kind: type[T], texts: Mapping[str, str]) -> dict[str, T]:
    """Return the entries that can be read. A mute that cannot be read has no effect, so its alerts are sent."""
    found = {}
    for name, text in texts.items():
        try:
            found[name] = _read(kind, text)
        except ValueError:
            log.debug("%s %s cannot be read and does nothing", kind.__name__, name)
    return found


def check_mute(mute: Mute) -> Mute:
    """Return the mute if it is allowed.

    Raises:
        HandlingError: it names nothing, has no reason or author, or is too long.
    """
    _check_words(mute.reason, mute.author)
    if mute.stream is None and not mute.alert and not mute.kind:
        raise HandlingError("a mute of everything is not possible: name a stream, an alert or a kind")
    for name, given in (("stream", mute.stream or ""), ("alert", mute.alert), ("kind", mute.kind)):
        if len(given) > LONGEST_NAME:
            raise HandlingError(f"{name} has {len(given)} characters, expected at most {LONGEST_NAME}")
    if mute.ends_ms <= mute.begun_ms:
        raise HandlingError(f"the mute ends at {moment(mute.ends_ms)}, which is over: expected a time to come")
    if mute.ends_ms - mute.begun_ms > LONGEST_MUTE_MS:
        days = LONGEST_MUTE_MS // 86_400_000
        raise HandlingError(f"the mute lasts until {moment(mute.ends_ms)}: expected {days} days at most")
    return mute


def check_acknowledgement(given: Acknowledgement) -> Acknowledgement:
    """Return the acknowledgement if it is allowed.

    Raises:
        HandlingError: it has no reason or author.
    """
    _check_words(given.reason, given.author)
    return given


def _check_words(reason: str, author: str) -> None:
    for name, given, most in (("reason", reason, LONGEST_REASON), ("author", author, LONGEST_NAME)):
        if not given.strip() or len(given) > most or not _is_text(given):
            raise HandlingError(f"{name}: expected 1 to {most} characters that people can read, on one line")


def _is_text(given: str) -> bool:
    return given.isprintable() and not any("\ud800" <= c <= "\udfff" for c in given)


def stale(acknowledged: Mapping[str, Acknowledgement], firing: Iterable[Mapping[str, str]]) -> list[str]:
    """Find the fingerprints whose acknowledgement belongs to an episode that is over."""
    episodes = {a.get("fingerprint", ""): a.get("episode", "") for a in firing}
    return [name for name, a in acknowledged.items() if episodes.get(name) != a.episode]


def moment(ms: int) -> str:
    """Write a time as RFC 3339 in UTC. If no calendar has it, write the number."""
    try:
        stamp = datetime.fromtimestamp(ms / 1000, tz=timezone.utc)
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
