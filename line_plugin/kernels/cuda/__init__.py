"""Scoring on CUDA: :mod:`.packed` is what a head needs for it, :mod:`.triton_masked` the kernels."""

from line_plugin.kernels.cuda.packed import PackedHead, installed, pack

__all__ = ["PackedHead", "installed", "pack"]
