"""Scores the panel's experts on a CPU: lays their arrays out for the compiled code and spreads rows over threads."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from line_plugin.kernels import selftest
from line_plugin.kernels.cpu import calls, team
from line_plugin.kernels.notice import first_line, loading
from line_plugin.math.experts.literal import ArrayExperts

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PackedExperts:
    """The arrays and functions of the compiled experts.

    Attributes:
        angle: its kernel, the mean, the tiles of the centred head, and its bias (0, or -inf for padding).
        residual: its kernel, the mean, the tiles of the basis, whether that spans the residual.
        of_class: its kernel, weight, bias and prototypes, shared with the fit.
        clip: the clipping threshold, inf for none.
        alpha: the weight of the residual.
    """

    angle: tuple[Any, Floats, Floats, Floats]
    residual: tuple[Any, Floats, Floats, bool]
    of_class: tuple[Any, Floats, Floats, Floats]
    clip: np.float32
    alpha: float

    @classmethod
    def make(cls, experts: ArrayExperts) -> PackedExperts | None:
        """Loads the compiled code, lays the arrays out for it and tests it (:mod:`line_plugin.kernels.selftest`).

        Returns:
            ``None`` if the compiled code cannot be used or gives wrong numbers. The reason is logged, and torch scores.
        """
        names = [name for name, fitted in _fitted(experts).items() if fitted]
        try:
            with loading(log, "the kernels of the panel"):
                packed = _pack(experts)
                fault = selftest.fault_of_experts(packed.score, experts, names)
        except Exception as error:  # another version of numba, of LLVM or of the CPU may raise anything
            fault = f"cannot be used ({type(error).__name__}: {first_line(error)})"
        if not fault:
            return packed
        log.warning(
            "scoring the panel by torch's operations, right but 1.2 to 4 times slower: its compiled experts %s. "
            "Install the numba that this release was tested with, or report this with the versions of numba and "
            "llvmlite.",
            fault,
        )
        return None

    def score(
        self, features: Floats, classes: NDArray[np.int64], names: Sequence[str]
    ) -> dict[str, NDArray[np.float64]]:
        """The confidences (N,) float64 of each expert, by name; threads come from :mod:`line_plugin.kernels.cpu.team`.

        Args:
            features: (N, D) float32, finite; not clipped.
            classes: (N,) int64, predicted.
        """
        x, c, n = np.ascontiguousarray(features), np.ascontiguousarray(classes), len(features)
        angle, residual, rest = np.empty(n), np.empty(n), np.empty((2, n))
        wanted = {name: name in names for name in ("angle", "prototypes", "virtual_logit")}

        def span(first: int, last: int) -> None:
            rows = (first, last)
            if wanted["angle"]:
                run, mean, tiles, bias = self.angle
                run(x, self.clip, mean, tiles, bias, angle, rows)
            if wanted["virtual_logit"]:
                run, mean, tiles, inside = self.residual
                run(x, mean, tiles, inside, residual, rows)
            if wanted["virtual_logit"] or wanted["prototypes"]:
                run, weight, bias, prototypes = self.of_class
                weight = weight if wanted["virtual_logit"] else weight[:0]
                run(x, c, weight, bias, prototypes if wanted["prototypes"] else prototypes[:0], rest, rows)

        if n:
            team.each_span(n, span)
        found = {"angle": angle, "prototypes": rest[1], "virtual_logit": rest[0] - self.alpha * residual}
        return {name: found[name] for name in names}


def _fitted(experts: ArrayExperts) -> dict[str, bool]:
    """The names of the experts that were fitted."""
    prototypes, directions = experts.prototypes.shape[1], len(experts.subspace.basis)
    return {"angle": True, "prototypes": prototypes > 0, "virtual_logit": directions > 0}


def _pack(experts: ArrayExperts) -> PackedExperts:
    from line_plugin.kernels.cpu.blocked import host, layout

    if not host.FUSED:
        raise NotImplementedError("this CPU has no fused multiply-add")

    width = functools.partial(layout.tile_width, lanes=host.LANES, vectors=host.WIDEST)
    weight, bias, centred, prototypes = experts.weight, experts.bias, experts.centred_weight, experts.prototypes
    basis, mean, clipped_mean = experts.subspace.basis, experts.subspace.mean, experts.clipped_mean
    classes, directions = width(len(centred)), width(max(1, len(basis)))
    zeros = layout.pad(np.zeros(len(centred), np.float32), classes, -np.inf)
    return PackedExperts(
        angle=(calls.angle(classes), clipped_mean, layout.tiles(centred, classes), zeros),
        residual=(calls.residual(directions), mean, layout.tiles(basis, directions), experts.subspace.is_residual),
        of_class=(calls.of_class(), weight, bias, prototypes),
        clip=np.float32(np.inf if experts.clip is None else experts.clip),
        alpha=experts.alpha,
    )
