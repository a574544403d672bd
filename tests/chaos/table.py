"""``python -m tests.chaos.table RUN.json ...``: the table of docs/reliability.md, from runs of ``tests.chaos --json``.

A cell has one number if all runs agree, else that of each run, such as ``1.6; 2.1``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import documents


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.table", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN.json")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the table into its page in this folder")
    options = parser.parse_args(arguments)
    rows = table([json.loads(path.read_text(encoding="utf-8")) for path in options.runs])
    if options.write is None:
        print(documents.as_markdown(rows))
    else:
        documents.put_tables(options.write, {"chaos": rows})
    return 0


def table(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """A row for each fault. One that some runs left out has the numbers of the others."""
    faults = dict.fromkeys(outcome["fault"] for run in runs for outcome in run["outcomes"])
    rows = []
    for fault in faults:
        found = [outcome for run in runs for outcome in run["outcomes"] if outcome["fault"] == fault]
        cells = [_cells(outcome) for outcome in found]
        joined = {name: "; ".join(_merged([each[name] for each in cells])) for name in cells[0]}
        rows.append({"fault": found[0]["about"], **joined})
    return rows


def _cells(outcome: Mapping[str, Any]) -> dict[str, str]:
    delays, recovered = outcome["delays"], outcome["recovered_seconds"]
    return {
        "lost": str(outcome["lost"]),
        "counted twice": str(outcome["counted_twice"]),
        "false": str(len(outcome["false"])),
        "missed": f"{len(outcome['missed'])} of {outcome['surges']}",
        "late": str(len(outcome["late"])),
        "mean delay": f"{statistics.mean(delays):.1f}" if delays else "",
        "worst delay": f"{max(delays):.1f}" if delays else "",
        "recovered after": "never" if recovered is None else f"{recovered:g}",
    }


def _merged(values: Sequence[str]) -> Sequence[str]:
    return values[:1] if len(set(values)) == 1 else values


if __name__ == "__main__":
    sys.exit(main())
