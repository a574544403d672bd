"""Describes the network inside an exported file, so that an artifact of another network is noticed."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor

KEY = "openood_line"
"""The name of the entry in ONNX metadata. Torch's archives hold a file of this name with the suffix ``.json``."""

_LARGEST = 1 << 20


@dataclass(frozen=True)
class About:
    """The network inside an exported file.

    Attributes:
        head: module path of the head.
        head_sha256: digest of the head's weight and bias (:func:`head_digest`). model_sha256: fingerprint of the whole
            network, as in an artifact.
        num_classes: K, width of ``logits``.
        width: D, width of ``embedding``.
        input_shape: (C, H, W) of the images; the batch is free.
    """

    head: str
    head_sha256: str
    model_sha256: str
    num_classes: int
    width: int
    input_shape: tuple[int, ...]

    def as_json(self) -> str:
        """The description as one line of JSON for the file."""
        return json.dumps(asdict(self), sort_keys=True)


def head_digest(weight: Tensor, bias: Tensor | None) -> str:
    """SHA-256 over weight (K, D) and bias (K,) of a head in float32.

    A missing bias counts as zeros, as in an artifact.
    """
    import torch

    digest = hashlib.sha256()
    for name, tensor in (("weight", weight), ("bias", torch.zeros(len(weight)) if bias is None else bias)):
        plain = tensor.detach().to("cpu", torch.float32).contiguous()
        digest.update(f"\0{name}\0{tuple(plain.shape)}\0".encode())
        digest.update(plain.numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def read_about(path: str | Path) -> About:
    """Read the description of the network from an exported file. Nothing in the file is executed.

    Raises:
        ExportError: it cannot be read, or was not written by ``openood export``.
    """
    source = Path(path)
    if not source.is_file():
        raise ExportError(f"no exported network at {source}: write one with `openood export`")
    text = _entry_of_archive(source) if zipfile.is_zipfile(source) else _entry_of_onnx(source)
    if text is None:
        raise ExportError(f"{source} does not say which network it holds: write it with `openood export`")
    try:
        kept: dict[str, Any] = json.loads(text)
        return About(**{**kept, "input_shape": tuple(kept["input_shape"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ExportError(
            f"{source} misstates which network it holds ({error}): write it again with `openood export`"
        ) from error


def _entry_of_archive(path: Path) -> str | None:
    """Reads it from the zip archive of TorchScript or torch.export (torch.export up to 2.6 in ``extra_files``)."""
    names = (f"extra/{KEY}.json", f"extra_files/{KEY}.json")
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(names) and entry.file_size <= _LARGEST:
                    return archive.read(entry).decode("utf-8")
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ExportError(f"cannot read {path} as an exported network ({error}): write it again") from error
    return None


def _entry_of_onnx(path: Path) -> str | None:
    from line_plugin.networks.export.formats import onnx

    return onnx.read_entry(path, KEY)
