"""Scoring on a CPU: :mod:`.packed` is what a head needs for it, :mod:`.blocked` the fast kernel, :mod:`.plain` the plain."""

from line_plugin.kernels.cpu.packed import PackedHead, installed, pack
from line_plugin.kernels.cpu.plain import PlainHead

__all__ = ["PackedHead", "PlainHead", "installed", "pack"]
