"""Finds the head of a classifier, the ``Linear`` that gives its logits, by tracing or by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from line_plugin.errors import HeadError

EXPECTED_NETWORK = "LINe needs a classifier whose last layer is a Linear over pooled, non-negative features"


@dataclass(frozen=True)
class Head:
    """The head of a network: its module path (``"fc"``), the layer, and the memory format of images.

    Attributes:
        layout: memory format of the images (:func:`input_layout`).
    """

    path: str
    linear: nn.Linear
    layout: torch.memory_format = torch.contiguous_format


def find_head(model: nn.Module, example: Tensor | None, path: str | None = None) -> Head:
    """Finds the head by running ``example`` through ``model``, or takes the named one.

    Args:
        model: in eval mode, on the device of ``example``.
        example: an input batch, of which one row is used. It may be ``None`` if the head is named. Then nothing is
            forwarded, and the layout is the usual one.
        path: module path of the ``Linear``; by default the ``Linear`` whose output is the network's output.

    Raises:
        HeadError: no head was found; the message names the candidates.
    """
    linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    if path is not None:
        return _take_named(model, linears, path, example)
    if example is None:
        raise HeadError("neither a head nor an example is given: name the head, or pass an input batch to find it with")
    outputs, result = _record_outputs(model, linears, example[:1])
    for name, output in reversed(outputs):
        if output.shape == result.shape and torch.equal(output, result):
            return Head(name, linears[name], input_layout(model, example[:1], result))
    if outputs:
        raise HeadError(
            f"the network's output is not the output of a Linear (the last one run is {outputs[-1][0]!r}): "
            f"{EXPECTED_NETWORK}; name one with head='...' / --head; it has {_list_linears(linears)}"
        )
    raise HeadError(f"the network runs no Linear layer at all: {EXPECTED_NETWORK}")


def _record_outputs(
    model: nn.Module, linears: Mapping[str, nn.Linear], example: Tensor
) -> tuple[list[tuple[str, Tensor]], Tensor]:
    """Runs one pass; returns the output of each ``Linear``, in the order of their calls, and the network's logits."""
    outputs: list[tuple[str, Tensor]] = []

    def record(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
            outputs.append((name, output))

        return hook

    handles = [m.register_forward_hook(record(name)) for name, m in linears.items()]
    try:
        with torch.no_grad():
            return outputs, logits_of(model(example))
    finally:
        for handle in handles:
            handle.remove()


def _take_named(model: nn.Module, linears: Mapping[str, nn.Linear], path: str, example: Tensor | None) -> Head:
    if path not in linears:
        raise HeadError(f"no Linear at {path!r}: this network has {_list_linears(linears)}")
    if example is None:
        return Head(path, linears[path])
    with torch.no_grad():
        return Head(path, linears[path], input_layout(model, example[:1], logits_of(model(example[:1]))))


def input_layout(model: nn.Module, image: Tensor, logits: Tensor) -> torch.memory_format:
    """Channels last on a CPU, because most convolutional networks take 0.6 to 0.8 of the time with it there.

    Only the order in memory changes, and the result by rounding. A network that depends on that order (a ``view`` over
    channels and pixels) keeps the usual one.

    Args:
        image: (1, C, H, W) on the network's device; an input with another number of axes keeps its layout.
        logits: the network's output for it.
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


def _list_linears(linears: Mapping[str, nn.Linear]) -> str:
    names = [f"{n or '(the network itself)'} ({m.in_features} -> {m.out_features})" for n, m in linears.items()]
    if not names:
        return "no Linear layer"
    return ", ".join(names if len(names) <= 6 else [*names[:2], f"... {len(names) - 5} more ...", *names[-3:]])


def logits_of(output: Any) -> Tensor:
    """The logits in a network's output: a tensor, ``.logits``, or the first tensor of a tuple or dict."""
    if isinstance(output, Tensor):
        return output
    if isinstance(getattr(output, "logits", None), Tensor):
        return output.logits  # type: ignore[no-any-return]
    items = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    for item in items:
        if isinstance(item, Tensor):
            return item
    raise HeadError(f"the network returns {type(output).__name__}, expected a tensor of logits (N, K)")


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's parameters; the CPU for a model without any."""
    parameter = next(model.parameters(), None)
    return parameter.device if parameter is not None else torch.device("cpu")
