"""The report in Chromium: what it says is recounted from the run's files, and it asks nobody for anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from line_plugin.benchmark.report import run_folder
from line_plugin.benchmark.report.html import PageOptions, make_page
from line_plugin.benchmark.report.html.thresholds import tabulate
from line_plugin.cli import main
from line_plugin.errors import DataError
from line_plugin.math.metrics import ood_metrics
from tests.integration.small_world import make_world

MODEL = str(Path(__file__).parents[2] / "integration/small_world.py") + ":small_net"
HOSTILE = "<img src=x onerror=alert(1)>$x_"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("report")
    world = make_world(base / "data")
    world.write_text(world.read_text().replace("far_a:", f"'{HOSTILE}':"))
    flags = ["--id-data", str(world), "--data-root", str(base / "data"), "--model", MODEL, "--num-workers", "0"]
    flags += ["--cache-dir", str(base / "cache"), "--output-dir", str(base / "out"), "--brief", "--bootstrap", "20"]
    assert main(["eval", "--postprocessor", "line,msp,ebo,knn", *flags, "--report"]) == 0
    return base / "out"


@pytest.fixture
def page(folder: Path) -> Iterator[object]:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("Chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        opened = chromium.new_context(color_scheme="dark" if os.environ.get("DARK") else "light").new_page()
        opened.asked = []
        opened.on("request", lambda request: opened.asked.append(request.url))
        opened.goto((folder / "report.html").as_uri())
        yield opened
        chromium.close()


def test_every_auroc_of_the_table_is_a_recount_from_the_runs_scores(page, folder: Path) -> None:
    run = run_folder.load_run(folder / "run")
    for row in page.query_selector_all("#table-auroc tbody tr"):
        name = row.query_selector("th").inner_text()
        cells = [float(c.get_attribute("data-value")) for c in row.query_selector_all("td")]
        near, far_a, far_b = (
            100 * ood_metrics(run.scores[name]["id"], run.scores[name][n]).auroc for n in ("near_a", HOSTILE, "far_b")
        )
        assert cells[:5] == pytest.approx([near, near, far_a, far_b, (far_a + far_b) / 2], abs=1e-5)


def test_the_slider_says_what_a_recount_says_and_arrows_move_it(page, folder: Path) -> None:
    run = run_folder.load_run(folder / "run")
    page.focus("#threshold")
    for _ in range(150):
        page.keyboard.press("ArrowRight")
    scores = run.scores["line"]
    threshold = np.sort(scores["id"])[200 * 30 // 1000]
    said = [c.inner_text() for c in page.query_selector_all("#shares .flagged")]
    assert said == [str(int((scores[n] < threshold).sum())) for n in ("id", "near_a", HOSTILE, "far_b")]
    assert f"{threshold:.4f}"[:5] in page.inner_text("#told")


def test_a_head_sorts_by_the_keyboard_and_says_so(page) -> None:
    head = "#table-auroc thead th:nth-child(2)"
    for state, sign in (("descending", -1), ("ascending", 1)):
        page.focus(f"{head} button")
        page.keyboard.press("Enter")
        assert page.get_attribute(head, "aria-sort") == state
        cells = page.query_selector_all("#table-auroc tbody td:nth-child(2)")
        values = [float(c.get_attribute("data-value")) for c in cells]
        assert values == sorted(values, key=lambda v: sign * v)


def test_the_page_asks_for_nothing_and_a_hostile_name_is_text(page) -> None:
    assert [url for url in page.asked if not url.startswith("data:")] == [page.url]
    assert page.query_selector("img[src=x]") is None
    assert HOSTILE in page.inner_text("#table-auroc thead")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(page, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.emulate_media(color_scheme=scheme)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_same_run_gives_the_same_bytes(folder: Path) -> None:
    run = run_folder.load_run(folder / "run")
    assert make_page([run], PageOptions(replicates=20)) + "" == (folder / "report.html").read_text()


def test_position_50_keeps_95_per_cent_as_the_papers_count_it() -> None:
    rng = np.random.default_rng(0)
    of_id, ood = (rng.normal(m, 1, n).astype(np.float32) for m, n in ((2, 130), (0, 70)))
    found = tabulate(of_id, {"far": ood})
    assert 1 - found.flagged["far"][50] / 70 == pytest.approx(ood_metrics(of_id, ood).fpr95_id)
    assert found.flagged["far"][1000] == 70


def test_changed_scores_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    (scores,) = (tmp_path / "run").glob("scores-*.npz")
    scores.write_bytes(scores.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="does not hold the bytes"):
        run_folder.load_run(tmp_path / "run")
