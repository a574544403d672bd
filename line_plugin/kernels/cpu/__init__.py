"""Scoring on a CPU: :mod:`.packed` is what a head needs for it, :mod:`.blocked` the compiled kernel."""

from line_plugin.kernels.cpu.packed import PackedHead, installed, pack

__all__ = ["PackedHead", "installed", "pack"]
