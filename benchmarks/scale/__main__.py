"""What a rate of requests needs, and the measurements that this rests on.

python -m benchmarks.scale                        # the tables of docs/scale.md, from the costs that were measured last
python -m benchmarks.scale --rate 20000 --streams 500 --bucket-seconds 1
python -m benchmarks.scale --measure --json m.json     # measure the costs on this machine: minutes
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.measure import about, show
from benchmarks.scale.burst import measure_burst, simulate
from benchmarks.scale.measure import batches, consuming, counting, judging, opened
from benchmarks.scale.model import Costs, Load, Need, most_streams, size

COSTS = Path(__file__).with_name("costs.json")


def costs() -> Costs:
    """The costs that were measured last."""
    return Costs(**json.loads(COSTS.read_text("utf-8"))["costs"])


def main() -> None:
    """Print the model, or measure what it rests on."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--rate", type=float, default=Load.rate, help="requests a second")
    parser.add_argument("--streams", type=int, default=Load.streams)
    parser.add_argument("--bucket-seconds", type=float, default=Load.bucket_seconds)
    parser.add_argument("--measure", action="store_true", help="measure the costs on this machine")
    parser.add_argument("--messages", type=int, default=12_000, help="records that are counted for each row")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.measure:
        show(about("CPU of processes on Tansu and redis-server"), measured(options.messages), options.json)
        return
    load = Load(rate=options.rate, streams=options.streams, bucket_seconds=options.bucket_seconds)
    show(about(f"a model, with costs of {json.loads(COSTS.read_text('utf-8'))['date']}"), tables(load), options.json)


def measured(messages: int) -> dict[str, list[dict[str, Any]]]:
    """Costs of counting, in one process and with 1, 2 and 4 workers, of judging 10^2 to 10^5 streams, and one burst."""
    with opened() as stage:
        parts = [batches(stage, streams) for streams in (10, 300, 2000)]
        parts.append(batches(stage, 300, 200))
        alone = [consuming(stage, messages)]
        rows = [counting(stage, n, messages) for n in (1, 2, 4)]
    judged = [judging(n) for n in (100, 1_000, 10_000, 100_000)]
    return {"a batch": parts, "the client": alone, "workers": rows, "judging": judged, "a burst": [measure_burst()]}


def tables(load: Load) -> dict[str, list[dict[str, Any]]]:
    """The tables of the page."""
    known = costs()
    rates = [load.rate / 100, load.rate / 10, load.rate]
    needs = {rate: size(replace(load, rate=rate), known) for rate in rates}
    names = list(asdict(needs[load.rate]))
    rows = [{"what": n, **{f"{r:,.0f}/s": _shown(needs[r], n) for r in rates}} for n in names]
    streams = [
        {"bucket": f"{s:g} s", "streams at most": f"{most_streams(replace(load, bucket_seconds=s), known):,.0f}"}
        for s in (1, 10, 60)
    ]
    capacity = needs[load.rate].worker_rate * needs[load.rate].workers
    bursts = []
    for seconds in (1, 10, 60):
        lag = simulate(load.rate, capacity, burst_s=seconds, partitions=needs[load.rate].partitions)
        bursts.append(
            {
                "burst of 10x": f"{seconds} s", "most behind": f"{lag.most:,.0f}", "oldest": f"{lag.seconds:,.1f} s",
                "caught up after": f"{lag.caught_up_s:,.0f} s",
            }
        )  # fmt: skip
    return {"needs": rows, "streams": streams, "bursts": bursts}


def _shown(need: Need, name: str) -> str:
    value = getattr(need, name)
    if name.endswith("_bytes") or name.startswith("network"):
        return next(
            f"{value / n:,.3g} {unit}" for n, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if value >= n or n == 1e6
        )
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
