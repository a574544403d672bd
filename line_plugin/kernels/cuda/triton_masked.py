"""The CUDA kernels of the scoring rule, in Triton. They are imported when the first CUDA tensor is scored.

Three launches score a batch, and none of them waits for the host:

1. :func:`choose` predicts the class of a row, near-ties in float64, and stores each ``(z, floor)`` as one 64-bit word.
2. :func:`masked` computes the masked logits. A program holds some rows x some classes in registers and walks the
neurons. Each product is one comparison and one fused multiply-add, predicated on it. Both factors come through the
first-level cache, and there are no barriers to wait at. Products are never rounded to TF32.
3. :func:`confidence` sums the parts in a fixed order and takes the log-sum-exp.

A logit is a chain of fused multiply-adds over ``CHUNK`` neurons, chunk after chunk, without atomic adds. So a row's
confidence has the same bits in every batch, at every place and with any split of the chunks among programs.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl


def _jit(function: Any) -> Any:
    """Compiles without specialising on a batch's values, so that a new batch size or offset does not compile again."""
    return triton.jit(function, do_not_specialize=["n", "z"])


@_jit
def choose(
    z: tl.tensor,
    logits: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    floors: tl.tensor,
    classes: tl.tensor,
    pairs: tl.tensor,
    n: tl.tensor,
    K: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """The rule of :func:`line_plugin.kernels.torch_ops.predict_class` for one row, entirely on the device.

    Args:
        z: (n, D) float32, clipped; logits: (n, K) float32, ``z @ W.T`` without the bias.
        weight: (K, D), bias: (K,), floors: (K, D), float32.
        classes: (n,) int64, filled. pairs: (programs, D) int64, filled: the bits of ``floors[c, j]`` above those of
            ``z[j]``; rows past n, which pad the last block of :func:`masked`, hold z = 0.
    """
    row = tl.program_id(0)
    at = tl.minimum(row, n - 1)
    lanes = tl.arange(0, BLOCK)
    best = tl.full((), float("-inf"), tl.float32)
    for start in range(0, K, BLOCK):
        k = start + lanes
        g = tl.load(logits + at * K + k, k < K, float("-inf")) + tl.load(bias + k, k < K, 0.0)
        best = tl.maximum(best, tl.max(g, 0))
    least = best - 1e-4 * (1 + tl.abs(best))  # the same bound on the rounding of a product as in predict_class
    chosen = tl.full((), 0, tl.int32)
    highest = tl.full((), float("-inf"), tl.float64)
    for start in range(0, K, BLOCK):
        k = start + lanes
        g = tl.load(logits + at * K + k, k < K, float("-inf")) + tl.load(bias + k, k < K, 0.0)
        contends = (g >= least) & (k < K)
        left = tl.sum(contends.to(tl.int32), 0)
        while left > 0:
            candidate = tl.min(tl.where(contends, k, K), 0)
            terms = tl.zeros((BLOCK,), tl.float64)
            for first in range(0, D, BLOCK):
                j = first + lanes
                a = tl.load(z + at * D + j, j < D, 0.0).to(tl.float64)
                terms += a * tl.load(weight + candidate.to(tl.int64) * D + j, j < D, 0.0).to(tl.float64)
            exact = tl.sum(terms, 0) + tl.load(bias + candidate).to(tl.float64)
            chosen = tl.where(exact > highest, candidate, chosen)  # the lower class wins an exact tie
            highest = tl.maximum(exact, highest)
            contends = contends & (k != candidate)
            left -= 1
    tl.store(classes + row, chosen.to(tl.int64), row < n)
    for first in range(0, D, BLOCK):
        j = first + lanes
        a = tl.load(z + at * D + j, j < D, 0.0)
        a = tl.where(row < n, a, 0.0).to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF
        floor = tl.load(floors + chosen.to(tl.int64) * D + j, j < D, 0.0).to(tl.int32, bitcast=True).to(tl.int64)
        tl.store(pairs + row * D + j, (floor << 32) | a, j < D)


@_jit
def masked(
    pairs: tl.tensor,
    packed: tl.tensor,
    parts: tl.tensor,
    n: tl.tensor,
    D: tl.constexpr,
    PADDED: tl.constexpr,
    CHUNK: tl.constexpr,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    SPLIT: tl.constexpr,
) -> None:
    """``sum_j z[n, j] W[k, j] [W[k, j] > floor[c_n, j]]`` for ``ROWS`` rows and ``TILE`` classes a program.

    Args:
        pairs: from :func:`choose`, whole blocks of ``ROWS`` rows.
        packed: (D, PADDED) float32, the head transposed, padded with zero classes to whole tiles.
        parts: (chunks, n, PADDED) float32 if ``SPLIT``, else (1, n, PADDED); filled.
        SPLIT: one program for each chunk of neurons, if a batch is too small to fill the device; :func:`confidence`
            adds the chunks. Otherwise one program takes chunk after chunk and adds them in that same order.
    """
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    k = tl.program_id(1) * TILE + tl.arange(0, TILE)
    pair_at, weight_at = pairs + rows[:, None] * D, packed + k[None, :]
    first = tl.program_id(2) if SPLIT else 0
    last = first + 1 if SPLIT else tl.cdiv(D, CHUNK)
    total = tl.zeros((ROWS, TILE), tl.float32)
    for chunk in range(first, last):
        acc = tl.zeros((ROWS, TILE), tl.float32)
        begin = chunk * CHUNK
        for j in tl.range(begin, tl.minimum(begin + CHUNK, D), num_stages=1, loop_unroll_factor=4):
            pair, w = tl.load(pair_at + j), tl.load(weight_at + j * PADDED)
            floor = (pair >> 32).to(tl.int32).to(tl.float32, bitcast=True)
            z, each = tl.broadcast(pair.to(tl.int32).to(tl.float32, bitcast=True), w)
            acc = tl.where(w > floor, tl.fma(z, each, acc), acc)  # compiles to setp and a predicated fma
        total += acc
    at = parts + (first * n + rows)[:, None] * PADDED + k[None, :]
    tl.store(at, total, (rows < n)[:, None])


@_jit
def confidence(
    parts: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    n: tl.tensor,
    K: tl.constexpr,
    PADDED: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """``logsumexp_k`` of the sum of the parts and the bias.

    One program takes one row; each lane keeps a maximum and a sum.

    Args:
        parts: (PARTS, n, PADDED) float32, from :func:`masked`.
        bias: (K,) float32.
        out: (n,) float32, filled.
    """
    row = tl.program_id(0)
    lanes = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), -3e38, tl.float32)  # not -inf: the difference of two infinities is NaN
    sums = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, K, BLOCK):
        k = start + lanes
        g = tl.zeros((BLOCK,), tl.float32)
        for part in range(PARTS):
            g += tl.load(parts + (part * n + row) * PADDED + k, k < K, 0.0)
        g = tl.where(k < K, g + tl.load(bias + k, k < K, 0.0), -3e38)
        above = tl.maximum(top, g)
        sums = sums * tl.exp(top - above) + tl.exp(g - above)
        top = above
    best = tl.max(top, 0)
    tl.store(out + row, best + tl.log(tl.sum(sums * tl.exp(top - best), 0)))
