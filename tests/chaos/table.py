"""``python -m tests.chaos.table RUN.json ...``: the table of docs/reliability.md, from runs of ``tests.chaos --json``.

A cell has one number if all runs agree, else that of each run, such as ``1.6; 2.1``.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = ("fault", "lost", "counted twice", "false", "missed", "late", "mean delay", "worst delay", "recovered after")
BEGIN, END = "<!-- table chaos -->", "<!-- end -->"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.table", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN.json")
    parser.add_argument("--write", type=Path, metavar="PAGE", help=f"replace what stands between {BEGIN} and {END}")
    options = parser.parse_args(arguments)
    text = table([json.loads(path.read_text(encoding="utf-8")) for path in options.runs])
    if options.write is None:
        print(text)
        return 0
    page = options.write.read_text(encoding="utf-8")
    new, count = re.subn(f"(?<={BEGIN}\n).*?(?={END})", lambda _: text + "\n", page, count=1, flags=re.DOTALL)
    if not count:
        parser.error(f"{options.write} has no {BEGIN} with an {END} after it")
    options.write.write_text(new, encoding="utf-8")
    return 0


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """The table. A fault that some runs left out has the numbers of the others."""
    faults = dict.fromkeys(outcome["fault"] for run in runs for outcome in run["outcomes"])
    lines = [f"| {' | '.join(COLUMNS)} |", "|-" * len(COLUMNS) + "|"]
    for fault in faults:
        found = [outcome for run in runs for outcome in run["outcomes"] if outcome["fault"] == fault]
        cells = zip(*(_cells(outcome) for outcome in found), strict=True)
        lines.append(f"| {' | '.join([found[0]['about'], *('; '.join(_merged(each)) for each in cells)])} |")
    return "\n".join(lines)


def _cells(outcome: Mapping[str, Any]) -> list[str]:
    delays, recovered = outcome["delays"], outcome["recovered_seconds"]
    return [
        str(outcome["lost"]),
        str(outcome["counted_twice"]),
        str(len(outcome["false"])),
        f"{len(outcome['missed'])} of {outcome['surges']}",
        str(len(outcome["late"])),
        f"{statistics.mean(delays):.1f}" if delays else "",
        f"{max(delays):.1f}" if delays else "",
        "never" if recovered is None else f"{recovered:g}",
    ]


def _merged(values: Sequence[str]) -> Sequence[str]:
    return values[:1] if len(set(values)) == 1 else values


if __name__ == "__main__":
    sys.exit(main())
