"""The state as plain numbers, strings, lists and None, and back, exactly: what a store keeps.

Per stream, so that a bucket's evaluator writes the streams the bucket touched and one header.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from monitor.math.evidence import Evidence
from monitor.math.lifecycle import Alert
from monitor.math.state import EVERYTHING, Key, MonitorState

FORMAT = 1
"""Of the packed state; :func:`unpacked` refuses others."""


def header(state: MonitorState) -> dict[str, Any]:
    """All but the streams' evidence: firing alerts, what was spent, the last bucket, everything together."""
    return {
        "format": FORMAT,
        "last_bucket": state.last_bucket,
        "last_end": state.last_end if math.isfinite(state.last_end) else None,
        "raises": state.raises,
        "samples": dict(state.samples),
        "alerts": [asdict(state.alerts[k]) for k in sorted(state.alerts, key=str)],
        "everything": _row(state, EVERYTHING),
    }


def streams(state: MonitorState, names: Iterable[str] | None = None) -> dict[str, list[list[Any]]]:
    """The evidence of ``names`` (all where None): a list of rows each, ``[class or None, seen_at, log_m, since]``.

    ``log_m`` is None, and ``since`` left out, where a key has no evidence.
    """
    wanted = None if names is None else set(names)
    out: dict[str, list[list[Any]]] = {}
    for key in state.rows:
        if key[0] is not None and (wanted is None or key[0] in wanted):
            out.setdefault(key[0], []).append([key[1], *_row(state, key)])
    return out


def changed(before: MonitorState, after: MonitorState) -> list[str]:
    """The streams whose evidence differs: what has to be written after a fold, given that ``before`` was."""
    old = len(before.evidence)
    a, b = before.evidence, after.evidence
    differs = np.ones(len(b), dtype=bool)
    differs[:old] = (a.seen_at != b.seen_at[:old]) | (a.log_m != b.log_m[:old]).any(axis=1)
    return sorted({stream for (stream, _), row in after.rows.items() if stream is not None and differs[row]})


def unpacked(head: Mapping[str, Any], kept: Mapping[str, list[list[Any]]], contaminations: int = 7) -> MonitorState:
    """The state that :func:`header` and :func:`streams` were taken from.

    Raises:
        ValueError: written in another format.
    """
    if head.get("format") != FORMAT:
        raise ValueError(
            f"alert state of format {head.get('format')} given, expected {FORMAT}: read it with its own release"
        )
    entries: list[tuple[Key, list[Any]]] = [(EVERYTHING, head["everything"])]
    entries += [((name, row[0]), row[1:]) for name in sorted(kept) for row in kept[name]]
    evidence = Evidence.empty(len(entries), contaminations)
    for i, (_, row) in enumerate(entries):
        evidence.seen_at[i] = row[0]
        if row[1] is not None:
            evidence.log_m[i] = row[1]
            evidence.since[i] = np.reshape(row[2], (contaminations, 3))
    alerts = [Alert(**{k: _tuples(v) for k, v in one.items()}) for one in head["alerts"]]
    return MonitorState(
        rows={key: i for i, (key, _) in enumerate(entries)},
        evidence=evidence,
        alerts={(a.stream, a.kind): a for a in alerts},
        samples=dict(head["samples"]),
        raises=head["raises"],
        last_bucket=head["last_bucket"],
        last_end=-math.inf if head["last_end"] is None else head["last_end"],
    )


def _row(state: MonitorState, key: Key) -> list[Any]:
    i = state.rows[key]
    log_m = state.evidence.log_m[i]
    seen = float(state.evidence.seen_at[i])
    if not np.isfinite(log_m).all():
        return [seen, None]
    return [seen, log_m.tolist(), state.evidence.since[i].ravel().tolist()]


def _tuples(value: Any) -> Any:
    """Lists, as a store gives them back, as the tuples they were."""
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value
