"""The report in Chromium: what it says is recounted from the run's files, and it asks nobody for anything."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from line_plugin.benchmark.report import run_folder, run_record
from line_plugin.benchmark.report.html import PageOptions, make_page, page
from line_plugin.benchmark.report.html.charts import FRAME, LEAST_FPR
from line_plugin.benchmark.report.html.entries import measure, shared_images
from line_plugin.benchmark.report.html.thresholds import tabulate
from line_plugin.benchmark.report.published import published_rows
from line_plugin.cli import main
from line_plugin.errors import DataError, SettingsError
from line_plugin.math import delong
from line_plugin.math.metrics import ood_metrics
from line_plugin.method.loading import load_artifact
from tests.integration.small_world import CLASSES, make_world
from tests.report_runs import drawn_run

MODEL = str(Path(__file__).parents[2] / "integration/small_world.py") + ":small_net"
HOSTILE = "<img src=x onerror=globalThis.broken=1>$x_"
HOSTILE_NAMES = (
    HOSTILE,
    "</script><script>globalThis.broken=1</script>",
    '" onmouseover="globalThis.broken=1',
    "\u202egnp.exe",
    "</td></table><!--",
    "w" * 150,
)
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 780}
OOD = ("near_a", HOSTILE, "far_b")
METHODS = ("line", "msp", "react", "knn")
SCREENSHOTS = os.environ.get("REPORT_SCREENSHOTS")
"""A folder to write the pictures of the documentation to; without it they are only made and looked at."""
SHOWN = os.environ.get("REPORT_SHOWN")
"""The page that is on these pictures; without it the small one of this module."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four methods on a small world, with a calibrated artifact of LINe beside it."""
    base = tmp_path_factory.mktemp("report")
    world = make_world(base / "data")
    described = yaml.safe_load(world.read_text())
    described["ood"]["far"] = {HOSTILE: described["ood"]["far"]["far_a"], "far_b": described["ood"]["far"]["far_b"]}
    described["class_names"] = [f"{HOSTILE}{k}" for k in range(CLASSES)]
    world.write_text(yaml.safe_dump(described, sort_keys=False))
    data = ["--id-data", str(world), "--data-root", str(base / "data"), "--model", MODEL, "--num-workers", "0"]
    data += ["--cache-dir", str(base / "cache")]
    artifact = str(base / "line.safetensors")
    assert main(["fit", *data, "--output", artifact, "--set", "p_w=10", "--set", "p_a=10", "--set", "clip=off"]) == 0
    assert main(["calibrate", artifact, *data]) == 0
    flags = ["--output-dir", str(base / "out"), "--brief", "--bootstrap", "20", "--misses", "4", "--report"]
    flags += ["--set", "line.p_w=10", "--set", "line.p_a=10", "--set", "line.clip=off"]
    flags += ["--artifact", artifact]
    assert main(["eval", "--postprocessor", ",".join(METHODS), *data, *flags]) == 0
    return base / "out"


@pytest.fixture(scope="module")
def run(folder: Path) -> run_folder.Run:
    return run_folder.load_run(folder / "run")


@pytest.fixture
def visit(chromium, tmp_path: Path) -> Iterator[Callable[..., object]]:
    """Open a page from disk. In the end it must have asked for nothing but itself, and have raised nothing."""
    pages = []

    def opened(shown: Path | str, size=WIDE, scheme: str = "light", scripts: bool = True):
        if isinstance(shown, str):
            path = tmp_path / f"{len(pages)}.html"
            path.write_text(shown)
        else:
            path = shown
        context = chromium.new_context(viewport=size, color_scheme=scheme, java_script_enabled=scripts)
        new = context.new_page()
        new.set_default_timeout(20_000)
        new.asked, new.faults = [], []
        new.on("request", lambda request: new.asked.append(request.url))
        new.on("pageerror", lambda error: new.faults.append(str(error)))
        new.on("console", lambda message: message.type == "error" and new.faults.append(message.text))
        new.goto(path.as_uri())
        pages.append((new, path.as_uri()))
        return new

    yield opened
    for new, url in pages:
        assert {asked for asked in new.asked if not asked.startswith("data:")} == {url}
        assert new.faults == []
        new.context.close()


@pytest.fixture
def report(visit, folder: Path):
    return visit(folder / "report.html")


