"""What the benchmark beside OpenOOD makes of what its two sides report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import beside_openood, measure


def test_ratios_are_of_all_methods_together_and_of_line_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"line": {"nearood": {"AUROC": 90.0, "ACC": 94.0}}, "msp": {"nearood": {"AUROC": 88.0, "ACC": 94.0}}}
    memory = {"before": 100.0, "peak": 300.0}
    per = {
        "line": {"images": 110, "seconds": 8.0, "cpu": 12.0},
        "msp": {"images": 90, "seconds": 2.0, "cpu": 6.0},
    }
    theirs = {"methods": per, "tables": table, **memory}
    ours = {"images": 50, "seconds": 4.0, "cpu": 6.0, "tables": table, "settings": {}, **memory}

    def child(_module: str, *flags: str) -> dict[str, Any]:
        return theirs if "upstream" in flags else ours

    monkeypatch.setattr(measure, "child", child)
    monkeypatch.setattr(measure, "real_data", lambda: tmp_path)
    monkeypatch.setattr(beside_openood, "thin", lambda _data, _root, _every: {"test_cifar10": 50})
    beside_openood.compare(20, ("line", "msp"), tmp_path / "out.json")
    both, alone = json.loads((tmp_path / "out.json").read_text())["Beside OpenOOD"]
    assert (both["ratio"], both["s ratio"], both["CPU ratio"]) == (4.0, 2.5, 3.0)
    assert (alone["ratio"], alone["s ratio"], alone["CPU ratio"]) == (2.2, 2.0, 2.0)
    assert both["peak MB, OpenOOD"] == "300 (+200)"


def test_cpu_seconds_grow_with_work() -> None:
    before = beside_openood.cpu_seconds()
    while beside_openood.cpu_seconds() < before + 0.02:
        sum(range(10000))
