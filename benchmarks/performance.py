"""The tables of docs/performance.md, from two runs of each benchmark: ``python -m benchmarks.performance``.

    python -m benchmarks.performance                # run what is not in results/performance yet: an hour or two
    python -m benchmarks.performance --write docs   # put what was measured into the page

Each benchmark runs once, then each of them again, so the two runs of one are far apart. Its JSON stays in the folder.
A cell with two numbers, ``1.23; 1.31``, holds those of the first run and of the second. A bound is met if both runs
meet it. ``--only NAME`` measures a part; what is there already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import documents

Row = Mapping[str, Any]
RUNS: dict[str, tuple[str, ...]] = {
    "scoring-1": ("scoring", "--threads", "1", "--batches", "1", "64", "2048"),
    "scoring-2": ("scoring", "--threads", "2", "--batches", "1", "64"),
    "panel": ("scoring_panel", "--threads", "1"),
    "evaluation": ("evaluation", "--every", "4"),
    "fitting": ("fitting",),
    "forwarding": ("forwarding",),
    "openood": ("beside_openood",),
    "worker": ("streaming", "throughput", "latency"),
    "memory": ("streaming", "memory", "growth"),
    "streams": ("many_streams", "100", "1000", "10000"),
    "ray": ("ray_cost",),
}
"""Name of a run to its module and arguments."""


@dataclass(frozen=True)
class Bound:
    """What was promised of some rows of a table.

    Args:
        what: in words.
        limit: that each of the numbers has to keep.
        run, table, column: where they are; without a table, ``column`` is of the run's header.
        rows: what a row's columns must hold to count.
        least: the number must not be below the limit, instead of above it.
    """

    what: str
    limit: float
    run: str
    table: str
    column: str
    rows: Mapping[str, Any] = field(default_factory=dict)
    least: bool = False

    def numbers(self, result: Mapping[str, Any]) -> list[float]:
        """Of one run."""
        if not self.table:
            return [_number(result[self.column])]
        table = tables_of(result)[self.table]
        return [_number(r[self.column]) for r in table if all(r[k] == v for k, v in self.rows.items())]

    def is_met(self, number: float) -> bool:
        """Whether one number keeps it."""
        return number >= self.limit if self.least else number <= self.limit


def _scores(run: str, threads: str) -> list[Bound]:
    return [
        Bound(f"score, K = {k}, {rows}, {threads}", limit, run, "rows", "score", {"K": k, "batch": batch})
        for k, batch, rows, limit in (
            (1000, 64, "64 rows", 2.0),
            (1000, 1, "one row", 1.5),
            (100, 64, "64 rows", 2.0),
            (10, 64, "64 rows", 2.0),
        )
    ]


_FIT, _PASS = "fit-and-eval", "fit / bare forward pass (train)"
BOUNDS = (
    *_scores("scoring-1", "one thread"),
    Bound("score, K = 1000, 2,048 rows, one thread", 2.3, "scoring-1", "rows", "score", {"K": 1000, "batch": 2048}),
    *_scores("scoring-2", "two threads"),
    Bound("ready after loading, s", 2.0, "scoring-1", "", "ready_s"),
    Bound("panel over LINe, K = 1000", 1.5, "panel", "scoring", "panel / LINe", {"K": "1000", "prototypes": "10"}),
    Bound("fit over the bare forward pass", 1.05, "evaluation", _FIT, "measured", {"": _PASS}),
    Bound(
        "eval of 7 methods with their searches over the bare pass", 1.1, "evaluation", _FIT, "measured",
        {"": "eval, 7 methods, every search (line: 8 points) / bare (all)"},
    ),
    Bound(
        "images forwarded again by another method", 0, "evaluation", _FIT, "measured",
        {"": "images forwarded by another method on the cached features"},
    ),
    Bound(
        "all metrics of 1,000,000 scores, s", 0.15, "evaluation", "metrics", "measured",
        {"": "all metrics of 1,000,000 scores, s"},
    ),
    Bound(
        "the published fit over ours", 20, "fitting", "the-published-procedure-beside-the-fit", "ratio", least=True
    ),
    *(
        Bound(
            f"worker with {client} over a bare loop, K = {k}", 0.8, "worker", "throughput", "worker / bare",
            {"K": k, "client": client}, least=True,
        )
        for k in (1000, 10)
        for client in ("kafka-python", "confluent-kafka")
    ),
    Bound("Redis round trips a batch", 1.0, "worker", "throughput", "Redis round trips a batch"),
    Bound("memory over a million messages, MB", 5.0, "memory", "memory", "slope MB per million"),
)  # fmt: skip


def tables_of(result: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The tables of one run, by names without spaces; a dict in a cell becomes a table of its own."""
    found: dict[str, list[dict[str, Any]]] = {}
    for title, rows in result.items():
        if not (isinstance(rows, list) and rows and isinstance(rows[0], dict)):
            continue
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        found[name] = [{k: v for k, v in row.items() if not isinstance(v, dict)} for row in rows]
        for inner in (k for k, v in rows[0].items() if isinstance(v, dict)):
            heads = [", ".join(str(v) for v in list(plain.values())[:3]) for plain in found[name]]
            found[f"{name}-{inner.replace('_', '-')}"] = [
                {"": part, **{head: row[inner][part] for head, row in zip(heads, rows, strict=True)}}
                for part in rows[0][inner]
            ]
    return found


