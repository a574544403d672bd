"""``python -m tests.mutants_of MODULE TEST ...``: judge the mutants of one module by a few tests, quickly.

``tests.mutants`` asks every test that is named in pyproject and takes hours. This collects the tests once, in a copy of
the code in which the mutants lie side by side, and forks for each mutant. The tests that reach it run, the quickest
first, until one fails. What the tests compute while they are imported is not mutated. Survivors are printed by name
with the lines that they change; the exit code is 1 if docs/mutants.md does not explain one of them.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import mutants

FOLDERS = ("line_plugin", "monitor", "tests", "configs", "benchmarks", "examples", "docs")
SURVIVED, KILLED, UNREACHED = 0, 1, 33


def copied(module: str, folder: Path) -> list[str]:
    """Copy what tests need into ``folder``, this module with all its mutants; their names."""
    from mutmut.mutation.file_mutation import mutate_file_contents

    for name in FOLDERS:
        shutil.copytree(mutants.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(mutants.ROOT / name, folder)
    path = Path(module.replace(".", "/") + ".py")
    made = mutate_file_contents(str(path), (mutants.ROOT / path).read_text(encoding="utf-8"), None, None)
    (folder / path).write_text(made.code, encoding="utf-8")
    return [f"{module}.{name}" for name in made.mutant_names]


def changed_lines(name: str) -> list[str]:
    """What a mutant changes, as the lines of a diff."""
    module, _, mutant = name.rpartition(".")
    code = Path(module.replace(".", "/") + ".py").read_text(encoding="utf-8").splitlines()
    bodies = [lines_of(code, function) for function in (re.sub(r"\d+$", "orig", mutant), mutant)]
    return [line for line in difflib.unified_diff(*bodies, lineterm="", n=0) if re.match(r"[-+](?![-+])", line)]


def lines_of(code: Sequence[str], function: str) -> list[str]:
    """The lines of a function, without its name and without what mutmut adds behind them."""
    start = next((n for n, line in enumerate(code) if f"def {function}(" in line), len(code))
    found = [line.replace(function, "") for line in code[start : start + 1]]
    for line in code[start + 1 :]:
        if line.strip() and not line.startswith(
            (" " * (len(code[start]) - len(code[start].lstrip()) + 1), ")", "    )")
        ):
            break
        found.append(line)
    return [line.split(" # type: ignore # mutmut")[0].rstrip() for line in found]


class Judge:
    """A plugin of pytest that runs the collected tests once for each mutant instead of once."""

    def __init__(self, names: Sequence[str], children: int) -> None:
        self.names, self.children = names, children
        self.reached: dict[str, set[str]] = defaultdict(set)
        self.now = ""
        self.verdicts: dict[str, int] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted("the tests cannot be collected")
        seconds = self._by_themselves(session)
        waiting, running = list(self.names), {}
        while waiting or running:
            while waiting and len(running) < self.children:
                name = waiting.pop(0)
                reaching = self.reached[re.sub(r"__mutmut_\d+$", "", name)]
                items = sorted((i for i in session.items if i.nodeid in reaching), key=lambda i: seconds[i.nodeid])
                if not items:
                    self.verdicts[name] = UNREACHED
                    continue
                most = int(6 + 3 * sum(seconds[i.nodeid] for i in items))
                if not (process := os.fork()):
                    self._judge(session, items, name, most)
                running[process] = name
            if running:
                process, status = os.wait()
                self.verdicts[running.pop(process)] = os.waitstatus_to_exitcode(status)
        return True

    def _by_themselves(self, session: pytest.Session) -> dict[str, float]:
        """Seconds of CPU of each test on the code as it is; which functions each of them reaches is noted."""
        import mutmut.mutation.trampoline as trampoline

        trampoline.record_trampoline_hit = lambda name, caller=None: self.reached[name].add(self.now)
        os.environ["MUTANT_UNDER_TEST"] = "stats"
        seconds = {}
        for item in session.items:
            self.now, begin = item.nodeid, time.process_time()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
            seconds[item.nodeid] = time.process_time() - begin
            if session.testsfailed:
                raise session.Failed(f"{item.nodeid} fails without any mutant")
        return seconds

    @staticmethod
    def _judge(session: pytest.Session, items: Sequence[pytest.Item], name: str, most: int) -> None:
        """In a process of its own: the tests until one fails, or until they have taken too many seconds of CPU.

        A mutant that waits for what never comes takes no CPU, so the clock on the wall ends it, much later.
        """
        resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20 * most)
        os.environ["MUTANT_UNDER_TEST"] = name
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        for item in items:
            item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
            if session.testsfailed:
                os._exit(KILLED)
        os._exit(SURVIVED)


def judge_here(options: argparse.Namespace) -> int:
    """In the copy: collect, judge, and say what came of it."""
    import hypothesis

    hypothesis.settings.register_profile("mutants", max_examples=options.examples, deadline=None, database=None)
    hypothesis.settings.load_profile("mutants")
    names = json.loads(Path("names.json").read_text(encoding="utf-8"))
    judge = Judge(mutants.drawn(names, options.only, options.sample, options.seed), options.children)
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0", "--tb=no"]
    code = int(pytest.main([*arguments, "--disable-warnings", *options.tests], plugins=[judge]))
    if not judge.verdicts:
        return code or 2
    left = [name for name, verdict in judge.verdicts.items() if verdict in (SURVIVED, UNREACHED)]
    known = mutants.explained((mutants.ROOT / "docs/mutants.md").read_text(encoding="utf-8"))
    print(f"\n{options.module}: {len(names)} mutants, {len(judge.verdicts)} judged, {len(left)} survived")
    for name in left:
        what = " (explained)" if name in known else " (no test reaches it)" if judge.verdicts[name] == UNREACHED else ""
        print("\n".join([f"{name}{what}", *changed_lines(name)]))
    return int(any(name not in known for name in left))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants_of", description=__doc__.split("\n\n")[1])
    parser.add_argument("module", help="such as monitor.math.evidence")
    parser.add_argument("tests", nargs="+", metavar="TEST", help="files of tests, or single ones as pytest names them")
    parser.add_argument("--sample", type=int, default=0, help="how many; 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[], metavar="MUTANT", help="these, by name or with a * in it")
    parser.add_argument("--children", type=int, default=2, help="so many mutants are judged at once")
    parser.add_argument("--examples", type=int, default=25, help="of each property, if its test does not say how many")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return judge_here(options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "names.json").write_text(json.dumps(copied(options.module, folder)), encoding="utf-8")
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        own = {"PYTHONPATH": name, "PYTHONDONTWRITEBYTECODE": "1", "MUTANT_UNDER_TEST": ""}
        again = [sys.executable, "-m", "tests.mutants_of", "--here", *sys.argv[1:]]
        return subprocess.run(again, cwd=folder, env=os.environ | threads | own, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
