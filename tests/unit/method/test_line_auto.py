"""LINe.auto: the clip is chosen in the pass of the fit, stays on record, and depends on data and seed alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from line_plugin import ClassSums, LINe
from line_plugin.errors import ArtifactCorruptError, FitError, NonFiniteError
from line_plugin.math.class_sample import ClassSample
from line_plugin.math.leave_out import choose_clip
from line_plugin.method.fit import NegativeFeatureWarning
from tests.unit.math.test_leave_out import data


def fitted(**how: int) -> LINe:
    x, y, w, b = data(600)
    return LINe.auto(**how).fit_features(x, y, w, b)


def test_the_fit_takes_the_clip_of_the_rule_and_scores_with_it() -> None:
    x, y, w, b = data(600)
    line = LINe.auto().fit_features(x, y, w, b)
    chosen = choose_clip(x, y, w, b)  # fewer rows than the sample holds: the sample is all of them
    assert line.choice == chosen
    assert line.settings.clip == chosen.clip
    assert (line.settings.p_w, line.settings.p_a) == (None, 10)
    plain = LINe(None, 10, chosen.clip).fit_features(x, y, w, b)
    assert torch.equal(line.score(x), plain.score(x))
    assert plain.choice is None


def test_masks_that_are_given_are_kept() -> None:
    x, y, w, b = data(600)
    line = LINe.auto(p_w=90, p_a=None).fit_features(x, y, w, b)
    assert (line.settings.p_w, line.settings.p_a) == (90, None)
    assert line.choice == fitted().choice


def test_a_network_is_forwarded_once_an_image_and_gives_what_its_features_give() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 6))
    images, labels = torch.randn(60, 3, 2, 2), torch.arange(60) % 6
    loader = [(images[i : i + 7], labels[i : i + 7]) for i in range(0, 60, 7)]
    line = LINe.auto(rows=24).fit(net, loader)
    forwarded = []
    net[1].register_forward_hook(lambda _m, _i, out: forwarded.append(len(out)))
    again = LINe.auto(rows=24).fit(net, loader, head="3")
    assert sum(forwarded) == 60 + 2  # the first image twice more: to find the layout of the input
    assert again.choice == line.choice
    features = torch.cat([net[:3](batch).detach() for batch, _ in loader])
    direct = LINe.auto(rows=24).fit_features(features, labels, net[3].weight, net[3].bias)
    assert direct.choice == line.choice
    assert line.choice is not None
    assert line.choice.rows == 24


def test_the_sample_is_bounded_and_seeded() -> None:
    few = fitted(rows=120)
    assert few.choice is not None
    assert few.choice.rows == 120
    assert few.choice == fitted(rows=120).choice
    other = fitted(rows=120, seed=1).choice
    assert other is not None
    assert other.folds != few.choice.folds
    assert other.candidates[0].clip != few.choice.candidates[0].clip  # other rows
    assert other.seed == 1


def test_equal_fits_give_equal_bytes_and_the_record_survives_the_file(tmp_path: Path) -> None:
    line = fitted()
    line.save(tmp_path / "one.safetensors")
    fitted().save(tmp_path / "two.safetensors")
    loaded = LINe.load(tmp_path / "one.safetensors")
    loaded.save(tmp_path / "three.safetensors")
    one = (tmp_path / "one.safetensors").read_bytes()
    assert one == (tmp_path / "two.safetensors").read_bytes() == (tmp_path / "three.safetensors").read_bytes()
    assert loaded.choice == line.choice
    assert loaded.settings == line.settings
    assert loaded.provenance == line.provenance


def test_other_settings_after_it_keep_the_record_and_do_not_choose_again() -> None:
    x, y, w, b = data(600)
    line = fitted()
    other = line.with_settings(90, 90, 0.5)
    assert other.settings.clip == 0.5
    assert other.choice == line.choice
    assert torch.equal(other.score(x), LINe(90, 90, 0.5).fit_features(x, y, w, b).score(x))


def test_a_second_fit_on_other_data_chooses_again() -> None:
    x, y, w, b = data(600)
    line = fitted()
    before = line.settings.clip
    line.fit_features(3 * x, y, w / 3, b)
    assert line.settings.clip == pytest.approx(3 * before)


def test_sums_alone_are_refused_and_sums_with_rows_are_not() -> None:
    x, y, w, b = data(600)
    sums, sample = ClassSums.zeros(6, 7).add_(x, y), ClassSample(6)
    line = LINe.auto()
    with pytest.raises(FitError, match=r"chooses its clip from rows.*pass sample"):
        line.fit_sums(sums, w, b)
    assert not line.fitted
    sample.add_(x, y)
    assert line.fit_sums(sums, w, b, sample=sample).choice == fitted().choice


def test_an_unfitted_one_says_that_its_clip_is_to_be_chosen() -> None:
    assert repr(LINe.auto()) == "LINe(p_w=None, p_a=10, clip=auto; not fitted)"
    assert "clip=auto" not in repr(fitted())


def test_negative_features_are_fitted_with_a_warning_that_names_what_to_use() -> None:
    x, y, w, b = data(600)
    with pytest.warns(NegativeFeatureWarning, match=r"rmds\+\+ or mds\+\+"):
        line = LINe.auto().fit_features(x - 0.3, y, w, b)
    assert line.choice is not None
    assert line.choice.negative > 0


def test_a_broken_row_is_refused_before_anything_is_chosen() -> None:
    x, y, w, b = data(600)
    x[5, 1] = float("inf")
    with pytest.raises(NonFiniteError):
        LINe.auto().fit_features(x, y, w, b)


def test_a_record_that_misses_a_field_is_refused_by_name() -> None:
    line = fitted()
    kept = dict(line.provenance.extra["clip_choice"])
    del kept["rows"]
    line.provenance = replace(line.provenance, extra={"clip_choice": kept})
    with pytest.raises(ArtifactCorruptError, match="rows"):
        _ = line.choice
