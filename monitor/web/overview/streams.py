"""The table of streams: searched, sorted and cut to a page. Each row has a flag rate over time and evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from line_plugin.math import beta
from monitor.math.lifecycle import Alert
from monitor.store.counts import OVERFLOW
from monitor.web.overview.evidence import Standing
from monitor.web.overview.facts import Facts
from monitor.web.overview.gathering import Gatherer
from monitor.web.overview.points import POINTS, Series
from monitor.web.overview.texts import at, log10_of, rate_of, stream_id

Sort = Literal["urgency", "rate", "name", "quiet"]
SORTS: tuple[Sort, ...] = get_args(Sort)
"""Orders: alerts and evidence first, the largest flag rate first, by name, or the longest quiet first."""

PIECES = 60
"""How many pieces a series has."""

RECENT = 60
"""The flag rate of a row covers this many points: ten minutes if a point is ten seconds."""

PAGE = 25
"""How many rows a page has."""


@dataclass(frozen=True)
class Query:
    """Which streams a client asks for.

    Attributes:
        search: part of a stream's name, ignoring case; empty for all streams.
        sort: see :data:`SORTS`.
        page: from 1.
        span: ``short``: each piece is one point. ``long``: the pieces cover all points.
    """

    search: str = ""
    sort: Sort = "urgency"
    page: int = 1
    span: Literal["short", "long"] = "short"

    @property
    def each(self) -> int:
        """How many points a piece covers."""
        return 1 if self.span == "short" else POINTS // PIECES


def until_ms(gatherer: Gatherer) -> int:
    """The time at which every chart ends: now, or the last input if that was long ago."""
    now, last = gatherer.known.now_ms, gatherer.known.last_end_ms
    reach = POINTS * gatherer.points.step_ms
    return now - 1 if now - last < reach else max(0, last - 1)


def table(gatherer: Gatherer, facts: Facts, query: Query) -> dict[str, Any]:
    """Build one page of the table."""
    until = until_ms(gatherer)
    names = gatherer.names()
    recent = _recent(gatherer, until)
    wanted = query.search.casefold()
    chosen = [s for s in names if wanted in s.casefold()] if wanted else names
    order = sorted(chosen, key=_keys(gatherer, query.sort, recent))
    pages = max(1, -(-len(order) // PAGE))
    page = min(max(1, query.page), pages)
    rows = order[(page - 1) * PAGE : page * PAGE]
    step = gatherer.points.step_ms
    return {
        "total": len(names),
        "matching": len(order),
        "page": page,
        "pages": pages,
        "sort": query.sort,
        "search": query.search,
        "span": query.span,
        "span_seconds": PIECES * query.each * step / 1000,
        "rate_seconds": RECENT * step / 1000,
        "unread_buckets": gatherer.unread,
        "rows": [row(gatherer, facts, stream, recent.get(stream, (0, 0)), query.each) for stream in rows],
    }


def row(gatherer: Gatherer, facts: Facts, stream: str, recent: tuple[int, int], each: int) -> dict[str, Any]:
    """Build the row of one stream."""
    standing = gatherer.evidence.of(stream)
    alert = gatherer.known.firing.get((stream, "ood"))
    silent = gatherer.known.firing.get((stream, "silence"))
    return {
        "id": stream_id(stream),
        "name": stream,
        "shown": "streams beyond the limit, together" if stream == OVERFLOW else stream,
        "counted_at": at(gatherer.known.look.streams.get(stream, 0)),
        "alert": alert.severity if alert else "silence" if silent else "",
        "since": at(1000 * (alert or silent).onset_at) if alert or silent else "",  # type: ignore[union-attr]
        "rate": rate_of(*recent),
        "evidence": evidence(standing.nearest, facts, standing.read_ms) if standing else None,
        "series": pieces(gatherer.points.series(stream, until_ms(gatherer), PIECES, each)),
    }


def evidence(standing: Standing, facts: Facts, read_ms: int) -> dict[str, Any]:
    """Show how far a stream, or a class of it, is from an alert."""
    return {
        "progress": round(standing.progress, 4),
        "log10": log10_of(standing.log_evidence),
        "needed_log10": log10_of(standing.log_needed),
        "class": None if standing.label is None else facts.class_name(standing.label),
        "expert": facts.rules.experts[standing.expert] if len(facts.rules.experts) > 1 else "",
        "since": at(1000 * (standing.seen_at - standing.seconds)) if standing.samples else "",
        "samples": round(standing.samples),
        "flagged": round(standing.flagged),
        "read_at": at(read_ms),
    }


def pieces(series: Series) -> dict[str, Any]:
    """Write a series with the interval of each piece, in thousandths; None for a piece without inputs."""
    low, high = intervals(series.samples, series.flagged)
    there = series.samples > 0
    return {
        "from": at(series.first_ms),
        "step_seconds": series.step_ms / 1000,
        "samples": series.samples.tolist(),
        "flagged": series.flagged.tolist(),
        "low": [round(1000 * v, 1) if t else None for v, t in zip(low.tolist(), there.tolist(), strict=True)],
        "high": [round(1000 * v, 1) if t else None for v, t in zip(high.tolist(), there.tolist(), strict=True)],
    }


def intervals(
    samples: npt.NDArray[np.int64], flagged: npt.NDArray[np.int64], confidence: float = 0.95
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute Clopper-Pearson intervals of many rates at once; [0, 1] if there are no samples."""
    tail = (1 - confidence) / 2
    n, f = samples.astype(float), flagged.astype(float)
    some, rest = np.maximum(f, 1), np.maximum(n - f, 1)
    low, high = beta.quantile([some, f + 1], [n - f + 1, rest], [[tail], [1 - tail]])
    low, high = np.where(f > 0, low, 0.0), np.where(f < n, high, 1.0)
    return np.where(n > 0, low, 0.0), np.where(n > 0, high, 1.0)


