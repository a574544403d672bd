"""The compiled experts: equal to the literal ones, and a row has the same bits in every batch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from line_plugin.kernels import cpu
from line_plugin.kernels.experts import ExpertScorer
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
