"""Confidences of every method on whole networks: from cached features, from the quickstart, from CIFAR-10's images."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import feature_files
from line_plugin.benchmark import methods
from line_plugin.benchmark.methods.base import Setting
from line_plugin.errors import FitError, SettingsError
from line_plugin.method.auto import AUTO

Scores = dict[str, NDArray[np.float32]]
"""Confidences by set: ``id``, ``near.NAME``, ``far.NAME``."""

DENSENET = "checkpoints/densenet_bc100_12_cifar10.safetensors"


@dataclass(frozen=True)
class Measured:
    """All methods on one network: confidences by method, why a method is missing, and what a search chose for it."""

    network: str
    scores: dict[str, Scores]
    left_out: dict[str, str]
    chosen: dict[str, str] = field(default_factory=dict)


Settings = dict[str, dict[str, Setting]]
"""By method, over its defaults."""


def score_all(network: feature_files.Network, names: list[str], settings: Settings) -> Measured:
    """Fit and score each method; one that cannot be fitted is left out by name."""
    scores: dict[str, Scores] = {}
    left_out: dict[str, str] = {}
    for name in names:
        start = time.perf_counter()
        method = methods.create(name, settings.get(name))
        try:
            method.fit(network.data)
        except (FitError, SettingsError) as error:
            left_out[name] = str(error)
            continue
        sets = {"id": network.test, **network.ood}
        with torch.no_grad():
            scores[name] = {
                key: torch.cat([method.score(part).float() for part in rows.split(4096)]).numpy()  # type: ignore[no-untyped-call]
                for key, rows in sets.items()
            }
        print(f"{network.name}: {name} {time.perf_counter() - start:.1f} s", flush=True)
    return Measured(network.name, scores, left_out)


def score_quickstart(folder: Path, names: list[str], settings: Settings) -> Measured:
    """The same on the network that ``make demo`` trained, from its cache."""
    from line_plugin import networks
    from line_plugin.benchmark.protocol import runner, spec
    from line_plugin.benchmark.protocol.features import FeatureCache

    benchmark = spec.load("quickstart")
    assert benchmark.arch is not None
    net = networks.build(benchmark.arch, benchmark.num_classes)
    networks.load_checkpoint(net, folder / "lenet.safetensors")
    cache = FeatureCache(net, folder / "cache", device=torch.device("cpu"), num_workers=0)
    every = {
        name: dict(methods.create(name, settings.get(name)).settings) for name in names
    }  # over the benchmark's own
    chosen = runner.Options(tuple(names), every, search=False)
    run = runner.evaluate(benchmark, folder / "data", cache, chosen)
    scores = {r.name: {_in_group(run.groups[s], s): a for s, a in r.scores.items()} for r in run.results}
    return Measured("lenet_quickstart", scores, {})


def score_images(data: Path, cache: Path, names: list[str], settings: Settings) -> Measured:
    """What `openood eval` gives for the paper's DenseNet on CIFAR-10's images, its searches included.

    Args:
        data: folder with ``openood/`` and ``checkpoints/``.
        cache: where features are kept.
    """
    from line_plugin import cli
    from line_plugin.benchmark.protocol import runner
    from line_plugin.cli import evaluate, options

    flags = ["eval", "--id-data", "cifar10", "--data-root", str(data / "openood"), "--cache-dir", str(cache)]
    flags += ["--checkpoint", str(data / DENSENET), "--arch", "densenet100_12", "--std", ".2023", ".1994", ".2010"]
    args = cli.parser().parse_args([*flags, "--skip-missing", "--postprocessor", ",".join(names)])
    benchmark = options.benchmark_of(args)
    asked = runner.Options(tuple(names), {"line": {"clip": AUTO}} | settings, skip_missing=True)
    run = evaluate.evaluate(args, benchmark, asked, args.checkpoint, runner.read_sets(benchmark, args.data_root, asked))
    scores = {r.name: {_in_group(run.groups[s], s): a for s, a in r.scores.items()} for r in run.results}
    chosen = {r.name: ", ".join(f"{k}={r.settings[k]}" for k in r.sweep[0].settings) for r in run.results if r.sweep}
    return Measured("cifar10_images", scores, {}, chosen)


def _in_group(group: str, name: str) -> str:
    return "id" if group == "id" else f"{group}.{name}"
