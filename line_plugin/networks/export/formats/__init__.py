"""The formats that a network is exported to: one file each, found by name and by the suffix of the output."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from line_plugin.errors import ExportError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn

Run = Callable[["Tensor"], "tuple[Tensor, Tensor]"]
"""A function from images (N, C, H, W) to logits (N, K) and embedding (N, D)."""


class Format(Protocol):
    """The interface of a module in this folder."""

    def encode(self, network: nn.Module, images: Tensor, about: str) -> bytes:
        """Makes a file with its entry from a network that returns ``(logits, embedding)``; images: (2, C, H, W).

        Raises:
            ExportError: the network cannot be exported to this format, or a library is missing.
        """

    def opened(self, blob: bytes) -> Run:
        """Opens the file on the CPU, as a model server would."""


FORMATS = {"onnx": (".onnx",), "torchscript": (".pt", ".ts"), "torch_export": (".pt2",)}
"""The formats by name, each with the suffixes that choose it; the first suffix is the usual one."""


def format_of(path: Path, name: str | None) -> str:
    """The named format, or the one that belongs to the suffix of the output.

    Raises:
        SettingsError: the name is unknown. ExportError: the suffix belongs to no format.
    """
    if name is not None:
        if name not in FORMATS:
            raise unknown_name("format", name, FORMATS)
        return name
    for known, suffixes in FORMATS.items():
        if path.suffix in suffixes:
            return known
    usual = ", ".join(f"{suffixes[0]} for {known}" for known, suffixes in FORMATS.items())
    raise ExportError(f"the suffix of {path} stands for no format: use {usual}, or name the format with --format")


def load_format(name: str) -> Format:
    """Imports the module of a format of :data:`FORMATS`."""
    module: Format = import_module(f"{__name__}.{name}")
    return module


def first_line(error: BaseException) -> str:
    """The first line of an exporter's error; the rest is pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
