"""Pictures: they are written whole, say what they hold, and refuse what they cannot show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from line_plugin.benchmark.report.figures import Sets, measure_roc
from line_plugin.benchmark.report.histograms import score_histograms
from line_plugin.benchmark.report.roc import roc_curves
from line_plugin.errors import DataError, NonFiniteError, SettingsError

SETS = Sets("id", near=["close"], far=["distant", "remote"])
DRAW: dict[str, Any] = {"histograms": score_histograms, "roc": roc_curves}


def example(methods: int = 3) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(0)
    means = {"id": 3.0, "close": 2.0, "distant": 0.0, "remote": -1.0}
    names = ["line", "msp", *(f"method {i}" for i in range(methods - 2))]
    return {m: {s: rng.normal(mean, 1, 60).astype(np.float32) for s, mean in means.items()} for m in names}


@pytest.mark.parametrize("draw", DRAW)
@pytest.mark.parametrize("methods", [2, 9])
def test_the_picture_is_1200_pixels_wide_and_the_same_for_the_same_scores(
    draw: str, methods: int, tmp_path: Path
) -> None:
    for name in ("a.png", "sub/b.png"):
        DRAW[draw](tmp_path / name, example(methods), SETS)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "sub" / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
        assert picture.width == 1200


@pytest.mark.parametrize("draw", DRAW)
def test_other_scores_give_another_picture(draw: str, tmp_path: Path) -> None:
    scores = example()
    DRAW[draw](tmp_path / "a.png", scores, SETS)
    scores["line"]["close"] = scores["line"]["close"] - 3
    DRAW[draw](tmp_path / "b.png", scores, SETS)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_the_area_is_that_of_a_literal_count_of_pairs_ties_counting_half() -> None:
    rng = np.random.default_rng(1)
    confident, doubtful = rng.integers(2, 9, 40).astype(float), rng.integers(0, 7, 30).astype(float)
    pairs = [(a > b) + 0.5 * (a == b) for a in confident for b in doubtful]
    assert measure_roc(confident, doubtful)[2] == pytest.approx(100 * float(np.mean(pairs)))


@pytest.mark.parametrize("draw", DRAW)
def test_constant_confidences_can_be_drawn(draw: str, tmp_path: Path) -> None:
    scores = {"msp": {name: np.ones(5) for name in ("id", "close", "distant", "remote")}}
    DRAW[draw](tmp_path / "a.png", scores, SETS)
    assert (tmp_path / "a.png").is_file()


def test_drawing_leaves_matplotlibs_settings_as_they_were(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    score_histograms(tmp_path / "a.png", example(), SETS, thresholds={"line": 1.0})
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("draw", DRAW)
def test_what_cannot_be_shown_is_refused_and_nothing_is_written(draw: str, tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    nan = example()
    nan["msp"]["distant"][[2, 5]] = np.nan
    empty = example()
    empty["msp"]["distant"] = np.zeros(0)
    with pytest.raises(NonFiniteError, match="2 of 60 scores of msp on distant"):
        DRAW[draw](target, nan, SETS)
    with pytest.raises(DataError, match="scores of msp on distant"):
        DRAW[draw](target, empty, SETS)
    with pytest.raises(SettingsError, match=r"did you mean 'close'\?"):
        DRAW[draw](target, example(), Sets("id", near=["clos"]))
    with pytest.raises(SettingsError, match="0 OOD sets"):
        DRAW[draw](target, example(), Sets("id"))
    assert not target.exists()
