"""The actor: a process that holds the network and computes the results of shares of the plan."""

from __future__ import annotations

import importlib.metadata
import platform
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from line_plugin.errors import ClusterError
from line_plugin.version import __version__

_LIBRARIES = ("torch", "torchvision", "numpy", "pillow")


@dataclass(frozen=True)
class Surroundings:
    """The state of a process that features depend on, besides the network and the images.

    Attributes:
        versions: versions of the libraries that decode and compute; these must be equal.
        threads: torch's threads on the CPU; another number adds in another order.
        matmul: torch's precision of float32 products; cudnn: its switches; deterministic: whether it is switched on.
        processor: the CPU's instruction sets according to torch; another CPU rounds differently.
    """

    versions: dict[str, str]
    threads: int
    matmul: str
    cudnn: tuple[bool, bool, bool, bool]
    deterministic: bool
    processor: str

    @classmethod
    def here(cls) -> Surroundings:
        """The surroundings of this process."""
        found = {"openood-line": __version__, "python": platform.python_version()}
        cudnn = torch.backends.cudnn
        return cls(
            found | {name: importlib.metadata.version(name) for name in _LIBRARIES},
            torch.get_num_threads(),
            torch.get_float32_matmul_precision(),
            (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cpu.get_cpu_capability(),
        )

    def take_over(self) -> None:
        """Makes this process compute like the process that these surroundings describe."""
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision(self.matmul)
        cudnn: Any = torch.backends.cudnn
        cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32 = self.cudnn
        torch.use_deterministic_algorithms(self.deterministic)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a share.

    Attributes:
        results: one for each batch before the error, in order.
        error: the error that the work raised, or None; trace: its traceback, or "".
    """

    results: list[Any]
    error: BaseException | None = None
    trace: str = ""


class Actor:
    """An actor, which holds one piece of work at a time.

    Args:
        wanted: the surroundings of the process that started it.
    """

    def __init__(self, wanted: Surroundings) -> None:
        self._wanted, self._node = wanted, platform.node()
        self._work: Any = None

    def prepare(self, pickled: bytes) -> Outcome:
        """Takes over a piece of work. Its one result is a warning about this machine, or "".

        The error is a ClusterError: this machine has other libraries, or the network cannot be loaded.
        """
        from ray import cloudpickle

        own, there = Surroundings.here(), self._wanted
        other = [f"{k} {v} (here {there.versions[k]})" for k, v in own.versions.items() if v != there.versions[k]]
        if other:
            text = f"node {self._node} has {', '.join(other)}, so its features would be others: install the same there"
            return Outcome([], ClusterError(text))
        there.take_over()
        try:
            self._work = cloudpickle.loads(pickled)
        except Exception as error:
            text = f"node {self._node} cannot load the network ({type(error).__name__}: {error}): "
            return Outcome([], ClusterError(f"{text}the code of its classes must be installed there too"))
        if own.processor == there.processor:
            return Outcome([""])
        text = f"node {self._node} computes with {own.processor} and this machine with {there.processor}: "
        return Outcome([f"{text}the last bits of its features may differ"])

    def run(self, share: Sequence[Any]) -> Outcome:
        """Computes the results of the batches of a share. Errors are returned, since Ray would wrap a raised one."""
        results: list[Any] = []
        try:
            results.extend(self._work(share))  # one after the other, so that results before an error are kept
        except Exception as error:
            return Outcome(results, _portable(error), traceback.format_exc())
        return Outcome(results)


def _portable(error: Exception) -> Exception:
    """The error itself, or one with the same text if it cannot be pickled."""
    from ray import cloudpickle as untyped

    cloudpickle: Any = untyped
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:
        return ClusterError(f"{type(error).__name__}: {error}")
    return error
