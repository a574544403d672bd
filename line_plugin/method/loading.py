"""One call that opens an artifact of either kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from line_plugin.method.artifact_file import read_kind, refuse_kind
from line_plugin.method.line import LINe
from line_plugin.method.panel import Panel

if TYPE_CHECKING:
    import torch


def load_artifact(path: str | Path, device: torch.device | str = "cpu") -> LINe | Panel:
    """Read and verify an artifact of any kind, as ``openood fit`` writes it.

    Args:
        path: written by :meth:`LINe.save` or :meth:`Panel.save`.
        device: where to score.

    Returns:
        What was saved. Either has ``predict``, ``score``, ``calibrate``, ``calibration``, ``provenance`` and ``save``.

    Raises:
        ArtifactError: no such file or another kind of file; ArtifactCorruptError: not the bytes that were written;
            ArtifactVersionError: from a newer release.
    """
    kind = read_kind(path)
    if kind == "line":
        return LINe.load(path, device)
    if kind == "panel":
        return Panel.load(path, device)
    raise refuse_kind(path, kind)