def violations(shown) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(shown).response["violations"]
    return [f"{v['id']}: {n['html'][:120]} {n['failureSummary'][:200]}" for v in found for n in v["nodes"]]


def values_of(table, column: int) -> list[str]:
    """What a column's cells sort by: the value behind a figure, or the text."""
    return table.evaluate(
        "(table, column) => [...table.tBodies[0].rows].map(row => {"
        " const cell = row.cells[column]; return cell.dataset.value ?? cell.textContent.trim(); })",
        column,
    )


def cells_of(shown, table: str) -> dict[str, list[float]]:
    """Figures of a table by the name in front of the row."""
    rows = shown.locator(f"{table} tbody tr").all()
    return {
        r.locator("th").text_content().strip(): [
            float(c.get_attribute("data-value")) for c in r.locator("td[data-value]").all()
        ]
        for r in rows
    }


# -- tables ------------------------------------------------------------------------------------------------------------


def test_every_figure_of_every_metric_is_a_recount_from_the_runs_scores(report, run) -> None:
    for metric in ("auroc", "fpr95", "fpr95_id", "aupr_in", "aupr_out"):
        shown = cells_of(report, f"#table-{metric}")
        for name in METHODS:
            near, far_a, far_b = (
                100 * getattr(ood_metrics(run.scores[name]["id"], run.scores[name][n]), metric) for n in OOD
            )
            expected = [near, near, far_a, far_b, (far_a + far_b) / 2]
            assert shown[name][:5] == pytest.approx(expected, abs=1e-5), metric


def test_the_first_table_has_both_conventions_of_fpr95_side_by_side(report, run) -> None:
    shown = cells_of(report, "#table-glance")
    heads = [h.text_content().replace("\u00a0", " ").strip() for h in report.locator("#table-glance thead th").all()]
    conventions = ("AUROC", "FPR@95", "FPR95 (ID positive)")
    assert heads == ["method", *(f"{c}, {g}" for c in conventions for g in ("near", "far")), "accuracy"]
    for name in METHODS:
        found = [ood_metrics(run.scores[name]["id"], run.scores[name][n]) for n in OOD]
        means = [
            100 * mean
            for metric in ("auroc", "fpr95", "fpr95_id")
            for mean in (getattr(found[0], metric), np.mean([getattr(f, metric) for f in found[1:]]))
        ]
        assert shown[name][:6] == pytest.approx(means, abs=1e-5)
    assert report.locator("#table-glance .spread").count() == 7 * len(METHODS)  # each figure with its interval


@pytest.mark.slow
def test_every_head_of_every_table_sorts_as_python_does_both_ways(report) -> None:
    for details in report.locator("details").all():
        details.evaluate("part => { part.open = true; }")
    pressed = 0
    for table in report.locator("table.sortable").all():
        view = table.evaluate("e => e.parentElement.dataset.view ?? ''")
        if view:
            report.locator(f"input[name=metric][value={view}]").check()
        for button in table.locator("thead button").all():
            column = button.evaluate("b => b.closest('th').cellIndex")
            kind, first = button.get_attribute("data-sort"), button.get_attribute("data-first")
            for direction in (first, "ascending" if first == "descending" else "descending"):
                before = values_of(table, column)
                button.focus()
                report.keyboard.press("Enter")
                key = float if kind == "number" else str.lower
                expected = sorted(before, key=key, reverse=direction == "descending")
                assert [key(v) for v in values_of(table, column)] == [key(v) for v in expected]
                assert table.locator("thead th[aria-sort]:not([aria-sort=none])").count() == 1
                assert button.evaluate("b => b.closest('th').getAttribute('aria-sort')") == direction
                pressed += 1
    assert pressed > 80


def test_a_metric_is_chosen_by_arrow_keys_and_only_its_table_is_shown(report) -> None:
    report.locator("input[value=glance]").focus()
    for metric in ("auroc", "fpr95", "fpr95_id", "aupr_in", "aupr_out"):
        report.keyboard.press("ArrowDown")
        visible = [t.get_attribute("id") for t in report.locator("#results table").all() if t.is_visible()]
        assert visible == [f"table-{metric}"]


def test_the_pareto_front_names_whoever_nobody_beats_on_both_means(report, run) -> None:
    means = {name: cells_of(report, "#table-glance")[name][:2] for name in METHODS}
    front = {
        a
        for a in METHODS
        if not any(
            np.all(np.greater_equal(means[b], means[a])) and np.any(np.greater(means[b], means[a])) for b in METHODS
        )
    }
    said = re.search(r"Pareto front \((.*?)\)", report.locator("figure.wide figcaption").first.inner_text()).group(1)
    assert set(said.split(", ")) == front


