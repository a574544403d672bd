"""The interface of what runs the passes of a network: this process, or others with the same results in the same order.

A pass over data is a plan of batches, and work that makes one result from each batch. The plan may be split among
processes. A batch stays whole and results come in the order of the plan, so callers get the same results.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from torch import nn

Batch = TypeVar("Batch")
Result = TypeVar("Result")
Takes_contra = TypeVar("Takes_contra", contravariant=True)
Gives_co = TypeVar("Gives_co", covariant=True)


class Work(Protocol[Takes_contra, Gives_co]):
    """The work on batches. It can be pickled together with its network, and has no state between calls."""

    @property
    def model(self) -> nn.Module:
        """The network that it uses."""
        ...

    def __call__(self, plan: Iterable[Takes_contra], /) -> Iterator[Gives_co]:
        """Yields one result for each batch, in order."""
        ...


class Passes(Protocol):
    """Runs plans of batches."""

    def run(self, work: Work[Batch, Result], plan: Iterable[Batch]) -> Iterator[Result]:
        """Yields the result of every batch of the plan, in its order.

        Raises:
            LinePluginError: the work raised it; the results of earlier batches come first.
        """
        ...


class InProcess:
    """Runs the work in this process, over the whole plan."""

    def run(self, work: Work[Batch, Result], plan: Iterable[Batch]) -> Iterator[Result]:
        """See :class:`Passes`."""
        return work(plan)
