"""Who runs the passes of a network: this process, or another that promises the same results in the same order.

A pass over data is a plan of batches and a piece of work that makes one result of each batch. The plan may be
shared out, but a batch stays whole and results come in the order of the plan, so no caller can tell the difference.
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
    """What is done with batches. It can be pickled, network and all, and keeps nothing between two calls."""

    @property
    def model(self) -> nn.Module:
        """The network that it carries."""
        ...

    def __call__(self, plan: Iterable[Takes_contra], /) -> Iterator[Gives_co]:
        """One result a batch, in order."""
        ...


class Passes(Protocol):
    """Who runs them."""

    def run(self, work: Work[Batch, Result], plan: Iterable[Batch]) -> Iterator[Result]:
        """The result of every batch of the plan, in its order.

        Raises:
            LinePluginError: what the work raises, after the results of the batches before it.
        """
        ...


class InProcess:
    """This process: the work itself, over the whole plan at once."""

    def run(self, work: Work[Batch, Result], plan: Iterable[Batch]) -> Iterator[Result]:
        """See :class:`Passes`."""
        return work(plan)
