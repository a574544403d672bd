"""How much a clip chosen from ID data alone loses against the best one, on networks whose features are on disk.

    python -m benchmarks.settings --features FOLDER [--quickstart QUICKSTART] --json out.json

Each FOLDER/NAME.safetensors holds one network: ``train.features``, ``train.labels``, ``test.features``, the OOD sets as
``near.*`` and ``far.*``, and the head as ``weight`` and ``bias``. ``--quickstart`` is the folder that
`openood quickstart` wrote: its network is evaluated from its feature cache. A score is the mean of near and far AUROC
in per cent, each the mean of its sets; the fit sees training rows only. *best clip* is the percentile from 50 to 99.9
with the best score on the OOD sets themselves, which nobody has who deploys; a regret is what another clip loses
against it under the same masks.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import measure
from line_plugin import LINe
from line_plugin.math.class_sample import ClassSample
from line_plugin.math.clip_choice import PERCENTILES, LeaveOut
from line_plugin.math.leave_out import choose_clip, take
from line_plugin.math.metrics import ood_metrics

WIDER = (50, 60, 70, 75, *PERCENTILES)  # where the best clip is looked for: the rule itself does not go below 80
GROUPS = {"cifar100": "near", "tin": "near", "textures": "far", "mnist": "far"}  # of files that name sets only
Settings = tuple[float | None, float | None, float | None]
Row = dict[str, str | float]


@dataclass(frozen=True)
class Network:
    """Features of one network, float32."""

    name: str
    train: Tensor
    labels: Tensor
    test: Tensor
    ood: dict[str, dict[str, Tensor]]  # near, far
    weight: Tensor
    bias: Tensor


class Judge:
    """One network with its fit; scores settings by its OOD sets."""

    def __init__(self, network: Network, seed: int) -> None:
        self.network = network
        n = network
        self.line = LINe.auto(seed=seed).fit_features(n.train, n.labels, n.weight, n.bias)
        sample = ClassSample(len(n.weight), seed=seed)
        sample.add_(n.train, n.labels)
        self.wider = choose_clip(
            sample.features, sample.labels, n.weight, n.bias, seed=seed, percentiles=WIDER
        ).candidates
        self.clips = {c.percentile: c.clip for c in self.wider}

    @property
    def choice(self) -> LeaveOut:
        assert self.line.choice is not None
        return self.line.choice

    def auroc(self, settings: Settings) -> float:
        """The mean of near and far AUROC, in per cent."""
        line = self.line.with_settings(*settings)
        inside = line.score(self.network.test).numpy()
        groups = [
            statistics.mean(ood_metrics(inside, line.score(rows).numpy()).auroc for rows in sets.values())
            for sets in self.network.ood.values()
        ]
        return 100 * statistics.mean(groups)

    def by_percentile(self, masks: tuple[float | None, float | None]) -> dict[float, float]:
        """The score of every clip among which the best is looked for."""
        return {p: self.auroc((*masks, clip)) for p, clip in self.clips.items()}


def read(path: Path) -> Network:
    from safetensors.torch import load_file

    tensors = load_file(path)
    ood: dict[str, dict[str, Tensor]] = {"near": {}, "far": {}}
    for name, rows in sorted(tensors.items()):
        group, _, rest = name.partition(".")
        if group in ood:
            ood[group][rest] = rows.float()
        elif group in GROUPS:
            ood[GROUPS[group]][group] = rows.float()
    return Network(
        path.stem,
        tensors["train.features"].float(),
        tensors["train.labels"].long(),
        tensors["test.features"].float(),
        ood,
        tensors["weight"].float(),
        tensors["bias"].float(),
    )


def read_quickstart(folder: Path) -> Network:
    """The small network of `openood quickstart`, from its feature cache."""
    from line_plugin import networks
    from line_plugin.benchmark.protocol import image_list, spec
    from line_plugin.benchmark.protocol.features import FeatureCache, Request

    benchmark = spec.load("quickstart")
    net = networks.build(benchmark.arch, benchmark.num_classes)
    networks.load_checkpoint(net, folder / "lenet.safetensors")
    cache = FeatureCache(net, folder / "cache", device=torch.device("cpu"))
    k = benchmark.num_classes
    named = [("train", benchmark.id.train, k), ("test", benchmark.id.test, k)]
    named += [(name, images, None) for _, name, images in benchmark.ood_sets()]
    sets = cache.get(
        [Request(image_list.read(n, i, folder / "data", k), benchmark.preprocessing_of(i)) for n, i, k in named]
    )
    found = {name: features for (name, _, _), features in zip(named, sets, strict=True)}
    linear = cache.head.linear
    return Network(
        "quickstart_lenet",
        found["train"].features,
        torch.from_numpy(found["train"].labels),
        found["test"].features,
        {g: {n: found[n].features for group, n, _ in benchmark.ood_sets() if group == g} for g in ("near", "far")},
        linear.weight.detach(),
        linear.bias.detach(),
    )


def networks_of(folder: Path, quickstart: Path | None) -> Iterator[Network]:
    for path in sorted(folder.glob("*.safetensors")):
        yield read(path)
    if quickstart is not None:
        yield read_quickstart(quickstart)


def rows_of(judge: Judge) -> tuple[Row, Row, Row]:
    """The row of one network in each table: scores, regrets, and the rule beside what it could not see."""
    choice = judge.choice
    mild, paper = judge.by_percentile((None, 10)), judge.by_percentile((90, 90))
    best, best_paper = max(mild, key=mild.__getitem__), max(paper, key=paper.__getitem__)
    name = judge.network.name
    published, fixed = judge.auroc((None, 10, 1.0)), mild.get(90.0, float("nan"))
    scores: Row = {
        "network": name,
        "K": str(len(judge.network.weight)),
        "rule": mild[choice.percentile],
        "paper, 90 / 90 / 1.0": judge.auroc((90, 90, 1.0)),
        "90th percentile": fixed,
        "best clip": mild[best],
        "rule's clip, masks 90 / 90": paper[choice.percentile],
        "best clip, masks 90 / 90": paper[best_paper],
    }
    regrets: Row = {
        "network": name,
        "rule": mild[best] - mild[choice.percentile],
        "clip 1.0": mild[best] - published,
        "90th percentile": mild[best] - fixed,
        "rule, masks 90 / 90": paper[best_paper] - paper[choice.percentile],
        "clip 1.0, masks 90 / 90": paper[best_paper] - judge.auroc((90, 90, 1.0)),
    }
    chosen: Row = {
        "network": name,
        "percentile": f"{choice.percentile:g}",
        "clip": choice.clip,
        "best on OOD": f"{best:g}",
        "mean AUROC of the folds": 100 * next(c.mean for c in choice.candidates if c.percentile == choice.percentile),
        "rows": str(choice.rows),
    }
    return scores, regrets, chosen


def variants(judges: list[Judge]) -> list[Row]:
    """Mean and worst regret of the rule with another margin, another usual percentile or more candidates."""
    scores = [judge.by_percentile((None, 10)) for judge in judges]
    out: list[Row] = []
    for usual in (97.5, 95.0, 90.0):
        for lowest in (80.0, 50.0):
            for margin in (0.0, 0.001, 0.0025, 0.005, 0.01):
                lost = []
                for judge, score in zip(judges, scores, strict=True):
                    among = [c for c in judge.wider if c.percentile >= lowest]
                    lost.append(max(score.values()) - score[take(among, margin=margin, usual=usual).percentile])
                row: Row = {
                    "usual": f"{usual:g}",
                    "candidates from": f"{lowest:g}",
                    "margin, points": f"{100 * margin:g}",
                }
                out.append(row | {"mean": statistics.mean(lost), "worst": max(lost)})
    return out


def summary(rows: list[Row]) -> list[Row]:
    """The rows, then mean and worst of each column."""
    columns = [c for c, v in rows[0].items() if isinstance(v, float)]
    out = list(rows)
    for label, of in (("mean", statistics.mean), ("worst", max)):
        out.append({"network": label, **{c: of(float(r[c]) for r in rows) for c in columns}})
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True, help="folder of NAME.safetensors")
    parser.add_argument("--quickstart", type=Path, help="folder that `openood quickstart` wrote")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    judges = [Judge(network, args.seed) for network in networks_of(args.features, args.quickstart)]
    if not judges:
        raise SystemExit(f"no network in {args.features}: expected NAME.safetensors files")
    scores, regrets, chosen = (list(rows) for rows in zip(*map(rows_of, judges), strict=True))
    measure.show(
        measure.about(f"seed {args.seed}; masks - / 10 where none are named"),
        {
            "AUROC, mean of near and far, in per cent": scores,
            "What is lost against the best clip under the same masks, in points of AUROC": summary(regrets),
            "What the rule chose": chosen,
            "Other forms of the rule, points of AUROC lost": variants(judges),
        },
        args.json,
    )


if __name__ == "__main__":
    main()
