"""How soon a panel raises a surge, as one score and with evidence kept apart, beside each of its experts alone.

    python -m benchmarks.alerting_panel                    # about four minutes on one core
    python -m benchmarks.alerting_panel --only cost

CIFAR-10 and a DenseNet: embeddings under $OPENOOD_LINE_DATA (../shared/data if it is not set). 200 splits of the 10,000
test images: one half calibrates every expert, the ID stream is drawn from the other with replacement, and every sample
is judged by all experts, so that what they have in common is kept. Every detector sees the same surges. Intervals of
false alerts are a bootstrap over splits, as in ``benchmarks.alerting``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alerting import CONTAMINATION, A, Row, per_100k_by_split, show
from line_plugin.math.conformal import CELL_EDGES
from monitor.math import evidence as ev
from monitor.math import nulls, packing
from monitor.math.budget import Budget
from monitor.math.evidence import CONTAMINATIONS, Evidence
from monitor.math.experts import side_by_side
from monitor.math.fold import fold
from monitor.math.lifecycle import AlertRules
from monitor.math.state import Bucket, MonitorState, Rules
from monitor.store.counts import CELLS, cell_of
from monitor.store.keys import field

NEAR, FAR = ("cifar100", "tin"), ("textures", "mnist")
SPLITS, EACH = 200, 2  # of the test images, and streams for each split
KEYS = SPLITS * EACH
PRESET, ADDED = "LINe, preset", "panel"
Cells = dict[str, Any]  # set to (splits, rows, judges) uint8


def scores() -> tuple[tuple[str, ...], dict[str, Any]]:
    """Every judge: the preset of LINe, the panel as a whole, each expert; and (rows, judges) float32 of each set."""
    import torch
    from safetensors.torch import load_file

    from line_plugin import LINe, Panel

    folder = Path(os.environ.get("OPENOOD_LINE_DATA", "../shared/data")) / "features"
    t = load_file(str(folder / "densenet_bc100_12_cifar10.safetensors"))
    fit = (t["train.features"], t["train.labels"], t["weight"], t["bias"])
    preset = LINe.preset("cifar10-densenet").fit_features(*fit)
    panel = Panel().fit_features(*fit)
    names = panel.settings.experts
    found = {}
    for name in ("test", *NEAR, *FAR):
        x = t[f"{name}.features"]
        _, added, each = panel.predict_experts(x)
        found[name] = torch.cat([preset.score(x)[:, None], added[:, None], each], dim=1)
    return (PRESET, ADDED, *names), found


def placed(rng: np.random.Generator, found: dict[str, Any]) -> Cells:
    """The cell of every row for every judge, each split calibrated anew; ``calm`` is the other half."""
    from line_plugin.method.calibration import Calibration

    half = len(found["test"]) // 2
    cells: Cells = {name: [] for name in ("calm", *NEAR, *FAR)}
    for _ in range(SPLITS):
        order = rng.permutation(2 * half)
        held = [Calibration.from_scores(own) for own in found["test"][order[:half]].unbind(1)]
        for name in cells:
            rows = found["test"][order[half:]] if name == "calm" else found[name]
            each = [c.cells(own).numpy() for c, own in zip(held, rows.unbind(1), strict=True)]
            cells[name].append(np.stack(each, axis=1).astype(np.uint8))
    return {name: np.stack(some) for name, some in cells.items()}


class Detector:
    """Keys that all watch at once, judged by some of the judges."""

    def __init__(self, judges: list[int], calibrated_on: int) -> None:
        self.judges = judges
        known = nulls.pooled(calibrated_on, risk=0.05 / len(judges))
        self._table = side_by_side([ev.log_bets(known)] * len(judges))
        self._state, self._t = Evidence.empty(KEYS, len(judges) * len(CONTAMINATIONS)), 0

    def take(self, cells: Any) -> Any:
        """One bucket: (keys, samples, judges) cells; which keys raise, and those start again."""
        n = len(self.judges)
        counts = (cells[:, :, self.judges, None] == np.arange(CELLS)).sum(axis=1).reshape(KEYS, n * CELLS)
        t, rows = self._t, np.arange(KEYS)
        self._state = ev.update(self._state, rows, counts, self._table, start=t, end=t + 1, flag_cells=5, experts=n)
        self._t += 1
        hit = np.flatnonzero(self._state.log_mean() >= math.log(A))
        if len(hit):
            self._state = ev.reset(self._state, hit)
        return hit


def drawn(rng: np.random.Generator, cells: Cells, ood: str, share: float, samples: int) -> Any:
    """(keys, samples, judges) cells of a stream in which a share of inputs is OOD."""
    split = np.repeat(np.arange(SPLITS), EACH)[:, None]
    out = cells["calm"][split, rng.integers(0, cells["calm"].shape[1], (KEYS, samples))]
    if share:
        surging = cells[ood][split, rng.integers(0, cells[ood].shape[1], (KEYS, samples))]
        out = np.where(rng.random((KEYS, samples, 1)) < share, surging, out)
    return out


def false_alerts(seed: int, cells: Cells, detector: Detector, samples: int) -> Row:
    """Raises on ID traffic sample by sample, after a run-in of 10,000 samples a key of which none is counted."""
    rng, raised, steps = np.random.default_rng(seed), np.zeros(KEYS, dtype=np.int64), math.ceil(samples / KEYS / 50)
    for _ in range(200):
        detector.take(drawn(rng, cells, "", 0, 50))
    for _ in range(steps):
        some = drawn(rng, cells, "", 0, 50)
        for i in range(50):
            raised[detector.take(some[:, i : i + 1])] += 1
    by_split = raised.reshape(SPLITS, EACH).sum(axis=1)
    total = {"samples": steps * 50 * KEYS, "raised": int(raised.sum())}
    return total | per_100k_by_split(rng, by_split, steps * 50 * EACH)


def median_delay(seed: int, cells: Cells, detector: Detector, ood: str, share: float, cap: int) -> float:
    """Median samples from the begin of a surge to the raise, after 5,000 ID samples a key."""
    rng, delay = np.random.default_rng(seed), np.full(KEYS, np.inf)
    for _ in range(100):
        detector.take(drawn(rng, cells, "", 0, 50))
    for t in range(0, cap, 50):
        some = drawn(rng, cells, ood, share, 50)
        for i in range(50):
            hit = detector.take(some[:, i : i + 1])
            delay[hit] = np.minimum(delay[hit], t + i + 1)
            if np.isfinite(delay).mean() > 0.5:
                return float(np.median(delay))
    return math.inf


def delays(args: argparse.Namespace) -> list[Row]:
    """Median delay in samples by contamination of 400 surges each, false alerts on ID traffic; budget 1 per 100,000."""
    judges, found = scores()
    cells, half = placed(np.random.default_rng(args.seed), found), len(found["test"]) // 2
    watched = {name: [i] for i, name in enumerate(judges)}
    for apart in (("panel", "line"), judges[2:]):
        watched[f"apart: {' + '.join(apart)}"] = [judges.index(name, 1) for name in apart]
    out: list[Row] = []
    for name, members in watched.items():
        row = false_alerts(args.seed, cells, Detector(members, half), args.samples)
        out.append({"stream": "CIFAR-10 (ID)", "detector": name, **row})
        print(json.dumps(out[-1]), file=sys.stderr, flush=True)
    for ood in (*NEAR, *FAR):
        nothing = {f"{c:.0%}": math.inf for c in CONTAMINATION}
        rows: list[Row] = [{"stream": ood, "detector": name, **nothing} for name in watched]
        for c in reversed(CONTAMINATION):
            for row, members in zip(rows, watched.values(), strict=True):
                found_at = median_delay(args.seed + 1, cells, Detector(members, half), ood, c, args.cap)
                row[f"{c:.0%}"] = found_at
                print(json.dumps(row), file=sys.stderr, flush=True)
        out += rows
    return out


def cost(args: argparse.Namespace) -> list[Row]:
    """The whole fold over 10,000 keys with 10 samples each, state in a store, counts of a batch of 1,000."""
    rng, out, size = np.random.default_rng(args.seed), [], 10
    pairs = [(f"stream-{i:04d}", c) for i in range(909) for c in range(10)]
    for n in (1, 2, 4):
        alerts = replace(AlertRules(), silence_after=math.inf)
        names = tuple(f"expert {e}" for e in range(n))
        rules = Rules(Budget(A), nulls.known(CELL_EDGES), alerts=alerts, experts=names)
        masses = np.diff(np.array(CELL_EDGES), prepend=0.0)
        state, spent = MonitorState.new(rules), []
        for i in range(6):
            counts = rng.multinomial(size, masses, (len(pairs), n)).reshape(len(pairs), n * CELLS).tolist()
            began = time.perf_counter()
            state, _ = fold(state, Bucket(i, float(i), i + 1.0, dict(zip(pairs, counts, strict=True))), rules)
            spent.append(time.perf_counter() - began)
        took = float(np.median(spent[1:]))
        classes = rng.integers(0, 10, 1000).tolist()
        placed_in = [rng.choice(CELLS, 1000, p=masses).tolist() for _ in range(n)]
        sent = Counter(
            field("stream-0001", c, cell_of(e, k))
            for e, cells in enumerate(placed_in)
            for c, k in zip(classes, cells, strict=True)
        )
        row: Row = {"experts": n, "keys": len(state.rows), "ms a bucket": took * 1e3}
        row |= {"us a sample": took / (len(pairs) * size) * 1e6}
        row["state of a key, bytes"] = 8 * (3 + 4 * rules.columns)
        row["packed JSON MB"] = len(json.dumps([packing.header(state), packing.streams(state)])) / 1e6
        row |= {"fields of a batch": len(sent), "bytes of them a sample": len(json.dumps(sent)) / 1000}
        out.append(row)
    return out


TABLES = {f.__name__: f for f in (delays, cost)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=TABLES, nargs="+", default=list(TABLES))
    parser.add_argument("--samples", type=int, default=5_000_000, help="ID samples that false alerts are counted over")
    parser.add_argument("--cap", type=int, default=15_000, help="samples that a surge is followed for at most")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    print(f"{time.strftime('%Y-%m-%d')}; {machine}; numpy {np.__version__}; seed {args.seed}; {KEYS} surges each\n")
    for name in args.only:
        began = time.perf_counter()
        rows = TABLES[name](args)
        print(f"## {name}\n{TABLES[name].__doc__}\n")
        show(rows)
        print(f"\n({time.perf_counter() - began:.0f} s)\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