# -- the threshold -----------------------------------------------------------------------------------------------------


def shares(report) -> list[tuple[int, int]]:
    rows = report.locator("#shares tbody tr").all()
    return [(int(r.locator(".flagged").inner_text()), int(r.locator(".kept").inner_text())) for r in rows]


def recount(run, method: str, threshold: float) -> list[tuple[int, int]]:
    sets = [run.scores[method][n] for n in ("id", *OOD)]
    return [(int((s < threshold).sum()), int((s >= threshold).sum())) for s in sets]


@pytest.mark.parametrize(
    ("keys", "position"), [(["ArrowRight"] * 30, 80), (["ArrowLeft"] * 20, 30), (["Home"], 0), (["PageUp"] * 3, 350)]
)
def test_the_slider_counts_what_is_flagged_and_kept_as_a_recount_of_the_scores_does(report, run, keys, position):
    report.focus("#threshold")
    for key in keys:
        report.keyboard.press(key)
    assert report.locator("#threshold").input_value() == str(position)
    for method in METHODS:
        report.locator("#entry").select_option(label=method)
        of_id = np.sort(run.scores[method]["id"])
        threshold = of_id[position * len(of_id) // 1000]
        assert shares(report) == recount(run, method, threshold)
        assert f"below {threshold:.5g}"[:10] in report.inner_text("#told")


def test_at_the_end_of_the_slider_everything_is_flagged(report, run):
    report.focus("#threshold")
    report.keyboard.press("End")
    assert [kept for _, kept in shares(report)] == [0, 0, 0, 0]


def test_the_dot_lies_on_the_roc_curve_and_the_line_at_the_threshold(report, run):
    report.focus("#threshold")
    for _ in range(250):
        report.keyboard.press("ArrowRight")
    scores = run.scores["line"]
    threshold = np.sort(scores["id"])[300 * 30 // 1000]
    left, top, right, bottom = FRAME
    fpr = float((scores["id"] < threshold).mean())
    for place, name in enumerate(OOD):
        tpr = float((scores[name] < threshold).mean())
        linear, logarithmic = (report.locator(f".roc{kind} .dot").nth(place) for kind in (":not(.log)", ".log"))
        height = bottom - (tpr + 0.01) / 1.02 * (bottom - top)
        along = 1 - np.log10(fpr) / np.log10(LEAST_FPR)
        for dot, x in ((linear, fpr), (logarithmic, along)):
            assert float(dot.get_attribute("cx")) == pytest.approx(left + x * (right - left), abs=1e-6)
            assert float(dot.get_attribute("cy")) == pytest.approx(height, abs=1e-6)
            curve = report.evaluate(
                "dot => dot.closest('svg').querySelector('[id$=\"-curve-0\"] path').getAttribute('d')",
                dot.element_handle(),
            )
            corners = [tuple(map(float, p)) for p in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", curve)]
            gaps = [_distance((left + x * (right - left), height), a, b) for a, b in pairwise(corners)]
            assert min(gaps) < 0.02  # points
    low, high = report.evaluate("JSON.parse(document.getElementById('data').textContent).entries[0].span")
    line = report.locator("[data-entry='0'] .cut").first
    at = left + np.clip((threshold - low) / (high - low), 0, 1) * (right - left)
    assert float(line.get_attribute("x1")) == pytest.approx(at, abs=1e-4)


def _distance(point, a, b) -> float:
    """From a point to a straight piece."""
    p, a, b = (np.array(v, dtype=float) for v in (point, a, b))
    length = float((b - a) @ (b - a))
    share = np.clip((p - a) @ (b - a) / length, 0, 1) if length else 0.0
    return float(np.linalg.norm(p - a - share * (b - a)))


def test_buttons_lead_back_to_95_per_cent_and_to_the_calibrated_threshold(report, run, folder):
    report.focus("#at-calibrated")
    report.keyboard.press("Enter")
    cut = load_artifact(folder.parent / "line.safetensors").calibration.threshold
    of_id = np.sort(run.scores["line"]["id"])
    table = tabulate(of_id, {n: run.scores["line"][n] for n in OOD})
    position = max(0, int((table.values <= cut).sum()) - 1)
    assert report.locator("#threshold").input_value() == str(position)
    assert "calibrated threshold" in report.inner_text("#told")
    report.focus("#at-95")
    report.keyboard.press("Space")
    assert report.locator("#threshold").input_value() == "50"
    assert "This is the 95 % threshold." in report.inner_text("#told")
    report.locator("#entry").select_option(label="msp")
    assert report.locator("#at-calibrated").is_hidden()  # nobody calibrated msp


def test_a_method_is_chosen_by_keyboard_and_everything_below_is_its_own(report):
    report.focus("#entry")
    report.keyboard.press("ArrowDown")
    assert report.locator("#entry").input_value() == "1"
    shown = {part.get_attribute("data-entry") for part in report.locator("[data-entry]").all() if part.is_visible()}
    assert shown == {"1"}
    assert report.locator(".legend .on").inner_text().strip() == "msp"
    drawn = report.evaluate("[...document.querySelectorAll('.curve.on')].map(c => c.id.split('-curve-')[1])")
    assert drawn == ["1"] * (2 * len(OOD))


# -- misses and classes ------------------------------------------------------------------------------------------------


def test_the_worst_misses_are_those_of_the_scores_with_the_very_pixels_of_their_files(report, run):
    scores, data = run.scores["line"], Path(run.record.places.data_root)
    threshold = np.sort(scores["id"])[50 * 30 // 1000]
    expected = [i for i in np.argsort(scores["id"], kind="stable") if scores["id"][i] < threshold][:4]
    kept = {n: [i for i in np.argsort(-scores[n], kind="stable") if scores[n][i] >= threshold][:4] for n in OOD}
    groups = [("id", expected), *kept.items()]
    lists = report.locator("div[data-entry='0']:not(.grid) > .misses")
    filled = [(name, places) for name, places in groups if places]
    assert lists.count() == len(filled) >= 2
    for each, (name, places) in enumerate(filled):
        items = lists.nth(each).locator(":scope > li")
        assert [i.locator("> img").get_attribute("alt") for i in items.all()] == [run.files[name][p] for p in places]
        for item, place in zip(items.all(), places, strict=True):
            picture = item.locator("> img").evaluate("e => e.src")
            pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1]))))
            assert np.array_equal(pixels, np.asarray(Image.open(data / run.files[name][place])))


