"""The table of all methods: its resampled AUROC, its gaps, and the files it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks import documents, feature_files, method_scores, methods_table
from line_plugin.benchmark import methods
from line_plugin.math.metrics import ood_metrics


def test_a_resampled_auroc_is_that_of_the_images_drawn() -> None:
    rng = np.random.default_rng(0)
    id_scores = rng.integers(0, 8, 40).astype(np.float32)  # many ties
    ood_scores = rng.integers(-3, 6, 25).astype(np.float32)
    id_counts = rng.multinomial(40, np.full(40, 1 / 40), 10)
    ood_counts = rng.multinomial(25, np.full(25, 1 / 25), 10)
    got = methods_table.resampled_auroc(id_scores, ood_scores, id_counts, ood_counts)
    for b in range(10):
        drawn = ood_metrics(np.repeat(id_scores, id_counts[b]), np.repeat(ood_scores, ood_counts[b]))
        assert got[b] == pytest.approx(drawn.auroc, abs=1e-12)


def measured(shift: float, seed: int) -> method_scores.Scores:
    rng = np.random.default_rng(seed)
    sets = {"id": shift, "near.a": 0.0, "near.b": 0.3, "far.c": -1.0}
    return {name: (rng.normal(size=400) + mean).astype(np.float32) for name, mean in sets.items()}


def test_the_gap_is_to_the_best_and_its_interval_holds_it() -> None:
    good, poor = measured(2, 0), measured(1, 1)
    network = method_scores.Measured("net", {"poor": poor, "good": good, "again": good}, {})
    rows = {row["method"]: row for row in methods_table.table(network, 200)}
    assert list(rows)[-1] == "poor"
    near = np.mean([ood_metrics(poor["id"], poor[s]).auroc for s in ("near.a", "near.b")])
    far = ood_metrics(poor["id"], poor["far.c"]).auroc
    assert rows["poor"]["values"][:3] == pytest.approx([near, far, (near + far) / 2])
    assert rows["poor"]["low"] <= rows["poor"]["gap"] <= rows["poor"]["high"] < 0
    assert rows["again"]["gap"] == rows["again"]["low"] == rows["again"]["high"] == 0  # paired: no noise of its own


def test_the_gap_is_to_the_best_single_method_and_the_panel_may_be_ahead_of_it() -> None:
    network = method_scores.Measured(
        "net", {"panel": measured(3, 0), "good": measured(2, 1), "poor": measured(1, 2)}, {}
    )
    rows = methods_table.table(network, 50)
    assert [row["method"] for row in rows] == ["panel", "good", "poor"]
    assert [row["gap"] > 0 for row in rows] == [True, False, False]
    assert rows[1]["gap"] == rows[1]["low"] == rows[1]["high"] == 0


def test_gaps_name_the_worst_network_of_each_method() -> None:
    def rows(a: float, b: float) -> list[dict[str, object]]:
        return [{"method": "a", "gap": a}, {"method": "b", "gap": b}, {"method": "only here", "gap": 0}][
            : 3 if a else 2
        ]

    found = methods_table.gaps({"one": rows(0, -2.5), "two": rows(-9, 0)}, {})
    assert found == [
        {"method": "b", "one": "-2.50", "two": "+0.00", "mean": "-1.25", "worst": "-2.50"},
        {"method": "a", "one": "+0.00", "two": "-9.00", "mean": "-4.50", "worst": "-9.00"},
    ]


def test_gaps_of_other_networks_have_another_place_in_the_docs() -> None:
    assert methods_table.gaps_name(list(methods_table.SHORT)) == "gaps"
    assert methods_table.gaps_name(["vit_cifar10", "convnext_cifar10"]) == "gaps_convnext_cifar10_vit_cifar10"
    assert methods_table.gaps_name(list(methods_table.SHORT)[:3]) != "gaps"


@pytest.mark.parametrize(
    ("method", "settings", "expected"),
    [
        ("line", {}, "line (auto)"),
        ("line", {"line": {"p_w": 90, "clip": "auto"}}, "line (auto)"),
        ("line", {"line": {"clip": 1.0}}, "line (given)"),
        ("line-paper", {}, "line (published)"),
        ("line-paper", {"line-paper": {"clip": 2.0}}, "line-paper (given)"),
        ("panel", {}, "panel"),
    ],
)
def test_rows_of_line_say_which_settings_they_have(method: str, settings: dict[str, Any], expected: str) -> None:
    assert methods_table.label(method, settings) == expected


def test_a_table_by_set_has_sets_beside_their_group_and_what_a_search_chose() -> None:
    network = method_scores.Measured("net", {"line": measured(2, 0), "knn": measured(1, 1)}, {})
    first, second = methods_table.shown_by_set(methods_table.table(network, 20), {"knn": "K=50"}, {})
    assert list(first)[:8] == ["method", "a", "b", "near", "c", "far", "mean", "gap to the best"]
    assert list(first)[8:] == [*methods_table.COLUMNS[3:], "chosen"]
    assert (first["method"], first["chosen"], second["chosen"]) == ("line (auto)", "", "K=50")
    assert float(first["near"]) == pytest.approx((float(first["a"]) + float(first["b"])) / 2, abs=0.011)
    assert first["gap to the best"] == "+0.00 [+0.00, +0.00]"


PAGE = """# Page
before
<!-- table gaps -->
| old |
<!-- end -->
between
<!-- table other -->
kept
<!-- end -->
"""


def test_a_table_is_put_between_its_marks_and_nowhere_else() -> None:
    table = [{"method": "a", "gap": "+1.00"}, {"method": "b", "gap": "-1.00"}]
    text, found = documents.put(PAGE, {"gaps": table, "absent": table})
    assert found == {"gaps"}
    assert text == PAGE.replace("| old |", "| method | gap |\n|-|-|\n| a | +1.00 |\n| b | -1.00 |")
    assert documents.put(text, {"gaps": table})[0] == text


def test_a_table_without_a_place_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    with pytest.raises(SystemExit, match="no place for the table absent"):
        documents.put_tables(tmp_path, {"gaps": [{"a": 1}], "absent": [{"a": 1}]})
    assert page.read_text() == PAGE
    assert documents.put_tables(tmp_path, {"gaps": [{"a": 1}]}) == [page]


def rows_of(page: str, table: str) -> list[str]:
    text = (Path(__file__).parents[3] / "docs" / page).read_text(encoding="utf-8")
    body = text.split(f"<!-- table {table} -->\n")[1].split("\n<!-- end -->")[0].splitlines()
    return [line.split("|")[1].strip() for line in body[2:]]


@pytest.mark.parametrize(
    ("page", "table"),
    [
        ("results.md", "cifar10_images"),
        ("results.md", "gaps"),
        *(("methods-by-network.md", n) for n in methods_table.SHORT),
    ],
)
def test_the_tables_of_the_docs_have_every_method_once_the_panel_and_both_lines_among_them(
    page: str, table: str
) -> None:
    expected = sorted(methods_table.label(name, {}) for name in methods.names())
    assert {"panel", "line (auto)", "line (published)"} <= set(expected)
    assert sorted(rows_of(page, table)) == expected


def test_a_feature_file_gives_disjoint_training_and_validation_images_and_groups(tmp_path: Path) -> None:
    features = torch.arange(400.0).reshape(200, 2).half()
    tensors = {
        "train.features": features,
        "train.labels": (torch.arange(200) % 4).short(),
        "test.features": torch.zeros(3, 2).half(),
        "test.labels": torch.zeros(3).short(),
        "near.letters": torch.zeros(5, 2).half(),
        "textures.features": torch.zeros(6, 2),
        "weight": torch.zeros(4, 2),
        "bias": torch.zeros(4),
    }
    save_file(tensors, tmp_path / "net.safetensors")
    (network,) = feature_files.read_all(tmp_path)
    assert {name: len(rows) for name, rows in network.ood.items()} == {"near.letters": 5, "far.textures": 6}
    train, val = network.data.train, network.data.val
    assert (len(train.features), len(val.features)) == (180, 20)
    rows = torch.cat([train.features, val.features])
    assert sorted(rows[:, 0].tolist()) == features[:, 0].tolist()
    assert (train.labels == (train.features[:, 0].numpy() / 2 % 4)).all()
    assert train.features.dtype == torch.float32


PAPER = {"line": {"p_w": 90, "p_a": 90, "clip": 1.0}}


@pytest.mark.real_data
def test_every_method_can_be_measured_on_a_real_network(real_data: Path) -> None:
    """The smallest one."""
    network = feature_files.read(real_data / "features" / "resnet20_cifar10.safetensors")
    found = method_scores.score_all(network, ["fdbd", "mds++", "msp", "line"], PAPER)
    assert not found.left_out
    means = {row["method"]: 100 * row["values"][2] for row in methods_table.table(found, 20)}
    assert means == pytest.approx({"fdbd": 92.08, "mds++": 91.43, "msp": 87.44, "line": 85.47}, abs=0.3)
