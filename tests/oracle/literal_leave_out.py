"""The choice of the clipping threshold, read literally: a head made anew for each fold, one pair of rows at a time."""

from __future__ import annotations

import math

import numpy as np


def auroc(inside: list[float], outside: list[float]) -> float:
    """The share of pairs in which the ID row is more confident; a tie counts half."""
    wins = [1.0 if i > o else 0.5 if i == o else 0.0 for i in inside for o in outside]
    return sum(wins) / len(wins)


def energy(row: np.ndarray, clip: float, head: np.ndarray, bias: np.ndarray) -> float:
    logits = [
        sum(min(a, clip) * w for a, w in zip(row, weights, strict=True)) + b
        for weights, b in zip(head, bias, strict=True)
    ]
    top = max(logits)
    return top + math.log(sum(math.exp(g - top) for g in logits))


def fold_aurocs(
    features: np.ndarray, labels: np.ndarray, head: np.ndarray, bias: np.ndarray, clip: float, folds: list[list[int]]
) -> list[float]:
    found = []
    for left_out in folds:
        stay = [c for c in range(len(head)) if c not in left_out]
        scores = [energy(row, clip, head[stay], bias[stay]) for row in features]
        inside = [s for s, y in zip(scores, labels, strict=True) if y in stay]
        outside = [s for s, y in zip(scores, labels, strict=True) if y in left_out]
        found.append(auroc(inside, outside))
    return found


def choose(percentiles: list[float], means: list[float]) -> float:
    good = [(p, m) for p, m in zip(percentiles, means, strict=True) if m >= max(means) - 0.005]
    nearest = min(abs(p - 97.5) for p, _ in good)
    highest = max(m for p, m in good if abs(p - 97.5) == nearest)
    return min(p for p, m in good if abs(p - 97.5) == nearest and m == highest)
