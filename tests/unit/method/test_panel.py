"""The Panel object: the fit, the sum, the artifact, and what it refuses."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from line_plugin import LINe, LINeSettings, Panel, load_artifact
from line_plugin.errors import (
    ArtifactCorruptError,
    ArtifactError,
    EmptyClassError,
    FeatureError,
    FitError,
    NonFiniteError,
    NotFittedError,
    SettingsError,
    WidthError,
)
from line_plugin.method.panel_fit import EXPERTS, SCALE_ROWS
from tests.oracle import literal_panel

K, D = 4, 9


def features(n: int = 400, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, K, (n,), generator=g)
    centres = 2 * torch.rand(K, D, generator=torch.Generator().manual_seed(9))
    return torch.relu(centres[labels] + 0.5 * torch.randn(n, D, generator=g)), labels


def head() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(K, D, generator=g), torch.randn(K, generator=g)


@pytest.fixture(scope="module")
def fitted() -> Panel:
    return Panel(prototypes=3).fit_features(*features(), *head())


def test_the_confidence_is_the_sum_of_the_experts_in_units_of_their_training_spread(fitted: Panel) -> None:
    train, _ = features()
    x, _ = features(60, seed=4)
    few = fitted._gather(K, D)
    few.add_(*features())
    rows = few.sample.first(SCALE_ROWS).features
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, train.tolist()))
    single = {name: fitted.with_settings([name]) for name in EXPERTS}
    scale = {name: fitted._state.scales[name] for name in EXPERTS}
    raw = {n: (one.score_experts(x)[n] * scale[n].spread + scale[n].median).numpy() for n, one in single.items()}
    trained = {n: (one.score_experts(rows)[n] * scale[n].spread + scale[n].median).numpy() for n, one in single.items()}
    expected = literal_panel.combined(np.stack(list(raw.values()), 1), np.stack(list(trained.values()), 1))
    np.testing.assert_allclose(fitted.score(x), expected, rtol=1e-5, atol=1e-5)
    line = fitted.line.score(x).double()
    np.testing.assert_allclose(raw["line"], line, rtol=1e-6)


def test_each_expert_is_its_formula_with_what_the_fit_found(fitted: Panel) -> None:
    train, labels = features()
    x, _ = features(20, seed=4)
    (weight, bias), clip = head(), fitted.line.settings.clip
    experts, scales = fitted._state.scorer.experts, fitted._state.scales
    found = {n: v * scales[n].spread + scales[n].median for n, v in fitted.score_experts(x).items()}
    mean = train.clamp(max=clip).double().mean(dim=0).numpy()
    wide = weight.double().numpy()
    angle = [literal_panel.angle(a, clip, mean, wide) for a in x.double().numpy()]
    np.testing.assert_allclose(found["angle"], angle, rtol=1e-4, atol=1e-4)
    classes = fitted.predict(x)[0]
    prototypes = [
        literal_panel.prototypes(a, experts.prototypes[c].double().numpy())
        for a, c in zip(x.double().numpy(), classes, strict=True)
    ]
    np.testing.assert_allclose(found["prototypes"], prototypes, atol=1e-6)
    covariance, centre = np.cov(train.double().numpy().T, ddof=0), train.double().mean(dim=0).numpy()
    residuals = [literal_panel.residual(a, centre, covariance, D // 2) for a in x.double().numpy()]
    logits = (x @ weight.T + bias)[torch.arange(20), classes].double().numpy()
    np.testing.assert_allclose(
        found["virtual_logit"], logits - experts.alpha * np.array(residuals), rtol=1e-4, atol=1e-4
    )
    assert len(labels) == fitted.num_samples


@pytest.mark.parametrize("sizes", [(1,), (7,), (13, 2, 1), (400,)])
def test_a_fit_does_not_depend_on_the_batches_of_the_loader(fitted: Panel, sizes: tuple[int, ...]) -> None:
    x, y = features()
    weight, bias = head()
    net = nn.Sequential(nn.Flatten(), nn.Linear(D, K))
    with torch.no_grad():
        net[1].weight.copy_(weight)
        net[1].bias.copy_(bias)
    loader, start = [], 0
    while start < len(x):
        stop = start + sizes[len(loader) % len(sizes)]
        loader.append((x[start:stop], y[start:stop]))
        start = stop
    panel = Panel(prototypes=3).fit(net, loader, class_names=list("abcd"))
    assert panel.line.settings == fitted.line.settings
    torch.testing.assert_close(panel.score(x), fitted.score(x), rtol=1e-4, atol=1e-4)
    assert panel.provenance.class_names == ("a", "b", "c", "d")
    assert panel.provenance.head == "1"
    assert panel.provenance.model_sha256


def test_classes_of_unequal_size_count_by_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("line_plugin.method.panel_fit.SAMPLE_ROWS", 600)  # as many of each class
    x, y = features(3000, seed=2)
    kept = (y != 0) | (torch.arange(len(y)) % 20 == 0)
    panel = Panel().fit_features(x[kept], y[kept], *head())
    clipped = x[kept].clamp(max=panel.line.settings.clip)
    of_classes = torch.stack([clipped[y[kept] == c].mean(dim=0) for c in range(K)])
    found = panel._state.scorer.experts.clipped_mean
    assert (found - clipped.mean(dim=0)).norm() < 0.2 * (of_classes.mean(dim=0) - clipped.mean(dim=0)).norm()


def test_the_clip_is_the_one_that_line_auto_chooses(fitted: Panel) -> None:
    line = LINe.auto().fit_features(*features(), *head())
    assert fitted.line.settings == line.settings
    assert fitted.line.choice == line.choice
    given = Panel(line=LINeSettings(50, 50, 0.7)).fit_features(*features(), *head())
    assert given.line.settings == LINeSettings(50, 50, 0.7)
    assert given.line.choice is None


def test_a_row_has_the_same_bits_alone_and_in_batches_of_odd_sizes(fitted: Panel) -> None:
    x, _ = features(130, seed=5)
    classes, whole = fitted.predict(x)
    for size in (1, 3, 7, 65):
        parts = [fitted.predict(rows) for rows in x.split(size)]
        assert torch.equal(torch.cat([c for c, _ in parts]), classes)
        assert torch.equal(torch.cat([s for _, s in parts]), whole)


def test_the_default_panel_takes_its_angle_from_line_s_sums_and_one_with_a_weight_mask_does_not(fitted: Panel) -> None:
    x, _ = features(60, seed=4)
    shared = fitted._state._angle.predict(x)
    assert shared is not None, "numba is not installed, or this CPU has no fused multiply-add"
    assert torch.equal(fitted.score_experts(x)["angle"], fitted._state.scales["angle"].apply(shared[2]))
    assert torch.equal(fitted.with_settings(["angle"]).score(x), fitted.score_experts(x)["angle"].float())
    masked = Panel(["angle"], line=LINeSettings(50, 10, fitted.line.settings.clip)).fit_features(*features(), *head())
    assert masked._state._angle.predict(x) is None
    torch.testing.assert_close(masked._state._unscaled(x, ["angle"])[1]["angle"], shared[2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["line", "panel"])
def test_what_has_scored_can_be_pickled_and_scores_the_same_bits(fitted: Panel, kind: str) -> None:
    scored: LINe | Panel = (
        fitted if kind == "panel" else LINe(p_w=50, p_a=50, clip=0.8).fit_features(*features(), *head())
    )
    x, _ = features(40, seed=6)
    expected = scored.score(x)
    assert torch.equal(pickle.loads(pickle.dumps(scored)).score(x), expected)
    assert torch.equal(copy.deepcopy(scored).score(x), expected)


def test_threads_that_score_at_once_get_what_one_gets(tmp_path: Path, fitted: Panel) -> None:
    fitted.save(tmp_path / "panel.safetensors")
    panel = Panel.load(tmp_path / "panel.safetensors")  # its kernels are laid out by whichever thread is first
    x, _ = features(200, seed=6)
    expected, found = fitted.score(x), {}
    ready = threading.Barrier(4)

    def score(number: int) -> None:
        ready.wait()
        found[number] = [panel.score(x) for _ in range(5)]

    threads = [threading.Thread(target=score, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(s, expected) for scores in found.values() for s in scores)
    assert len(found) == 4


def test_no_row_and_one_row_and_half_precision_score(fitted: Panel) -> None:
    x, _ = features(5)
    assert fitted.score(x[:0]).shape == (0,)
    assert fitted.score(x[:1]).dtype == torch.float32
    assert fitted.predict(x[:0])[0].dtype == torch.int64
    assert torch.equal(fitted.score(x.half()), fitted.score(x.half().float()))


def test_with_settings_chooses_among_the_experts_of_the_fit(fitted: Panel) -> None:
    x, _ = features(30, seed=7)
    two = fitted.with_settings(["virtual_logit", "line"])
    assert two.settings.experts == ("line", "virtual_logit")
    each = fitted.score_experts(x)
    assert torch.equal(two.score(x), (each["line"] + each["virtual_logit"]).float())
    small = Panel(["line", "angle"]).fit_features(*features(), *head())
    with pytest.raises(SettingsError, match="'prototypes' was not fitted, only line, angle"):
        small.with_settings(["prototypes"])
    with pytest.raises(SettingsError, match="unknown expert 'angel': did you mean 'angle'"):
        fitted.with_settings(["angel"])
    with pytest.raises(SettingsError, match="no expert given"):
        Panel([])
    with pytest.raises(SettingsError, match="prototypes=0"):
        Panel(prototypes=0)


@pytest.mark.parametrize("experts", [EXPERTS, ("line",), ("angle", "virtual_logit"), ("prototypes",)])
def test_an_artifact_scores_bit_for_bit_as_what_was_saved(tmp_path: Path, experts: tuple[str, ...]) -> None:
    panel = Panel(experts, prototypes=2).fit_features(*features(), *head(), class_names=list("abcd"))
    panel.calibrate(features(100, seed=8)[0], 0.9, "held out")
    x, _ = features(50, seed=9)
    digest = panel.save(tmp_path / "one.safetensors")
    for read in (Panel.load, load_artifact):
        again = read(tmp_path / "one.safetensors")
        assert isinstance(again, Panel)
        assert torch.equal(again.score(x), panel.score(x))
        assert again.settings == panel.settings
        assert again.provenance == panel.provenance
        assert again.line.choice == panel.line.choice
        assert again.calibration is not None
        assert panel.calibration is not None
        assert torch.equal(again.calibration.confidence, panel.calibration.confidence)
        assert again.calibration.threshold == panel.calibration.threshold
        assert again.content_sha256 == digest == again.save(tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


def test_equal_fits_give_equal_bytes_and_another_seed_others(tmp_path: Path) -> None:
    x, y = features(3000, seed=3)
    first, second, other = (Panel(seed=s).fit_features(x, y, *head()) for s in (0, 0, 1))
    assert first.save(tmp_path / "a") == second.save(tmp_path / "b") != other.save(tmp_path / "c")


def test_the_wrong_kind_of_artifact_is_refused_with_what_opens_it(tmp_path: Path, fitted: Panel) -> None:
    panel, line = tmp_path / "panel.safetensors", tmp_path / "line.safetensors"
    fitted.save(panel)
    LINe().fit_features(*features(), *head()).save(line)
    assert isinstance(load_artifact(line), LINe)
    with pytest.raises(ArtifactError, match=r"kind 'panel', expected 'line': open it with Panel.load or load_artifact"):
        LINe.load(panel)
    with pytest.raises(ArtifactError, match=r"kind 'line', expected 'panel': open it with LINe.load or load_artifact"):
        Panel.load(line)
    with pytest.raises(ArtifactError, match="cannot read"):
        load_artifact(tmp_path / "absent")


def test_a_changed_byte_of_an_artifact_is_found(tmp_path: Path, fitted: Panel) -> None:
    path = tmp_path / "panel.safetensors"
    fitted.save(path)
    blob = bytearray(path.read_bytes())
    blob[-3] ^= 1
    path.write_bytes(blob)
    with pytest.raises(ArtifactCorruptError, match="does not match its content hash"):
        load_artifact(path)


def test_what_cannot_be_scored_or_fitted_is_refused(fitted: Panel) -> None:
    x, y = features()
    weight, bias = head()
    with pytest.raises(NotFittedError, match=r"Panel.load"):
        Panel().score(x)
    with pytest.raises(WidthError, match=r"\(2, 3\) given, expected \(N, 9\)"):
        fitted.score(torch.rand(2, 3))
    with pytest.raises(FeatureError, match="int64"):
        fitted.score(torch.zeros(2, D, dtype=torch.int64))
    with pytest.raises(NonFiniteError, match="1 of 2 rows"):
        fitted.score(torch.tensor([[1.0] * D, [float("nan")] * D]))
    with pytest.raises(EmptyClassError, match="class 3"):
        Panel().fit_features(x[y != 3], y[y != 3], weight, bias)
    with pytest.raises(FitError, match="one label a row"):
        Panel().fit_features(x, y[:5], weight, bias)
    with pytest.raises(NonFiniteError, match="1 NaN or Inf"):
        Panel().fit_features(torch.where(torch.arange(400 * D).reshape(400, D) == 5, torch.inf, x), y, weight, bias)
    with pytest.raises(FitError, match="leave this expert out"):
        Panel().fit_features(torch.ones(400, D), y, weight, bias)
    assert repr(Panel()) == "Panel(line + angle + prototypes + virtual_logit; not fitted)"
    assert "K=4, D=9, 400 images" in repr(fitted)


@pytest.mark.slow
def test_the_state_of_an_imagenet_head_is_at_most_150_mb(tmp_path: Path) -> None:
    k, d = 1000, 2048
    g = torch.Generator().manual_seed(0)
    weight, x, y = 0.05 * torch.randn(k, d, generator=g), torch.rand(2 * k, d, generator=g), torch.arange(2 * k) % k
    for prototypes, most in ((10, 150e6), (1, 50e6)):
        panel = Panel(prototypes=prototypes, line=LINeSettings(None, None, 0.8)).fit_features(x, y, weight, None)
        panel.save(tmp_path / "panel.safetensors")
        assert (tmp_path / "panel.safetensors").stat().st_size < most
        experts = panel._state.scorer.experts
        tensors = (experts.weight, experts.centred_weight, experts.prototypes, experts.subspace.basis)
        assert sum(t.nbytes for t in tensors) < most
