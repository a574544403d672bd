"""The methods of the benchmark: found by their files alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from line_plugin.benchmark import methods
from line_plugin.benchmark.methods.base import Setting, switch
from line_plugin.cli import main
from line_plugin.errors import SettingsError

NORM = """
import torch

from line_plugin.benchmark.methods.base import Method, number


class Norm(Method):
    \"\"\"The length of the feature vector.\"\"\"

    name = "norm"
    about = "length of the feature vector"
    defaults = {"p": 2}

    def score(self, features: torch.Tensor) -> torch.Tensor:
        return features.norm(p=number(self.settings, "p"), dim=1)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files count as lying in ``benchmark/methods``."""
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    yield tmp_path
    sys.modules.pop("line_plugin.benchmark.methods.norm", None)


def test_one_new_file_is_a_method(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "norm.py").write_text(NORM)
    assert methods.names()["norm"] == "length of the feature vector"
    assert main(["list"]) == 0
    assert "length of the feature vector" in capsys.readouterr().out
    features = torch.tensor([[3.0, 4.0]])
    assert methods.create("norm").score(features).item() == 5
    assert methods.create("norm", {"p": 1}).score(features).item() == 7
    with pytest.raises(SettingsError, match="unknown setting of norm 'q'"):
        methods.create("norm", {"q": 1})


def test_listing_imports_no_torch_even_if_a_method_file_does(tmp_path: Path) -> None:
    (tmp_path / "norm.py").write_text(NORM)
    code = (
        "import sys\nfrom line_plugin.benchmark import methods\nfrom line_plugin.cli import main\n"
        f"methods.__path__.append({str(tmp_path)!r})\nmain(['list'])\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "length of the feature vector" in done.stdout


def test_two_methods_of_one_name_are_refused(folder: Path) -> None:
    (folder / "mine.py").write_text(NORM.replace('"norm"', '"dice"'))
    with pytest.raises(SettingsError, match=r"two methods are named 'dice', in dice\.py and in mine\.py"):
        methods.names()


def test_what_is_read_from_the_source_is_what_the_class_holds() -> None:
    for name, said in methods.described().items():
        created = methods.create(name)
        assert (created.name, created.about) == (name, said.about)
        assert (created.needs, created.state, created.source) == (said.needs, said.state, said.source)
    assert len(methods.names()) >= 31


READS = {"logits", "features", "bank", "gradients"}


def test_every_method_says_what_it_needs_keeps_and_comes_from() -> None:
    for name, said in methods.described().items():
        assert set(said.needs.split(", ")) <= READS, f"{name}: needs is {said.needs!r}, expected some of {READS}"
        assert said.state, f"{name}: state is empty; 0 if it keeps nothing"
        assert said.source in ("own", "pytorch-ood"), name
        assert said.venue, f"{name}: about ends without the venue in parentheses"


def test_the_list_says_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    at = next(i for i, line in enumerate(lines) if line.startswith("nnguide"))
    assert lines[at + 1] == "features, logits, bank; keeps max(alpha N, batch) x D; pytorch-ood"
    assert main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["methods (--postprocessor)"]["msp"] == "maximum softmax probability (ICLR 2017)"
    assert found["methods in detail"]["mds++"] == {
        "about": "Mahalanobis distance of features of unit length (ICML 2025)",
        "venue": "ICML 2025",
        "needs": "features",
        "state": "K x D + D x D",
        "source": "own",
    }


def test_a_method_that_says_none_of_it_is_listed_all_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "norm.py").write_text(NORM)
    assert methods.described()["norm"] == methods.Described("length of the feature vector", "", "", "", "")
    assert main(["list"]) == 0
    assert "keeps ;" not in capsys.readouterr().out


@pytest.mark.parametrize(("value", "on"), [(True, True), ("true", True), (1, True), (False, False), (None, False)])
def test_a_switch_takes_what_the_command_line_gives(value: Setting, on: bool) -> None:
    assert switch({"s": value}, "s") is on
