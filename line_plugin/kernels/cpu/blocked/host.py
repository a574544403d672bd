"""The CPU that the kernels are compiled for; numba is not imported to find out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding

SETTINGS_FILE = Path(".numba_config.yaml")
"""The file of numba's settings, in the folder that a process is started in. The environment holds others."""


class Target(NamedTuple):
    """The CPU that LLVM compiles for: this machine's, or the one that numba's settings name.

    Attributes:
        name: of the CPU; features: of it, as LLVM writes them (``+avx2,-avx512f``).
    """

    name: str
    features: str


def target() -> Target:
    """The CPU of this machine, or the one that ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` name."""
    name, features = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    if SETTINGS_FILE.is_file():
        import numba

        name, features = numba.config.CPU_NAME, numba.config.CPU_FEATURES
    return Target(
        name or llvmlite.binding.get_host_cpu_name(),
        features or llvmlite.binding.get_host_cpu_features().flatten(),
    )


def _vectors() -> tuple[int, int, bool, bool]:
    """Float32 lanes of a vector register; registers for sums; a fused multiply-add? a product of bytes?"""
    if "x86_64" not in llvmlite.binding.get_process_triple():
        return 4, 24, True, False
    has = {flag[1:] for flag in target().features.split(",") if flag.startswith("+")}
    if "avx512f" in has:
        return 16, 24, True, "avx512vnni" in has
    return 8, 12, "fma" in has, "avxvnni" in has


LANES, REGISTERS, FUSED, BYTES = _vectors()
WIDEST = REGISTERS // 3
"""Registers of a tile's classes, at most: three rows of one class can share it."""
