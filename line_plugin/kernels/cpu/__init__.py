"""Scoring on a CPU: :mod:`.blocked` is the fast kernel, :mod:`.plain` the plain one, :mod:`.packed` chooses."""

from line_plugin.kernels.cpu.packed import PackedHead, installed, pack
from line_plugin.kernels.cpu.plain import PlainHead

__all__ = ["PackedHead", "PlainHead", "installed", "pack"]
