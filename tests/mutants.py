"""``python -m tests.mutants [PATTERN ...]``: change the code in many small ways, and count who notices.

mutmut makes the mutants of pyproject's ``[tool.mutmut]`` and runs the tests that reach each one; what it has judged it
does not judge again until the code or the choice of tests changes, or a pattern names it. Patterns choose mutants by
name, such as ``monitor.math.*``; ``--sample`` draws that many of them. The table has a line a module; below it is every
survivor that docs/mutants.md does not explain, and the exit code is 1 if there is one.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "mutants"
KILLED, SURVIVED, UNTESTED = "killed", "survived", "no test"
COLUMNS = ("mutants", "judged", KILLED, SURVIVED, UNTESTED)


def verdict(code: int | None) -> str:
    """What became of a mutant, from the exit code of its tests; a time-out or a crash was noticed, too."""
    if code in (None, 2):  # not run yet, or interrupted
        return "not judged"
    return {0: SURVIVED, 5: UNTESTED, 33: UNTESTED}.get(code, KILLED)


def judged(folder: Path) -> dict[str, str]:
    """Name of each mutant to what became of it."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.meta")):
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        found |= {name: verdict(code) for name, code in codes.items()}
    return found


def module_of(mutant: str) -> str:
    """``monitor.math.budget.xǁBudgetǁspent__mutmut_2`` is of ``monitor.math.budget``."""
    return mutant.rsplit(".", 1)[0]


def explained(page: str) -> set[str]:
    """The mutants that docs/mutants.md names as those that no test can tell from the original."""
    return set(re.findall(r"`([a-z_.]+\.x[^`]*__mutmut_\d+)`", page))


def drawn(names: Iterable[str], patterns: Sequence[str], sample: int, seed: int) -> list[str]:
    """The mutants that a run judges: those that match, or so many of them at random."""
    matching = sorted(n for n in names if not patterns or any(fnmatch.fnmatch(n, p) for p in patterns))
    return sorted(random.Random(seed).sample(matching, min(sample, len(matching)))) if sample else matching


def table(found: dict[str, str]) -> str:
    """A line a module, and one for all."""
    by_module: dict[str, Counter[str]] = defaultdict(Counter)
    for name, what in found.items():
        for row in (module_of(name), "all"):
            by_module[row][what] += 1
            by_module[row]["mutants"] += 1
            by_module[row]["judged"] += what != "not judged"
    order = [*sorted(m for m in by_module if m != "all"), "all"]
    lines = [f"| module | {' | '.join(COLUMNS)} | killed of judged |", "|-|" + "-|" * (len(COLUMNS) + 1)]
    for module in order:
        row = by_module[module]
        share = f"{row[KILLED] / row['judged']:.1%}" if row["judged"] else ""
        lines.append(f"| {module} | {' | '.join(str(row[c]) for c in COLUMNS)} | {share} |")
    return "\n".join(lines)


def mutmut(*arguments: str) -> None:
    """Run mutmut; what it prints goes to stderr, so that the table stands alone."""
    subprocess.run(
        [str(Path(sys.executable).with_name("mutmut")), *arguments], cwd=ROOT, stdout=sys.stderr, check=False
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n\n")[1])
    parser.add_argument("patterns", nargs="*", metavar="PATTERN")
    parser.add_argument("--sample", type=int, default=0, help="how many; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--children", type=int, default=2, help="tests of so many mutants run at once")
    parser.add_argument("--report", action="store_true", help="run nothing: the table of what was judged before")
    options = parser.parse_args()
    if not options.report:
        if options.sample and not judged(FOLDER):
            mutmut("run", "--max-children", str(options.children), "make-the-mutants-and-judge-none")
        names = drawn(judged(FOLDER), options.patterns, options.sample, options.seed) if options.sample else []
        mutmut("run", "--max-children", str(options.children), *(names or options.patterns))
    found = judged(FOLDER)
    wanted = set(drawn(found, options.patterns, 0, 0))
    found = {name: what for name, what in found.items() if name in wanted}
    if not found:
        print("no mutant matches: expected patterns such as monitor.math.*", file=sys.stderr)
        return 2
    print(table(found))
    known = explained((ROOT / "docs/mutants.md").read_text(encoding="utf-8"))
    left = sorted(n for n, what in found.items() if what in (SURVIVED, UNTESTED) and n not in known)
    print("\n".join(["", *left] if left else []))
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
