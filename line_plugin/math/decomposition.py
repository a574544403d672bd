"""Writes one confidence as a sum over neurons, and shows what clipping and masking took away from each.

A masked logit is a sum already: ``g[k] = sum_j z[j] W[k, j] [W[k, j] > floor[c, j]] + b[k]``. The confidence is
``s = logsumexp_k g[k]``. With ``q = softmax(g)`` and its entropy ``H(q)`` this is, without any approximation,

    s = sum_k q[k] g[k] + H(q) = sum_j ( z[j] sum_k q[k] W[k, j] [kept] ) + sum_k q[k] b[k] + H(q).

The term of neuron j is ``z[j] ds/dz[j]`` for the class and the masks of the row. It is what the neuron adds to every
logit, weighted by that logit's share ``q[k]``. Everything here is float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from line_plugin.math import scoring


@dataclass(frozen=True, eq=False)
class MaskedHead:
    """A fitted head: weight (K, D), bias (K,) and floors (K, D), float32 on the CPU."""

    weight: Tensor
    bias: Tensor
    floors: Tensor

    def kept(self, predicted: int) -> Tensor:
        """(K, D) bool, which weights count for a row that is predicted as this class."""
        return self.weight > self.floors[predicted]

    def masked(self, predicted: int) -> Tensor:
        """(K, D) float64, the weights, with zeros for those that do not count."""
        return torch.where(self.kept(predicted), self.weight, self.weight.new_zeros(())).double()


@dataclass(frozen=True, eq=False)
class Decomposition:
    """One confidence taken apart, in float64; every (D,) tensor has one entry for each neuron.

    Attributes:
        activations: (D,) before clipping; clipped: (D,) after clipping.
        weights: (D,) the head's weights of the predicted class.
        kept: (D,) bool, whether that weight passes both masks.
        contributions: (D,) what each neuron adds to the masked logit of the predicted class.
        logits: (K,) masked; shares: (K,) their softmax ``q``, the weight of each logit in the confidence.
        score_contributions: (D,) what each neuron adds to the confidence.
        score_bias: ``sum_k q[k] b[k]``; entropy: ``H(q)`` in nats.
        clipped_away: (D,) what the clipped part of an activation would have added to the predicted class's logit.
        masked_away: (D,) what the masked weights would have added to it.
        score_without_clip, score_without_mask: the confidence with clipping or masks off, for the same predicted class.
    """

    activations: Tensor
    clipped: Tensor
    weights: Tensor
    kept: Tensor
    contributions: Tensor
    logits: Tensor
    shares: Tensor
    score_contributions: Tensor
    score_bias: float
    entropy: float
    clipped_away: Tensor
    masked_away: Tensor
    score_without_clip: float
    score_without_mask: float

    @property
    def score(self) -> float:
        """The confidence in float64: ``logsumexp`` of the masked logits."""
        return float(scoring.confidence(self.logits[None]))


def decompose(activations: Tensor, predicted: int, head: MaskedHead, delta: float | None) -> Decomposition:
    """Takes one confidence apart.

    Args:
        activations: (D,) float32, finite, not clipped.
        predicted: the predicted class of the row.
        head: the fitted head.
        delta: activation clipping threshold, ``None`` for off.
    """
    raw, z = activations.double(), scoring.clip(activations, delta).double()
    masked, bias = head.masked(predicted), head.bias.double()
    weights, kept = head.weight[predicted].double(), head.kept(predicted)[predicted]
    logits = masked @ z + bias
    shares = torch.softmax(logits, dim=0)
    return Decomposition(
        activations=raw,
        clipped=z,
        weights=weights,
        kept=kept,
        contributions=z * masked[predicted],
        logits=logits,
        shares=shares,
        score_contributions=z * (shares @ masked),
        score_bias=float(shares @ bias),
        entropy=float(torch.special.entr(shares).sum()),
        clipped_away=(raw - z) * masked[predicted],
        masked_away=z * weights * ~kept,
        score_without_clip=_logsumexp(masked @ raw + bias),
        score_without_mask=_logsumexp(head.weight.double() @ z + bias),
    )


def _logsumexp(logits: Tensor) -> float:
    return float(torch.logsumexp(logits, dim=0))
