"""Exports a classifier, compares the export with it on images, and writes the file as a whole or not at all."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from line_plugin.errors import ExportError
from line_plugin.files import write_whole
from line_plugin.networks.export.about import About, head_digest
from line_plugin.networks.export.formats import Run, first_line, format_of, load_format
from line_plugin.networks.fingerprint import fingerprint
from line_plugin.networks.head import Head, find_head
from line_plugin.networks.tap import forward

TOLERANCE = 1e-4
"""The largest accepted difference, as a share of the largest absolute value of the output over all images."""

_GROUPS = (1, 2)
"""Sizes of the first batches that are checked; the others have :data:`_BATCH` images. The batch size must be free."""
_BATCH = 32


@dataclass(frozen=True)
class Exported:
    """The result of an export: the file, and how near its outputs are to the network's.

    Attributes:
        format: one of :data:`line_plugin.networks.export.FORMATS`.
        images: how many images it was checked on.
        logits_error, embedding_error: largest difference as a share of the largest absolute value.
        ties: images whose class differs because the network's two best logits lie within the tolerance.
        size: bytes of the file.
    """

    path: Path
    format: str
    about: About
    images: int
    logits_error: float
    embedding_error: float
    ties: int
    size: int


class TwoOutputs(nn.Module):
    """A network that returns its head's output and input.

    Args:
        network: the classifier, in eval mode.
        head: module path of its head.
    """

    def __init__(self, network: nn.Module, head: str) -> None:
        super().__init__()
        self.network, self.path = network, head

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) to ``logits`` (N, K) and ``embedding`` (N, D)."""
        seen: list[tuple[Tensor, Tensor]] = []
        head = self.network.get_submodule(self.path)
        handle = head.register_forward_hook(lambda _module, inputs, output: seen.append((output, inputs[0])))
        try:
            self.network(images)
        finally:
            handle.remove()
        return seen[0]


def export_network(
    model: nn.Module,
    images: Tensor,
    path: str | Path,
    *,
    head: str | None = None,
    format: str | None = None,  # noqa: A002
) -> Exported:
    """Write a classifier as a file with the outputs ``logits`` and ``embedding``, checked against the classifier.

    Args:
        model: on the CPU; put in eval mode.
        images: (N, C, H, W) float32 on the CPU, at least 4, prepared as the network expects them. Use real images,
            because noise may use few of a network's features.
        path: the file; its suffix chooses the format if no format is given.
        head: module path of the ``Linear``; found by tracing if not given.
        format: of :data:`line_plugin.networks.export.FORMATS`.

    Raises:
        HeadError: the network has no usable head.
        ExportError: the network cannot be exported, or the export gives other outputs than the network. Nothing is
            written then.
    """
    target = Path(path)
    kind = format_of(target, format)
    if images.ndim < 2 or len(images) < 4:
        raise ExportError(f"images of shape {tuple(images.shape)} given, expected at least 4 of (C, H, W) to check on")
    model.eval()
    found = find_head(model, images, head)
    plain = Head(found.path, found.linear)  # a server passes images in the usual memory order
    weight, bias = found.linear.weight, found.linear.bias
    about = About(
        head=found.path,
        head_sha256=head_digest(weight, bias),
        model_sha256=fingerprint(model),
        num_classes=weight.shape[0],
        width=weight.shape[1],
        input_shape=tuple(images.shape[1:]),
    )
    features, logits = _in_groups(lambda batch: forward(model, plain, batch), images)
    with _quiet():
        blob = load_format(kind).encode(TwoOutputs(model, found.path).eval(), images[:2].contiguous(), about.as_json())
        got_logits, got_features = _run(load_format(kind).opened(blob), images, kind)
    ties = _check_classes(logits, got_logits, kind)
    errors = {name: _check(name, *pair, kind) for name, pair in
              {"logits": (logits, got_logits), "embedding": (features, got_features)}.items()}  # fmt: skip
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, blob)
    except OSError as error:
        raise ExportError(f"cannot write {target}: {error.strerror or error}") from error
    return Exported(target, kind, about, len(images), errors["logits"], errors["embedding"], ties, len(blob))


def _run(run: Run, images: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    try:
        return _in_groups(run, images)
    except Exception as error:
        raise ExportError(
            f"the exported network ({kind}) does not run on batches of other sizes than the two images that it was "
            f"traced on ({first_line(error)}): its code may fix the batch size"
        ) from error


def _in_groups(run: Run, images: Tensor) -> tuple[Tensor, Tensor]:
    """Runs on a batch of one, a batch of two, and the rest."""
    sizes = [*_GROUPS]
    while sum(sizes) < len(images):
        sizes.append(min(_BATCH, len(images) - sum(sizes)))
    first, second = zip(*(run(batch.contiguous()) for batch in torch.split(images, sizes)), strict=True)
    return torch.cat(first), torch.cat(second)


def _check(name: str, expected: Tensor, got: Tensor, kind: str) -> float:
    """Returns the largest difference as a share of the largest value.

    Raises:
        ExportError: it is above the tolerance.
    """
    if expected.shape != got.shape:
        raise ExportError(
            f"the exported network ({kind}) gives {name} of shape {tuple(got.shape)}, the network itself "
            f"{tuple(expected.shape)}: its code depends on something that exporting does not keep"
        )
    scale = max(float(expected.abs().max()), torch.finfo(torch.float32).tiny)
    error = float((expected - got).abs().max()) / scale
    if not error <= TOLERANCE:  # NaN too
        raise ExportError(
            f"the exported network ({kind}) gives other {name} than the network itself: the largest difference is "
            f"{error:.2g} of the largest value, at most {TOLERANCE:g} is accepted. Check that its code draws no random "
            "numbers and does not branch on its input"
        )
    return error


def _check_classes(expected: Tensor, got: Tensor, kind: str) -> int:
    """Counts the classes that differ because of a tie.

    Raises:
        ExportError: a class differs for another reason.
    """
    if expected.shape != got.shape:
        return 0  # :func:`_check` has the better error for this
    chosen = expected.gather(1, got.argmax(dim=1, keepdim=True)).squeeze(1)
    behind = expected.max(dim=1).values - chosen
    wrong = int((behind > TOLERANCE * expected.abs().max()).sum())
    if wrong:
        raise ExportError(
            f"the exported network ({kind}) gives another class than the network itself for {wrong} of {len(expected)} "
            "images: its code may draw random numbers, or branch on its input"
        )
    return int((expected.argmax(dim=1) != got.argmax(dim=1)).sum())


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences torch's exporters, which warn of their own deprecations and log pages. Errors are raised in one line."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch._export", "onnxscript")]
    before = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
