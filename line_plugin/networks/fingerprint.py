"""Computes one digest of a network, which is the key of its cached features and a part of artifacts."""

from __future__ import annotations

import hashlib
import inspect
import sys

import torch
from torch import Tensor, nn

_PRESENT, _FORMER = "line_plugin.networks.architectures.", "line_plugin.architectures."


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over all that decides a network's output: its tensors, its structure and the code of its modules."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, Tensor):
            t = tensor.detach().cpu().contiguous()
            digest.update(f"\0{name}\0{t.dtype}\0{tuple(t.shape)}\0".encode())
            digest.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    digest.update(repr(model).encode())
    kinds = {type(m) for m in model.modules()}
    for name in sorted(class_name(kind) for kind in kinds):
        digest.update(f"\0{name}".encode())
    for module in sorted({kind.__module__ for kind in kinds if not kind.__module__.startswith("torch.nn")}):
        try:  # the whole file, since a forward may call functions outside its class
            digest.update(inspect.getsource(sys.modules[module]).encode())
        except (OSError, TypeError, KeyError):  # defined in a shell or compiled, so only the names count
            continue
    return digest.hexdigest()


def class_name(kind: type) -> str:
    """The full name of a class. The built-in networks keep the name of the package in which they were first released.

    Otherwise moving a file inside this package would invalidate every feature cache and artifact.
    """
    return f"{kind.__module__}.{kind.__qualname__}".replace(_PRESENT, _FORMER, 1)