def test_beside_a_miss_are_the_training_images_of_the_largest_cosine(report, run):
    features = {
        s.name: np.load(Path(run.record.places.cache) / "features" / s.key / "features.npy").astype(np.float64)
        for s in run.record.sets
    }
    unit = {n: f / np.linalg.norm(f, axis=1, keepdims=True) for n, f in features.items()}
    items = report.locator("div[data-entry='0']:not(.grid) > .misses > li")
    assert items.count() > 4
    for item in items.all():
        path = item.locator("> img").get_attribute("alt")
        ((name, place),) = [(n, files.index(path)) for n, files in run.files.items() if n != "train" and path in files]
        cosines = unit["train"] @ unit[name][place]
        said = item.locator(".neighbours .likeness").all_inner_texts()
        best = np.sort(cosines)[::-1][:3]
        assert [float(s) for s in said] == pytest.approx(best, abs=0.0051)
        assert item.locator(".neighbours img").count() == 3


def test_if_features_or_images_are_gone_the_page_says_so_and_has_no_empty_frames(visit, run, tmp_path):
    made = make_page([run], PageOptions(replicates=0, data_root=tmp_path / "no", cache=tmp_path / "no"))
    shown = visit(made)
    text = shown.inner_text("#method")
    assert "The features are no longer in the cache" in text
    assert re.search(r"\d+ images could not be read", text)
    assert shown.locator(".misses img").count() == 0
    assert shown.locator("[data-entry='0'] .blank").count() > 0
    assert "Without intervals" in shown.inner_text("#table-glance caption")
    assert shown.locator(".spread").count() == 0


