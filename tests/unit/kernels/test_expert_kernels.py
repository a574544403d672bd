"""The compiled experts: equal to the literal ones, and a row has the same bits in every batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from line_plugin.kernels import cpu, selftest
from line_plugin.kernels.cpu import experts as compiled_experts
from line_plugin.kernels.cpu.angle_parts import AngleParts
from line_plugin.kernels.cpu.experts import PackedExperts
from line_plugin.kernels.experts import ExpertScorer, SharedAngle, as_arrays
from line_plugin.kernels.scorer import Scorer
from line_plugin.math import scoring
from line_plugin.math.experts.angle import centre_weight
from line_plugin.math.experts.literal import NAMES, Experts
from line_plugin.math.experts.virtual_logit import Subspace

pytestmark = pytest.mark.skipif(not cpu.installed(), reason="numba is not installed")

SHAPES = [(10, 342, 10), (3, 5, 1), (2, 17, 3), (99, 61, 2), (130, 300, 2)]


def experts(k: int, d: int, p: int, clip: float | None = 1.1) -> Experts:
    g = torch.Generator().manual_seed(k + d)
    weight, bias = 0.3 * torch.randn(k, d, generator=g), torch.randn(k, generator=g)
    training = torch.relu(torch.randn(2 * d + 9, d, generator=g, dtype=torch.float64))
    found = Subspace.find(training.mean(dim=0), torch.cov(training.T))
    subspace = Subspace(found.mean.float(), found.basis.float(), found.is_residual)
    prototypes = functional.normalize(torch.rand(k, p, d, generator=g), dim=2)
    mean = scoring.clip(training, clip).mean(dim=0).float()
    return Experts(weight, bias, centre_weight(weight), clip, mean, prototypes, subspace, 0.7)


def inputs(fitted: Experts, n: int = 150) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    x = torch.relu(torch.randn(n, fitted.weight.shape[1], generator=g))
    return x, torch.randint(0, len(fitted.weight), (n,), generator=g)


@pytest.mark.parametrize("clip", [1.1, None])
@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_experts_equal_the_literal_ones(shape: tuple[int, int, int], clip: float | None) -> None:
    fitted = experts(*shape, clip)
    x, classes = inputs(fitted)
    found = ExpertScorer(fitted).score(x, classes)
    expected = fitted.to("cpu", torch.float64).score(x.double(), classes)
    assert list(found) == list(NAMES)
    for name in NAMES:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_has_the_same_bits_in_every_batch(shape: tuple[int, int, int], threads: int) -> None:
    scorer = ExpertScorer(experts(*shape))
    x, classes = inputs(scorer.experts)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = scorer.score(x, classes)
        for size in (1, 2, 3, 7, 64, 65):
            parts = [scorer.score(a, c) for a, c in zip(x.split(size), classes.split(size), strict=True)]
            for name in NAMES:
                assert torch.equal(torch.cat([part[name] for part in parts]), whole[name]), (name, size)
    finally:
        torch.set_num_threads(before)


def test_an_expert_by_itself_has_the_bits_that_it_has_among_the_others() -> None:
    scorer = ExpertScorer(experts(10, 61, 3))
    x, classes = inputs(scorer.experts)
    together = scorer.score(x, classes)
    for name in NAMES:
        assert list(scorer.score(x, classes, [name])) == [name]
        assert torch.equal(scorer.score(x, classes, [name])[name], together[name])


def test_rows_of_zeros_and_no_rows_have_scores() -> None:
    scorer = ExpertScorer(experts(3, 5, 2))
    found = scorer.score(torch.zeros(2, 5), torch.tensor([0, 2]))
    assert all(torch.isfinite(values).all() for values in found.values())
    assert found["prototypes"].tolist() == pytest.approx([-(2**0.5)] * 2)
    assert all(len(values) == 0 for values in scorer.score(torch.zeros(0, 5), torch.zeros(0).long()).values())


def test_without_numba_torch_scores_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = experts(10, 61, 3)
    x, classes = inputs(fitted)
    compiled = ExpertScorer(fitted).score(x, classes)
    monkeypatch.setattr(cpu, "installed", lambda: False)
    scorer = ExpertScorer(fitted)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # must not reach the products
        found = scorer.score(x, classes)
    assert scorer.packed() is None
    for name in NAMES:
        torch.testing.assert_close(found[name], compiled[name], rtol=1e-5, atol=1e-5)
        assert found[name].dtype == torch.float64
    assert all(len(values) == 0 for values in scorer.score(x[:0], classes[:0]).values())


# -- the trial before the first score ----------------------------------------------------------------------------------


class Wrong:
    """Compiled experts as a broken compiler would make them: one expert gives other numbers."""

    def __init__(self, packed: PackedExperts, name: str, fault: str) -> None:
        self.packed, self.name, self.fault = packed, name, fault

    def score(self, x: np.ndarray, classes: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        found = self.packed.score(x, classes, names)
        if self.fault == "confidence":
            found[self.name] = found[self.name] + 0.01
        if self.fault == "one row":
            found[self.name][-1] *= 1.01
        if self.fault == "not a number":
            found[self.name] = found[self.name] * torch.nan
        if self.fault == "batch":
            found[self.name] = found[self.name] * (1 + 1e-9 * len(x))
        return found


def said_when_broken(
    make: object, fitted: Experts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> str:
    """The one warning, after scoring twice with experts that ``make`` gives in place of the compiled ones."""
    x, classes = inputs(fitted)
    expected = fitted.to("cpu", torch.float64).score(x.double(), classes)
    monkeypatch.setattr(compiled_experts, "_pack", make)
    scorer = ExpertScorer(fitted)
    found = scorer.score(x, classes)
    scorer.score(x, classes)
    assert scorer.packed() is None, "torch scores"
    for name in NAMES:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-9)
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1
    return warnings[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("confidence", "that are off by up to"),
        ("one row", "that are off by up to"),
        ("not a number", "that are off by up to"),
        ("batch", "in another batch"),
    ],
)
def test_broken_experts_give_way_to_torch_with_one_warning(
    name: str, fault: str, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    good = compiled_experts._pack
    fitted = experts(10, 61, 3)
    text = said_when_broken(lambda e: Wrong(good(e), name, fault), fitted, monkeypatch, caplog)
    assert f"{name!r}" in text
    assert said in text


def test_experts_that_cannot_be_compiled_give_way_to_torch_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from numba.core.errors import LoweringError

    def broken(_: Experts) -> PackedExperts:
        raise LoweringError("no such intrinsic")

    text = said_when_broken(broken, experts(10, 61, 3), monkeypatch, caplog)
    assert "LoweringError: no such intrinsic" in text


@pytest.mark.parametrize("kernel", ["angle", "residual", "of_class"])
def test_one_kernel_that_reads_another_tensor_is_found(kernel: str) -> None:
    fitted = experts(99, 61, 2)
    packed = PackedExperts.make(as_arrays(fitted))
    assert packed is not None
    parts = list(getattr(packed, kernel))
    at = {"angle": 2, "residual": 2, "of_class": 3}[kernel]
    parts[at] = parts[at][..., ::-1].copy()  # classes or directions of a tile, or neurons of a prototype, the wrong way
    if kernel == "angle":
        parts[at] = parts[at] * 1.001  # a sum over classes does not see their order
    broken = replace(packed, **{kernel: tuple(parts)})
    if kernel == "residual":
        broken = replace(broken, residual=(*parts[:2], parts[2] * 1.001, parts[3]))
    assert selftest.fault_of_experts(packed.score, as_arrays(fitted), NAMES) == ""
    assert selftest.fault_of_experts(broken.score, as_arrays(fitted), NAMES) != ""


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(
    k=st.sampled_from([1, 2, 3, 10, 16, 17, 64, 99, 130]),
    d=st.integers(2, 200),
    p=st.integers(1, 4),
    clip=st.sampled_from([None, 0.05, 1.1]),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_the_trial_passes_right_experts(k: int, d: int, p: int, clip: float | None, scale: float) -> None:
    fitted = experts(k, d, p, clip)
    fitted = replace(fitted, weight=scale * fitted.weight, centred_weight=scale * fitted.centred_weight)
    assert ExpertScorer(fitted).packed() is not None


def test_experts_that_were_not_fitted_are_not_tried() -> None:
    fitted = experts(10, 61, 3)
    none = Subspace(fitted.subspace.mean, torch.zeros(0, 61), True)
    scorer = ExpertScorer(replace(fitted, prototypes=torch.zeros(10, 0, 61), subspace=none))
    assert scorer.packed() is not None
    x, classes = inputs(fitted)
    assert torch.equal(scorer.score(x, classes, ["angle"])["angle"], ExpertScorer(fitted).score(x, classes)["angle"])


# -- the angle out of LINe's sums --------------------------------------------------------------------------------------


def shared_angle(fitted: Experts, left_out: float = 0.1) -> SharedAngle:
    """On a head whose mask leaves that share of the neurons of each class out."""
    g = torch.Generator().manual_seed(9)
    gone = torch.rand(fitted.weight.shape, generator=g) < left_out
    floors = torch.where(gone, torch.inf, -torch.inf)
    return SharedAngle(Scorer(fitted.weight, fitted.bias, floors), fitted)


@pytest.mark.parametrize("clip", [1.1, None])
@pytest.mark.parametrize("left_out", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_shared_angle_equals_the_literal_one_and_leaves_class_and_confidence_as_they_are(
    shape: tuple[int, int, int], left_out: float, clip: float | None
) -> None:
    fitted = experts(*shape, clip)
    x, _ = inputs(fitted)
    x[3] = 0
    shared = shared_angle(fitted, left_out)
    found = shared.predict(x)
    assert found is not None
    classes, confidence = shared.head.predict(x, clip)
    assert torch.equal(found[0], classes)
    assert torch.equal(found[1], confidence)
    expected = fitted.to("cpu", torch.float64).score(x.double(), classes, ["angle"])["angle"]
    torch.testing.assert_close(found[2], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_has_the_same_shared_angle_in_every_batch(shape: tuple[int, int, int], threads: int) -> None:
    fitted = experts(*shape)
    x, _ = inputs(fitted)
    shared = shared_angle(fitted)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = shared.predict(x)
        assert whole is not None
        for size in (1, 2, 3, 7, 64, 65):
            parts = [shared.predict(part) for part in x.split(size)]
            assert torch.equal(torch.cat([part[2] for part in parts if part is not None]), whole[2]), size
        assert shared.predict(x[:0])[2].shape == (0,)
    finally:
        torch.set_num_threads(before)


def test_an_angle_is_not_shared_if_single_weights_are_masked_or_another_kernel_scores(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fitted = experts(10, 61, 3)
    x, _ = inputs(fitted)
    some = SharedAngle(Scorer(fitted.weight, fitted.bias, torch.zeros_like(fitted.weight)), fitted)
    assert some.predict(x) is None
    assert not caplog.records, "nothing is wrong with that"
    monkeypatch.setattr(cpu, "installed", lambda: False)
    assert shared_angle(fitted).predict(x) is None


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("shift", "off by up to"),
        ("mean", "off by up to"),
        ("mean_weight", "off by up to"),
        ("head", "another class or"),
    ],
)
def test_a_broken_shared_angle_is_left_alone_with_one_warning(
    fault: str, said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = cpu.PackedHead.predict_with_angle

    def wrong(self: cpu.PackedHead, x: np.ndarray, delta: float | None, parts: AngleParts) -> tuple[np.ndarray, ...]:
        if fault == "head":
            classes, confidence, angle = right(self, x, delta, parts)
            return classes, confidence + np.float32(1e-6), angle
        return right(self, x, delta, replace(parts, **{fault: getattr(parts, fault) * 1.001}))

    monkeypatch.setattr(cpu.PackedHead, "predict_with_angle", wrong)
    fitted = experts(10, 61, 3)
    shared, (x, _) = shared_angle(fitted), inputs(fitted)
    assert shared.predict(x) is None
    assert shared.predict(x) is None
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1
    assert said in warnings[0]


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(
    k=st.sampled_from([1, 2, 3, 10, 16, 17, 64, 99, 130]),
    d=st.integers(2, 200),
    clip=st.sampled_from([None, 0.05, 1.1]),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_the_trial_passes_right_shared_angles(k: int, d: int, clip: float | None, scale: float) -> None:
    fitted = experts(k, d, 1, clip)
    fitted = replace(fitted, weight=scale * fitted.weight, centred_weight=scale * fitted.centred_weight)
    assert shared_angle(fitted).predict(torch.rand(2, d)) is not None
