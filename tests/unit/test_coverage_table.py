"""The tables of docs/coverage.md, from a small report."""

from __future__ import annotations

from typing import Any

from tests.coverage_table import folders, untested


def measured(lines: int, gone: list[int], branches: int, jumps: list[list[int]]) -> dict[str, Any]:
    summary = {"num_statements": lines, "missing_lines": len(gone), "num_branches": branches}
    return {"summary": {**summary, "missing_branches": len(jumps)}, "missing_lines": gone, "missing_branches": jumps}


FILES = {
    "monitor/math/a.py": measured(90, [3, 4, 5, 9], 10, [[2, 3], [7, 8], [11, -1]]),
    "monitor/math/b.py": measured(10, [], 0, []),
    "monitor/cli/c.py": measured(100, list(range(50)), 10, []),
    "monitor/errors.py": measured(10, [], 0, []),
}


def test_folders_are_summed_over_their_files_and_everything_comes_last() -> None:
    rows = [list(row.values()) for row in folders(FILES)]
    assert rows == [
        ["monitor", "10", "100.0 %", "0", ""],
        ["monitor/cli", "100", "50.0 %", "10", "100.0 %"],
        ["monitor/math", "100", "96.0 %", "10", "70.0 %"],
        ["together", "210", "74.3 %", "20", "85.0 %"],
    ]


def test_lines_and_branches_of_the_core_that_no_test_runs_are_named() -> None:
    assert untested(FILES) == [{"file": "`monitor/math/a.py`", "lines": "3-5, 9", "branches": "7 to 8, 11 to the end"}]


def test_a_core_that_is_run_whole_says_so() -> None:
    assert untested({"monitor/math/b.py": FILES["monitor/math/b.py"]}) == [
        {"file": "none", "lines": "", "branches": ""}
    ]
