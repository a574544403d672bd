"""Makes the rows of a report: every method of every run, measured again from the saved scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from line_plugin.benchmark.report.run_folder import Run
from line_plugin.benchmark.report.run_record import MethodRecord
from line_plugin.errors import SettingsError
from line_plugin.math import bootstrap
from line_plugin.math.metrics import accuracy, ood_metrics

METRICS = {
    "auroc": "AUROC",
    "fpr95": "FPR@95 (OOD positive)",
    "fpr95_id": "FPR95 (ID positive)",
    "aupr_in": "AUPR-in (ID positive)",
    "aupr_out": "AUPR-out (OOD positive)",
}
LOWER_IS_BETTER = ("fpr95", "fpr95_id")


@dataclass(frozen=True)
class Cell:
    """A figure in per cent with its 95 % interval over images, which is NaN without a bootstrap."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


@dataclass(frozen=True)
class Entry:
    """One method of one run.

    Attributes:
        label: the method's name, with the run's name if the report has several.
        id_scores: confidences (N,) of ID test, covariate-shifted ID included under FS-OOD.
        ood_scores: confidences (M,) of each OOD set.
        cells: the figures by metric and column; columns are the OOD sets and the means ``nearood`` and ``farood``.
    """

    label: str
    run: int
    method: MethodRecord
    id_scores: NDArray[np.float32]
    ood_scores: dict[str, NDArray[np.float32]]
    cells: dict[str, dict[str, Cell]]
    accuracy: Cell


@dataclass(frozen=True)
class Images:
    """The images that all runs of a report have in common.

    Attributes:
        id_sets: ``id`` and, under FS-OOD, the covariate-shifted sets, in the order of the scores.
        groups: near and far sets by name.
        counts: how many images each set has; ``ID`` is all of ``id_sets``.
    """

    id_sets: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    counts: dict[str, int]

    @property
    def ood(self) -> list[str]:
        """The OOD sets, near first."""
        return [name for names in self.groups.values() for name in names]

    @property
    def columns(self) -> list[str]:
        """The OOD sets, each group followed by its mean, in OpenOOD's order."""
        return [column for group, names in self.groups.items() for column in (*names, f"{group}ood")]


def shared_images(runs: Sequence[Run]) -> Images:
    """The sets that every run was scored on.

    Raises:
        SettingsError: two runs were scored on different sets, so their figures cannot be compared.
    """
    first = runs[0].record
    for run in runs[1:]:
        other = run.record
        for what, a, b in (
            ("benchmark", first.benchmark, other.benchmark),
            ("protocol", "FS-OOD" if first.fsood else "OOD", "FS-OOD" if other.fsood else "OOD"),
            ("sets", _sets(runs[0]), _sets(run)),
        ):
            if a != b:
                raise SettingsError(
                    f"runs {first.name!r} and {other.name!r} have another {what} ({_shorten(a)} and {_shorten(b)}): "
                    "only runs on the same images can be compared, so write a report of each"
                )
        for name in first.of_group("id", "csid", "near", "far"):
            if runs[0].files[name] != run.files[name]:
                raise SettingsError(
                    f"runs {first.name!r} and {other.name!r} have other images of {name!r}: write a report of each"
                )
    groups = {g: tuple(first.of_group(g)) for g in ("near", "far") if first.of_group(g)}
    id_sets = tuple(first.of_group("id", "csid"))
    counts = {s.name: s.images for s in first.sets}
    return Images(id_sets, groups, counts | {"ID": sum(counts[n] for n in id_sets)})


def _sets(run: Run) -> list[tuple[str, str, int]]:
    return [(s.name, s.group, s.images) for s in run.record.sets if s.group != "train"]


def _shorten(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."


def measure(runs: Sequence[Run], images: Images, *, replicates: int = 1000, seed: int = 0) -> list[Entry]:
    """Measure every method of every run.

    Args:
        runs: runs on the same images.
        images: :func:`shared_images` of them.
        replicates: bootstrap draws; 0 leaves the intervals out.
        seed: seed of the draws, the same for every run.
    """
    entries: list[Entry] = []
    for number, run in enumerate(runs):
        predicted, labels = (np.concatenate([a[n] for n in images.id_sets]) for a in (run.predicted, run.labels))
        scores = {
            name: {"ID": np.concatenate([of[n] for n in images.id_sets]), **{n: of[n] for n in images.ood}}
            for name, of in run.scores.items()
        }
        known = labels >= 0
        right = (predicted == labels) if known.all() else np.zeros(0, dtype=np.bool_)
        draws = None
        if replicates:
            draws = bootstrap.draw(scores, right, id_set="ID", replicates=replicates, seed=seed)
        acc = Cell(100 * accuracy(predicted, labels), *_interval(None if draws is None else draws.accuracy))
        for place, method in enumerate(run.record.methods):
            of = scores[method.name]
            drawn = None if draws is None else draws.metrics[:, place]
            entries.append(
                Entry(
                    label=f"{run.record.name}: {method.name}" if len(runs) > 1 else method.name,
                    run=number,
                    method=method,
                    id_scores=of["ID"],
                    ood_scores={n: of[n] for n in images.ood},
                    cells=_cells(of, images, drawn),
                    accuracy=acc,
                )
            )
    return entries


def _cells(
    scores: dict[str, NDArray[np.float32]], images: Images, drawn: NDArray[np.float64] | None
) -> dict[str, dict[str, Cell]]:
    """The cells of each metric, for each OOD set and each group's mean; ``drawn`` (R, sets, 5) are bootstrap draws."""
    found = {n: ood_metrics(scores["ID"], scores[n]) for n in images.ood}
    cells: dict[str, dict[str, Cell]] = {metric: {} for metric in METRICS}
    for metric in METRICS:
        column = bootstrap.COLUMNS.index(metric)
        for group, names in images.groups.items():
            for name, members in (*((n, (n,)) for n in names), (f"{group}ood", names)):
                value = float(np.mean([getattr(found[n], metric) for n in members]))
                places = [images.ood.index(n) for n in members]
                spread = None if drawn is None else drawn[:, places, column].mean(axis=1)
                cells[metric][name] = Cell(100 * value, *_interval(spread))
    return cells


def _interval(draws: NDArray[np.float64] | None) -> tuple[float, float]:
    if draws is None or np.isnan(draws).any():
        return (float("nan"), float("nan"))
    low, high = bootstrap.interval(draws)
    return 100 * low, 100 * high
