"""Quantiles of the beta distribution by numpy alone: what Clopper-Pearson bounds are made of.

They are those of ``scipy.special.betaincinv``, which a process that needs nothing else of scipy would pay 20 MB for.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_LEFT_OUT = 42.0
"""A tail is cut as soon as its density has fallen by this in logs. The rest is less than a float64 can add."""


def quantile(a: ArrayLike, b: ArrayLike, p: ArrayLike) -> Any:
    """The point below which Beta(a, b) has mass ``p``, with a relative error below 1e-12 (1e-11 for a + b of 1e7).

    By Newton's method on the logarithm of the mass as a function of the point's logit. That function is concave for
    all a and b, so the method converges from everywhere; the mass is an integral of the smooth density of the logit.

    Args:
        a, b: at least 1, or 0.5 with an error of 1e-8; p: within (0, 1). They are broadcast.

    Returns:
        float64 of the common shape, within [0, 1]; a float if all three are scalars.
    """
    shape = np.broadcast_shapes(np.shape(a), np.shape(b), np.shape(p))
    a_, b_, p_ = (np.broadcast_to(np.asarray(v, np.float64), shape).ravel() for v in (a, b, p))
    swapped = p_ > 0.5  # the shorter tail is the one to be exact in
    u = _lower(np.where(swapped, b_, a_), np.where(swapped, a_, b_), np.where(swapped, 1 - p_, p_))
    found = _expit(np.where(swapped, -u, u)).reshape(shape)
    return found if shape else float(found)


def _lower(a: Floats, b: Floats, p: Floats) -> Floats:
    """The logit of the point below which the mass ``p``, at most a half, lies."""
    u, target, constant = np.log(a) - np.log(b), np.log(p), _constant(a, b)
    for _ in range(100):
        tail = _tail(a, b, u)
        step = (_log_density(a, b, u, constant) + np.log(tail) - target) * tail
        u = u - step
        if np.all(np.abs(step) <= 1e-9):  # the next step would be its square
            break
    return u


def _constant(a: Floats, b: Floats) -> Floats:
    """The part of :func:`_log_density` that is the same everywhere."""
    n = a + b
    constant: Floats = _stirling(n) - _stirling(a) - _stirling(b) + np.log(a / n * b / (2 * math.pi)) / 2
    return constant


def _log_density(a: Floats, b: Floats, u: Floats, constant: Floats) -> Floats:
    """The log density of the logit, ``log(x^a (1 - x)^b / B(a, b))``, after Loader (2000), so no large logs cancel."""
    n = a + b
    return constant - _deviance(a, n * _expit(u)) - _deviance(b, n * _expit(-u))


def _deviance(x: Floats, mean: Floats) -> Floats:
    """``x log(x / mean) + mean - x``."""
    off = (mean - x) / x
    near = np.abs(off) < 0.5
    found: Floats = x * (off - np.where(near, np.log1p(np.where(near, off, 0.0)), np.log(mean / x)))
    return found


def _stirling(n: Floats) -> Floats:
    """``log Gamma(n + 1)`` less Stirling's formula for it."""
    m = np.maximum(n, 15.0)
    square = m * m
    series: Floats = (1 / 12 - (1 / 360 - (1 / 1260 - (1 / 1680 - (1 / 1188) / square) / square) / square) / square) / m
    few = [math.lgamma(v + 1) - (v + 0.5) * math.log(v) + v if v < 15 else 0.0 for v in n.tolist()]
    found: Floats = np.where(n < 15, np.array(few) - math.log(2 * math.pi) / 2, series)
    return found


def _tail(a: Floats, b: Floats, u: Floats) -> Floats:
    """The mass below ``u`` over the density at ``u``, both of the logit."""
    x, y, n = _expit(u), _expit(-u), a + b
    low = x <= 0.5  # two ways to write the same ratio, so that nothing cancels in 1 + small * (exp(by) - 1)
    per, small, sign = np.where(low, -a, b), np.where(low, x, y), np.where(low, -1.0, 1.0)

    def log_ratio(by: Floats) -> Floats:
        """The density ``by`` below ``u`` over that at ``u``."""
        found: Floats = per * by - n * np.log1p(small * np.expm1(sign * by))
        return found

    places, parts = _places()
    slope, curvature = a - n * x, n * x * y
    length = 2 * _LEFT_OUT / (slope + np.sqrt(slope * slope + 2 * _LEFT_OUT * curvature))
    with np.errstate(over="ignore"):
        while (short := log_ratio(length) > -_LEFT_OUT).any():
            length = np.where(short, 1.5 * length, length)
        ratios = np.exp(log_ratio(length * places[:, None]))
    found: Floats = (parts @ ratios) * length
    return found


@functools.cache
def _places() -> tuple[Floats, Floats]:
    """Places in a tail of length 1, closest to each other where it begins, and the part of it that each stands for."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return ((nodes + 1) / 2) ** 2, weights * (nodes + 1) / 2


def _expit(u: Floats) -> Floats:
    with np.errstate(over="ignore"):
        found: Floats = 1 / (1 + np.exp(-u))
    return found
