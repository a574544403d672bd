"""Lays a head out for the blocked kernel: tiles, lists of neurons, and bytes to screen classes with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TILE_BYTES = 32 * 1024
"""Bytes of a first-level data cache of 32 KiB or more that a tile may fill."""

Floats = NDArray[np.float32]


def aligned(rows: int, columns: int) -> Floats:
    """An array of zeros whose rows start on a cache line; ``columns`` is a multiple of 16."""
    raw = np.zeros(rows * columns + 16, np.float32)
    skip = (-raw.ctypes.data // 4) % 16
    return raw[skip : skip + rows * columns].reshape(rows, columns)


def tile_width(k: int, lanes: int, vectors: int) -> int:
    """How many classes a tile has: a multiple of ``lanes``, at most ``vectors`` times ``lanes``.

    All tiles are equal.
    """
    needed = -(-k // lanes)
    tiles = -(-needed // vectors)
    return -(-needed // tiles) * lanes


def block_length(width: int) -> int:
    """How many neurons a tile has, a multiple of 16: it stays in the cache, and an entry of a list fits in a byte."""
    return min(256, TILE_BYTES // (4 * width) // 16 * 16)


def pad(per_class: NDArray[np.generic], width: int, value: float) -> Floats:
    """Extends (K,) to (tiles * width,) float32, filled up with ``value``."""
    padded = np.full(-(-len(per_class) // width) * width, value, np.float32)
    padded[: len(per_class)] = per_class
    return padded


def tiles(weight: Floats, width: int) -> Floats:
    """Transposes the head into tiles, padded with zero classes.

    Args:
        weight: (K, D).

    Returns:
        (tiles, D, width): entry ``[t, j, i]`` is ``W[t * width + i, j]``.
    """
    k, d = weight.shape
    count = -(-k // width)
    packed = aligned(count * d, width)
    padded = np.zeros((count * width, d), np.float32)
    padded[:k] = weight
    packed.reshape(count, d, width)[:] = padded.reshape(count, width, d).transpose(0, 2, 1)
    return packed.reshape(count, d, width)


def list_neurons(floors: Floats, low: Floats, high: Floats, block: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Lists, for each predicted class, the neurons that can count, in the order in which they are added.

    Args:
        floors: (K, D); low, high: (D,), the extremes of ``W`` over classes.
        block: neurons of a tile.

    Returns:
        ``entries`` (K, blocks, block), neurons numbered from the start of their block; those that need no comparison
        come first. ``ends`` (K, blocks, 2), the end of that first part and the end of the list.
    """
    k, d = floors.shape
    blocks = -(-d // block)
    kind = np.full((k, blocks * block), 2, np.uint8)
    kind[:, :d] = np.where(floors < low, 0, np.where(floors < high, 1, 2))
    kind = kind.reshape(k, blocks, block)
    entries = np.argsort(kind, axis=2, kind="stable").astype(np.uint8)
    ends = np.stack([(kind == 0).sum(axis=2), (kind <= 1).sum(axis=2)], axis=2).astype(np.uint16)
    return entries, ends


class Screen(NamedTuple):
    """The head in bytes, and a bound on the error of a logit that is computed from bytes.

    With ``z = s q + r`` in bytes ``q``, ``|W z - (s_w s) w q| <= |W - s_w w| |s q| + |W| |r|`` (Cauchy and Schwarz).

    Attributes:
        packed: (tiles, steps, width, 4) int8, four neurons of each class side by side; empty if bytes are not used.
        scale: (tiles * width,) float32, ``s_w`` of each class.
        offset: (tiles * width,) int32, 128 times the sum of its bytes, since ``q`` is stored with 128 added.
        rounding: (tiles * width,) float32, ``|W - s_w w|``.
        norm: (tiles * width,) float32, ``|W|``.
    """

    packed: NDArray[np.int8]
    scale: Floats
    offset: NDArray[np.int32]
    rounding: Floats
    norm: Floats


def screen(weight: Floats, width: int, in_bytes: bool) -> Screen:
    """Makes the screen of a head (K, D); without ``in_bytes`` only the norms."""
    k, d = weight.shape
    above = np.float32(1 + 1e-5)  # norms are rounded; a bound must not be rounded down
    norm = pad(np.sqrt(np.square(weight, dtype=np.float64).sum(axis=1)) * above, width, 0)
    if not in_bytes:
        return Screen(np.zeros((0, 0, 0, 4), np.int8), norm * 0, np.zeros(len(norm), np.int32), norm * 0, norm)
    scale = np.abs(weight).max(axis=1) / np.float32(127)
    w = np.rint(weight / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
    error = weight.astype(np.float64) - scale.astype(np.float64)[:, None] * w
    steps, count = -(-d // 4), -(-k // width)
    padded = np.zeros((count * width, 4 * steps), np.int8)
    padded[:k, :d] = w
    packed = np.ascontiguousarray(padded.reshape(count, width, steps, 4).transpose(0, 2, 1, 3))
    offset = 128 * padded.astype(np.int32).sum(axis=1, dtype=np.int32)
    rounding = pad(np.sqrt((error**2).sum(axis=1)) * above, width, 0)
    return Screen(packed, pad(scale, width, 0), offset, rounding, norm)
