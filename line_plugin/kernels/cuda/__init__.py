"""Scoring on CUDA: :mod:`.packed` lays a head out and launches the kernels of :mod:`.triton_masked`."""

from line_plugin.kernels.cuda.packed import PackedHead, installed, pack

__all__ = ["PackedHead", "installed", "pack"]
