"""Scores on a CPU with the blocked kernel, or with the plain kernel if the blocked one fails its test."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from line_plugin.kernels import selftest
from line_plugin.kernels.cpu import compiling, team
from line_plugin.kernels.cpu.angle_parts import AngleParts
from line_plugin.kernels.cpu.plain import PlainHead
from line_plugin.kernels.notice import first_line, loading

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Scores = tuple[NDArray[np.int64], Floats]

_SCREENED_CLASSES = 64  # with fewer, bytes save less time than it takes to make them


def installed() -> bool:
    """Whether numba can be found; it is not imported."""
    return importlib.util.find_spec("numba") is not None


@dataclass(frozen=True)
class PackedHead:
    """A head as the blocked kernel reads it. It never changes, so threads may share it.

    Attributes:
        scorer: the compiled function, a :data:`line_plugin.kernels.cpu.team.Native`.
        head: weight, tiles, bias, floors, entries, ends; weight and floors are shared with the fit.
        screen: the head in bytes, for the class prediction.
        job: the addresses of those arrays (:func:`line_plugin.kernels.cpu.blocked.places.describe`).
    """

    scorer: Callable[[int], None]
    head: tuple[NDArray[Any], ...]
    screen: tuple[NDArray[Any], ...]
    job: NDArray[np.int64]

    @property
    def own_bytes(self) -> int:
        """How many bytes it holds that are not shared with the fit."""
        _, tiles, bias, _, entries, ends = self.head
        return sum(array.nbytes for array in (tiles, bias, entries, ends, *self.screen))

    @property
    def padded(self) -> int:
        """The number of classes, including those that only fill a tile."""
        return len(self.head[2])

    @property
    def leaves_whole_neurons_out(self) -> bool:
        """Whether the masks leave out whole neurons alone, so that no weight is compared with a floor."""
        ends = self.head[5]
        return bool((ends[..., 0] == ends[..., 1]).all())

    def predict(self, features: Floats, delta: float | None) -> Scores:
        """Class (N,) int64 and confidence (N,) float32 of each row (:mod:`line_plugin.kernels.cpu.team`).

        Args:
            features: (N, D) float32, finite; delta: activation clipping threshold, ``None`` for off.
        """
        return self._run(features, delta)

    def predict_with_angle(
        self, features: Floats, delta: float | None, parts: AngleParts
    ) -> tuple[NDArray[np.int64], Floats, NDArray[np.float64]]:
        """As :meth:`predict`, and the panel's angle (N,) float64.

        The head must :attr:`leave whole neurons out <leaves_whole_neurons_out>`.
        """
        angle = np.empty(len(features))
        addresses = [angle.ctypes.data, *(part.ctypes.data for part in (parts.shift, parts.mean, parts.mean_weight))]
        return (*self._run(features, delta, addresses), angle)

    def _run(self, features: Floats, delta: float | None, angle: Sequence[int] = (0, 0, 0, 0)) -> Scores:
        n = len(features)
        classes, confidence = np.empty(n, np.int64), np.empty(n, np.float32)
        if n:
            x, spans = np.ascontiguousarray(features), team.threads_for(n)
            clip = int(np.float32(np.inf if delta is None else delta).view(np.int32))
            job = self.job.copy()
            job[:11] = 0, spans, n, x.ctypes.data, clip, classes.ctypes.data, confidence.ctypes.data, *angle
            team.run(self.scorer, job.ctypes.data, spans)
        return classes, confidence


def pack(weight: Floats, bias: Floats, floors: Floats) -> PackedHead | PlainHead | None:
    """Loads the kernel, lays the head out for it and tests it. If that fails, logs why and takes the plain kernel.

    The first call on a machine compiles for some seconds; a load above half a second is logged at INFO. The code is
    kept in ``NUMBA_CACHE_DIR``, ``__pycache__`` or the user's cache folder, whichever can be written. A few rows are
    scored as a test before any others (:mod:`line_plugin.kernels.selftest`).

    Args:
        weight: (K, D), bias: (K,), floors: (K, D), float32, contiguous.

    Returns:
        ``None`` if numba cannot be used at all; torch's operations score then.
    """
    try:
        with loading(log, "the scoring kernel"):
            return _tried(weight, bias, floors)
    except Exception as error:  # numba is broken, or too old for the installed numpy
        log.warning(
            "scoring by torch's operations, 10 to 70 times slower: numba cannot be imported or cannot compile "
            "(%s: %s). Install a numba that fits this Python and numpy.",
            type(error).__name__,
            first_line(error),
        )
        return None


def _tried(*arrays: Floats) -> PackedHead | PlainHead:
    """The fast kernel if it scores a few rows correctly, else the plain one."""
    try:
        packed = _pack(*arrays)
        fault = selftest.fault(packed.predict, *arrays)
    except Exception as error:  # another version of numba, of LLVM or of the CPU may raise anything
        fault = f"cannot be used ({type(error).__name__}: {first_line(error)})"
    if not fault:
        return packed
    plain = PlainHead.of(*arrays)
    plain.predict(selftest.sample(arrays[0]), None)  # this compiles; if it fails too, numba cannot be used at all
    log.warning(
        "scoring by the plain kernel, right but 5 to 7 times slower: the fast CPU kernel %s. "
        "Install the numba that this release was tested with, or report this with the versions of numba and llvmlite.",
        fault,
    )
    return plain


def _pack(weight: Floats, bias: Floats, floors: Floats) -> PackedHead:
    from line_plugin.kernels.cpu.blocked import host, layout, places

    if not host.FUSED:
        raise NotImplementedError("this CPU has no fused multiply-add")
    k = len(weight)
    width = layout.tile_width(k, host.LANES, host.WIDEST)
    in_bytes = host.BYTES and k >= _SCREENED_CLASSES
    lists = layout.list_neurons(floors, weight.min(axis=0), weight.max(axis=0), layout.block_length(width))
    head = (weight, layout.tiles(weight, width), layout.pad(bias, width, -np.inf), floors, *lists)
    screen = layout.screen(weight, width, in_bytes)
    return PackedHead(team.Native(compiling.function("scorer", width)), head, screen, places.describe(head, screen))
