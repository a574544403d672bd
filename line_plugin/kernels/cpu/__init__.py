"""Scoring on a CPU: :mod:`.blocked` is the fast kernel and :mod:`.plain` the slow reference."""

from line_plugin.kernels.cpu.angle import PackedAngle
from line_plugin.kernels.cpu.experts import PackedExperts
from line_plugin.kernels.cpu.packed import PackedHead, installed, pack
from line_plugin.kernels.cpu.plain import PlainHead
from line_plugin.kernels.cpu.team import set_threads

__all__ = ["PackedAngle", "PackedExperts", "PackedHead", "PlainHead", "installed", "pack", "set_threads"]
