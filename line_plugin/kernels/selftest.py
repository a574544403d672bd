"""A few rows are scored before a kernel is used: by the kernel and by something plain that is known to be right.

Kernels are made by compilers of other projects for a CPU or a GPU that nobody tested. One that gives other numbers must
not score silently. The CPU kernel is tried here against the plain one, and the experts of the panel against torch in
float64; the CUDA kernels have a trial of their own, in :mod:`line_plugin.kernels.cuda.packed`. docs/kernels.md says
what it takes: milliseconds a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from line_plugin.math import scoring
from line_plugin.math.experts.angle import SHORTEST, score_angle
from line_plugin.math.experts.literal import Experts

Predict = Callable[[Tensor, "float | None"], tuple[Tensor, Tensor]]
ScoreExperts = Callable[[Tensor, Tensor, Sequence[str]], dict[str, Tensor]]

ROWS = 8
_CLIP = 1.0


def sample_classes(num_classes: int) -> Tensor:
    """(ROWS,) int64, the classes that :func:`sample` makes its rows of; some are shared."""
    k = num_classes
    return torch.tensor([0, 0, 0, k - 1, k // 2, k // 2, 0, k - 1])


def sample(weight: Tensor) -> Tensor:
    """(ROWS, D) float32 of a seed, on the device of ``weight``: rows that share a class, rows full of zeros.

    Args:
        weight: (K, D) float32, of the head.
    """
    k, d = weight.shape
    g = torch.Generator().manual_seed(0)
    noise, stays = torch.rand(ROWS, d, generator=g), torch.rand(ROWS, d, generator=g) < 0.5
    stays[: ROWS // 2] = True
    rows = noise + 4 * weight[sample_classes(k)].cpu().relu()
    return (rows * stays).to(weight.device)


def fault(kernel: Predict, expected: Predict, weight: Tensor, bias: Tensor) -> str:
    """What is wrong with a kernel, as the end of a sentence about it; empty if nothing is.

    Classes must be equal. Confidences may differ by what float32 sums of D products can be off, which is proved: each
    step of a chain rounds by 2^-24 of what the sum holds, so a logit is off by ``(D + 8) 2^-24 sum_j |z_j W_kj|`` at
    most, and a log-sum-exp by no more than its worst logit. A row alone must have the bits it has among others.

    Args:
        kernel, expected: score (N, D) features under a clipping threshold.
        weight: (K, D), bias: (K,), of the head.
    """
    x, d = sample(weight), weight.shape[1]
    for clip in (None, _CLIP):
        classes, confidence = kernel(x, clip)
        right_classes, right = expected(x, clip)
        if not torch.equal(classes, right_classes):
            return f"predicts class {classes.tolist()}, but {right_classes.tolist()} is right"
        most = (x.abs() @ weight.abs().T + bias.abs()).amax(dim=1)
        off = (confidence.double() - right.double()).abs()
        if not bool((off <= (d + 8) * 2.0**-24 * most + 2e-6 * (1 + right.abs())).all()):
            return f"gives confidences that are off by up to {float(off.max()):.3g}"
    alone = torch.cat([kernel(row[None], _CLIP)[1] for row in x])
    return "" if torch.equal(alone, confidence) else "gives a row other bits in another batch"


def fault_of_experts(score: ScoreExperts, experts: Experts, names: Sequence[str]) -> str:
    """What is wrong with compiled experts, as the end of a sentence about them; empty if nothing is.

    They are compared with :meth:`Experts.score` in float64, each within the rounding that its float32 sums allow
    (:func:`_rounding`), and a row alone must have the bits that it has among others.

    Args:
        score: (N, D) features and (N,) classes, those experts.
        experts: of the fit, on the CPU.
        names: the experts that were fitted.
    """
    x, classes = sample(experts.weight), sample_classes(len(experts.weight))
    found = score(x, classes, names)
    few, places = torch.unique(classes, return_inverse=True)  # all prototypes of an ImageNet head would be 160 MB
    small = replace(experts, weight=experts.weight[few], bias=experts.bias[few], prototypes=experts.prototypes[few]).to(
        "cpu", torch.float64
    )
    right, allowed = small.score(x.double(), places, names), _rounding(small, x.double())
    for name in names:
        off = (found[name] - right[name]).abs()
        if not bool((off <= allowed[name] + 2e-6 * (1 + right[name].abs())).all()):
            return f"give confidences of {name!r} that are off by up to {float(off.max()):.3g}"
    alone = [score(row[None], c[None], names) for row, c in zip(x, classes, strict=True)]
    for name in names:
        if not torch.equal(torch.cat([each[name] for each in alone]), found[name]):
            return f"give a row other bits of {name!r} in another batch"
    return ""


def fault_of_angle(
    shared: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]],
    head: Callable[[Tensor], tuple[Tensor, Tensor]],
    experts: Experts,
) -> str:
    """What is wrong with a kernel that takes the angle from LINe's sums; empty if nothing is.

    Class and confidence must have the bits that they have without it, and a row alone those that it has among others.

    Args:
        shared: class, confidence and angle of (N, D) features; head: class and confidence of them.
        experts: of the fit, on the CPU.
    """
    x = sample(experts.weight)
    classes, confidence, angle = shared(x)
    if not all(torch.equal(a, b) for a, b in zip(head(x), (classes, confidence), strict=True)):
        return "gives another class or confidence than without it"
    weight, mean, centred = (t.double() for t in (experts.weight, experts.clipped_mean, experts.centred_weight))
    z = scoring.clip(x.double(), experts.clip)
    most = ((z.abs() + mean.abs()) @ weight.abs().T).amax(dim=1)  # W z and W m apart, each rounded by itself
    length = (z - mean).norm(dim=1).clamp(min=SHORTEST)
    right = score_angle(z, mean, centred)
    off = (angle - right).abs()
    if not bool((off <= ((x.shape[1] + 8) * 2.0**-24 * most + 2e-6) / length + 2e-6 * (1 + right.abs())).all()):
        return f"gives angles that are off by up to {float(off.max()):.3g}"
    alone = torch.cat([shared(row[None])[2] for row in x])
    return "" if torch.equal(alone, angle) else "gives a row another angle in another batch"


def _rounding(experts: Experts, x: Tensor) -> dict[str, Tensor]:
    """By how much each expert may be off, (ROWS,) float64: a float32 sum of D products as in :func:`fault`.

    The angle divides such sums by the length. The residual is a root: of the sum of squares of such sums, or of what
    they leave of the whole length, and near 0 a root magnifies. The prototypes are float64 throughout.

    Args:
        experts: float64; x: (ROWS, D) float64.
    """
    step = (x.shape[1] + 8) * 2.0**-24
    clipped = scoring.clip(x, experts.clip) - experts.clipped_mean
    logits = step * (clipped.abs() @ experts.centred_weight.abs().T).amax(dim=1)
    offset, basis = x - experts.subspace.mean, experts.subspace.basis
    error = step * (offset.abs() @ basis.abs().T).norm(dim=1)
    if not experts.subspace.is_residual:
        squares = 2 * (offset @ basis.T).norm(dim=1) * error + error**2 + 2.0**-22 * offset.square().sum(dim=1)
        error = torch.minimum(squares.sqrt(), squares / experts.subspace.residual(x))  # inf if there is no residual
    return {
        "angle": (logits + 2e-6) / clipped.norm(dim=1).clamp(min=SHORTEST),
        "prototypes": torch.zeros(len(x), dtype=torch.float64),
        "virtual_logit": abs(experts.alpha) * error,
    }
