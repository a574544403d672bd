"""Any classifier that ends in a ``Linear``: find that head, and tap the features that enter it."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from line_plugin.errors import FitError, HeadError

_ASSUMES = "LINe needs a classifier whose last layer is a Linear over pooled, non-negative features"


@dataclass(frozen=True)
class Head:
    """The classifier head of a network: its module path (``"fc"``), the layer, and how images go in.

    Attributes:
        layout: memory format of the images (:func:`input_layout`).
    """

    path: str
    linear: nn.Linear
    layout: torch.memory_format = torch.contiguous_format


@dataclass(frozen=True)
class TappedBatch:
    """One forward pass: features (N, D) entering the head, logits (N, K) leaving it, labels (N,)."""

    features: Tensor
    logits: Tensor
    labels: Tensor
    head: nn.Linear
    path: str


def find_head(model: nn.Module, example: Tensor | None, path: str | None = None) -> Head:
    """Find the head by running ``example`` through ``model``, or take the one that is named.

    Args:
        model: in eval mode, on the device of ``example``.
        example: an input batch; one row is used. Where the head is named it may be ``None``: nothing is forwarded then,
            and the layout is the usual one.
        path: module path of the ``Linear``; where not given, the ``Linear`` whose output is the network's output.

    Raises:
        HeadError: there is none; the message names the candidates.
    """
    linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    if path is not None:
        return _named(model, linears, path, example)
    if example is None:
        raise HeadError("neither a head nor an example is given: name the head, or pass an input batch to find it with")
    calls: list[tuple[str, Tensor, Tensor]] = []

    def record(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            calls.append((name, inputs[0], output))

        return hook

    handles = [m.register_forward_hook(record(name)) for name, m in linears.items()]
    try:
        with torch.no_grad():
            result = logits_of(model(example[:1]))
    finally:
        for handle in handles:
            handle.remove()
    for name, _entered, left in reversed(calls):
        if left.shape == result.shape and torch.equal(left, result):
            return Head(name, linears[name], input_layout(model, example[:1], result))
    if calls:
        raise HeadError(
            f"the network's output is not the output of a Linear (the last one run is {calls[-1][0]!r}): "
            f"{_ASSUMES}; name one with head='...' / --head; it has {_listed(linears)}"
        )
    raise HeadError(f"the network runs no Linear layer at all: {_ASSUMES}")


def _named(model: nn.Module, linears: Mapping[str, nn.Linear], path: str, example: Tensor | None) -> Head:
    if path not in linears:
        raise HeadError(f"no Linear at {path!r}: this network has {_listed(linears)}")
    if example is None:
        return Head(path, linears[path])
    with torch.no_grad():
        return Head(path, linears[path], input_layout(model, example[:1], logits_of(model(example[:1]))))


def input_layout(model: nn.Module, image: Tensor, logits: Tensor) -> torch.memory_format:
    """Channels last on a CPU, where most convolutional networks take 0.6 to 0.8 of the time with it.

    Only the order in memory changes, and the result by rounding. A network that depends on that order (a ``view`` over
    channels and pixels) keeps the usual one.

    Args:
        image: (1, C, H, W) on the network's device; another number of axes has no channels to put last.
        logits: what the network gave for it.
    """
    if image.ndim != 4 or image.device.type != "cpu":
        return torch.contiguous_format
    try:
        with torch.no_grad():
            again = logits_of(model(image.contiguous(memory_format=torch.channels_last)))
    except RuntimeError:
        return torch.contiguous_format
    same = torch.allclose(again, logits, rtol=1e-3, atol=1e-4 * float(logits.abs().max()))
    return torch.channels_last if same else torch.contiguous_format


def _listed(linears: Mapping[str, nn.Linear]) -> str:
    names = [f"{n or '(the network itself)'} ({m.in_features} -> {m.out_features})" for n, m in linears.items()]
    if not names:
        return "no Linear layer"
    return ", ".join(names if len(names) <= 6 else [*names[:2], f"... {len(names) - 5} more ...", *names[-3:]])


def logits_of(output: Any) -> Tensor:
    """The logits among what a network returns: a tensor, ``.logits``, or the first tensor of a tuple or dict."""
    if isinstance(output, Tensor):
        return output
    if isinstance(getattr(output, "logits", None), Tensor):
        return output.logits  # type: ignore[no-any-return]
    items = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    for item in items:
        if isinstance(item, Tensor):
            return item
    raise HeadError(f"the network returns {type(output).__name__}, expected a tensor of logits (N, K)")


@contextmanager
def tapped(head: Head) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect ``(features, logits)`` of each call of the head while the context lasts."""
    seen: list[tuple[Tensor, Tensor]] = []

    def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        seen.append((inputs[0].detach(), output.detach()))

    handle = head.linear.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def forward(model: nn.Module, head: Head, images: Tensor) -> tuple[Tensor, Tensor]:
    """One pass without gradients: features (N, D) entering the head and logits (N, K) leaving it.

    Raises:
        HeadError: the head ran other than once, or on features that are not (N, D).
    """
    with torch.no_grad(), tapped(head) as seen:
        model(images.contiguous(memory_format=head.layout))
    if len(seen) != 1:
        raise HeadError(f"the head {head.path!r} ran {len(seen)} times in one pass, expected once: {_ASSUMES}")
    features, logits = seen[0]
    if features.ndim != 2 or features.shape[0] != images.shape[0]:
        raise HeadError(
            f"the head {head.path!r} is fed a tensor of shape {tuple(features.shape)}, expected "
            f"({images.shape[0]}, {head.linear.in_features}): {_ASSUMES}"
        )
    return features, logits


