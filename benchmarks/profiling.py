"""Where the time of a fit and of an `openood eval` goes: `python -m benchmarks.evaluation --profile`.

The functions that do the work are wrapped for one run; each gets its own time, without that of wrapped ones it calls.
Images are decoded in the process itself, which with workers would hide behind the forward pass.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from line_plugin.benchmark import methods, report
from line_plugin.benchmark.methods.base import Method
from line_plugin.benchmark.protocol import features, images, runner
from line_plugin.math import masks
from line_plugin.math.contributions import ClassSums
from line_plugin.method import line
from line_plugin.networks import tap

STEPS: list[tuple[Any, str, str]] = [  # where, which function, what it does
    (images._Images, "__getitem__", "decode"),
    (images, "_collate", "collate"),
    (features, "forward", "forward pass"),
    (tap, "forward", "forward pass"),
    (features, "find_head", "finding the head"),
    (tap, "find_head", "finding the head"),
    (features, "fingerprint", "hashing the network"),
    (line, "fingerprint", "hashing the network"),
    (features.FileDigests, "of", "hashing the images"),
    (features._Writer, "add", "cache"),
    (features._Writer, "commit", "cache"),
    (features.FeatureCache, "_load", "cache"),
    (ClassSums, "add_", "class sums"),
    (masks, "weight_thresholds", "percentiles"),
    (masks, "activation_mask", "masks"),
    (masks, "weight_floors", "masks"),
    (runner, "ood_metrics", "metrics"),
    (report, "summarise", "report"),
    (report, "save_csv", "report"),
]


class Clock:
    """Time by step, each without the steps inside it."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inside: list[float] = []

    def timed(self, step: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._inside.append(0.0)
            start = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                took = time.perf_counter() - start
                self.spent[step] = self.spent.get(step, 0.0) + took - self._inside.pop()
                if self._inside:
                    self._inside[-1] += took

        return call

    @contextlib.contextmanager
    def wrapping(self) -> Iterator[None]:
        """While it lasts, the steps are timed."""
        saved = [(where, name, getattr(where, name)) for where, name, _ in STEPS]
        saved += [(images, "transform", images.transform), (methods, "create", methods.create)]
        make, create = images.transform, methods.create
        for where, name, step in STEPS:
            setattr(where, name, self.timed(step, getattr(where, name)))
        images.transform = lambda settings: self.timed("transform", make(settings))  # type: ignore[assignment]
        methods.create = lambda *args: self._method(args[0], create(*args))  # type: ignore[assignment]
        try:
            yield
        finally:
            for where, name, work in saved:
                setattr(where, name, work)

    def _method(self, name: str, method: Method) -> Method:
        for part, step in (("fit", "fit"), ("set", "fit"), ("score", "score")):
            setattr(method, part, self.timed(f"{name}: {step}", getattr(method, part)))
        return method


def profile(work: Callable[[], object]) -> list[dict[str, str | float]]:
    """Steps by their share of the whole, and what no step covers."""
    clock = Clock()
    start = time.perf_counter()
    with clock.wrapping():
        work()
    whole = time.perf_counter() - start
    steps = {**clock.spent, "everything else": whole - sum(clock.spent.values())}
    ordered = sorted(steps.items(), key=lambda step: -step[1])
    return [{"step": name, "s": took, "%": 100 * took / whole} for name, took in ordered] + [
        {"step": "whole", "s": whole, "%": 100.0}
    ]


def of_bench(bench: Any, cache: Path, chosen: tuple[str, ...]) -> dict[str, list[dict[str, str | float]]]:
    """A fit, an eval of every method with its search, and the same from the cache."""
    bench.workers = 0
    line.LINe(10, 10, 0.8)  # loads what the first call would

    def evaluate() -> None:
        found = bench.evaluate(cache, chosen, True)
        report.save_csv(cache / "out", report.summarise([found]), fsood=False)

    return {
        "Profile of a fit": profile(bench.fit),
        "Profile of an eval": profile(evaluate),
        "Profile of an eval from the cache": profile(evaluate),
    }
