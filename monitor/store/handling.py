"""What people did about alerts: which are muted, until when, and which somebody has taken on.

Neither changes what is counted, judged or kept of an alert. A mute keeps it from receivers; an acknowledgement tells
them, and everybody who looks, that somebody is at it.
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
"""A mute that nobody ends is over after this: whoever set it may have left."""

MOST_MUTES = 100
"""In force at once."""

MUTE_KEPT_MS = 2 * 86_400_000
"""What came and went under a mute is not told after it, either; so a mute is remembered for so long after its end."""

LONGEST_REASON, LONGEST_NAME = 500, 200

ABOUT_INPUTS = ("drift",)
"""Kinds that have a subject, as the monitor's own troubles have, but speak of the inputs of the stream it names."""


@dataclass(frozen=True)
class Mute:
    """Alerts that receivers are not told until its end.

    Attributes:
        id: in the store.
        reason, author: for people.
        begun_ms, ends_ms: by the store's clock.
        stream: alerts on the inputs of this stream; None for any.
        alert: the alert of this fingerprint; empty for any.
        kind: alerts of this kind; empty for any that are on inputs. The monitor's own troubles (that it cannot see, or
            has lost records) are only muted if their kind is named here.
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
        """Whether it is about this alert."""
        kind = alert.get("kind", "")
        own = "subject" in alert and kind not in ABOUT_INPUTS
        if (own or self.kind) and self.kind != kind:
            return False
        if self.alert and self.alert != alert.get("fingerprint"):
            return False
        return self.stream is None or self.stream == stream_of(alert)

    def is_in_force(self, at_ms: int) -> bool:
        """At this time."""
        return self.begun_ms <= at_ms < self.ends_ms

    def words(self) -> str:
        """What it mutes, until when, by whom and why, for people."""
        about = [] if self.stream is None else [f"stream {self.stream!r}"]
        about += [f"alert {self.alert}"] if self.alert else []
        about += [f"kind {self.kind}"] if self.kind else []
        until = moment(self.ends_ms)
        return printable(f"{self.id}  {', '.join(about)} until {until} by {self.author}: {self.reason}", 1200)

    def text(self) -> str:
        """As it is stored."""
        return json.dumps({k: v for k, v in asdict(self).items() if v not in ("", None) or k == "stream"})


def read_mute(text: str) -> Mute:
    """Back from :meth:`Mute.text`; what a later release adds is left out.

    Raises:
        ValueError: it is no mute.
    """
    return _read(Mute, text)


def _read(kind: type[T], text: str) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    try:
        made = kind(**{name: value for name, value in json.loads(text).items() if name in known})
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None
    if not all(isinstance(getattr(made, name), int) for name in known if name.endswith("_ms")):
        raise ValueError("a time is no whole number of milliseconds")
    return made


def stream_of(alert: Mapping[str, str]) -> str | None:
    """The stream that an alert is about; None for everything together, and for the monitor's own troubles."""
    if "subject" in alert:
        return alert["subject"] if alert.get("kind") in ABOUT_INPUTS else None
    return None if alert.get("level") == "everything" else alert.get("stream")


@dataclass(frozen=True)
class Acknowledgement:
    """Somebody has taken an alert on.

    Attributes:
        episode: of the alert; of a later one it says nothing.
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
    """All of it, as the store holds it.

    Attributes:
        now_ms: by the store's clock, when this was read.
        mutes: in force, to come or over for less than :data:`MUTE_KEPT_MS`; the earliest end first.
        acknowledged: fingerprint to who took that alert on.
    """

    now_ms: int = 0
    mutes: tuple[Mute, ...] = ()
    acknowledged: Mapping[str, Acknowledgement] = field(default_factory=dict)

    def in_force(self, at_ms: int | None = None) -> tuple[Mute, ...]:
        """The mutes that hold now, or did at a time."""
        at = self.now_ms if at_ms is None else at_ms
        return tuple(m for m in self.mutes if m.is_in_force(at))

    def mute_of(self, alert: Mapping[str, str], at_ms: int | None = None) -> Mute | None:
        """What keeps an alert from receivers now, or did at a time: the mute that lasts longest."""
        return next((m for m in reversed(self.in_force(at_ms)) if m.covers(alert)), None)

    def annotated(self, alert: Mapping[str, str]) -> dict[str, str]:
        """The alert, with who took it on if somebody has, for as long as this episode lasts."""
        found = self.acknowledged.get(alert.get("fingerprint", ""))
        if found is None or found.episode != alert.get("episode"):
            return dict(alert)
        at = moment(found.at_ms)
        by = {"acknowledged_by": found.author, "acknowledged_at": at, "acknowledged_reason": found.reason}
        return {**alert, **by}

    def differs(self, other: Handling) -> bool:
        """Whether receivers may have to be told something else than with the other."""
        return self.in_force() != other.in_force() or self.acknowledged != other.acknowledged


def read_handling(now_ms: int, mutes: Mapping[str, str], acknowledged: Mapping[str, str]) -> Handling:
    """From what is stored. One entry that cannot be read keeps nobody from being told of alerts."""
    read = sorted(_readable(Mute, mutes).values(), key=lambda m: (m.ends_ms, m.id))
    return Handling(now_ms, tuple(read), _readable(Acknowledgement, acknowledged))


def _readable(kind: type[T], texts: Mapping[str, str]) -> dict[str, T]:
    """Those that can be read: one that cannot keeps nothing from anybody, and receivers are told."""
    found = {}
    for name, text in texts.items():
        try:
            found[name] = _read(kind, text)
        except ValueError:
            log.debug("%s %s cannot be read and does nothing", kind.__name__, name)
    return found


def check_mute(mute: Mute) -> Mute:
    """The mute, if it may be set.

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
    """The acknowledgement, if it may be made.

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
    """Fingerprints whose acknowledgement is of an episode that is over."""
    episodes = {a.get("fingerprint", ""): a.get("episode", "") for a in firing}
    return [name for name, a in acknowledged.items() if episodes.get(name) != a.episode]


def moment(ms: int) -> str:
    """RFC 3339 in UTC; of a time that no calendar has, the number."""
    try:
        stamp = datetime.fromtimestamp(ms / 1000, tz=timezone.utc)
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
