"""Counts of a topic, recounted offline: every record once, literally, with nothing shared with the worker but LINe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import torch

from line_plugin import LINe, Panel


def recount(line: LINe, records: Iterable[tuple[bytes | None, bytes | None]]) -> dict[tuple[str, int, int], int]:
    """``(stream, predicted class, cell)`` to samples, from ``(key, raw float32 value)`` pairs; the rest is left out."""
    counts: Counter[tuple[str, int, int]] = Counter()
    bounds = line.calibration.cell_bounds()
    rows, streams = [], []
    for key, value in records:
        if value is None or len(value) != 4 * line.width:
            continue
        row = np.frombuffer(value, "<f4")
        if not np.isfinite(row).all():
            continue
        rows.append(row)
        streams.append(key.decode() if key else "default")
    if not rows:
        return {}
    classes, confidences = line.predict(torch.from_numpy(np.stack(rows)))
    for stream, predicted, confidence in zip(streams, classes.tolist(), confidences.tolist(), strict=True):
        cell = next(k for k, bound in enumerate(bounds) if confidence < bound)
        counts[stream, predicted, cell] += 1
    return dict(counts)


def recount_panel(panel: Panel, records: Iterable[tuple[bytes | None, bytes]]) -> dict[tuple[str, int, int], int]:
    """The same for a panel, row by row: a count for each who gathers evidence, of the e-th in cells from ``7 e`` on."""
    counts: Counter[tuple[str, int, int]] = Counter()
    for key, value in records:
        row = torch.from_numpy(np.frombuffer(value, "<f4").copy())[None]
        predicted = int(panel.predict(row)[0])
        for e, (name, own) in enumerate(panel.evidence_calibrations.items()):
            said = float(panel.score(row) if name == "panel" else panel.score_experts(row)[name].float())
            cell = next(k for k, bound in enumerate(own.cell_bounds()) if said < bound)
            counts[key.decode() if key else "default", predicted, 7 * e + cell] += 1
    return dict(counts)
