"""Significance of differences between methods: DeLong's test of every pair, with Holm's adjustment."""

from __future__ import annotations

from dataclasses import dataclass

from line_plugin.benchmark.report.html.entries import Entry, Images
from line_plugin.errors import FeatureError
from line_plugin.math import delong

ALPHA = 0.05


@dataclass(frozen=True)
class Matrix:
    """Differences of the mean AUROC over a group of OOD sets, in points.

    Attributes:
        group: ``near`` or ``far``.
        labels: the labels of the methods, in order.
        pairs: every pair once; ``difference``, ``low`` and ``high`` are shares.
    """

    group: str
    labels: tuple[str, ...]
    pairs: tuple[delong.Comparison, ...]

    def between(self, row: str, column: str) -> tuple[float, bool] | None:
        """Row minus column in points, and whether the difference is significant; None for a method and itself."""
        for c in self.pairs:
            if (c.first, c.second) == (row, column):
                return 100 * c.difference, c.adjusted < ALPHA
            if (c.second, c.first) == (row, column):
                return -100 * c.difference, c.adjusted < ALPHA
        return None

    def not_told_apart(self, label: str) -> list[str]:
        """Methods whose difference to this one is not significant."""
        found = ((other, self.between(label, other)) for other in self.labels)
        return [other for other, pair in found if pair is not None and not pair[1]]


def compare(entries: list[Entry], images: Images) -> list[Matrix]:
    """Compares all pairs of methods and runs, for each group; empty with one method or with a set of one image."""
    out = []
    for group, names in images.groups.items():
        try:
            parts = {e.label: delong.parts_of(e.id_scores, [e.ood_scores[n] for n in names]) for e in entries}
        except FeatureError:  # a set of one image has no variance
            continue
        if len(parts) > 1:
            out.append(Matrix(group, tuple(parts), tuple(delong.compare_all(parts))))
    return out
