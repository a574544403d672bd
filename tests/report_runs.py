"""Runs for tests of the report, of drawn confidences: as many methods, sets, images and classes as a test wants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from line_plugin.benchmark.report.run_folder import Run
from line_plugin.benchmark.report.run_record import (
    FileRecord,
    Made,
    MethodRecord,
    Network,
    Places,
    RunRecord,
    SetRecord,
)


def drawn_run(
    methods: Sequence[str],
    near: Sequence[str] = ("near",),
    far: Sequence[str] = ("far_a", "far_b"),
    *,
    name: str = "drawn",
    benchmark: str = "drawn",
    arch: str = "drawn",
    images: int = 100,
    classes: Sequence[str] = ("cat", "dog", "owl"),
    data_root: str = "/nowhere",
    cache: str = "/nowhere",
    seed: int = 0,
) -> Run:
    """A run whose methods are the better the earlier they are named; far sets are easier than near ones."""
    rng = np.random.default_rng(seed)
    groups = {"train": "train", "id": "id", **dict.fromkeys(near, "near"), **dict.fromkeys(far, "far")}
    shift = {"id": 0.0, "near": 1.2, "far": 3.0}
    labels = {
        n: rng.integers(len(classes), size=images) if g in ("train", "id") else np.full(images, -1)
        for n, g in groups.items()
    }
    scores = {}
    for place, method in enumerate(methods):
        strength = 1 - 0.5 * place / max(1, len(methods))
        scores[method] = {
            n: (10 + rng.normal(-strength * shift[g], 1, images)).astype(np.float32)
            for n, g in groups.items()
            if g != "train"
        }
    blank = {kind: FileRecord(name=f"{kind}-{'0' * 12}.npz", sha256="0" * 64) for kind in ("scores", "images")}
    record = RunRecord(
        name=name,
        benchmark=benchmark,
        num_classes=len(classes),
        class_names=tuple(classes),
        network=Network(arch=arch, head="fc", model_sha256="1" * 64),
        made=Made(
            command=("openood", "eval"),
            started="2026-11-29 00:00:00 UTC",
            device="cpu",
            platform="x",
            versions={"openood-line": "0"},
        ),
        places=Places(data_root=data_root, cache=cache),
        sets=tuple(
            SetRecord.model_validate({"name": n, "group": g, "images": images, "key": f"{i:032x}"})
            for i, (n, g) in enumerate(groups.items())
        ),
        methods=tuple(MethodRecord(name=m, settings={}) for m in methods),
        **blank,
    )
    return Run(
        record=record,
        scores=scores,
        labels=labels,
        predicted={n: rng.integers(len(classes), size=images) for n in groups},
        files={n: [f"{n}/{i}.png" for i in range(images)] for n in groups},
    )
