"""Compile the scoring kernels for every width of a tile, into NUMBA_CACHE_DIR. Run once while an image is built.

``warm_kernels.py CLASSES...``: for heads of so many classes alone. It needs no torch.
"""

from __future__ import annotations

import sys

import numba  # noqa: F401 - so that this process compiles, and numba's own cache is filled too
import numpy as np

from line_plugin.kernels import cpu
from line_plugin.math.experts.angle import centre_weight
from line_plugin.math.experts.literal import Experts
from line_plugin.math.experts.virtual_logit import Subspace

DIRECTIONS = (16, 256)
"""Of the panel's subspace: that of a narrow network, and that of all others."""

rng = np.random.default_rng(0)
for classes in [int(given) for given in sys.argv[1:]] or (3, 10, 20, 28, 100, 1000):
    for directions in DIRECTIONS:
        width = 2 * directions
        weight, bias = rng.standard_normal((classes, width), np.float32), np.zeros(classes, np.float32)
        neurons = np.where(rng.random((classes, width)) < 0.1, np.inf, -np.inf).astype(np.float32)
        basis = np.linalg.qr(rng.standard_normal((width, directions)))[0].T.astype(np.float32)
        mean, prototypes = np.zeros(width, np.float32), rng.random((classes, 2, width), np.float32)
        experts = Experts(
            weight,
            bias,
            centre_weight(weight),
            0.8,
            mean,
            prototypes,
            Subspace(mean, np.ascontiguousarray(basis), True),
            1.0,
        )
        head = cpu.pack(weight, bias, neurons)
        if isinstance(head, cpu.PackedHead) and cpu.PackedExperts.make(experts) is not None:
            cpu.PackedAngle(head, experts).predict(rng.random((2, width), np.float32))