def join(first: Sequence[Row], second: Sequence[Row]) -> list[dict[str, str]]:
    """Both runs in one table, row by row; a cell that is the same in both says it once.

    Raises:
        ValueError: the runs have not measured the same.
    """
    return [
        {c: _joined(a[c], b[c]) for c in a}
        for a, b in zip(first, second, strict=True)
    ]  # fmt: skip


def _joined(a: Any, b: Any) -> str:
    one, two = _text(a), _text(b)
    return one if one == two else f"{one}; {two}"


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    if isinstance(value, list):
        return ", ".join(_text(v) for v in value)
    if isinstance(value, int | float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _number(value: Any) -> float:
    """The first number of a cell: the median, if a spread follows."""
    return float(re.split(r"[ (]", str(value), maxsplit=1)[0])


def bounds_table(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, str]]:
    """A line a bound: what, the bound, both runs, and whether both, one or none of them meets it."""
    rows = []
    for bound in BOUNDS:
        if bound.run not in results:
            continue
        runs = [bound.numbers(result) for result in results[bound.run]]
        met = sum(all(map(bound.is_met, numbers)) for numbers in runs)
        word = {0: "**not met**", len(runs): "met"}.get(met, "**met in one run of two**")
        rows.append(
            {
                "": bound.what,
                "bound": f"{'at least' if bound.least else 'at most'} {bound.limit:g}",
                "measured": "; ".join(_range(numbers) for numbers in runs),
                "met": word,
            }
        )
    return rows


def _range(numbers: Sequence[float]) -> str:
    low, high = _text(min(numbers)), _text(max(numbers))
    return low if low == high else f"{low} to {high}"


def measure(name: str, path: Path) -> None:
    """Run one benchmark, and keep its JSON together with the load of the machine before and after it.

    Raises:
        SystemExit: it failed, or it had nothing to measure.
    """
    module, *arguments = RUNS[name]
    before, start = os.getloadavg()[0], time.monotonic()
    with path.with_suffix(".log").open("w", encoding="utf-8") as log:
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--json", str(path)],
            stdout=log, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    if done.returncode or not path.exists():
        raise SystemExit(f"benchmarks.{module} ended with {done.returncode} and measured nothing: see {log.name}")
    found = json.loads(path.read_text(encoding="utf-8"))
    took = round((time.monotonic() - start) / 60, 1)
    found |= {"load before": round(before, 1), "load after": round(os.getloadavg()[0], 1), "minutes": took}
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{path.stem}: {took} minutes", flush=True)


def read(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Both runs of each benchmark that has run twice."""
    for name in names:
        paths = [folder / f"{name}-{turn}.json" for turn in (1, 2)]
        if all(path.exists() for path in paths):
            yield name, [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def runs_table(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, str]]:
    """The command of each run, its date, how long it took and how busy the machine was before and after."""
    return [
        {
            "": name,
            "command": f"`python -m benchmarks.{' '.join(RUNS[name])}`",
            **{c: _joined(a.get(c), b.get(c)) for c in ("date", "minutes", "load before", "load after")},
        }
        for name, (a, b) in results.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("results/performance"))
    parser.add_argument("--only", choices=RUNS, nargs="+", default=list(RUNS))
    parser.add_argument("--write", type=Path, metavar="DOCS", help="run nothing; put the tables into these pages")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if not args.write:
        for turn in (1, 2):
            for name in args.only:
                path = args.folder / f"{name}-{turn}.json"
                if not path.exists():
                    measure(name, path)
    results = dict(read(args.folder, args.only))
    tables = {"bounds": bounds_table(results), "runs": runs_table(results)}
    for name, (first, second) in results.items():
        ones, twos = tables_of(first), tables_of(second)
        tables |= {f"{name}.{title}": join(ones[title], twos[title]) for title in ones}
    if args.write:
        if set(results) != set(RUNS):  # these two are of all runs
            print("the tables of the bounds and of the runs stay as they are: not every benchmark has run twice")
            del tables["bounds"], tables["runs"]
        for page in documents.put_tables(args.write, tables):
            print(f"{page}: written")
    else:
        for title, rows in tables.items():
            print(f"\n{title}\n\n{documents.as_markdown(rows)}")


if __name__ == "__main__":
    main()
