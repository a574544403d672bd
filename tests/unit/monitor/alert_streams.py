"""Simulated traffic in cells: ID confidences N(0, 1), OOD 2.49 standard deviations further out."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from line_plugin.math.conformal import CELL_EDGES
from monitor.math import nulls
from monitor.math.budget import Budget, Level
from monitor.math.fold import fold
from monitor.math.lifecycle import AlertRules, Transition
from monitor.math.state import Bucket, MonitorState, Rules


def law(contamination: float, shift: float = 2.49) -> np.ndarray:
    """(7,) cell masses at a share of OOD input."""
    edges = np.array(CELL_EDGES)
    out = np.append(norm.sf(norm.isf(edges[:-1]) - shift), 1.0)
    return np.diff(np.concatenate([[0.0], (1 - contamination) * edges + contamination * out]))


def rules(requests: float = 1e5, levels: tuple[Level, ...] = ("stream",), **alerts: float) -> Rules:
    return Rules(
        Budget(requests, dict.fromkeys(levels, 1.0)),
        nulls.known(CELL_EDGES),
        alerts=AlertRules(**alerts),  # type: ignore[arg-type]
    )


def bucket(i: int, counts: dict[tuple[str, int], np.ndarray], width: float = 10.0) -> Bucket:
    return Bucket(i, i * width, (i + 1) * width, {k: np.asarray(v).tolist() for k, v in counts.items()})


def run(buckets: list[Bucket], how: Rules, state: MonitorState | None = None) -> tuple[MonitorState, list[Transition]]:
    state = MonitorState.new(how) if state is None else state
    said: list[Transition] = []
    for one in buckets:
        state, changes = fold(state, one, how)
        said += changes
    return state, said


def surge(
    seed: int = 0,
    *,
    streams: tuple[str, ...] = ("a",),
    hit: tuple[str, ...] = ("a",),
    contamination: float = 0.2,
    size: int = 100,
    before: int = 30,
    during: int = 40,
    after: int = 60,
    classes: int = 1,
    into: int | None = None,
) -> list[Bucket]:
    """ID, then a surge in the streams ``hit``, then ID; OOD inputs are predicted as class ``into`` where given."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(before + during + after):
        counts: dict[tuple[str, int], np.ndarray] = {}
        for s in streams:
            ood = rng.binomial(size, contamination) if before <= i < before + during and s in hit else 0
            for c in range(classes):
                counts[s, c] = rng.multinomial(size // classes, law(0))
            target = rng.integers(classes) if into is None else into
            counts[s, int(target)] = counts[s, int(target)] + rng.multinomial(ood, law(1))
        out.append(bucket(i, counts))
    return out


def kinds(said: list[Transition]) -> list[tuple[str, str | None, str]]:
    return [(t.change, t.alert.stream, t.alert.kind) for t in said]