def test_the_leaking_classes_are_counted_from_scores_and_predictions(report, run):
    scores = run.scores["line"]
    threshold = np.sort(scores["id"])[50 * 30 // 1000]
    rows = report.locator("[data-entry='0'] .leaks tbody tr").all()
    said = {r.locator("th").inner_text(): [int(c.inner_text()) for c in r.locator("td").all()] for r in rows}
    assert len(said) == CLASSES
    for k, name in enumerate(run.record.class_names):
        kept = [int(((scores[n] >= threshold) & (run.predicted[n] == k)).sum()) for n in OOD]
        flagged = int(((scores["id"] < threshold) & (run.predicted["id"] == k)).sum())
        assert said[name] == [*kept, sum(kept), flagged]
    totals = [c[-2] for c in said.values()]
    assert totals == sorted(totals, reverse=True)


# -- differences, settings, calibration, origin ------------------------------------------------------------------------


def test_a_difference_is_the_difference_of_mean_aurocs_and_bold_if_holm_says_so(report, run):
    for place, names in enumerate((OOD[:1], OOD[1:])):
        means = {
            m: np.mean([100 * ood_metrics(run.scores[m]["id"], run.scores[m][n]).auroc for n in names]) for m in METHODS
        }
        parts = {m: delong.parts_of(run.scores[m]["id"], [run.scores[m][n] for n in names]) for m in METHODS}
        told = {frozenset((c.first, c.second)) for c in delong.compare_all(parts) if c.adjusted < 0.05}
        table = report.locator("table.matrix").nth(place)
        for i, row in enumerate(METHODS):
            for j, column in enumerate(METHODS):
                cell = table.locator("tbody tr").nth(i).locator("td").nth(j)
                if row == column:
                    assert cell.inner_text() == "·"
                    continue
                assert float(cell.inner_text().replace("−", "-")) == pytest.approx(means[row] - means[column], abs=6e-3)
                assert (cell.locator("strong").count() == 1) == (frozenset((row, column)) in told)


def test_every_sweep_has_all_its_combinations_and_says_how_much_lies_between_them(report, run):
    swept = [m for m in run.record.methods if m.sweep]
    assert {m.name for m in swept} >= {"react", "knn"}
    for method in swept:
        heading = report.get_by_role("heading", name=f"{method.name}: chosen on the validation sets")
        aurocs = [100 * t.auroc for t in method.sweep]
        sentence = heading.locator("xpath=following-sibling::p[1]").inner_text()
        assert f"{len(aurocs)} combinations lie {max(aurocs) - min(aurocs):.2f} points" in sentence
        table = report.get_by_role("region", name=f"Settings that {method.name} tried")
        assert table.locator("tbody tr").count() == len(aurocs)
        assert table.locator("tr.chosen").count() == 1


def test_the_artifact_has_its_settings_origin_threshold_and_limits(report, folder):
    artifact = load_artifact(folder.parent / "line.safetensors")
    text = report.inner_text("#calibration")
    for words in (
        artifact.content_sha256,
        artifact.provenance.model_sha256,
        artifact.provenance.data_sha256,
        "p_w=10, p_a=10, clip=off",
        f"{artifact.calibration.threshold:.5g}",
        f"from {artifact.calibration.n} held-out inputs",
        *artifact.calibration.limits(),
    ):
        assert words in text


def test_the_page_names_command_hashes_and_versions(report, run):
    text = report.inner_text("#reproduce")
    for words in (
        run.record.network.model_sha256,
        run.record.scores.sha256,
        run.record.images.sha256,
        "openood eval --postprocessor line,msp,react,knn",
        "--misses 4",
        *(f"{name} {version}" for name, version in run.record.made.versions.items()),
    ):
        assert words in text
    keys = report.locator("#reproduce td code").all_text_contents()
    assert {s.key for s in run.record.sets} <= set(keys)


# -- who can use it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_that_shuts_people_out(visit, folder: Path, scheme: str, size) -> None:
    shown = visit(folder / "report.html", size, scheme)
    shown.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert violations(shown) == []
    ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 150) == (scheme == "dark")
    ink = shown.evaluate("getComputedStyle(document.querySelector('.roc svg text')).fill")
    assert (sum(map(int, re.findall(r"\d+", ink)[:3])) > 400) == (scheme == "dark")  # pictures turn with the page


def test_tab_leads_to_every_control_and_shows_where_it_is(report):
    wanted = report.evaluate("""() => {
        document.querySelectorAll('details').forEach(part => { part.open = true; });
        const parts = document.querySelectorAll('a[href], button, select, input[type=range], summary, [tabindex="0"]');
        return [...parts].filter(part => part.checkVisibility()).map((part, i) => {
            part.dataset.wanted = i;
            return i;
        });
    }""")
    seen = set()
    for _ in range(len(wanted) + 5):
        report.keyboard.press("Tab")
        found = report.evaluate("""() => {
            const part = document.activeElement, style = getComputedStyle(part);
            return [part.dataset.wanted ?? '', style.outlineStyle, parseFloat(style.outlineWidth)];
        }""")
        if found[0]:
            seen.add(int(found[0]))
        if report.evaluate("document.activeElement !== document.body"):
            assert found[1] == "solid"
            assert found[2] >= 2
    assert seen == set(wanted)