def tap_batches(
    model: nn.Module, loader: Iterable[Any], *, head: str | None = None, device: torch.device | str | None = None
) -> Iterator[TappedBatch]:
    """Forward every batch of a loader once and yield what enters and leaves the head.

    Args:
        model: put in eval mode and moved to ``device``.
        loader: batches ``(images, labels, ...)`` or dicts with ``data`` and ``label``.
        head: module path of the ``Linear``; found on the first batch where not given.
        device: the model's own device where not given.
    """
    target = torch.device(device) if device is not None else device_of(model)
    model.to(target).eval()
    found: Head | None = None
    for batch in loader:
        images, labels = _images_and_labels(batch)
        images = images.to(target, non_blocking=True)
        if found is None:
            found = find_head(model, images, head)
        features, logits = forward(model, found, images)
        yield TappedBatch(features, logits, labels, found.linear, found.path)


def _images_and_labels(batch: Any) -> tuple[Tensor, Tensor]:
    if isinstance(batch, Mapping) and "data" in batch and "label" in batch:
        return batch["data"], torch.as_tensor(batch["label"])
    if isinstance(batch, (tuple, list)) and len(batch) >= 2:
        return batch[0], torch.as_tensor(batch[1])
    raise FitError(
        f"the loader gives {type(batch).__name__}, expected (images, labels) or a dict with 'data' and 'label'"
    )


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters live; the CPU for a model without any."""
    parameter = next(model.parameters(), None)
    return parameter.device if parameter is not None else torch.device("cpu")


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over what decides a network's output: its tensors, its structure and the code of its modules."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, Tensor):
            t = tensor.detach().cpu().contiguous()
            digest.update(f"\0{name}\0{t.dtype}\0{tuple(t.shape)}\0".encode())
            digest.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    digest.update(repr(model).encode())
    kinds = sorted({type(m) for m in model.modules()}, key=lambda k: f"{k.__module__}.{k.__qualname__}")
    for kind in kinds:
        digest.update(f"\0{kind.__module__}.{kind.__qualname__}".encode())
    for name in sorted({kind.__module__ for kind in kinds if not kind.__module__.startswith("torch.nn")}):
        try:  # the whole file: a forward may call functions beside its class
            digest.update(inspect.getsource(sys.modules[name]).encode())
        except (OSError, TypeError, KeyError):  # defined in a shell or compiled: the names must do
            continue
    return digest.hexdigest()
