"""A ``.pt2`` archive of ``torch.export``: a dict of ``logits`` and ``embedding``."""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn

from line_plugin.errors import ExportError
from line_plugin.networks.export.about import KEY
from line_plugin.networks.export.formats import Run, first_line


class _Named(nn.Module):
    """Returns a dict instead of a tuple, since this format keeps names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (N, C, H, W) to ``logits`` (N, K) and ``embedding`` (N, D)."""
        logits, embedding = self.network(images)
        return {"logits": logits, "embedding": embedding}


def encode(network: nn.Module, images: Tensor, about: str) -> bytes:
    """See :class:`line_plugin.networks.export.formats.Format`."""
    batch = torch.export.Dim("batch", min=1)
    try:
        program = torch.export.export(_Named(network).eval(), (images,), dynamic_shapes=({0: batch},), strict=False)
    except Exception as error:  # the exporter raises any error of the network's code
        raise ExportError(f"this network cannot be exported with torch.export ({first_line(error)})") from error
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={f"{KEY}.json": about})
    return file.getvalue()


def opened(blob: bytes) -> Run:
    """See :class:`line_plugin.networks.export.formats.Format`."""
    module = torch.export.load(io.BytesIO(blob)).module()

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            found = module(images)
        return found["logits"], found["embedding"]

    return run
