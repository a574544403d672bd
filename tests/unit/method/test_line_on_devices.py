"""LINe on an accelerator against LINe on the CPU; each device that is not there is named."""

from __future__ import annotations

import pytest
import torch

from line_plugin import LINe
from tests.unit.method.test_line_matches_oracle import SWITCHES, problem


def _device(name: str) -> torch.device:
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}[name]()
    if not there:
        pytest.skip(f"no {name} device on this machine")
    return torch.device(name)


@pytest.mark.parametrize("name", ["cuda", "mps"])
@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_an_accelerator_scores_as_the_cpu_does(name: str, switch: str) -> None:
    device = _device(name)
    features, labels, weight, bias, rows = problem(17, 31, seed=4)
    line = LINe(*SWITCHES[switch]).fit_features(features, labels, weight, bias)
    classes, scores = line.predict(rows)
    moved = line.to(device).predict(rows.to(device))
    assert moved[1].device.type == name
    assert torch.equal(moved[0].cpu(), classes)
    torch.testing.assert_close(moved[1].cpu(), scores, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_fit_on_an_accelerator_is_the_fit_on_the_cpu(name: str) -> None:
    device = _device(name)
    features, labels, weight, bias, _ = problem(6, 19, seed=5)
    on_cpu = LINe(10, 10, 0.8).fit_features(features, labels, weight, bias)
    moved = LINe(10, 10, 0.8).fit_features(*(t.to(device) for t in (features, labels, weight, bias)))
    assert torch.equal(on_cpu.sums.sums, moved.sums.sums)
    assert torch.equal(on_cpu.to(device).score(features), moved.score(features))