def test_the_first_tab_skips_to_the_results(report):
    report.keyboard.press("Tab")
    assert report.evaluate("document.activeElement.textContent") == "Skip to the results"
    assert report.locator(".skip").bounding_box()["x"] >= 0
    report.keyboard.press("Enter")
    assert report.evaluate("location.hash") == "#main"


@pytest.mark.parametrize("width", [320, 360, 768, 1920])
def test_the_page_itself_is_never_scrolled_sideways(visit, folder: Path, width: int) -> None:
    shown = visit(folder / "report.html", {"width": width, "height": 800})
    shown.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert shown.evaluate("document.documentElement.scrollWidth") <= width


def test_on_paper_everything_is_open_and_nothing_is_cut_off(report):
    report.emulate_media(media="print", color_scheme="dark")
    assert report.locator("nav").is_hidden()
    assert report.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    overflow = report.evaluate("[...document.querySelectorAll('.scroll')].map(e => getComputedStyle(e).overflowX)")
    assert set(overflow) == {"visible"}
    closed = "document.querySelectorAll('details:not([open])').length"
    before = report.evaluate(closed)
    report.evaluate(f"addEventListener('beforeprint', () => {{ globalThis.leftClosed = {closed}; }})")
    paper = report.pdf(format="A4")
    assert paper.startswith(b"%PDF")
    assert report.evaluate("globalThis.leftClosed") == 0
    assert before > 0
    report.wait_for_function(f"{closed} === {before}")


def test_without_scripts_tables_and_pictures_are_all_there(visit, folder: Path) -> None:
    shown = visit(folder / "report.html", scripts=False)
    assert "Scripts are off" in shown.locator("main").inner_text()
    assert all(table.is_visible() for table in shown.locator("#results table").all())
    assert shown.locator(".histogram").count() == len(METHODS) * len(OOD)
    assert all(figure.is_visible() for figure in shown.locator(".histogram").all())
    assert shown.locator(".controls").is_hidden()


# -- hostile names -----------------------------------------------------------------------------------------------------


def test_names_of_sets_classes_methods_runs_and_files_are_text_and_nothing_else(visit):
    made = drawn_run(HOSTILE_NAMES[:3], HOSTILE_NAMES[3:4], HOSTILE_NAMES[4:], name=HOSTILE, classes=HOSTILE_NAMES)
    made.files["id"] = [f"{HOSTILE_NAMES[i % 6]}/{i}.png" for i in range(100)]
    shown = visit(make_page([made], PageOptions(replicates=0)))
    shown.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert shown.evaluate("globalThis.broken") is None
    assert shown.locator("img[src=x], [onerror], [onmouseover]").count() == 0
    assert shown.locator("script").count() == 2
    text = shown.evaluate("document.body.textContent")
    assert all(name in text for name in HOSTILE_NAMES)
    assert shown.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]
    assert violations(shown) == []


def test_the_pages_policy_runs_no_other_script_and_loads_nothing(chromium, folder: Path):
    context = chromium.new_context()
    shown = context.new_page()
    refused = []
    shown.on("console", lambda message: refused.append(message.text))
    shown.goto((folder / "report.html").as_uri())
    shown.evaluate("""() => {
        const script = document.createElement('script');
        script.textContent = 'globalThis.broken = 1';
        const picture = new Image();
        picture.src = 'http://127.0.0.1:9/x.png';
        document.body.append(script, picture);
    }""")
    shown.wait_for_function("document.images[document.images.length - 1].complete")
    assert shown.evaluate("globalThis.broken") is None
    assert any("img-src" in words for words in refused)
    assert any("script-src" in words for words in refused)
    context.close()


# -- several runs, published rows --------------------------------------------------------------------------------------


