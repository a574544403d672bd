"""The scoring rule with torch's own operations, for every device that has no kernel.

The rule is written in :mod:`line_plugin.math.scoring`. Here, products keep float32 even if the process allows autocast,
TF32 or bfloat16. Near ties between classes are decided in float64, on the CPU if the device has no float64. No more
than one masked copy of the head is held in memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from line_plugin.math import scoring


def score(clipped: Tensor, weight: Tensor, bias: Tensor, floors: Tensor) -> tuple[Tensor, Tensor]:
    """Scores each row: class (N,) int64 and confidence (N,). Takes one dense product for each predicted class."""
    classes = predict_class(clipped, weight, bias)
    return classes, scoring.confidence(masked_logits(clipped, classes, weight, bias, floors))


def predict_class(clipped: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``argmax_k (W z + b)``, the same whatever the batch, the blocking or the device.

    Matrix products round differently from batch to batch. If the two best logits are closer than that rounding, they
    are computed again in float64 (on the CPU if the device has no float64). The lower class wins an exact tie.

    Args:
        clipped: (N, D) floating.
        weight: (K, D), bias: (K,), of the dtype and device of ``clipped``.

    Returns:
        (N,) int64.
    """
    logits = product(clipped, weight) + bias
    if weight.shape[0] < 2 or not clipped.shape[0]:
        return logits.argmax(dim=1)
    best, classes = logits.max(dim=1)
    second = logits.scatter(1, classes[:, None], -torch.inf).amax(dim=1)  # max twice is faster than topk
    # A generous bound on the rounding of a float32 product of this size.
    slack = 1e-4 * (1 + best.abs())
    close = torch.nonzero(best - second <= slack).flatten()
    if close.numel():
        classes = classes.clone()
        classes[close] = _decide_in_float64(clipped[close], logits[close], slack[close], weight, bias)
    return classes


def _decide_in_float64(rows: Tensor, logits: Tensor, slack: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Finds the argmax among the classes within ``slack`` of the best, with products summed in float64."""
    contenders = logits >= logits.amax(dim=1, keepdim=True) - slack[:, None]
    wide = _float64_device(rows)
    table = torch.full(logits.shape, -torch.inf, dtype=torch.float64, device=wide)
    pairs = torch.nonzero(contenders)
    # A thousand at a time, since rows of zeros tie in all classes of a head without a bias.
    for start in range(0, len(pairs), 1024):
        row, k = pairs[start : start + 1024].unbind(dim=1)
        terms = rows[row].to(wide).double() * weight[k].to(wide).double()
        table[row.to(wide), k.to(wide)] = terms.sum(dim=1) + bias[k].to(wide).double()
    return table.argmax(dim=1).to(rows.device)


def masked_logits(clipped: Tensor, classes: Tensor, weight: Tensor, bias: Tensor, floors: Tensor) -> Tensor:
    """``g[n, k] = sum_j z[n, j] W[k, j] [W[k, j] > floor[c_n, j]] + b[k]``, one dense product a predicted class.

    Args:
        clipped: (N, D); classes: (N,) int64; weight: (K, D); bias: (K,); floors: (K, D).

    Returns:
        (N, K) of the dtype of ``clipped``, equal to 1e-5 whatever the batch, but not bit for bit: a matrix product
        rounds differently from shape to shape. Never more than one masked copy of ``W`` is held.
    """
    out = clipped.new_empty(clipped.shape[0], weight.shape[0])
    for c in torch.unique(classes).tolist():
        rows = torch.nonzero(classes == c).flatten()
        kept = torch.where(weight > floors[c], weight, weight.new_zeros(()))
        out[rows] = product(clipped[rows], kept) + bias
    return out


def product(rows: Tensor, weight: Tensor) -> Tensor:
    """``rows @ weight.T`` with float32 rounding, even if the process allows coarser products.

    TF32, bfloat16 products and autocast are set for whole processes, to make networks fast. Here they would change
    classes, and confidences in the third digit. Autocast is switched off for this product. Reduced products cannot be
    switched off for one product: if the process allows them, this one is computed in float64.

    Args:
        rows: (N, D), weight: (K, D), of one floating dtype on one device.

    Returns:
        (N, K) of that dtype.
    """
    device = rows.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return product(rows, weight)
    if not _is_reduced(device):
        return rows @ weight.T
    wide = _float64_device(rows)
    return (rows.to(wide).double() @ weight.to(wide).double().T).to(rows.device, rows.dtype)


def _is_reduced(device: str) -> bool:
    """Whether float32 products on that kind of device may be rounded to fewer bits."""
    backend = {"cuda": torch.backends.cuda, "cpu": torch.backends.mkldnn}.get(device)
    setting = getattr(getattr(backend, "matmul", None), "fp32_precision", None)
    if setting is None:  # torch before 2.9 has one setting
        return torch.get_float32_matmul_precision() != "highest"
    return setting not in {"none", "ieee"}


def _float64_device(tensor: Tensor) -> torch.device:
    """The device of ``tensor``, or the CPU if that device has no float64."""
    return torch.device("cpu") if tensor.device.type == "mps" else tensor.device
