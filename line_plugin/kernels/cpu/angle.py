"""One kernel computes LINe's confidence and the panel's angle together. This module says when it can, and tests it."""

from __future__ import annotations

import logging
import threading

import numpy as np
from numpy.typing import NDArray

from line_plugin.kernels import selftest
from line_plugin.kernels.cpu.angle_parts import AngleParts
from line_plugin.kernels.cpu.packed import Floats, PackedHead
from line_plugin.math.experts.literal import ArrayExperts

log = logging.getLogger(__name__)

_packing = threading.Lock()


class PackedAngle:
    """Computes the angle from the sums that LINe's own score is made of. Threads may share it.

    This needs a head that the fast kernel scores, and masks that leave whole neurons out (``p_w`` off, as in the
    panel). A logit over all neurons is then the masked logit plus what the few masked neurons add. That is a tenth of
    the work of computing the angle separately.

    Args:
        head: the fitted head.
        experts: the experts that were fitted on it.
    """

    def __init__(self, head: PackedHead, experts: ArrayExperts) -> None:
        self._head, self._experts = head, experts
        self._parts: AngleParts | None = None
        self._untried = True

    def predict(self, features: Floats) -> tuple[NDArray[np.int64], Floats, NDArray[np.float64]] | None:
        """Class (N,) and confidence (N,) as the head gives them, and the angle (N,); ``None`` if that is impossible.

        Args:
            features: (N, D) float32, finite; not yet clipped.
        """
        if self._untried:
            with _packing:
                if self._untried:
                    self._parts = self._tried()
                    self._untried = False
        return None if self._parts is None else self._head.predict_with_angle(features, self._experts.clip, self._parts)

    def _tried(self) -> AngleParts | None:
        head, clip = self._head, self._experts.clip
        if not head.leaves_whole_neurons_out:
            return None
        parts = AngleParts.of(self._experts, head.padded)
        fault = selftest.fault_of_angle(
            lambda x: head.predict_with_angle(x, clip, parts), lambda x: head.predict(x, clip), self._experts
        )
        if fault:
            log.warning(
                "taking the panel's angle by itself, right but up to 1.6 times slower: the CPU kernel that takes it "
                "from LINe's sums %s. Install the numba that this release was tested with, or report this with the "
                "versions of numba and llvmlite.",
                fault,
            )
        return None if fault else parts
