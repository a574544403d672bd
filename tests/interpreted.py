"""The CUDA kernels on a CPU, by Triton's interpreter, which a process must choose before it imports Triton."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from unittest import mock

from torch import Tensor


@contextmanager
def interpreter() -> Iterator[ProcessPoolExecutor]:
    """One process in which Triton interprets."""
    with mock.patch.dict(os.environ, TRITON_INTERPRET="1", OMP_NUM_THREADS="1"):
        pool = ProcessPoolExecutor(1, get_context("spawn"))
        with pool:
            yield pool


def score(
    weight: Tensor,
    bias: Tensor,
    floors: Tensor,
    features: Tensor,
    delta: float | None,
    programs: int,
    scratch: int = 2**20,
) -> tuple[Tensor, Tensor]:
    """Class and confidence.

    Args:
        programs: fewer than these have their neurons split.
        scratch: bytes of one pass.
    """
    from line_plugin.kernels.cuda import packed as cuda
    from line_plugin.kernels.cuda import triton_masked

    head = cuda.PackedHead.of(triton_masked, weight, bias, floors, programs)
    with mock.patch.object(cuda, "_SCRATCH_BYTES", scratch):
        return head.predict(features, delta)


def agrees(weight: Tensor, bias: Tensor, floors: Tensor, spoilt: float) -> bool:
    """The check of a head before its first use, its transposed weight off by a factor."""
    from line_plugin.kernels.cuda import packed as cuda
    from line_plugin.kernels.cuda import triton_masked

    head = cuda.PackedHead.of(triton_masked, weight, bias, floors, 1)
    return cuda.agrees(replace(head, packed=head.packed * spoilt))
