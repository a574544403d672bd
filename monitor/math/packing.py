"""The state as plain numbers, strings, lists and None, and back, exactly: what a store keeps.

Per stream, so that a bucket's evaluator writes the streams the bucket touched and one header.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from monitor.math.evidence import Evidence, Floats, taken
from monitor.math.lifecycle import Alert
from monitor.math.state import EVERYTHING, Key, MonitorState

FORMAT, DECIMAL = 2, 1
"""Of the packed state, and the one before it, which :func:`unpacked` reads too; it refuses others."""


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


def streams(state: MonitorState, names: Iterable[str] | None = None) -> dict[str, list[Any]]:
    """The evidence of ``names`` (all where None), of each ``[classes, text]``.

    A class of None is the stream as a whole. ``text`` holds a row for each class, base64 of little-endian float64:
    ``seen_at``, ``log_m``, ``since``. To write and read them as decimal numbers takes several times as long.
    """
    wanted = None if names is None else set(names)
    rows: dict[str, list[int]] = {}
    classes: dict[str, list[int | None]] = {}
    for (stream, label), row in state.rows.items():
        if stream is not None and (wanted is None or stream in wanted):
            rows.setdefault(stream, []).append(row)
            classes.setdefault(stream, []).append(label)
    index = np.array([row for some in rows.values() for row in some], dtype=np.int64)
    kept = taken(state.evidence, index)
    table = np.concatenate(
        [kept.seen_at[:, None], kept.log_m, kept.since.reshape(len(kept), 3 * kept.log_m.shape[1])], axis=1
    )
    packed, width = table.astype("<f8").tobytes(), 8 * table.shape[1]
    out, at = {}, 0
    for stream, labels in classes.items():
        end = at + width * len(labels)
        out[stream] = [labels, b64encode(packed[at:end]).decode("ascii")]
        at = end
    return out


def changed(before: MonitorState, after: MonitorState) -> list[str]:
    """The streams whose evidence differs: what has to be written after a fold, given that ``before`` was."""
    old = len(before.evidence)
    a, b = before.evidence, after.evidence
    differs = np.ones(len(b), dtype=bool)
    differs[:old] = (a.seen_at != b.seen_at[:old]) | (a.log_m != b.log_m[:old]).any(axis=1)
    return sorted({stream for (stream, _), row in after.rows.items() if stream is not None and differs[row]})


def unpacked(head: Mapping[str, Any], kept: Mapping[str, list[Any]], contaminations: int = 7) -> MonitorState:
    """The state that :func:`header` and :func:`streams` were taken from.

    Raises:
        ValueError: written in another format.
    """
    if head.get("format") not in (FORMAT, DECIMAL):
        raise ValueError(
            f"alert state of format {head.get('format')} given, expected {FORMAT}: read it with its own release"
        )
    rows = _decimal if head["format"] == DECIMAL else _binary
    keys: list[Key] = [EVERYTHING]
    tables = [_decimal([[None, *head["everything"]]], contaminations)[1]]
    for name in sorted(kept):
        labels, table = rows(kept[name], contaminations)
        keys += [(name, label) for label in labels]
        tables.append(table)
    table = np.concatenate(tables)
    evidence = Evidence(
        table[:, 1 : 1 + contaminations].copy(),
        table[:, 1 + contaminations :].reshape(len(keys), contaminations, 3).copy(),
        table[:, 0].copy(),
    )
    alerts = [Alert(**{k: _tuples(v) for k, v in one.items()}) for one in head["alerts"]]
    return MonitorState(
        rows={key: i for i, key in enumerate(keys)},
        evidence=evidence,
        alerts={(a.stream, a.kind): a for a in alerts},
        samples=dict(head["samples"]),
        raises=head["raises"],
        last_bucket=head["last_bucket"],
        last_end=-math.inf if head["last_end"] is None else head["last_end"],
    )


def _binary(stored: list[Any], contaminations: int) -> tuple[list[int | None], Floats]:
    """Classes, and their (rows, 1 + 4 contaminations) table."""
    labels, text = stored
    return labels, np.frombuffer(b64decode(text), dtype="<f8").reshape(len(labels), 1 + 4 * contaminations)


def _decimal(stored: list[Any], contaminations: int) -> tuple[list[int | None], Floats]:
    """The same of rows ``[class, seen_at, log_m, since]``; ``log_m`` None, and no ``since``, where nothing is known."""
    table = np.zeros((len(stored), 1 + 4 * contaminations))
    table[:, 1 : 1 + contaminations] = -np.inf
    for i, (_, seen, log_m, *since) in enumerate(stored):
        table[i, 0] = seen
        if log_m is not None:
            table[i, 1:] = [*log_m, *since[0]]
    return [row[0] for row in stored], table


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