def _recent(gatherer: Gatherer, until: int) -> dict[str, tuple[int, int]]:
    points = gatherer.points
    found = points.recent(until, RECENT * points.step_ms).tolist()
    return {stream: (n, flagged) for stream, (n, flagged) in zip(points.streams(), found, strict=True)}


def _keys(gatherer: Gatherer, sort: Sort, recent: Mapping[str, tuple[int, int]]) -> Any:
    """The keys that streams are sorted by, the most important first."""
    known = gatherer.known
    if sort == "name":
        return lambda stream: (stream.casefold(), stream)
    if sort == "quiet":
        return lambda stream: (known.look.streams.get(stream, 0), stream)
    if sort == "rate":
        return lambda stream: (-_least(*recent.get(stream, (0, 0))), stream)

    def urgency(stream: str) -> tuple[Any, ...]:
        standing = gatherer.evidence.of(stream)
        distance = standing.nearest.distance if standing else -math.inf
        return (
            _rank(known.firing.get((stream, "ood"))),
            (stream, "silence") not in known.firing,
            -distance,
            -_least(*recent.get(stream, (0, 0))),
            stream,
        )

    return urgency


def _rank(alert: Alert | None) -> int:
    return 2 if alert is None else 0 if alert.severity == "critical" else 1


def _least(samples: int, flagged: int) -> float:
    """Lower bound of a rate (Wilson, 95 %), so that a stream with few inputs does not lead the list by chance."""
    if not samples:
        return -1.0
    z2, p = 3.8415, flagged / samples
    middle, spread = p + z2 / (2 * samples), math.sqrt((p * (1 - p) + z2 / (4 * samples)) * z2 / samples)
    return (middle - spread) / (1 + z2 / samples)


def classes(found: Iterable[Standing], facts: Facts, most: int = 20) -> Sequence[dict[str, Any]]:
    """Show the predicted classes of a stream, those with most evidence first."""
    order = sorted(found, key=lambda s: (-s.log_evidence, s.label or 0))[:most]
    return [
        {
            "class": facts.class_name(s.label or 0),
            "log10": log10_of(s.log_evidence),
            "needed_log10": log10_of(s.log_needed),
            **rate_of(s.samples, min(s.flagged, s.samples)),
            "since": at(1000 * (s.seen_at - s.seconds)) if s.samples else "",
        }
        for s in order
    ]
