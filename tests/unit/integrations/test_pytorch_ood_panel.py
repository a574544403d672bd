"""The panel behind pytorch-ood's detector interface."""

from __future__ import annotations

import pytest
import torch
from pytorch_ood.api import FeaturesDetector, ModelNotSetException, RequiresFittingException
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from line_plugin import LINe, Panel
from line_plugin.pytorch_ood import PanelDetector

K, D = 4, 12


def data(n: int = 300) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % K
    x = torch.relu(torch.randn(n, D, generator=g)) + nn.functional.one_hot(labels, D)
    return x, labels, torch.randn(K, D, generator=g), torch.randn(K, generator=g)


def test_outlier_score_is_the_negated_confidence_of_the_panel() -> None:
    x, y, weight, bias = data()
    panel = Panel(["line", "angle"], 2, seed=3).fit_features(x, y, weight, bias)
    detector = PanelDetector(None, weight, bias, ["line", "angle"], 2, seed=3)
    assert isinstance(detector, FeaturesDetector)
    assert torch.equal(detector.fit_features(x, y).predict_features(x), -panel.score(x))


def test_fit_on_a_loader_equals_fit_on_its_features_and_ignores_ood_labels() -> None:
    x, y, weight, bias = data()
    loader = DataLoader(TensorDataset(torch.cat([x, x[:5] * 9]), torch.cat([y, torch.full((5,), -1)])), batch_size=7)
    one = PanelDetector(nn.Identity(), weight, bias).fit(loader)
    other = PanelDetector(None, weight, bias).fit_features(x, y)
    torch.testing.assert_close(one.predict(x), other.predict_features(x))
    torch.testing.assert_close(one(x), one.predict(x))
    assert one.panel.num_samples == len(x)


def test_without_a_fit_or_an_encoder_it_says_so_in_the_library_s_terms() -> None:
    x, y, weight, _ = data()
    with pytest.raises(RequiresFittingException):
        PanelDetector(None, weight, None).predict_features(x)
    fitted = PanelDetector(None, weight, None).fit_features(x, y).to("cpu")
    with pytest.raises(ModelNotSetException):
        fitted.predict(x)
    with pytest.raises(ModelNotSetException, match="fit_features"):
        fitted.fit([])


def test_the_panel_chooses_the_clip_of_line_auto_and_shows_it() -> None:
    x, y, weight, bias = data(600)
    line = LINe.auto(seed=3).fit_features(x, y, weight, bias)
    detector = PanelDetector(None, weight, bias, seed=3)
    assert detector.choice is None
    assert detector.fit_features(x, y).choice == line.choice
    assert torch.equal(detector.panel.line.score(x), line.score(x))
    loader = DataLoader(TensorDataset(x, y), batch_size=7)
    assert PanelDetector(nn.Identity(), weight, bias, seed=3).fit(loader).choice == line.choice
    first, second, *_ = str(detector).split("\n")
    assert first == repr(detector) == f"PanelDetector({detector.panel})"
    assert "its clip" in second
    assert "was chosen from 600 training images alone, by leaving classes out" in second
