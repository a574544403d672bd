"""``python -m tests.coverage_table``: the tables of docs/coverage.md, from what ``make coverage`` measured.

``--write docs`` puts them into the page. The second table names every line and branch of the code that decides about
alerts and counts which no test runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import documents

MEASURED = Path("coverage/coverage.json")
CORE = (
    "line_plugin/math", "line_plugin/method", "monitor/math", "monitor/counting", "monitor/judging", "monitor/store",
    "monitor/alerts", "monitor/messages",
)  # fmt: skip
"""The folders whose lines and branches are named if no test runs them."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.coverage_table", description=__doc__)
    parser.add_argument("--measured", type=Path, default=MEASURED)
    parser.add_argument("--write", type=Path, metavar="DOCS", help="put the tables into the pages of this folder")
    options = parser.parse_args(arguments)
    files = json.loads(options.measured.read_text(encoding="utf-8"))["files"]
    tables = {"coverage.folders": folders(files), "coverage.untested": untested(files)}
    if options.write is not None:
        documents.put_tables(options.write, tables)
    else:
        print("\n\n".join(documents.as_markdown(rows) for rows in tables.values()))
    return 0


def folders(files: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row for each folder of a package, and one for everything."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for path, measured in files.items():
        for folder in ("/".join(path.split("/")[:2]) if path.count("/") > 1 else path.split("/")[0], "together"):
            for name in ("num_statements", "missing_lines", "num_branches", "missing_branches"):
                sums[folder][name] += measured["summary"][name]
    return [
        {
            "folder": folder,
            "lines": f"{s['num_statements']:,}",
            "run by a test": _share(s["num_statements"], s["missing_lines"]),
            "branches": f"{s['num_branches']:,}",
            "taken by a test": _share(s["num_branches"], s["missing_branches"]),
        }
        for folder, s in sorted(sums.items(), key=lambda item: (item[0] == "together", item[0]))
    ]


def untested(files: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row for each file of the core with a line that no test runs, or a branch that none takes."""
    rows = []
    for path, measured in sorted(files.items()):
        if not path.startswith(CORE):
            continue
        gone = set(measured["missing_lines"])
        jumps = [(a, b) for a, b in measured["missing_branches"] if a not in gone and abs(b) not in gone]
        if gone or jumps:
            branches = ", ".join(f"{a} to {b if b > 0 else 'the end'}" for a, b in jumps)
            rows.append({"file": f"`{path}`", "lines": _ranges(sorted(gone)), "branches": branches})
    return rows or [{"file": "none", "lines": "", "branches": ""}]


def _share(of_all: int, missing: int) -> str:
    return f"{100 * (of_all - missing) / of_all:.1f} %" if of_all else ""


def _ranges(numbers: Sequence[int]) -> str:
    """Write 1, 2, 3, 7 as ``1-3, 7``."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


if __name__ == "__main__":
    sys.exit(main())
