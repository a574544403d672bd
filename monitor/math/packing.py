"""Converts the state to plain numbers, strings, lists and None for a store, and back, exactly.

Streams are packed one by one, so that after a bucket only the streams with input and one header are written.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from monitor.math.evidence import Evidence, taken
from monitor.math.experts import Floats
from monitor.math.lifecycle import Alert, plain
from monitor.math.state import EVERYTHING, Key, MonitorState

FORMAT, WITHOUT_RHYTHM = 3, 2
"""The formats of packed states that can be read. The older one does not hold how regular a stream is."""


def header(state: MonitorState) -> dict[str, Any]:
    """Packs all but the streams' evidence: firing alerts, the spent budget, the last bucket, everything together."""
    return {
        "format": FORMAT,
        "last_bucket": state.last_bucket,
        "last_end": state.last_end if math.isfinite(state.last_end) else None,
        "raises": state.raises,
        "samples": dict(state.samples),
        "alerts": [plain(state.alerts[k]) for k in sorted(state.alerts, key=str)],
        "everything": _row(state, EVERYTHING),
    }


def streams(state: MonitorState, names: Iterable[str] | None = None) -> dict[str, list[Any]]:
    """Packs the evidence of ``names`` (all if None), each as ``[classes, text]``.

    The class None is the stream as a whole. ``text`` is base64 of little-endian float64, one row for each class:
    ``seen_at``, ``heard``, ``gap``, ``log_m``, ``since``. Decimal numbers would take several times as long.
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
        [
            np.stack([kept.seen_at, kept.heard, kept.gap], axis=1),
            kept.log_m,
            kept.since.reshape(len(kept), 3 * kept.log_m.shape[1]),
        ],
        axis=1,
    )
    packed, width = table.astype("<f8").tobytes(), 8 * table.shape[1]
    out, at = {}, 0
    for stream, labels in classes.items():
        end = at + width * len(labels)
        out[stream] = [labels, b64encode(packed[at:end]).decode("ascii")]
        at = end
    return out


def changed(before: MonitorState, after: MonitorState) -> list[str]:
    """The streams whose evidence differs from ``before``, which must be written after a fold."""
    old = len(before.evidence)
    a, b = before.evidence, after.evidence
    differs = np.ones(len(b), dtype=bool)
    differs[:old] = (a.seen_at != b.seen_at[:old]) | (a.log_m != b.log_m[:old]).any(axis=1)
    return sorted({stream for (stream, _), row in after.rows.items() if stream is not None and differs[row]})


def unpacked(head: Mapping[str, Any], kept: Mapping[str, list[Any]], columns: int = 7) -> MonitorState:
    """Restores the state from :func:`header` and :func:`streams`.

    Args:
        head: by :func:`header`.
        kept: by :func:`streams`.
        columns: how many columns the evidence has, :attr:`monitor.math.state.Rules.columns`.

    Raises:
        ValueError: the state was written in another format.
    """
    if head.get("format") not in (FORMAT, WITHOUT_RHYTHM):
        raise ValueError(
            f"alert state of format {head.get('format')} was found, expected {FORMAT}: read it with its own release"
        )
    own = 3 if head["format"] == FORMAT else 1
    keys: list[Key] = [EVERYTHING]
    tables = [_everything(head["everything"], columns)]
    for name in sorted(kept):
        labels, table = _rows(kept[name], columns, own)
        keys += [(name, label) for label in labels]
        tables.append(table)
    table = np.concatenate(tables)
    evidence = Evidence(
        table[:, 3 : 3 + columns].copy(),
        table[:, 3 + columns :].reshape(len(keys), columns, 3).copy(),
        *(table[:, column].copy() for column in range(3)),
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


def _rows(stored: list[Any], columns: int, own: int) -> tuple[list[int | None], Floats]:
    """The classes and their (rows, 3 + 4 columns) table. The stored rows have ``own`` columns before ``log_m``."""
    labels, text = stored
    found = np.frombuffer(b64decode(text), dtype="<f8").reshape(len(labels), own + 4 * columns)
    return labels, np.concatenate([found[:, :own], np.zeros((len(labels), 3 - own)), found[:, own:]], axis=1)


def _everything(stored: list[Any], columns: int) -> Floats:
    """The (1, 3 + 4 columns) table of everything together; ``log_m`` is None if it had no input."""
    table = np.zeros((1, 3 + 4 * columns))
    table[0, 3 : 3 + columns] = -np.inf
    seen, log_m, *since = stored
    table[0, 0] = seen
    if log_m is not None:
        table[0, 3:] = [*log_m, *since[0]]
    return table


def _row(state: MonitorState, key: Key) -> list[Any]:
    i = state.rows[key]
    log_m = state.evidence.log_m[i]
    seen = float(state.evidence.seen_at[i])
    if not np.isfinite(log_m).all():
        return [seen, None]
    return [seen, log_m.tolist(), state.evidence.since[i].ravel().tolist()]


def _tuples(value: Any) -> Any:
    """Turns lists from a store back into the tuples that were written."""
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value
