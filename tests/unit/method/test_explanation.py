"""What `explain` says of a row is what its confidence is made of, against the literal reading of the paper."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from line_plugin import LINe, Panel
from line_plugin.errors import NonFiniteError, WidthError
from line_plugin.math import conformal
from tests.oracle.literal_line import contribution_by_gradient, literal_masks, literal_score
from tests.unit.method.test_line_matches_oracle import SHAPES, SWITCHES, problem


def fitted(k: int, d: int, switch: str) -> tuple[LINe, torch.Tensor, np.ndarray]:
    features, labels, weight, bias, test = problem(k, d, seed=k * 100 + d)
    line = LINe(*SWITCHES[switch]).fit_features(features, labels, weight, bias)
    c = contribution_by_gradient(features.numpy(), labels.numpy(), weight.double().numpy(), bias.double().numpy())
    return line, test, c


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
@pytest.mark.parametrize(("k", "d"), SHAPES)
def test_the_parts_are_those_of_the_literal_reading_and_sum_to_its_score(k: int, d: int, switch: str) -> None:
    p_w, p_a, clip = SWITCHES[switch]
    line, test, c = fitted(k, d, switch)
    weight, bias = (t.double().numpy() for t in line.head)
    activation, weights = literal_masks(c, weight, p_w, p_a)
    classes, scores = literal_score(test.numpy(), c, weight, bias, p_w, p_a, clip)
    for row, found in enumerate(line.explain(test)):
        y, a = int(classes[row]), test[row].double().numpy()
        z = a if clip is None else np.minimum(a, np.float64(np.float32(clip)))
        kept = activation[y][None, :] & weights[y]
        assert found.predicted == y
        np.testing.assert_array_equal(found.parts.kept.numpy(), kept[y])
        np.testing.assert_allclose(found.parts.contributions.numpy(), z * weight[y] * kept[y], atol=1e-12)
        np.testing.assert_allclose(found.parts.masked_away.numpy(), z * weight[y] * ~kept[y], atol=1e-12)
        np.testing.assert_allclose(found.parts.clipped_away.numpy(), (a - z) * weight[y] * kept[y], atol=1e-12)
        for label in range(k):
            total = float(found.contributions_to(label).sum()) + bias[label]
            assert total == pytest.approx((z * weight[label] * kept[label]).sum() + bias[label], abs=1e-9)
            assert total == pytest.approx(float(found.parts.logits[label]), abs=1e-9)
        assert found.parts.score == pytest.approx(scores[row], abs=1e-9)
        assert found.confidence == pytest.approx(found.parts.score, abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("k", "d"), SHAPES)
def test_neurons_bias_and_entropy_sum_to_the_confidence(k: int, d: int, dtype: torch.dtype) -> None:
    line, test, _ = fitted(k, d, "cifar100")
    rows = test[:9].to(dtype)
    confidence = line.score(rows)
    for row, found in enumerate(line.explain(rows)):
        p = found.parts
        total = float(p.score_contributions.sum()) + p.score_bias + p.entropy
        assert total == pytest.approx(p.score, abs=1e-9)
        assert found.confidence == float(confidence[row])
        assert total == pytest.approx(found.confidence, abs=1e-6, rel=1e-6)
        assert float(p.contributions.sum()) + found.bias == pytest.approx(float(p.logits[found.predicted]), abs=1e-9)
        assert float(p.shares.sum()) == pytest.approx(1)


@pytest.mark.parametrize("switch", ["imagenet", "cifar10"])
def test_a_score_contribution_is_the_activation_times_the_gradient_of_the_confidence(switch: str) -> None:
    line, test, _ = fitted(5, 33, switch)
    found = line.explain(test[:1])[0]
    z = found.parts.clipped.clone().requires_grad_()
    kept = found.head.kept(found.predicted)
    torch.logsumexp((found.head.weight.double() * kept) @ z + found.head.bias.double(), dim=0).backward()
    assert z.grad is not None
    torch.testing.assert_close(found.parts.score_contributions, (z * z.grad).detach(), atol=1e-12, rtol=0)


def test_switching_a_step_off_gives_the_score_that_the_explanation_foretold() -> None:
    line, test, _ = fitted(10, 64, "imagenet")
    plain = line.with_settings(None, None, line.settings.clip)
    unclipped = line.with_settings(line.settings.p_w, line.settings.p_a, None)
    (without_mask, same) = plain.predict(test)[1], unclipped.predict(test)
    compared = 0
    for row, found in enumerate(line.explain(test)):
        assert found.parts.score_without_mask == pytest.approx(float(without_mask[row]), abs=1e-5, rel=1e-6)
        if int(same[0][row]) == found.predicted:  # without clipping another class may win, and with it other masks
            compared += 1
            assert found.parts.score_without_clip == pytest.approx(float(same[1][row]), abs=1e-5, rel=1e-6)
    assert compared > 10


def test_the_top_neurons_come_by_what_they_add_or_take_and_say_all_of_it() -> None:
    line, test, _ = fitted(5, 33, "cifar100")
    found = line.explain(test[:1])[0]
    top = found.top(5)
    amounts = found.parts.score_contributions.abs()
    assert [abs(n.score_contribution) for n in top] == sorted(amounts.tolist(), reverse=True)[:5]
    for neuron in top:
        assert neuron.activation == pytest.approx(float(test[0, neuron.index]))
        assert neuron.clipped == pytest.approx(min(neuron.activation, 1.0))
        assert neuron.contribution == pytest.approx(neuron.clipped * neuron.weight * neuron.kept)
    assert len(found.top(1000)) == 33
    with pytest.raises(FrozenInstanceError):
        top[0].weight = 0.0  # type: ignore[misc]


def test_an_explanation_has_the_p_value_and_the_name_of_its_class() -> None:
    features, labels, weight, bias, test = problem(3, 8, seed=5)
    line = LINe(10, 10, 0.8).fit_features(features, labels, weight, bias, class_names=["a", "b", "c"])
    assert [e.p_value for e in line.explain(test[:2])] == [None, None]
    calibration = line.calibrate(test)
    for found, expected in zip(
        line.explain(test), conformal.p_values(calibration.confidence, line.score(test)), strict=True
    ):
        assert found.p_value == float(expected)
        assert found.class_name == "abc"[found.predicted]
    assert line.explain(test[:0]) == ()


def test_rows_that_cannot_be_scored_cannot_be_explained() -> None:
    line, test, _ = fitted(3, 8, "imagenet")
    with pytest.raises(WidthError):
        line.explain(test[:, :5])
    test[0, 0] = math.nan
    with pytest.raises(NonFiniteError):
        line.explain(test)


@pytest.fixture(scope="module")
def panel() -> tuple[Panel, torch.Tensor]:
    features, labels, weight, bias, test = problem(6, 24, seed=11, n=500)
    fit = Panel(prototypes=3).fit_features(features, labels, weight, bias, class_names=list("uvwxyz"))
    fit.calibrate(test, evidence=["panel"])
    return fit, torch.cat([test[:40], torch.rand(20, 24, generator=torch.Generator().manual_seed(1)) * 4])


def test_a_panel_is_explained_by_its_experts_and_blames_the_lowest_one(panel: tuple[Panel, torch.Tensor]) -> None:
    fit, rows = panel
    _, confidence, each = fit.predict_experts(rows)
    blamed = set()
    for row, found in enumerate(fit.explain(rows)):
        assert [e.name for e in found.experts] == list(fit.settings.experts)
        assert sum(e.score for e in found.experts) == pytest.approx(found.confidence, abs=1e-5)
        assert found.confidence == float(confidence[row])
        assert found.blames == fit.settings.experts[int(each[row].argmin())]
        for e, said in enumerate(found.experts):
            held = fit.expert_calibrations[said.name].confidence
            assert said.p_value == (1 + int((held <= each[row, e]).sum())) / (len(held) + 1)
        assert found.line.confidence == float(fit.line.score(rows[row : row + 1]))
        assert found.class_name == "uvwxyz"[found.predicted]
        blamed.add(found.blames)
    assert len(blamed) > 1


def test_every_expert_keeps_its_calibration_in_the_file_whoever_gathers_evidence(
    panel: tuple[Panel, torch.Tensor], tmp_path
) -> None:
    fit, _ = panel
    digest = fit.save(tmp_path / "panel.safetensors")
    again = Panel.load(tmp_path / "panel.safetensors")
    assert list(again.evidence_calibrations) == ["panel"]
    assert list(again.expert_calibrations) == list(fit.settings.experts)
    for name, one in fit.expert_calibrations.items():
        assert torch.equal(again.expert_calibrations[name].confidence, one.confidence)
    assert again.save(tmp_path / "again.safetensors") == digest


def test_a_panel_of_an_earlier_release_has_the_p_values_of_those_that_gather_evidence(
    panel: tuple[Panel, torch.Tensor], tmp_path
) -> None:
    from line_plugin.method.artifact import read_tensors, write_tensors

    fit, rows = panel
    fit.save(tmp_path / "panel.safetensors")
    tensors, metadata = read_tensors(tmp_path / "panel.safetensors")
    del tensors["expert_confidence"], metadata["panel"]["calibrated"]
    metadata["panel"]["evidence"] = ["angle"]
    write_tensors(tmp_path / "old.safetensors", tensors, metadata)
    found = Panel.load(tmp_path / "old.safetensors").explain(rows[:1])[0]
    assert {e.name for e in found.experts if e.p_value is not None} == {"angle"}
