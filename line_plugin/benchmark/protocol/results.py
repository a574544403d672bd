"""The results of a run of the protocol: a table, scores and settings for each method."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from line_plugin.benchmark.methods.base import Method, Setting
from line_plugin.benchmark.protocol.spec import Benchmark
from line_plugin.math.metrics import Metrics


@dataclass(frozen=True)
class Row:
    """One line of the table: a data set, or the unweighted mean of a group (``nearood``, ``farood``)."""

    name: str
    metrics: Metrics
    acc: float


@dataclass(frozen=True)
class SweepPoint:
    """One combination tried on the validation sets, and its AUROC."""

    settings: dict[str, Setting]
    auroc: float


@dataclass
class MethodResult:
    """The results of one method.

    Attributes:
        notes: the origin of its settings and the choices of its fit, in sentences.
        record: the choices of its fit, as JSON.
        scores: confidences (N,) float32 by set name; ``id`` is the ID test set.
        sweep: the combinations that were tried, empty without a search.
    """

    name: str
    settings: dict[str, Setting]
    rows: list[Row]
    scores: dict[str, NDArray[np.float32]]
    sweep: list[SweepPoint] = field(default_factory=list)
    method: Method | None = None
    notes: list[str] = field(default_factory=list)
    record: dict[str, Any] = field(default_factory=dict)


@dataclass
class Evaluation:
    """All methods on one network.

    Attributes:
        groups: ``id``, ``csid``, ``near`` or ``far`` by set name.
        labels, predicted: (N,) int64 by set name, ``train`` included.
        files, keys: the images of each set in order, and its key in the feature cache, ``train`` included.
        head: module path of the network's ``Linear``.
    """

    benchmark: Benchmark
    fsood: bool
    results: list[MethodResult]
    groups: dict[str, str]
    labels: dict[str, NDArray[np.int64]]
    predicted: dict[str, NDArray[np.int64]]
    missing: tuple[str, ...]
    forwarded: int
    model_sha256: str = ""
    files: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    head: str = ""
