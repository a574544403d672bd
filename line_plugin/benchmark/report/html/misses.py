"""Errors of a method at the threshold that keeps 95 % of ID: the worst images, and the classes that leak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from line_plugin.benchmark.report.html.entries import Entry, Images
from line_plugin.benchmark.report.html.neighbours import Key
from line_plugin.benchmark.report.html.thresholds import threshold_at_95
from line_plugin.benchmark.report.run_folder import Run

LEAKING_CLASSES = 20  # the most rows of the table: ImageNet has 1,000 classes


@dataclass(frozen=True)
class Miss:
    """A misjudged image: its set, its position in it, and its confidence."""

    set_name: str
    place: int
    confidence: float

    @property
    def key(self) -> Key:
        """The key that identifies the image."""
        return (self.set_name, self.place)


@dataclass(frozen=True)
class Missed:
    """A method's worst images of one set (or of ID), and how many there are in all."""

    title: str
    is_id: bool
    count: int
    of: int
    worst: tuple[Miss, ...]


def worst_misses(run: Run, entry: Entry, images: Images, most: int) -> list[Missed]:
    """Finds the ID images that are flagged, least confident first, and the OOD images kept, most confident first.

    Args:
        run: the run.
        entry: the method.
        images: the sets.
        most: the most images of ID, and of each OOD set.
    """
    threshold = threshold_at_95(entry.id_scores)
    scores = run.scores[entry.method.name]
    of_id = [(n, i, float(c)) for n in images.id_sets for i, c in enumerate(scores[n]) if c < threshold]
    of_id.sort(key=lambda found: (found[2], found[0], found[1]))
    out = [Missed("ID", True, len(of_id), images.counts["ID"], tuple(Miss(*m) for m in of_id[:most]))]
    for name in images.ood:
        values = entry.ood_scores[name]
        kept = np.flatnonzero(values >= threshold)
        order = kept[np.lexsort((kept, -values[kept].astype(np.float64)))][:most]
        worst = tuple(Miss(name, int(i), float(values[i])) for i in order)
        out.append(Missed(name, False, len(kept), len(values), worst))
    return out


@dataclass(frozen=True)
class Leak:
    """One ID class: how many images of each set are kept as this class, and how many of its ID images are flagged."""

    class_name: str
    kept: tuple[int, ...]
    flagged: int

    @property
    def total(self) -> int:
        """OOD images of all sets that pass as this class."""
        return sum(self.kept)


def leaks(run: Run, entry: Entry, images: Images) -> list[Leak]:
    """The predicted classes of kept OOD images, at the threshold that keeps 95 % of ID; at most 20, worst first."""
    threshold = threshold_at_95(entry.id_scores)
    classes = run.record.num_classes
    kept = [
        np.bincount(run.predicted[n][entry.ood_scores[n] >= threshold], minlength=classes)[:classes] for n in images.ood
    ]
    predicted = np.concatenate([run.predicted[n] for n in images.id_sets])
    flagged = np.bincount(predicted[entry.id_scores < threshold], minlength=classes)[:classes]
    names = names_of_classes(run)
    found = [Leak(names[k], tuple(int(v[k]) for v in kept), int(flagged[k])) for k in range(classes)]
    return sorted(found, key=lambda leak: -leak.total)[:LEAKING_CLASSES]


def names_of_classes(run: Run) -> Sequence[str]:
    """The names of the K classes, numbers if the benchmark names none."""
    return run.record.class_names or [f"class {k}" for k in range(run.record.num_classes)]
