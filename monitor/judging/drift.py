"""Finds slow drift: compares the recent traffic of each stream with the calibration set, and reports it as information.

A surge is many strange inputs at once; it is judged bucket by bucket. Drift means that the traffic as a whole no
longer looks like the calibration set, so thresholds and evidence mean less than they did. Drift is found in the totals
that the workers keep anyway: the difference between two readings is a window, and each input lies in one window only.
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
"""How many classes a notice names at most: those whose shares changed most."""


@dataclass(frozen=True)
class Reference:
    """The calibration counts that windows are compared with.

    Attributes:
        artifact: content hash. A window that began under another artifact begins again.
        weights: (cells,) of :func:`monitor.math.drift.weights_of`.
        class_counts: (K,) predicted classes of the calibration set; empty if the artifact does not keep them.
        class_name: gives the name of a class, for people.
    """

    artifact: str
    weights: tuple[int, ...]
    class_counts: tuple[int, ...] = ()
    class_name: Callable[[int], str] = field(default=str)


@dataclass(frozen=True)
class DriftSettings:
    """Thresholds and intervals of the drift watch.

    Attributes:
        window: a window ends when it holds at least this many inputs of a stream.
        size: smaller differences (PSI) are not reported, however certain they are.
        budget: at most one window is falsely reported per this many inputs, over all streams together.
        every_ms: time between two checks.
    """

    window: int = 20_000
    size: float = 0.1
    budget: float = 1_000_000
    every_ms: int = 60_000


class DriftWatch:
    """Compares every full window with the calibration set. Only the process that judges does this.

    Args:
        store: totals are read from it, notices and windows are written to it. It needs a connection of its own.
        reference: gives the calibration counts of a stream's artifact, or None if the stream has no artifact.
        settings: thresholds and intervals.
        rng: random numbers for the simulated p-values.
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
        """Check all streams if ``every_ms`` has passed since the last check.

        Returns:
            The notices that were raised or resolved.
        """
        now = self._store.now_ms()
        if now < self._due <= now + self._settings.every_ms:
            return []
        self._due = now + self._settings.every_ms
        return self.step(now)

    def step(self, now_ms: int) -> list[Notice]:
        """Check every stream, and return the notices that were raised or resolved.

        If the process crashes on the way, the window stays open and is compared again later with a few more inputs.
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
        found += [Notice(KIND, stream, firing=False) for stream in gone]
        changes = [notice for notice in found if self._store.notice(notice)]
        self._store.keep_windows(begun, gone)
        return changes

    def _classes_of(self, stream: str) -> int:
        reference = self._reference(stream)
        return len(reference.class_counts) if reference is not None else 0

    def _window(self, kept: str, counts: Counts, artifact: str) -> tuple[Counts, int] | None:
        """Counts since the window began, and when it began (ms); None if a new window has to begin."""
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
        differing = [
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
        summary = _summary(reference, window, dict(differing)) if differing else ""
        return Notice(KIND, stream, bool(differing), "info", summary, details)


def _summary(reference: Reference, window: Counts, differing: Mapping[str, Difference]) -> str:
    cells, classes = window[:CELLS], window[CELLS:]
    parts = []
    if "scores" in differing:
        low, expected = _tail(cells), _tail(reference.weights)
        parts.append(
            f"{low:.1%} of the scores lie in a range that holds {expected:.1%} of the calibration scores "
            f"(PSI {differing['scores'].size:.2f})"
        )
    if "classes" in differing:
        changed = ", ".join(_changes(classes, reference.class_counts, reference.class_name))
        parts.append(
            f"the shares of the predicted classes have changed (PSI {differing['classes'].size:.2f}; {changed})"
        )
    return (
        f"The last {int(cells.sum())} inputs differ from what the artifact was calibrated on: "
        f"{' and '.join(parts)}. This is information and no surge. If it lasts, find out what has changed in the "
        "traffic; if the change is wanted, calibrate on present inputs and promote the new artifact."
    )


def by_stream(totals: Mapping[CountKey, int], classes_of: Callable[[str], int]) -> dict[str, Counts]:
    """Sum the totals by stream: (cells + classes,) inputs, in the cells of the first expert.

    The streams that the monitor sends to itself are left out.
    """
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