def test_two_runs_of_the_same_images_stand_in_one_table_and_are_compared(visit):
    runs = [drawn_run(["line", "msp"], name=name, seed=seed) for name, seed in (("s0", 1), ("s1", 2))]
    shown = visit(make_page(runs, PageOptions(replicates=20)))
    labels = ["s0: line", "s0: msp", "s1: line", "s1: msp"]
    assert shown.locator("#table-glance tbody th").all_inner_texts() == labels
    assert shown.locator("table.matrix").first.locator("tbody th").all_inner_texts() == labels
    expected = [100 * ood_metrics(r.scores[m]["id"], r.scores[m]["near"]).auroc for r in runs for m in ("line", "msp")]
    assert [c[0] for c in cells_of(shown, "#table-glance").values()] == pytest.approx(expected, abs=1e-5)
    across = float(shown.locator("table.matrix td").nth(2).inner_text().replace("−", "-"))
    assert across == pytest.approx(expected[0] - expected[2], abs=6e-3)
    assert shown.locator("#reproduce h3").all_inner_texts() == ["s0", "s1"]


def test_runs_on_other_images_are_refused_with_what_differs():
    one = drawn_run(["line"], name="one")
    for other, words in (
        (drawn_run(["line"], name="two", images=99), "another sets"),
        (drawn_run(["line"], name="two", benchmark="cifar100"), "another benchmark"),
    ):
        with pytest.raises(SettingsError, match=words):
            shared_images([one, other])
    moved = drawn_run(["line"], name="two")
    moved.files["near"][3] = "near/elsewhere.png"
    with pytest.raises(SettingsError, match="other images of 'near'"):
        shared_images([one, moved])


def test_runs_of_equal_names_are_named_by_their_folders(folder: Path, tmp_path: Path, visit):
    for name in ("a", "b"):
        shutil.copytree(folder / "run", tmp_path / name / "run")
    page = tmp_path / "both.html"
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(page), "--bootstrap", "0"]) == 0
    shown = visit(page)
    expected = [f"{run}: {method}" for run in ("a", "b") for method in METHODS]
    assert shown.locator("#table-glance tbody th").all_inner_texts() == expected
    assert shown.locator("table.matrix").first.locator("tbody tr").count() == 8
    assert shown.locator("#reproduce h3").all_inner_texts() == ["a", "b"]


def test_published_rows_stand_beside_and_are_marked_as_not_measured(visit):
    made = drawn_run(["msp", "line", "knn"], benchmark="cifar10", arch="resnet18")
    shown = visit(make_page([made], PageOptions(replicates=20)))
    rows = {row.method: row for row in published_rows("cifar10", "ResNet18")}
    for method, name in (("msp", "MSP"), ("knn", "KNN")):
        cells = shown.locator("#table-glance tbody tr", has=shown.locator(f"th:text-is('{method}')")).locator(".others")
        assert [c.inner_text().split("\n")[0] for c in cells.all()] == [rows[name].near, rows[name].far]
    nobody = shown.locator("#table-glance tbody tr").nth(1).locator(".others")
    assert nobody.all_inner_texts() == ["–", "–"]
    assert "not measured here" in shown.locator("#table-glance caption").inner_text()
    assert shown.locator("#published tbody tr").count() == len(rows)
    sources = {row.source.url for row in rows.values()}
    assert all(url in shown.inner_text("#published .sources") for url in sources)
    assert shown.locator("#results .findings").inner_text().count("knn") <= 2  # published figures lead nothing
    assert shown.locator("#table-auroc .others").count() == 0
    assert violations(shown) == []


# -- the file ----------------------------------------------------------------------------------------------------------


def test_the_same_run_gives_the_same_bytes(folder: Path, run) -> None:
    assert make_page([run], PageOptions(replicates=20, misses=4)) == (folder / "report.html").read_text()


def noisy_run(tmp_path: Path) -> run_folder.Run:
    """A run whose pictures are as large as pictures can be: noise."""
    rng = np.random.default_rng(0)
    made = drawn_run(["good", "bad"], images=60, data_root=str(tmp_path))
    for name, files in made.files.items():
        (tmp_path / name).mkdir()
        for file in files if name != "train" else ():
            Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(tmp_path / file)
    return made


