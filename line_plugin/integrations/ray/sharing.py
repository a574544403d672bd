"""Splits a plan into shares, has actors compute them, and returns results in the order of the plan."""

from __future__ import annotations

import contextlib
import heapq
import sys
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from line_plugin.errors import ClusterError, ClusterWarning
from line_plugin.integrations.ray.actor import Outcome
from line_plugin.integrations.ray.crew import Crew, local_cores, reason, size_of
from line_plugin.integrations.ray.session import joined_ray, local_ray, require_ray

RETRIES = 3
"""How often a share whose actor was lost is computed again."""
SHARE, UNKNOWN = 16, 8
"""The most batches in a share, and the number if the length of the plan is unknown."""
_AHEAD = 2  # shares of each actor that may run, or wait for earlier ones
_STORE_BYTES = 256 << 20
_POLL_SECONDS = 1.0


class RayPasses:
    """Runs the passes of a network on actors.

    It is a :class:`line_plugin.benchmark.protocol.passes.Passes` and a context.

    Ray starts with the first pass that has batches, and ends with the context.

    Args:
        address: ``HOST:PORT`` of a cluster; None for a Ray of our own on this machine.
        actors: how many; None for one for each GPU, or one for as many cores as torch has threads.
        cuda: whether the network runs on CUDA.
        retries: how often a lost share is computed again.
        patience: seconds to wait for the first actor.

    Raises:
        MissingLibraryError: Ray is not installed.
    """

    def __init__(
        self, address: str | None, actors: int | None, *, cuda: bool, retries: int = RETRIES, patience: float = 300.0
    ) -> None:
        require_ray()
        self._address, self._actors, self._cuda = address, actors, cuda
        self._retries, self._patience = retries, patience
        self._ray: Any = None
        self._crew: Crew | None = None
        self._last = contextlib.ExitStack()

    def __enter__(self) -> RayPasses:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._crew = self._ray = None
        self._last.close()

    def run(self, work: Any, plan: Iterable[Any]) -> Iterator[Any]:
        """Yields the result of every batch in the order of the plan, with the bits that this process would compute.

        Raises:
            ClusterError: Ray cannot be reached, or a share was lost too often. LinePluginError: the work raised it.
        """
        crew = self._ready_crew(sum(p.nbytes for p in work.model.state_dict().values()))
        crew.prepare(_pickled(work))
        deal = _Deal(self._ray, crew, _shares(plan, crew.size), self._retries)
        try:
            yield from deal.results()
        finally:
            crew.abandon(deal.busy)

    def _ready_crew(self, work_bytes: int) -> Crew:
        if self._crew is None:
            import torch

            if self._address is None:
                store = _STORE_BYTES + 2 * work_bytes
                self._ray = self._last.enter_context(local_ray(local_cores(self._actors), store))
            else:
                self._ray = self._last.enter_context(joined_ray(self._address))
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            size = size_of(nodes, self._actors, cuda=self._cuda, threads=torch.get_num_threads())
            self._crew = Crew(self._ray, size, self._patience)
        return self._crew


class _Deal:
    """One pass: which actor has which share."""

    def __init__(self, ray: Any, crew: Crew, shares: Iterator[list[Any]], retries: int) -> None:
        self._ray, self._crew, self._shares, self._retries = ray, crew, enumerate(shares), retries
        self._running: dict[Any, tuple[Any, int, list[Any]]] = {}
        self._again: list[tuple[int, list[Any]]] = []  # a heap, since the caller waits for the earliest
        self._done: dict[int, Outcome] = {}
        self._lost: Counter[int] = Counter()
        self._next, self._dealt, self._all_dealt = 0, 0, False

    @property
    def busy(self) -> list[Any]:
        """The busy actors."""
        return [actor for actor, _, _ in self._running.values()]

    def results(self) -> Iterator[Any]:
        """Yields results in order. Actors work on while the caller uses one."""
        found: deque[Any] = deque()
        while True:
            self._give_out()
            if found:
                yield found.popleft()
                self._collect(0)
                continue
            outcome = self._done.pop(self._next, None)
            if outcome is not None:
                self._next += 1
                found.extend(outcome.results)
                if outcome.error is not None:
                    yield from found
                    raise outcome.error from _There(outcome.trace)
            elif self._all_dealt and not self._running and not self._again:
                return
            else:
                self._collect(_POLL_SECONDS)

    def _give_out(self) -> None:
        while self._crew.idle and (share := self._take()) is not None:
            actor = self._crew.idle.pop()
            self._running[actor.run.remote(share[1])] = (actor, *share)

    def _take(self) -> tuple[int, list[Any]] | None:
        """The next share to compute, if memory allows another."""
        if self._again:
            return heapq.heappop(self._again)
        if self._all_dealt or self._dealt >= self._next + _AHEAD * self._crew.size:
            return None
        share = next(self._shares, None)
        self._all_dealt = share is None
        self._dealt += share is not None
        return share

    def _collect(self, seconds: float) -> None:
        for call in self._crew.wait(self._running, seconds):
            actor, index, share = self._running.pop(call)
            try:
                self._done[index] = self._ray.get(call)
            except self._ray.exceptions.RayTaskError as error:
                raise ClusterError(f"an actor failed: {reason(error)} (--debug shows where)") from error
            except self._ray.exceptions.RayError as error:
                self._note_loss(index, error)
                heapq.heappush(self._again, (index, share))
                self._crew.replace(actor)
            else:
                self._crew.idle.append(actor)

    def _note_loss(self, index: int, error: BaseException) -> None:
        self._lost[index] += 1
        if self._lost[index] > self._retries:
            raise ClusterError(
                f"share {index + 1} of the images was lost {self._lost[index]} times with the actor that had it (the "
                f"last time: {reason(error)}), most often for want of memory: give fewer --ray-actors, or a smaller "
                "--batch-size"
            ) from error
        warnings.warn(
            f"an actor was lost ({reason(error)}); share {index + 1} of the images is computed again, time "
            f"{self._lost[index]} of {self._retries} at most",
            ClusterWarning,
            stacklevel=2,
        )


class _There(Exception):  # noqa: N818
    """The traceback of an error as text, since its frames belong to another process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _shares(plan: Iterable[Any], actors: int) -> Iterator[list[Any]]:
    """Splits the plan into consecutive batches. Shares are smaller if otherwise an actor would get none."""
    size = min(SHARE, max(1, -(-len(plan) // (4 * actors)))) if isinstance(plan, Sized) else UNKNOWN
    batches = iter(plan)
    while share := list(islice(batches, size)):
        yield share


def _pickled(work: Any) -> bytes:
    """Pickles the work with its network. Your own classes are included; those of installed libraries go by name.

    Raises:
        ClusterError: the network cannot be pickled.
    """
    from ray import cloudpickle as untyped

    cloudpickle: Any = untyped
    own = {m for name in {type(part).__module__ for part in work.model.modules()} if (m := _own_module(name))}
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(work))
    except Exception as error:
        raise ClusterError(
            f"the network cannot be sent to another process ({type(error).__name__}: {error}): leave out --ray"
        ) from error
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _own_module(name: str) -> ModuleType | None:
    """The module of this name if other machines may not have it: neither ours nor an installed library's."""
    module = sys.modules.get(name)
    if module is None or name.partition(".")[0] in ("line_plugin", "builtins", "__main__"):
        return None
    file = getattr(module, "__file__", None)
    return module if file and not {"site-packages", "dist-packages"} & set(Path(file).parts) else None
