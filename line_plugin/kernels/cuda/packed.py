"""Scores on CUDA with the Triton kernels: decides if they are used, lays a head out for them and launches them."""

from __future__ import annotations

import importlib.util
import logging
import os
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from line_plugin.kernels import torch_ops
from line_plugin.kernels.notice import loading
from line_plugin.math import scoring

log = logging.getLogger(__name__)

SWITCH = "OPENOOD_LINE_CUDA_KERNELS"
"""The environment variable that turns the kernels on, with the value 1."""

_INSTEAD = "scoring by torch's own operations, slower: the CUDA kernels %s"
_ROWS = 16  # rows and classes of a tile: 16 rows x 4 classes for each thread are 64 sums in registers
_CHUNK = 64  # neurons of one partial sum; it decides at which steps a logit is rounded, so it never depends on a batch
_SCRATCH_BYTES = 64 * 2**20  # rows of one pass; larger batches take several passes
_LANES = 1024


def installed() -> bool:
    """Whether the kernels are switched on (:data:`SWITCH`) and Triton is installed. It is not imported here.

    They are off by default, since nobody has run them on a GPU yet. Triton comes with the CUDA builds of torch.
    """
    return os.environ.get(SWITCH) == "1" and importlib.util.find_spec("triton") is not None


@dataclass(frozen=True)
class PackedHead:
    """A head as the kernels read it, on its device. It never changes, so threads and streams may share it.

    Attributes:
        kernels: the module :mod:`line_plugin.kernels.cuda.triton_masked`.
        weight: (K, D), bias: (K,), floors: (K, D), float32, shared with the fit.
        packed: (D, padded) float32, the head transposed; the classes are padded to whole tiles.
        tile: how many classes a program takes.
        programs: how many fill the device. With fewer, the neurons are split among more programs.
    """

    kernels: ModuleType
    weight: Tensor
    bias: Tensor
    floors: Tensor
    packed: Tensor
    tile: int
    programs: int

    @classmethod
    def of(cls, kernels: ModuleType, weight: Tensor, bias: Tensor, floors: Tensor, programs: int) -> PackedHead:
        """Lays a head out. ``weight``, ``bias`` and ``floors`` are those of :func:`pack`."""
        k, d = weight.shape
        tile = min(512, max(32, 1 << (k - 1).bit_length()))
        packed = weight.new_zeros(d, -(-k // tile) * tile)
        packed[:, :k] = weight.T
        return cls(kernels, weight.contiguous(), bias.contiguous(), floors.contiguous(), packed, tile, programs)

    @property
    def own_bytes(self) -> int:
        """How many bytes it holds that are not shared with the fit."""
        return self.packed.nbytes

    def predict(self, features: Tensor, delta: float | None) -> tuple[Tensor, Tensor]:
        """Class and confidence of each row, like :meth:`line_plugin.kernels.scorer.Scorer.predict`.

        Nothing waits for the device, so the call may be captured in a CUDA graph, after a first call that compiles.
        """
        n = len(features)
        classes = torch.empty(n, dtype=torch.int64, device=features.device)
        confidence = torch.empty(n, dtype=torch.float32, device=features.device)
        split = self._splits(n)
        step = self._rows_a_pass(split)
        with torch.cuda.device_of(features):  # type: ignore[no-untyped-call]
            for start in range(0, n, step):
                span = slice(start, start + step)
                z = scoring.clip(features[span], delta).contiguous()
                self._score(z, classes[span], confidence[span], split)
        return classes, confidence

    def _splits(self, n: int) -> bool:
        tiles = -(-n // _ROWS) * (self.packed.shape[1] // self.tile)
        return tiles < self.programs and self.weight.shape[1] > _CHUNK

    def _rows_a_pass(self, split: bool) -> int:
        d, padded = self.packed.shape
        row_bytes = 4 * padded * (self._chunks if split else 1) + 8 * d + 4 * len(self.weight)
        return max(1, _SCRATCH_BYTES // (row_bytes * _ROWS)) * _ROWS

    @property
    def _chunks(self) -> int:
        return -(-self.weight.shape[1] // _CHUNK)

    def _score(self, z: Tensor, classes: Tensor, confidence: Tensor, split: bool) -> None:
        (n, d), k, padded = z.shape, len(self.weight), self.packed.shape[1]
        blocks, parts = -(-n // _ROWS), self._chunks if split else 1
        logits = torch_ops.product(z, self.weight)
        pairs = torch.empty(blocks * _ROWS, d, dtype=torch.int64, device=z.device)
        sums = torch.empty(parts, n, padded, device=z.device)
        lanes = min(_LANES, 1 << (max(k, d) - 1).bit_length())
        # Fused multiply-adds are written out, so the compiler must not make others.
        self.kernels.choose[(blocks * _ROWS,)](
            z, logits, self.weight, self.bias, self.floors, classes, pairs, n,
            K=k, D=d, BLOCK=lanes, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        self.kernels.masked[(blocks, padded // self.tile, parts)](
            pairs, self.packed, sums, n, D=d, PADDED=padded, CHUNK=_CHUNK, ROWS=_ROWS, TILE=self.tile, SPLIT=split,
            num_warps=max(1, self.tile // 128), enable_fp_fusion=False,
        )  # fmt: skip
        lanes = min(_LANES, 1 << (k - 1).bit_length())
        self.kernels.confidence[(n,)](
            sums, self.bias, confidence, n,
            K=k, PADDED=padded, PARTS=parts, BLOCK=lanes, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip


def pack(weight: Tensor, bias: Tensor, floors: Tensor) -> PackedHead | None:
    """Loads the kernels, lays the head out and tests them. Returns ``None`` and logs why if they cannot be used.

    The first call on a machine compiles for some seconds; a load above half a second is logged at INFO. The code is
    kept in ``TRITON_CACHE_DIR`` or ``~/.triton``. A few rows are scored as a test before any others. If the kernels do
    not agree with torch's operations on them, they are not used.

    Args:
        weight: (K, D), bias: (K,), floors: (K, D), float32 on one CUDA device.
    """
    try:
        with loading(log, "the CUDA kernels"):
            from line_plugin.kernels.cuda import triton_masked

            programs = 2 * torch.cuda.get_device_properties(weight.device).multi_processor_count
            head = PackedHead.of(triton_masked, weight, bias, floors, programs)
            if agrees(head):
                return head
        log.warning(_INSTEAD, "gave other numbers than torch on this device and Triton")
    except Exception as error:  # no C compiler, an old driver, a device that Triton no longer supports
        log.warning(_INSTEAD, f"cannot be used ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]})")
    return None


def agrees(head: PackedHead) -> bool:
    """Whether a few rows score as torch scores them, with the same bits whether neurons are split or not."""
    z = head.weight[:3].relu()
    classes, expected = torch_ops.score(z, head.weight, head.bias, head.floors)
    got = [torch.empty_like(expected) for _ in range(2)]
    chosen = torch.empty_like(classes)
    with torch.cuda.device_of(z):  # type: ignore[no-untyped-call]
        for out, split in zip(got, (True, False), strict=True):
            head._score(z, chosen, out, split)
    close = torch.allclose(got[0], expected, rtol=1e-4, atol=1e-4)
    return close and torch.equal(*got) and torch.equal(chosen, classes)
