"""The runner of OpenOOD v1.5's protocol: fits methods on cached features, chooses settings, scores and measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from line_plugin.benchmark import methods
from line_plugin.benchmark.methods.base import FeatureSet, FitData, Method, Setting
from line_plugin.benchmark.protocol import forwarding, image_list, settings
from line_plugin.benchmark.protocol.features import FeatureCache, Progress
from line_plugin.benchmark.protocol.results import Evaluation, MethodResult, Row, SweepPoint
from line_plugin.benchmark.protocol.spec import Benchmark
from line_plugin.errors import SettingsError
from line_plugin.math.metrics import Metrics, accuracy, ood_metrics
from line_plugin.method.settings import Provenance

_CHUNK = 4096  # rows scored at once, which limits the memory of methods that broadcast


@dataclass(frozen=True)
class Options:
    """What to evaluate.

    Attributes:
        methods: OpenOOD's names of the methods, which are evaluated on the same features.
        settings: settings of each method; they win over the benchmark's, the published and its own (:mod:`.settings`).
        fsood: whether covariate-shifted ID sets count as ID (full-spectrum OOD).
        search: choose hyper-parameters on the validation sets: True for every method with a sweep, False for none,
            None for the methods that OpenOOD does it for (its ``APS_mode``).
        skip_missing: evaluate the sets that exist, and leave the others out.
    """

    methods: tuple[str, ...]
    settings: dict[str, dict[str, Setting]] = field(default_factory=dict)
    fsood: bool = False
    search: bool | None = None
    skip_missing: bool = False


@dataclass(frozen=True)
class _Loaded:
    train: FeatureSet
    val: FeatureSet
    id_sets: dict[str, FeatureSet]  # id first, then csid
    ood: dict[str, FeatureSet]
    ood_val: FeatureSet | None


def read_sets(benchmark: Benchmark, root: Path, options: Options) -> image_list.Sets:
    """Reads the sets that a run needs. It reads all lists and checks that all images exist before any network is built.

    Raises:
        MissingDataError: names all missing sets, in one line. DataError: names the malformed list.
    """
    # The settings that depend on the network do not decide which methods search.
    searching = any(_searches(methods.create(name), options.search) for name in options.methods)
    return image_list.read_all(
        benchmark, root, csid=options.fsood, ood_val=searching, skip_missing=options.skip_missing
    )


def evaluate(
    benchmark: Benchmark,
    root: Path,
    cache: FeatureCache,
    options: Options,
    progress: Progress | None = None,
    sets: image_list.Sets | None = None,
) -> Evaluation:
    """Evaluate methods on one network. Every image is decoded and forwarded at most once.

    Args:
        benchmark: the benchmark, which names the sets.
        root: the data root.
        cache: the feature cache, which holds the network.
        options: which methods to evaluate, and how.
        progress: called while images are forwarded.
        sets: the result of :func:`read_sets`, if it was called before.

    Raises:
        MissingDataError, ImageError, SettingsError, HeadError and the errors of a method's fit.
    """
    chosen = [
        (name, settings.create(name, benchmark, cache.model, options.settings.get(name))) for name in options.methods
    ]
    if sets is None:
        sets = read_sets(benchmark, root, options)
    before = cache.forwarded
    loaded = _load(benchmark, sets, cache, progress)
    data = fit_data(benchmark, cache, loaded.train, loaded.val)
    groups = {"id": "id"} | dict.fromkeys(sets.csid, "csid") | dict.fromkeys(sets.near, "near")
    groups |= dict.fromkeys(sets.far, "far")
    everything = loaded.id_sets | loaded.ood | {"train": loaded.train}
    listed = {"train": sets.train, "id": sets.test, **sets.csid, **sets.near, **sets.far}
    return Evaluation(
        benchmark=benchmark,
        fsood=options.fsood,
        results=[_run(name, method, data, loaded, groups, options.search) for name, method in chosen],
        groups=groups,
        labels={n: s.labels for n, s in everything.items()},
        predicted={n: s.predicted for n, s in everything.items()},
        missing=sets.missing,
        forwarded=cache.forwarded - before,
        model_sha256=cache.model_sha256,
        files={n: s.files for n, s in listed.items()},
        keys={n: s.key for n, s in everything.items()},
        head=cache.head.path,
    )


def _searches(method: Method, search: bool | None) -> bool:
    """Whether to search settings for this method."""
    points = sum(1 for _ in method.sweep_points()) if method.sweep else 0
    return points > 1 and (method.searched if search is None else search)


def _load(benchmark: Benchmark, sets: image_list.Sets, cache: FeatureCache, progress: Progress | None) -> _Loaded:
    named = forwarding.forward(benchmark, sets, cache, progress)
    return _Loaded(
        train=named["train"],
        val=named["val"],
        id_sets={"id": named["id"]} | {n: named[n] for n in sets.csid},
        ood={n: named[n] for n in {**sets.near, **sets.far}},
        ood_val=named.get("ood val"),
    )


def fit_data(benchmark: Benchmark, cache: FeatureCache, train: FeatureSet, val: FeatureSet) -> FitData:
    """Collect the data that methods are fitted on, with its origin."""
    linear = cache.head.linear
    weight = linear.weight.detach().float().cpu()
    bias = torch.zeros(len(weight)) if linear.bias is None else linear.bias.detach().float().cpu()
    provenance = Provenance(
        class_names=benchmark.class_names,
        head=cache.head.path,
        model_sha256=cache.model_sha256,
        data_sha256=train.key,
        extra={"benchmark": benchmark.name, "preprocessing": benchmark.preprocessing.model_dump()},
    )
    return FitData(train, val, weight, bias, provenance)


def _run(
    name: str, method: Method, data: FitData, loaded: _Loaded, groups: dict[str, str], search: bool | None
) -> MethodResult:
    method.fit(data)
    sweep: list[SweepPoint] = []
    if _searches(method, search) and loaded.ood_val is not None:
        sweep = choose(method, loaded.val, loaded.ood_val)
    scores = {n: _score(method, s) for n, s in (loaded.id_sets | loaded.ood).items()}
    rows = _table(scores, loaded, groups)
    notes = [] if sweep else method.remarks()  # a search on the validation sets finds settings of its own
    return MethodResult(
        name, dict(method.settings), rows, scores, sweep, method, notes, {} if sweep else method.record()
    )


def choose(method: Method, val: FeatureSet, ood_val: FeatureSet) -> list[SweepPoint]:
    """Sets the combination with the highest AUROC of ID val against OOD val.

    The first one wins a tie, as in OpenOOD.
    """
    tried: list[SweepPoint] = []
    refused: SettingsError | None = None
    for point in method.sweep_points():
        try:
            method.set(point)
        except SettingsError as error:  # e.g. K above the number of training images: this is not a candidate
            refused = error
            continue
        tried.append(SweepPoint(point, ood_metrics(_score(method, val), _score(method, ood_val)).auroc))
    if not tried:
        raise refused or SettingsError("nothing to choose from")
    method.set(max(tried, key=lambda p: p.auroc).settings)
    return tried


def _score(method: Method, data: FeatureSet) -> NDArray[np.float32]:
    """Scores a whole set: confidences (N,) float32."""
    with torch.no_grad():
        parts = [method.score(rows).float() for rows in data.features.split(_CHUNK)]  # type: ignore[no-untyped-call]
    return torch.cat(parts).numpy().astype(np.float32, copy=False)


def _table(scores: dict[str, NDArray[np.float32]], loaded: _Loaded, groups: dict[str, str]) -> list[Row]:
    """Rows in OpenOOD's order: each near set, ``nearood``, each far set, ``farood``."""
    confidence = np.concatenate([scores[n] for n in loaded.id_sets])
    predicted = np.concatenate([s.predicted for s in loaded.id_sets.values()])
    labels = np.concatenate([s.labels for s in loaded.id_sets.values()])
    acc = accuracy(predicted, labels)
    rows: list[Row] = []
    for group in ("near", "far"):
        mine = [Row(n, ood_metrics(confidence, scores[n]), acc) for n in loaded.ood if groups[n] == group]
        if mine:
            rows += [*mine, Row(f"{group}ood", mean([r.metrics for r in mine]), acc)]
    return rows


def mean(metrics: Sequence[Metrics]) -> Metrics:
    """The unweighted mean of each metric."""
    columns = zip(*((m.fpr95, m.auroc, m.aupr_in, m.aupr_out, m.fpr95_id) for m in metrics), strict=True)
    return Metrics(*(float(np.mean(c)) for c in columns))
