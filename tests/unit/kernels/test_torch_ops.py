"""The scoring rule by torch's operations: the literal rule's numbers, whatever precision the process allows."""

from __future__ import annotations

import pytest
import torch

from line_plugin import LINe
from line_plugin.kernels import torch_ops
from line_plugin.math import scoring
from tests.unit.method.test_line_matches_oracle import SHAPES, SWITCHES, problem


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("switch", SWITCHES, ids=str)
@pytest.mark.parametrize(("k", "d"), SHAPES)
def test_torch_ops_equal_the_literal_rule(k: int, d: int, switch: str, dtype: torch.dtype) -> None:
    p_w, p_a, clip = SWITCHES[switch]
    features, labels, weight, bias, test = problem(k, d, seed=k * 100 + d)
    floors = LINe(p_w, p_a, clip).fit_features(features, labels, weight, bias)._state.floors
    z = scoring.clip(test, clip).double()
    classes, confidence = scoring.score(z, weight.double(), bias.double(), floors.double())
    got_classes, got = torch_ops.score(z.to(dtype), weight.to(dtype), bias.to(dtype), floors.to(dtype))
    assert torch.equal(got_classes, classes)
    torch.testing.assert_close(got.double(), confidence, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("setting", ["autocast", "reduced products"])
def test_lower_precision_allowed_to_the_process_does_not_reach_the_score(setting: str) -> None:
    features, labels, weight, bias, _ = problem(40, 64, seed=6)
    line = LINe(10, 10, 0.8).fit_features(features, labels, weight, bias)
    rows = torch.rand(500, 64, generator=torch.Generator().manual_seed(7))
    classes, scores = line.predict(rows)
    before = torch.get_float32_matmul_precision()
    try:
        if setting == "reduced products":
            torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16, enabled=setting == "autocast"):
            got = line.predict(rows)
            product = torch_ops.product(rows, weight)
            plain = torch_ops.score(rows.clamp(max=0.8), weight, bias, line._state.floors)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(got[0], classes)
    assert torch.equal(got[1], scores)
    expected = rows @ weight.T if setting == "autocast" else (rows.double() @ weight.double().T).float()
    assert torch.equal(product, expected)
    assert torch.equal(plain[0], classes)
    torch.testing.assert_close(plain[1], scores, atol=1e-5, rtol=1e-5)
