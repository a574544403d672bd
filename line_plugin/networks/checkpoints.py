"""Loads checkpoints into networks. Only tensors are read, never pickled objects."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

_RESAVE = "re-save it with torch.save(model.state_dict(), PATH)"
_WRAPPERS = ("state_dict", "model", "model_state_dict")


def load_checkpoint(model: nn.Module, path: str | Path) -> None:
    """Loads a state dict into ``model``, completely or not at all.

    A ``.safetensors`` file, or a torch file read with ``weights_only=True``; a dict that holds the state dict under
    ``state_dict``, ``model`` or ``model_state_dict`` is unwrapped, and the ``module.`` of DataParallel is taken off.

    Args:
        model: keeps its device and dtype.
        path: the checkpoint.

    Raises:
        CheckpointError: the file cannot be read, holds more than tensors, or does not fit; ``model`` is unchanged.
    """
    source = Path(path)
    if not source.is_file():
        raise CheckpointError(f"no checkpoint at {source}: name a .safetensors, .pth or .ckpt file")
    content = _read_safetensors(source) if source.suffix == ".safetensors" else _read_torch(source)
    state = _state_dict(content, source)
    _check_fit(model, state, source)
    model.load_state_dict(state, strict=False)  # names and shapes are checked above


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot read {path} as safetensors ({_first_line(error)}): fetch it again") from error


def _read_torch(path: Path) -> Any:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|global|class) ([\w.]+)", str(error))
        what = f" ({named[1]})" if named else ""
        raise CheckpointError(
            f"{path} is not a plain file of tensors: it is broken, or it holds pickled objects{what}, which are never "
            f"executed here; {_RESAVE}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"cannot read {path} as a torch checkpoint ({_first_line(error)}): fetch it again, or {_RESAVE}"
        ) from error


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    import torch

    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a state dict: {_RESAVE}")
    other = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if other or not content:
        found = f"entries that are not tensors ({_shorten(other)})" if other else "no tensor"
        raise CheckpointError(f"{path} holds {found}, expected a state dict: {_RESAVE}")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _check_fit(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    wanted = model.state_dict()
    # Batch counters are not used in eval mode, and old checkpoints do not have them.
    missing = [n for n in wanted if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in state if n not in wanted]
    if missing or unexpected:
        parts = [f"missing: {_shorten(missing)}"] if missing else []
        parts += [f"unexpected: {_shorten(unexpected)}"] if unexpected else []
        raise CheckpointError(
            f"{path} does not fit {type(model).__name__} ({'; '.join(parts)}): name the architecture it was "
            "trained with, --arch or --model"
        )
    wrong = [n for n in wanted if n in state and state[n].shape != wanted[n].shape]
    if not wrong:
        return
    last = [n for n in wanted if n.endswith("weight") and wanted[n].ndim == 2][-1:]
    if last and set(wrong) <= {last[0], last[0].removesuffix("weight") + "bias"}:
        raise CheckpointError(
            f"{path} was trained on {state[last[0]].shape[0]} classes, the network was built for "
            f"{wanted[last[0]].shape[0]}: take the benchmark or the class count it was trained on"
        )
    shapes = [f"{n} {tuple(state[n].shape)} instead of {tuple(wanted[n].shape)}" for n in wrong]
    raise CheckpointError(f"{path} does not fit {type(model).__name__}: it has {_shorten(shapes)}")


def _shorten(items: list[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
