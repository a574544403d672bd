"""Which settings LINe starts from: the user's, those of the YAML file, the published ones, or its rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from line_plugin import PRESETS, networks
from line_plugin.benchmark.methods.base import FeatureSet, FitData, Setting
from line_plugin.benchmark.methods.line import LineMethod
from line_plugin.benchmark.protocol import settings, spec
from line_plugin.errors import SettingsError
from tests.unit.math.test_leave_out import data

NETWORKS = {"cifar10": "cifar10-densenet", "cifar100": "cifar100-densenet", "imagenet": "imagenet-resnet50"}
OTHER = nn.Sequential(nn.Linear(4, 10))


@pytest.fixture(scope="module")
def densenet() -> nn.Module:
    return networks.build("densenet100_12", 10)


def start(benchmark: str, model: nn.Module, **given: Setting) -> dict[str, Setting]:
    return dict(settings.create("line", spec.load(benchmark), model, given).settings)


@pytest.mark.parametrize("name", [*NETWORKS, "line-cifar10", "line-cifar100", "line-imagenet"])
def test_the_papers_network_on_the_papers_data_takes_the_published_settings(name: str) -> None:
    benchmark, published = spec.load(name), PRESETS[NETWORKS[name.removeprefix("line-")]]
    model = networks.build("resnet50" if "imagenet" in name else "densenet100_12", benchmark.num_classes)
    method = settings.create("line", benchmark, model)
    expected = {"p_w": published.p_w, "p_a": published.p_a, "clip": published.clip, "clip_percentile": None}
    assert method.settings == expected
    assert "published for this network" in method.remarks()[0]
    assert settings.create("line-paper", benchmark, nn.Linear(3, benchmark.num_classes)).settings == expected


@pytest.mark.parametrize("name", [*NETWORKS, "imagenet200", "quickstart"])
def test_any_other_network_takes_the_rule(name: str) -> None:
    benchmark = spec.load(name)
    method = settings.create("line", benchmark, nn.Linear(3, benchmark.num_classes))
    assert method.settings == {"p_w": None, "p_a": 10, "clip": "auto", "clip_percentile": None}


def test_what_the_user_gives_wins_over_the_published_settings_one_by_one(densenet: nn.Module) -> None:
    assert start("cifar10", densenet, p_w=10) == {"p_w": 10, "p_a": 90, "clip": 1.0, "clip_percentile": None}
    assert settings.create("line", spec.load("cifar10"), densenet, {"p_w": 10}).remarks() == []
    assert start("cifar10", OTHER, p_w=10) == {"p_w": 10, "p_a": 10, "clip": "auto", "clip_percentile": None}
    assert start("cifar10", OTHER, clip=2)["clip"] == 2


def test_clip_auto_is_the_whole_rule_unless_masks_are_given_with_it(densenet: nn.Module) -> None:
    assert start("cifar10", densenet, clip="auto") == {"p_w": None, "p_a": 10, "clip": "auto", "clip_percentile": None}
    assert start("cifar10", densenet, clip="auto", p_w=90)["p_w"] == 90


def test_a_yaml_file_of_the_users_own_wins_over_the_rule_and_loses_to_the_command_line(tmp_path: Path) -> None:
    raw = yaml.safe_load(spec.shipped()["quickstart"].read_text())
    raw["methods"] = {"line": {"p_w": 33, "clip_percentile": 90}}
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(raw))
    mine, net = str(tmp_path / "mine.yml"), nn.Linear(3, 8)
    assert start(mine, net) == {"p_w": 33, "p_a": 10, "clip": "auto", "clip_percentile": 90}
    assert start(mine, net, clip=2.0) == {"p_w": 33, "p_a": 10, "clip": 2.0, "clip_percentile": None}
    assert start(mine, net, clip="auto")["p_w"] is None


def fit_data() -> FitData:
    x, y, w, b = data(600)
    rows = FeatureSet("train", x, (x @ w.T + b).argmax(1).numpy(), y.numpy(), "key")
    return FitData(rows, rows, w, b)


def test_the_fit_shows_the_clip_that_it_chose_and_says_how() -> None:
    method = LineMethod()
    method.origin = "no settings were published for this network, only for another"
    method.fit(fit_data())
    assert method.line.choice is not None
    assert method.settings["clip"] == method.line.settings.clip == method.line.choice.clip
    (sentence,) = method.remarks()[:1]
    assert sentence.startswith("line: no settings were published for this network, only for another, so its clip")
    assert "chosen from 600 training images alone" in sentence
    assert method.record()["clip_choice"]["rows"] == 600


@pytest.mark.parametrize(("scale", "said"), [(1.0, False), (0.01, True), (100.0, True)])
def test_a_published_clip_that_does_not_suit_the_weights_is_said(scale: float, said: bool) -> None:
    method, found = LineMethod(), fit_data()
    method.settings |= {"p_w": 90, "p_a": 90, "clip": 1.5}
    method.origin = "its settings are those that were published for this network"
    rows = replace(found.train, features=scale * found.train.features)
    method.fit(replace(found, train=rows))
    assert method.remarks()[0] == "line: its settings are those that were published for this network."
    assert any("trained otherwise than the paper's" in s for s in method.remarks()) == said
    method.origin = ""  # given by the user
    assert method.remarks() == []


def test_other_masks_afterwards_keep_the_choice_and_another_clip_drops_its_record() -> None:
    method = LineMethod()
    method.fit(fit_data())
    chosen = method.settings["clip"]
    method.set({"p_a": 90})
    assert (method.settings["clip"], method.line.settings.p_a) == (chosen, 90)
    assert method.record()
    method.set({"clip": 2.0})
    assert method.line.settings.clip == 2.0
    assert method.record() == {}
    assert method.remarks() == []
    method.set({"clip": "auto"})
    assert method.settings["clip"] == chosen


def test_given_settings_leave_no_record_of_a_choice_in_the_artifact() -> None:
    method = LineMethod()
    method.settings |= {"p_w": 90, "p_a": 90, "clip": 1.0}
    method.fit(fit_data())
    assert method.line.choice is None
    assert torch.equal(method.line.sums.counts, torch.full((6,), 100))


def test_a_word_that_is_no_setting_is_refused_with_what_is() -> None:
    method = LineMethod()
    method.settings["p_w"] = "auto"
    with pytest.raises(SettingsError, match=r"p_w=auto given, expected a number or off; clip=auto chooses the clip"):
        method.fit(fit_data())
