"""The details of one method on the page: thresholds, histograms, worst misses and leaking classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from line_plugin.benchmark.report.html import charts
from line_plugin.benchmark.report.html.entries import Entry, Images
from line_plugin.benchmark.report.html.misses import Leak, Miss, Missed, leaks, names_of_classes, worst_misses
from line_plugin.benchmark.report.html.neighbours import Key, nearest
from line_plugin.benchmark.report.html.pictures import Album
from line_plugin.benchmark.report.html.thresholds import Thresholds, tabulate
from line_plugin.benchmark.report.run_folder import Run
from line_plugin.benchmark.report.run_record import ArtifactRecord

if TYPE_CHECKING:
    from line_plugin.benchmark.report.html.page import PageOptions


@dataclass(frozen=True)
class Neighbour:
    """A training image: its thumbnail's number, its class, and its cosine similarity."""

    picture: int | None
    class_name: str
    similarity: float


@dataclass(frozen=True)
class Shown:
    """A miss on the page; ``short`` is its path below the common folder of its set."""

    path: str
    short: str
    picture: int | None
    confidence: float
    predicted: str
    label: str
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Group:
    """The misses of ID, or of one OOD set."""

    missed: Missed
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Detail:
    """The details of one method."""

    label: str
    thresholds: Thresholds
    span: tuple[float, float]
    histograms: tuple[tuple[str, str], ...]
    groups: tuple[Group, ...]
    leaks: tuple[Leak, ...]
    calibration: ArtifactRecord | None
    calibrated_position: int | None
    calibrated_shares: tuple[tuple[str, float], ...]


def show_details(
    runs: Sequence[Run], entries: Sequence[Entry], images: Images, chosen: PageOptions
) -> tuple[list[Detail], Album]:
    """Every method's details, and the thumbnails that they share.

    Pictures of the best methods come first, in case not all fit.
    """
    album = Album()
    misses = [worst_misses(runs[e.run], e, images, chosen.misses) for e in entries]
    found = _neighbours(runs, entries, misses, chosen)
    order = sorted(range(len(entries)), key=lambda i: -_rank(entries[i], images))
    groups: dict[int, tuple[Group, ...]] = {}
    for i in order:
        run = runs[entries[i].run]
        root = chosen.data_root or Path(run.record.places.data_root)
        shown = [tuple(_show(run, root, m, found[entries[i].run], album) for m in one.worst) for one in misses[i]]
        groups[i] = tuple(Group(one, pictures) for one, pictures in zip(misses[i], shown, strict=True))
    return [_detail(i, runs, entries, images, groups[i]) for i in range(len(entries))], album


def _rank(entry: Entry, images: Images) -> float:
    return sum(entry.cells["auroc"][f"{group}ood"].value for group in images.groups)


def _neighbours(
    runs: Sequence[Run], entries: Sequence[Entry], misses: Sequence[Sequence[Missed]], chosen: PageOptions
) -> list[dict[Key, list[tuple[int, float]]]]:
    """For each run, the nearest training images of all images that any of its methods misses."""
    out = []
    for number, run in enumerate(runs):
        wanted = dict.fromkeys(
            m.key
            for entry, of in zip(entries, misses, strict=True)
            if entry.run == number
            for one in of
            for m in one.worst
        )
        cache = chosen.cache or Path(run.record.places.cache)
        out.append(nearest(run, list(wanted), cache, chosen.neighbours))
    return out


def _show(run: Run, root: Path, miss: Miss, found: dict[Key, list[tuple[int, float]]], album: Album) -> Shown:
    names = names_of_classes(run)
    path = run.files[miss.set_name][miss.place]
    shared = _shared_folder(run.files[miss.set_name])
    label = int(run.labels[miss.set_name][miss.place])
    near = [
        Neighbour(album.add(root / run.files["train"][i]), _class(names, int(run.labels["train"][i])), similarity)
        for i, similarity in found.get(miss.key, ())
    ]
    return Shown(
        path=_readable(path),
        short=_readable(path.removeprefix(shared)),
        picture=album.add(root / path),
        confidence=miss.confidence,
        predicted=_class(names, int(run.predicted[miss.set_name][miss.place])),
        label=_class(names, label),
        neighbours=tuple(near),
    )


def _readable(path: str) -> str:
    """Makes a path that may not be UTF-8 readable."""
    return path.encode("utf-8", "replace").decode()


def _shared_folder(paths: Sequence[str]) -> str:
    """The folder that all paths share, with its slash; "" if they share none."""
    first, last = min(paths), max(paths)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first[:same].rfind("/") + 1]


def _class(names: Sequence[str], index: int) -> str:
    return names[index] if 0 <= index < len(names) else ""


def _detail(
    place: int, runs: Sequence[Run], entries: Sequence[Entry], images: Images, groups: tuple[Group, ...]
) -> Detail:
    entry = entries[place]
    run = runs[entry.run]
    thresholds = tabulate(entry.id_scores, entry.ood_scores)
    span = charts.span_of(entry.id_scores, entry.ood_scores)
    far = images.groups.get("far", ())
    histograms = tuple(
        (n, charts.histogram(f"hist{place}x{i}", n, entry.id_scores, entry.ood_scores[n], span, far=n in far))
        for i, n in enumerate(images.ood)
    )
    artifact = next((a for a in run.record.artifacts if a.method == entry.method.name and a.calibration), None)
    position: int | None = None
    shares: tuple[tuple[str, float], ...] = ()
    if artifact is not None and artifact.calibration is not None and np.isfinite(artifact.calibration.threshold):
        cut = artifact.calibration.threshold
        position = max(0, int(np.searchsorted(thresholds.values, cut, side="right")) - 1)
        shares = tuple(
            (n, 100 * float(np.mean(s < cut))) for n, s in (("ID", entry.id_scores), *entry.ood_scores.items())
        )
    return Detail(
        label=entry.label,
        thresholds=thresholds,
        span=span,
        histograms=histograms,
        groups=groups,
        leaks=tuple(leaks(run, entry, images)),
        calibration=artifact,
        calibrated_position=position,
        calibrated_shares=shares,
    )
