"""A few rows are scored before a kernel is used: by the kernel and by something plain that is known to be right.

Kernels are made by compilers of other projects for a CPU or a GPU that nobody tested. One that gives other numbers must
not score silently. The CPU kernel is tried here against the plain one; the CUDA kernels have a trial of their own, in
:mod:`line_plugin.kernels.cuda.packed`. docs/kernels.md says what it takes: milliseconds a head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Predict = Callable[[Tensor, "float | None"], tuple[Tensor, Tensor]]

ROWS = 8
_CLIP = 1.0


def sample(weight: Tensor) -> Tensor:
    """(ROWS, D) float32 of a seed, on the device of ``weight``: rows that share a class, rows full of zeros.

    Args:
        weight: (K, D) float32, of the head.
    """
    k, d = weight.shape
    g = torch.Generator().manual_seed(0)
    noise, stays = torch.rand(ROWS, d, generator=g), torch.rand(ROWS, d, generator=g) < 0.5
    stays[: ROWS // 2] = True
    classes = torch.tensor([0, 0, 0, k - 1, k // 2, k // 2, 0, k - 1])
    rows = noise + 4 * weight[classes].cpu().relu()
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
            return f"predicts class {classes.tolist()} where {right_classes.tolist()} is right"
        most = (x.abs() @ weight.abs().T + bias.abs()).amax(dim=1)
        off = (confidence.double() - right.double()).abs()
        if not bool((off <= (d + 8) * 2.0**-24 * most + 2e-6 * (1 + right.abs())).all()):
            return f"gives confidences that are off by up to {float(off.max()):.3g}"
    alone = torch.cat([kernel(row[None], _CLIP)[1] for row in x])
    return "" if torch.equal(alone, confidence) else "gives a row other bits in another batch"
