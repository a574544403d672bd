"""Opens an artifact of either kind, LINe or panel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from line_plugin.method.artifact_file import read_kind, refuse_kind
from line_plugin.method.line import LINe
from line_plugin.method.panel import Panel

if TYPE_CHECKING:
    import torch


def load_artifact(path: str | Path, device: torch.device | str = "cpu") -> LINe | Panel:
    """Reads and verifies an artifact of either kind, as ``openood fit`` writes it.

    Args:
        path: a file that :meth:`LINe.save` or :meth:`Panel.save` wrote.
        device: the device to score on.

    Returns:
        The LINe or Panel. Both have ``predict``, ``score``, ``calibrate``, ``calibration``, ``provenance`` and
        ``save``.

    Raises:
        ArtifactError: the file does not exist or is of another kind; ArtifactCorruptError: its bytes have changed;
            ArtifactVersionError: a newer release wrote it.
    """
    kind = read_kind(path)
    if kind == "line":
        return LINe.load(path, device)
    if kind == "panel":
        return Panel.load(path, device)
    raise refuse_kind(path, kind)