def test_a_page_of_many_images_leaves_out_the_last_ones_before_it_is_too_large(visit, tmp_path, monkeypatch):
    made = noisy_run(tmp_path)
    options = PageOptions(replicates=0, misses=40)
    whole = make_page([made], options)
    limit = len(whole.encode()) - 200_000
    monkeypatch.setattr(page, "MOST_BYTES", limit)
    less = make_page([made], options)
    assert limit - 60_000 < len(less.encode()) <= limit
    shown = visit(less)
    left_out = int(re.search(r"(\d+) pictures were left out", shown.inner_text("#method")).group(1))
    assert left_out > 20
    kept, asked = (len(re.findall(pattern, text)) for pattern, text in ((r"data:image", less), (r"data:image", whole)))
    assert asked - kept == left_out
    good = shown.locator("div[data-entry='0']:not(.grid) .misses > li")
    assert good.locator("img[src^='data:']").count() == good.count()  # the best method has all of its pictures
    shown.locator("#entry").select_option(label="bad")
    bad = shown.locator("div[data-entry='1']:not(.grid) .misses > li")
    assert bad.locator(".blank").count() > 0
    assert bad.locator("img:not([src])").count() == 0


def test_a_page_that_is_too_large_without_any_picture_is_refused_with_what_to_leave_out(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_BYTES", 50_000)
    with pytest.raises(SettingsError, match="show fewer runs or methods"):
        make_page([drawn_run(["line"])], PageOptions(replicates=0))


def test_an_artifact_is_shown_with_a_run_that_was_saved_without_it(folder: Path, tmp_path: Path, visit):
    shutil.copytree(folder / "run", tmp_path / "run")
    saved = tmp_path / "run" / "run.json"
    record = run_folder.load_run(tmp_path / "run").record
    saved.write_text(record.model_copy(update={"artifacts": ()}).model_dump_json())
    artifact = folder.parent / "line.safetensors"
    flags = ["--bootstrap", "0", "--output", str(tmp_path / "page.html")]
    assert main(["report", str(tmp_path), *flags, "--artifact", str(artifact)]) == 0
    shown = visit(tmp_path / "page.html")
    assert load_artifact(artifact).content_sha256 in shown.inner_text("#calibration")
    assert shown.locator("#at-calibrated").is_visible()
    assert "those of line" in shown.inner_text("#calibration")


def test_an_artifact_of_another_network_is_refused(folder: Path, tmp_path: Path, capsys):
    shutil.copytree(folder / "run", tmp_path / "run")
    saved = tmp_path / "run" / "run.json"
    saved.write_text(
        saved.read_text().replace(run_folder.load_run(folder / "run").record.network.model_sha256, "f" * 64)
    )
    artifact = folder.parent / "line.safetensors"
    assert main(["report", str(tmp_path), "--bootstrap", "0", "--artifact", str(artifact)]) != 0
    assert "was fitted on another network than any of these runs" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


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


def test_intervals_are_those_of_the_bootstrap_and_hold_their_figure(run) -> None:
    entries = measure([run], shared_images([run]), replicates=20, seed=0)
    for entry in entries:
        for cells in entry.cells.values():
            assert all(c.low <= c.high for c in cells.values())
    assert any(c.low < c.value < c.high for e in entries for c in e.cells["auroc"].values())


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_pictures_of_the_report_are_small_enough_for_the_documentation(visit, folder: Path, tmp_path: Path):
    target = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path
    source = Path(SHOWN).absolute() if SHOWN else folder / "report.html"
    for name, size, scheme in (("light", WIDE, "light"), ("dark", WIDE, "dark"), ("phone", PHONE, "light")):
        shown = visit(source, size, scheme)
        keep(shown.screenshot(clip={"x": 0, "y": 0, **size}, full_page=True), target / f"report-{name}.png")
    shown = visit(source)
    shown.locator("#method").evaluate("part => part.scrollIntoView()")
    keep(shown.screenshot(), target / "report-threshold.png")
    misses = shown.get_by_role("heading", name="ID, flagged as OOD").first.bounding_box()
    top = misses["y"] + shown.evaluate("scrollY") - 10
    shot = shown.screenshot(clip={"x": 0, "y": top, "width": 1280, "height": 560}, full_page=True)
    keep(shot, target / "report-misses.png")


def keep(picture: bytes, path: Path) -> None:
    """Few colours are enough for a page that has few."""
    whole = Image.open(io.BytesIO(picture)).convert("RGB")
    assert len(whole.getcolors(2**24) or ()) > 50  # something is on it
    whole.quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    assert path.stat().st_size < 200_000


def test_what_describes_a_run_is_imported_without_a_warning():
    module = run_record.__name__
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", f"import {module}"],
                          capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
