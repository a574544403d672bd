"""Scoring on CUDA by the Triton kernels: what they need of a head, when they apply, and which program takes what."""

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
_ROWS = 16  # of a tile: 16 rows x 4 classes a thread are 64 sums in registers
_CHUNK = 64  # neurons of one partial sum; it decides where a logit is rounded, so it never depends on a batch
_SCRATCH_BYTES = 64 * 2**20  # of one pass; larger batches take several
_LANES = 1024


def installed() -> bool:
    """Whether the kernels are asked for (:data:`SWITCH`) and Triton can be found, which is not imported here.

    They are off by default, since nobody has run them on a GPU yet. Triton comes with the CUDA builds of torch.
    """
    return os.environ.get(SWITCH) == "1" and importlib.util.find_spec("triton") is not None


@dataclass(frozen=True)
class PackedHead:
    """A head as the kernels read it, on its device. Never changed: threads and streams may share it.

    Attributes:
        kernels: :mod:`line_plugin.kernels.cuda.triton_masked`.
        weight: (K, D), bias: (K,), floors: (K, D), float32, shared with the fit.
        packed: (D, padded) float32, the head transposed; the classes are padded to whole tiles.
        tile: classes of a program.
        programs: fewer than these do not fill the device: the neurons are then split among more.
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
        """Lay a head out. ``weight``, ``bias`` and ``floors`` as for :func:`pack`."""
        k, d = weight.shape
        tile = min(512, max(32, 1 << (k - 1).bit_length()))
        packed = weight.new_zeros(d, -(-k // tile) * tile)
        packed[:, :k] = weight.T
        return cls(kernels, weight.contiguous(), bias.contiguous(), floors.contiguous(), packed, tile, programs)

    @property
    def own_bytes(self) -> int:
        """Bytes that are not shared with the fit."""
        return self.packed.nbytes

    def predict(self, features: Tensor, delta: float | None) -> tuple[Tensor, Tensor]:
        """Class and confidence of each row, as :meth:`line_plugin.kernels.scorer.Scorer.predict`.

        Nothing waits for the device, so the call may be captured in a CUDA graph (after a first one, which compiles).
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
        # Fused multiply-adds are written out: the compiler is to make none of its own.
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
    """Load the kernels, lay the head out for them and try them; ``None`` if they do not apply, the reason logged.

    The first call on a machine compiles for some seconds; a load above half a second is logged at INFO. The code is
    kept in ``TRITON_CACHE_DIR`` or ``~/.triton``. A few rows are scored before anything else is, and a kernel that
    does not agree with torch's operations there is not used.

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
    except Exception as error:  # a compiler of another project: no C compiler, an old driver, a device it dropped
        log.warning(_INSTEAD, f"cannot be used ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]})")
    return None


def agrees(head: PackedHead) -> bool:
    """Whether a few rows score as by torch's operations, and to the bit alike with split neurons and without."""
    z = head.weight[:3].relu()
    classes, expected = torch_ops.score(z, head.weight, head.bias, head.floors)
    got = [torch.empty_like(expected) for _ in range(2)]
    chosen = torch.empty_like(classes)
    with torch.cuda.device_of(z):  # type: ignore[no-untyped-call]
        for out, split in zip(got, (True, False), strict=True):
            head._score(z, chosen, out, split)
    close = torch.allclose(got[0], expected, rtol=1e-4, atol=1e-4)
    return close and torch.equal(*got) and torch.equal(chosen, classes)
