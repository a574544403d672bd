"""The LINe confidence of a batch (paper, section 3.3): clip, predict, mask, log-sum-exp."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from line_plugin.errors import SettingsError


def clip(features: Tensor, delta: float | None) -> Tensor:
    """Activation clipping, ``z = min(a, delta)``; ``None`` leaves the features as they are."""
    return features if delta is None else features.clamp(max=delta)


def clip_at_percentile(features: Tensor, percentile: float) -> float:
    """The clipping threshold delta that leaves ``percentile`` per cent of held-out ID features as they are.

    Not from the paper, which gives delta in units of one network's features; ReAct sets its threshold so.

    Args:
        features: (N, D) of ID inputs, unclipped.
        percentile: strictly between 0 and 100.

    Raises:
        SettingsError: the percentile is out of range, or lies at 0 or below, where clipping leaves nothing.
    """
    if not 0 < percentile < 100:
        raise SettingsError(f"clip_percentile={percentile:g} given, expected a percentile between 0 and 100")
    delta = float(np.percentile(features.detach().cpu().numpy(), percentile))
    if delta <= 0:
        raise SettingsError(
            f"percentile {percentile:g} of the validation features is {delta:g}: nothing would be left; "
            "give a higher clip_percentile or a clip"
        )
    return delta


def predict_class(clipped: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``argmax_k (W z + b)``, the same whatever the batch, the blocking or the device.

    Matrix products round differently from batch to batch. Where the two best logits are closer than that rounding,
    the pair is computed again in float64 (on the CPU where the device has none), the lower class winning an exact tie.

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
    second = logits.scatter(1, classes[:, None], -torch.inf).amax(dim=1)  # both together cost less than topk
    # A generous bound on the rounding of a float32 product of this size.
    slack = 1e-4 * (1 + best.abs())
    close = torch.nonzero(best - second <= slack).flatten()
    if close.numel():
        classes = classes.clone()
        classes[close] = _decide(clipped[close], logits[close], slack[close], weight, bias)
    return classes


def _decide(rows: Tensor, logits: Tensor, slack: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Argmax among the classes within ``slack`` of the best, products summed in float64."""
    contenders = logits >= logits.amax(dim=1, keepdim=True) - slack[:, None]
    where = _float64_device(rows)
    table = torch.full(logits.shape, -torch.inf, dtype=torch.float64, device=where)
    pairs = torch.nonzero(contenders)
    # A thousand at a time: rows of zeros before a head without a bias tie in all their classes.
    for start in range(0, len(pairs), 1024):
        row, k = pairs[start : start + 1024].unbind(dim=1)
        terms = rows[row].to(where).double() * weight[k].to(where).double()
        table[row.to(where), k.to(where)] = terms.sum(dim=1) + bias[k].to(where).double()
    return table.argmax(dim=1).to(rows.device)


def product(rows: Tensor, weight: Tensor) -> Tensor:
    """``rows @ weight.T`` rounded as float32, whatever the process allows its products to be rounded to.

    TF32, bfloat16 products and autocast are set for whole processes, to make networks fast. Here they would change
    classes, and confidences in the third digit. Autocast is left for this product; where products themselves may be
    reduced, which has no such switch, it is taken in float64.

    Args:
        rows: (N, D), weight: (K, D), of one floating dtype on one device.

    Returns:
        (N, K) of that dtype.
    """
    device = rows.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return product(rows, weight)
    if not _reduced(device):
        return rows @ weight.T
    where = _float64_device(rows)
    return (rows.to(where).double() @ weight.to(where).double().T).to(rows.device, rows.dtype)


def _reduced(device: str) -> bool:
    """Whether float32 products on that kind of device may be rounded to less."""
    backend = {"cuda": torch.backends.cuda, "cpu": torch.backends.mkldnn}.get(device)
    told = getattr(getattr(backend, "matmul", None), "fp32_precision", None)
    if told is None:  # torch before 2.9 has one setting
        return torch.get_float32_matmul_precision() != "highest"
    return told not in {"none", "ieee"}


def _float64_device(tensor: Tensor) -> torch.device:
    """The device of ``tensor``, or the CPU where that has no float64."""
    return torch.device("cpu") if tensor.device.type == "mps" else tensor.device


def score(clipped: Tensor, weight: Tensor, bias: Tensor, floors: Tensor) -> tuple[Tensor, Tensor]:
    """The whole rule by torch's own operations: class (N,) int64 and confidence (N,) of each clipped row."""
    classes = predict_class(clipped, weight, bias)
    return classes, confidence(masked_logits(clipped, classes, weight, bias, floors))


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


def confidence(logits: Tensor) -> Tensor:
    """``logsumexp`` over classes at temperature 1, (N,). High means in-distribution."""
    return torch.logsumexp(logits, dim=1)
