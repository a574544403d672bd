"""Compile the scoring kernels for every width of a tile, into NUMBA_CACHE_DIR. Run once while an image is built.

``warm_kernels.py CLASSES...``: for heads of so many classes alone.
"""

from __future__ import annotations

import sys

import torch

from line_plugin import LINe, Panel

for classes in [int(given) for given in sys.argv[1:]] or (3, 10, 20, 28, 100, 1000):
    torch.manual_seed(0)
    features, labels = torch.rand(4 * classes, 32), torch.arange(4 * classes) % classes
    weight = torch.randn(classes, 32)
    for fitted in (LINe(p_w=10, p_a=10, clip=0.8), Panel(prototypes=2)):
        fitted.fit_features(features, labels, weight, None).score(features[:2])
