"""Slow drift, told as information: each stream's windows against the calibration set, from counts that are kept anyway.

A surge is many strange inputs at once, and is judged bucket by bucket. Drift is that traffic as a whole is no longer
what the artifact was calibrated on, so that thresholds and evidence mean less than they did. It is looked for in the
totals that counting keeps: the difference of two readings is a window, and each input lies in exactly one.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from monitor.math.drift import Counts, Difference, allowed, compare_cells, compare_classes
from monitor.store.counts import CELLS, CountKey
from monitor.store.protocol import Store
from monitor.store.verdicts import Notice

KIND = "drift"

NAMED = 5
"""Classes that are named, those whose share has changed most."""


@dataclass(frozen=True)
class Reference:
    """What the windows are compared with.

    Attributes:
        artifact: content hash; a window that began under another one begins again.
        weights: (cells,) of :func:`monitor.math.drift.weights_of`.
        class_counts: (K,) predicted classes of the calibration set; empty if the artifact does not keep them.
        class_name: the class for people.
    """

    artifact: str
    weights: tuple[int, ...]
    class_counts: tuple[int, ...] = ()
    class_name: Callable[[int], str] = field(default=str)


@dataclass(frozen=True)
class DriftSettings:
    """Numbers of a drift watch.

    Attributes:
        window: inputs of a stream in one window, at least.
        size: differences below this are not worth telling, however certain.
        budget: inputs per window that is falsely called different, at least, over all streams together.
        every_ms: time between two looks.
    """

    window: int = 20_000
    size: float = 0.1
    budget: float = 1_000_000
    every_ms: int = 60_000


class DriftWatch:
    """Compares every window that is full. One process at a time does it, the one that judges.

    Args:
        store: totals in, notices and windows out; a connection of its own.
        reference: of a stream, what its artifact was calibrated on; None if it has no artifact.
        settings: numbers.
        rng: of the simulations behind the p-values.
    """

    def __init__(
        self,
        store: Store,
        reference: Callable[[str], Reference | None],
        settings: DriftSettings,
        rng: np.random.Generator | None = None,
    ) -> None:
        self._store, self._reference, self._settings = store, reference, settings
        self._rng = rng or np.random.default_rng()
        self._due = 0

    def step_if_due(self) -> list[Notice]:
        """Look, if the last look is long enough ago; what was raised or resolved."""
        now = self._store.now_ms()
        if now < self._due:
            return []
        self._due = now + self._settings.every_ms
        return self.step(now)

    def step(self, now_ms: int) -> list[Notice]:
        """Look at every stream; what was raised or resolved.

        A crash on the way leaves the window open: it is compared again, with a few inputs more.
        """
        totals, kept = by_stream(self._store.totals(), self._classes_of), self._store.windows()
        begun: dict[str, str] = {}
        found: list[Notice] = []
        for stream, counts in totals.items():
            reference = self._reference(stream)
            if reference is None:
                continue
            window = self._window(kept.get(stream, ""), counts, reference.artifact)
            if window is None:
                begun[stream] = self._began(counts, now_ms, reference.artifact)
            elif window[0][:CELLS].sum() >= self._settings.window:
                found.append(self._compare(stream, reference, *window))
                begun[stream] = self._began(counts, now_ms, reference.artifact)
        gone = sorted(kept.keys() - totals.keys())
        found += [Notice(KIND, stream, False, "info") for stream in gone]
        changes = [notice for notice in found if self._store.notice(notice)]
        self._store.keep_windows(begun, gone)
        return changes

    def _classes_of(self, stream: str) -> int:
        reference = self._reference(stream)
        return len(reference.class_counts) if reference is not None else 0

    def _window(self, kept: str, counts: Counts, artifact: str) -> tuple[Counts, int] | None:
        """What came since the window began, and when that was (ms); None if it has to begin again."""
        if not kept:
            return None
        document = json.loads(kept)
        base = np.frombuffer(zlib.decompress(base64.b64decode(document["counts"])), "<i8")
        if document["artifact"] != artifact or len(base) != len(counts):
            return None
        since: Counts = counts - base
        # Fewer than before: Redis has forgotten some, and counts them again.
        return None if since.min() < 0 else (since, int(document["at_ms"]))

    def _began(self, counts: Counts, now_ms: int, artifact: str) -> str:
        packed = base64.b64encode(zlib.compress(counts.astype("<i8").tobytes())).decode()
        return json.dumps({"artifact": artifact, "at_ms": now_ms, "counts": packed})

    def _compare(self, stream: str, reference: Reference, window: Counts, since_ms: int) -> Notice:
        cells, classes = window[:CELLS], window[CELLS:]
        samples = int(cells.sum())
        scores = compare_cells(cells, reference.weights, self._rng)
        shares = compare_classes(classes, reference.class_counts, self._rng) if len(classes) else Difference(0, 1, 1)
        limit = allowed(samples, self._settings.budget)
        told = [
            (name, d)
            for name, d in (("scores", scores), ("classes", shares))
            if d.size >= self._settings.size and d.p_value <= limit
        ]
        details = {
            "samples": str(samples),
            "since_ms": str(since_ms),
            "psi_scores": f"{scores.size:.4f}",
            "psi_classes": f"{shares.size:.4f}",
            "p_scores": f"{scores.p_value:.3g}",
            "p_classes": f"{shares.p_value:.3g}",
        }
        return Notice(KIND, stream, bool(told), "info", _summary(reference, window, dict(told)), details)


def _summary(reference: Reference, window: Counts, told: Mapping[str, Difference]) -> str:
    cells, classes = window[:CELLS], window[CELLS:]
    parts = []
    if "scores" in told:
        low, expected = _tail(cells), _tail(reference.weights)
        parts.append(
            f"{low:.1%} of the scores lie in a range that holds {expected:.1%} of the calibration scores "
            f"(PSI {told['scores'].size:.2f})"
        )
    if "classes" in told:
        changed = ", ".join(_changes(classes, reference.class_counts, reference.class_name))
        parts.append(f"the predicted classes have other shares (PSI {told['classes'].size:.2f}; {changed})")
    return (
        f"The last {int(cells.sum())} inputs differ from what the artifact was calibrated on: "
        f"{' and '.join(parts)}. This is information and no surge. If it lasts, find out what has changed in the "
        "traffic; if the change is wanted, calibrate on present inputs and promote the new artifact."
    )


def by_stream(totals: Mapping[CountKey, int], classes_of: Callable[[str], int]) -> dict[str, Counts]:
    """(cells + classes,) inputs of each stream, in the cells of the first expert. The monitor's own are left out."""
    found: dict[str, Counts] = {}
    for (stream, predicted, cell), n in totals.items():
        if cell < CELLS and not stream.startswith("__"):
            row = found.get(stream)
            if row is None:
                row = found[stream] = np.zeros(CELLS + classes_of(stream), np.int64)
            row[cell] += n
            if predicted < len(row) - CELLS:
                row[CELLS + predicted] += n
    return found


def _tail(cells: Sequence[int] | Counts) -> float:
    """Share of inputs outside the last cell: scores lower than most calibration scores."""
    total = float(sum(cells))
    return 1 - float(cells[-1]) / total if total else 0.0


def _changes(seen: Counts, reference: Iterable[int], name: Callable[[int], str]) -> list[str]:
    held = np.asarray(list(reference), float)
    now, then = seen / max(1, seen.sum()), held / max(1.0, held.sum())
    most = np.argsort(-np.abs(now - then), kind="stable")[:NAMED]
    return [f"{name(int(k))} {then[k]:.1%} to {now[k]:.1%}" for k in most if now[k] != then[k]]
