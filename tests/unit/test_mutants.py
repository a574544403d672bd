"""The table of mutants says what mutmut found, and leaves out nothing that survived."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import mutants

PAGE = Path(mutants.ROOT / "docs/mutants.md").read_text(encoding="utf-8")


def test_verdicts_are_read_from_the_files_that_mutmut_leaves(tmp_path: Path) -> None:
    """1: a test failed; 36: a time-out; -11: a crash; 33: nothing reaches it; 2: it was interrupted."""
    codes = {"m.x_f__mutmut_1": 1, "m.x_f__mutmut_2": 0, "m.x_f__mutmut_3": 36, "m.x_f__mutmut_4": 33}
    more = {"n.x_g__mutmut_1": -11, "n.x_g__mutmut_2": None, "n.x_g__mutmut_3": 2}
    (tmp_path / "a").mkdir()
    (tmp_path / "a/m.py.meta").write_text(json.dumps({"exit_code_by_key": codes}))
    (tmp_path / "n.py.meta").write_text(json.dumps({"exit_code_by_key": more}))
    found = mutants.judged(tmp_path)
    assert list(found.values()) == ["killed", "survived", "killed", "no test", "killed", "not judged", "not judged"]
    lines = mutants.table(found).splitlines()
    assert lines[2] == "| m | 4 | 4 | 2 | 1 | 1 | 50.0% |"
    assert lines[3] == "| n | 3 | 1 | 1 | 0 | 0 | 100.0% |"
    assert lines[4] == "| all | 7 | 5 | 3 | 1 | 1 | 60.0% |"


def test_a_sample_is_the_same_for_the_same_seed_and_of_what_matches_alone() -> None:
    names = [f"{m}.x_f__mutmut_{n}" for m in ("a.b", "a.c") for n in range(50)]
    assert mutants.drawn(names, ["a.b.*"], 0, 0) == sorted(names[:50])
    some = mutants.drawn(names, ["a.b.*"], 10, 3)
    assert len(some) == 10
    assert set(some) <= set(names[:50])
    assert some == mutants.drawn(reversed(names), ["a.b.*"], 10, 3)
    assert some != mutants.drawn(names, ["a.b.*"], 10, 4)
    assert len(mutants.drawn(names, [], 1000, 0)) == 100


def test_every_test_that_judges_mutants_is_there() -> None:
    """mutmut refuses a selection of which one is missing, after it has made all mutants."""
    tomllib = pytest.importorskip("tomllib", reason="reads pyproject.toml with Python 3.11")
    settings = tomllib.loads((mutants.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    named = settings["pytest_add_cli_args_test_selection"]
    assert len(named) > 10
    assert [name for name in named if not (mutants.ROOT / name).exists()] == []


def test_the_module_of_a_method_is_that_of_its_class() -> None:
    assert mutants.module_of("monitor.math.budget.x\u01c1Budget\u01c1spent__mutmut_2") == "monitor.math.budget"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tests", "code", "said"),
    [
        ("", 0, r"monitor\.math\.budget: \d+ mutants, 6 judged, 0 survived"),
        ("::test_days_at_a_rate_are_requests", 1, r"mutmut_\d+ \(no test reaches it\)\n-  .*\n\+  "),
    ],
    ids=["by all of its tests", "by one of them"],
)
def test_a_module_is_judged_by_its_own_tests_and_survivors_are_shown(tests: str, code: int, said: str) -> None:
    pytest.importorskip("mutmut", reason="makes the mutants; make mutants installs it")
    command = [sys.executable, "-m", "tests.mutants_of", "--sample", "6", "monitor.math.budget"]
    command.append(f"tests/unit/monitor/test_budget.py{tests}")
    done = subprocess.run(command, cwd=mutants.ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert re.search(said, done.stdout), done.stdout + done.stderr
    assert done.returncode == code


def test_every_mutant_that_the_page_explains_is_of_a_module_that_is_mutated() -> None:
    named = mutants.explained(PAGE)
    assert named
    for name in named:
        assert (mutants.ROOT / (mutants.module_of(name).replace(".", "/") + ".py")).is_file(), name
