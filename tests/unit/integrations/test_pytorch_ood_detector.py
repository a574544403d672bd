"""LINe behind pytorch-ood's detector interface."""

from __future__ import annotations

import pytest
import torch
from pytorch_ood.api import DetectorInfo, FeaturesDetector, ModelNotSetException, RequiresFittingException, Task
from pytorch_ood.utils import GridSearch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from line_plugin import LINe
from line_plugin.errors import EmptyClassError, FitError, SettingsError
from line_plugin.pytorch_ood import LINeDetector

K, D = 4, 12


def data(n: int = 80, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % K
    return (
        torch.relu(torch.randn(n, D, generator=g)) + nn.functional.one_hot(labels, D),
        labels,
        torch.randn(K, D, generator=g),
        torch.randn(K, generator=g),
    )


def detector(encoder: nn.Module | None = None, **settings: float | None) -> LINeDetector:
    _, _, weight, bias = data()
    return LINeDetector(encoder, weight, bias, **settings)


def test_outlier_score_is_the_negated_confidence_of_line() -> None:
    features, labels, weight, bias = data()
    line = LINe(10, 20, 0.8).fit_features(features, labels, weight, bias)
    fitted = detector(p_w=10, p_a=20, clip=0.8).fit_features(features, labels)
    assert torch.equal(fitted.predict_features(features), -line.score(features))


def test_fit_on_a_loader_equals_fit_on_its_features_and_ignores_ood_labels() -> None:
    features, labels, _, _ = data()
    outliers = torch.full((5,), -1)
    x, y = torch.cat([features, features[:5] * 9]), torch.cat([labels, outliers])
    loader = DataLoader(TensorDataset(x, y), batch_size=7)
    one = detector(nn.Identity()).fit(loader)
    other = detector().fit_features(features, labels)
    torch.testing.assert_close(one.predict(features), other.predict_features(features))
    torch.testing.assert_close(one(features), one.predict(features))


def test_scores_carry_no_graph_and_fit_keeps_none() -> None:
    features, labels, _, _ = data()
    encoder = nn.Sequential(nn.Linear(D, D), nn.ReLU())
    fitted = detector(encoder).fit(DataLoader(TensorDataset(features, labels), batch_size=16))
    assert not fitted.predict(features).requires_grad
    assert not fitted.line.sums.sums.requires_grad


def test_changing_a_setting_after_fitting_equals_fitting_with_it() -> None:
    features, labels, _, _ = data()
    changed = detector().fit_features(features, labels).set_hyperparameters(p_w=30, clip=None)
    fresh = detector(p_w=30, clip=None).fit_features(features, labels)
    assert torch.equal(changed.predict_features(features), fresh.predict_features(features))
    assert changed.get_hyperparameters() == {"p_w": 30, "p_a": 90.0, "clip": None}


def test_a_setting_can_be_changed_before_fitting() -> None:
    features, labels, _, _ = data()
    early = detector().set_hyperparameters(p_a=5).fit_features(features, labels)
    assert torch.equal(
        early.predict_features(features), detector(p_a=5).fit_features(features, labels).predict_features(features)
    )


def test_grid_search_of_the_library_tunes_it_and_leaves_it_at_the_best() -> None:
    features, labels, _, _ = data()
    fit_loader = DataLoader(TensorDataset(features, labels), batch_size=16)
    far = torch.rand(20, D, generator=torch.Generator().manual_seed(1))
    val = TensorDataset(torch.cat([features[:20], far]), torch.cat([labels[:20], torch.full((20,), -1)]))
    tuned = detector(nn.Identity())
    search = GridSearch(tuned, fit_loader, DataLoader(val, batch_size=10))
    best = search.run()
    assert len(search.results_) == 3 * 3 * 5
    assert len({round(r["score"], 6) for r in search.results_}) > 1, "the settings matter"
    assert tuned.get_hyperparameters() == best
    assert search.best_score_ == max(r["score"] for r in search.results_)


def test_it_says_what_it_is() -> None:
    assert issubclass(LINeDetector, FeaturesDetector)
    assert LINeDetector.requires_fit
    info = LINeDetector.info
    assert isinstance(info, DetectorInfo)
    assert info.tasks == {Task.CLASSIFICATION}
    assert info.paper is not None
    assert (info.paper.venue, info.paper.year) == ("CVPR", 2023)
    assert set(LINeDetector.hyperparameter_space) == set(detector().get_hyperparameters())


def test_moving_it_moves_the_fit() -> None:
    features, labels, _, _ = data()
    fitted = detector(nn.Identity()).fit_features(features, labels)
    before = fitted.predict_features(features)
    assert fitted.to("cpu") is fitted
    assert torch.equal(fitted.predict_features(features), before)


@pytest.mark.parametrize("shape", [(0, D), (1, D)])
def test_batches_of_none_and_of_one(shape: tuple[int, int]) -> None:
    features, labels, _, _ = data()
    assert detector().fit_features(features, labels).predict_features(torch.rand(shape)).shape == shape[:1]


def test_misuse_is_refused_in_the_words_of_the_library_or_of_line() -> None:
    features, labels, _, _ = data()
    with pytest.raises(RequiresFittingException):
        detector().predict_features(features)
    with pytest.raises(ModelNotSetException):
        detector().predict(features)
    with pytest.raises(ModelNotSetException, match="fit_features"):
        detector().fit([])
    with pytest.raises(FitError, match="no batch"):
        detector(nn.Identity()).fit([])
    with pytest.raises(EmptyClassError, match="class 3"):
        detector().fit_features(features[labels != 3], labels[labels != 3])
    with pytest.raises(SettingsError, match="did you mean 'p_w'"):
        detector().set_hyperparameters(p_v=1)
    with pytest.raises(SettingsError, match="percentile"):
        detector().set_hyperparameters(p_w=101)


# -- a clip that the fit chooses ---------------------------------------------------------------------------------------


def images() -> tuple[nn.Sequential, list[tuple[Tensor, Tensor]]]:
    """A network whose last layer has the head of :func:`data`'s size, and batches of 7."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, D), nn.ReLU(), nn.Linear(D, K))
    x, y = torch.randn(600, 3, 2, 2), torch.arange(600) % K
    return net.eval(), [(x[i : i + 7], y[i : i + 7]) for i in range(0, 600, 7)]


def test_auto_fits_features_as_line_auto_does_bit_for_bit() -> None:
    features, labels, weight, bias = data(600)
    line = LINe.auto(seed=3, rows=120).fit_features(features, labels, weight, bias)
    fitted = LINeDetector.auto(None, weight, bias, seed=3, rows=120).fit_features(features, labels)
    assert fitted.choice == line.choice
    assert fitted.choice is not None
    assert fitted.choice.rows == 120
    assert fitted.get_hyperparameters() == {"p_w": None, "p_a": 10.0, "clip": line.settings.clip}
    assert torch.equal(fitted.predict_features(features), -line.score(features))


def test_auto_fits_a_loader_as_line_auto_fits_the_network_bit_for_bit() -> None:
    net, batches = images()
    line = LINe.auto(p_w=30).fit(net, batches, head="3")
    fitted = LINeDetector.auto(net[:3], net[3].weight, net[3].bias, p_w=30).fit(batches)
    assert fitted.choice == line.choice
    for x, _ in batches[:3]:
        assert torch.equal(fitted.predict(x), -line.score(net[:3](x).detach()))


def test_the_choice_is_shown_in_the_words_of_openood_fit() -> None:
    features, labels, weight, bias = data(600)
    detector = LINeDetector.auto(None, weight, bias)
    assert str(detector) == repr(detector) == "LINeDetector(LINe(p_w=None, p_a=10, clip=auto; not fitted))"
    assert detector.choice is None
    assert detector.get_hyperparameters()["clip"] == "auto"
    detector.fit_features(features, labels)
    choice = detector.choice
    assert choice is not None
    first, second, *limits = str(detector).split("\n")
    assert first == repr(detector)
    assert f"clip={choice.clip:g}; K=4" in first
    assert f"its clip {choice.clip:.4g} was chosen from 600 training images alone, by leaving classes out" in second
    assert limits == choice.limits() != []  # 4 classes are few


def test_other_masks_keep_the_chosen_clip_and_the_next_fit_chooses_again() -> None:
    features, labels, weight, bias = data(600)
    detector = LINeDetector.auto(None, weight, bias).fit_features(features, labels)
    before = detector.get_hyperparameters()["clip"]
    assert detector.set_hyperparameters(p_w=30).get_hyperparameters() == {"p_w": 30, "p_a": 10.0, "clip": before}
    assert detector.choice is not None
    detector.fit_features(3 * features, labels)
    assert detector.get_hyperparameters() == {"p_w": 30, "p_a": 10.0, "clip": pytest.approx(3 * before)}


def test_a_clip_that_is_named_is_kept_by_later_fits_and_auto_brings_the_choice_back() -> None:
    features, labels, weight, bias = data(600)
    detector = LINeDetector.auto(None, weight, bias).fit_features(features, labels)
    chosen = detector.get_hyperparameters()["clip"]
    detector.set_hyperparameters(clip=0.5)
    assert detector.get_hyperparameters()["clip"] == 0.5
    assert detector.set_hyperparameters(clip="auto").get_hyperparameters()["clip"] == chosen
    detector.set_hyperparameters(clip=0.5).fit_features(features, labels)
    assert detector.get_hyperparameters()["clip"] == 0.5
    assert detector.choice is None
    with pytest.raises(SettingsError, match=r"clip=auto given, but the fit chose no clip: make LINeDetector\.auto"):
        detector.set_hyperparameters(clip="auto")


def test_settings_of_an_unfitted_detector_can_be_set_to_auto() -> None:
    features, labels, weight, bias = data(600)
    detector = LINeDetector(None, weight, bias, p_w=None, p_a=10).set_hyperparameters(clip="auto")
    line = LINe.auto().fit_features(features, labels, weight, bias)
    assert detector.fit_features(features, labels).choice == line.choice


def test_a_clip_that_is_neither_a_number_nor_auto_is_refused() -> None:
    with pytest.raises(SettingsError, match="clip=fast given"):
        detector().set_hyperparameters(clip="fast")


@pytest.mark.slow
def test_grid_search_over_the_masks_of_an_automatic_detector_keeps_the_chosen_clip() -> None:
    features, labels, weight, bias = data(600)
    far = torch.rand(20, D, generator=torch.Generator().manual_seed(1))
    val = TensorDataset(torch.cat([features[:20], far]), torch.cat([labels[:20], torch.full((20,), -1)]))
    tuned = LINeDetector.auto(nn.Identity(), weight, bias)
    fit_loader = DataLoader(TensorDataset(features, labels), batch_size=16)
    GridSearch(tuned, fit_loader, DataLoader(val, batch_size=10), {"p_w": [None, 30], "p_a": [10, 50]}).run()
    assert tuned.choice is not None
    assert tuned.get_hyperparameters()["clip"] == tuned.choice.clip
