"""TorchScript by tracing: a named tuple of ``logits`` and ``embedding``.

Triton's PyTorch backend names the outputs of a tuple by position: ``OUTPUT__0`` is logits, ``OUTPUT__1`` embedding.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import torch
from torch import Tensor, nn

from line_plugin.errors import ExportError
from line_plugin.networks.export.about import KEY
from line_plugin.networks.export.formats import Run, first_line


class Outputs(NamedTuple):
    """The outputs of the file, by name and by position."""

    logits: Tensor
    embedding: Tensor


class _Named(nn.Module):
    """Adds names to the outputs. Tracing has no names, so this small wrapper is scripted around the traced network."""

    def __init__(self, traced: nn.Module) -> None:
        super().__init__()
        self.traced = traced

    def forward(self, images: Tensor) -> Outputs:
        """Images (N, C, H, W) to logits (N, K) and embedding (N, D)."""
        logits, embedding = self.traced(images)
        return Outputs(logits, embedding)


def encode(network: nn.Module, images: Tensor, about: str) -> bytes:
    """See :class:`line_plugin.networks.export.formats.Format`."""
    try:
        with torch.no_grad():
            traced = torch.jit.trace(network, images, check_trace=False)  # type: ignore[no-untyped-call]
            named = torch.jit.script(_Named(traced).eval())
    except Exception as error:  # tracing raises any error of the network's code
        raise ExportError(f"this network cannot be exported to TorchScript ({first_line(error)})") from error
    file = io.BytesIO()
    torch.jit.save(named, file, _extra_files={f"{KEY}.json": about})
    return file.getvalue()


def opened(blob: bytes) -> Run:
    """See :class:`line_plugin.networks.export.formats.Format`."""
    loaded = torch.jit.load(io.BytesIO(blob), map_location="cpu")  # type: ignore[no-untyped-call]

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            found = loaded(images)
        return found.logits, found.embedding

    return run
