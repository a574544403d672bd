"""Starts the actors of a command, decides how many and with which share of a machine, and replaces lost ones."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from line_plugin.errors import ClusterError, ClusterWarning, SettingsError
from line_plugin.integrations.ray.actor import Actor, Outcome, Surroundings

FAILED_STARTS = 3
"""How many actors in a row may die before one is ready."""


@dataclass(frozen=True)
class Size:
    """How many actors run, and how many CPUs and GPUs each takes."""

    actors: int
    cpus: float
    gpus: float


def size_of(nodes: list[dict[str, float]], asked: int | None, *, cuda: bool, threads: int) -> Size:
    """One actor for each GPU. On CPUs, one for each group of as many cores as this process has threads.

    Args:
        nodes: the resources of each machine of the cluster (``CPU``, ``GPU``).
        asked: how many actors to run; if they outnumber the GPUs, they share them.

    Raises:
        SettingsError: the cluster has no GPU, or fewer cores than actors.
    """
    cores, gpus = int(sum(n.get("CPU", 0) for n in nodes)), sum(n.get("GPU", 0) for n in nodes)
    if cuda and gpus < 1:
        raise SettingsError("Ray finds no GPU in the cluster, and the network runs on CUDA: give --device cpu")
    usual = int(gpus) if cuda else max(1, sum(int(n.get("CPU", 0)) // threads for n in nodes))
    count = asked or usual
    if count > cores:
        raise SettingsError(
            f"{count} actors wanted, and the cluster has {cores} cores: give --ray-actors {cores} or less"
        )
    if not cuda:
        largest = int(max(n.get("CPU", 0) for n in nodes))
        return Size(count, 1 if asked else min(threads, largest), 0)
    return Size(count, 1, 1 if count <= gpus else int(1000 * gpus / count) / 1000)


def local_cores(asked: int | None) -> int:
    """How many cores a local Ray is started with: those of the machine, or more if more actors are wanted."""
    return max(os.cpu_count() or 1, asked or 1)


class Crew:
    """The actors of a command. All hold the same piece of work; each is idle, starting or busy.

    Args:
        ray: the module of a connected Ray.
        size: how many actors to keep running.
        patience: how many seconds without a single actor are an error.
    """

    def __init__(self, ray: Any, size: Size, patience: float) -> None:
        self.size, self.idle = size.actors, list[Any]()
        self._ray, self._patience = ray, patience
        self._make = ray.remote(Actor).options(
            num_cpus=size.cpus, num_gpus=size.gpus, max_restarts=0, scheduling_strategy="SPREAD"
        )
        self._surroundings = Surroundings.here()
        self._starting: dict[Any, Any] = {}
        self._work: Any = None
        self._failed_starts = 0
        self._warned_of: set[str] = set()
        self._since = time.monotonic()

    def prepare(self, pickled: bytes) -> None:
        """Gives every actor a new piece of work."""
        self._work = self._ray.put(pickled)
        actors, self.idle, self._since = self.idle, [], time.monotonic()
        for actor in [*actors, *(self._new() for _ in range(self.size - len(actors)))]:
            self._begin(actor)

    def _new(self) -> Any:
        return self._make.remote(self._surroundings)

    def _begin(self, actor: Any) -> None:
        self._starting[actor.prepare.remote(self._work)] = actor

    def replace(self, actor: Any) -> None:
        """Ends one actor and starts another in its place."""
        self.dismiss([actor])
        self._begin(self._new())

    def dismiss(self, actors: Iterable[Any]) -> None:
        """Ends actors, even busy ones."""
        for actor in actors:
            with contextlib.suppress(Exception):  # it may have ended by itself
                self._ray.kill(actor)

    def abandon(self, busy: Iterable[Any]) -> None:
        """Ends the actors that are not idle, after a pass ended early, since the next pass cannot use them."""
        self.dismiss([*busy, *self._starting.values()])
        self._starting.clear()

    def wait(self, running: Iterable[Any], seconds: float) -> list[Any]:
        """Waits for calls among ``running`` and returns those that have ended. Meanwhile ready actors become idle.

        Raises:
            ClusterError: no actor starts, or a machine cannot do the work.
        """
        running = list(running)
        waiting = [*running, *self._starting]
        if not waiting:
            return []
        ready, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        if not ready and seconds:
            ready, _ = self._ray.wait(waiting, num_returns=1, timeout=seconds)
        for call in [c for c in ready if c in self._starting]:
            self._started(call, self._starting.pop(call))
        if running or self.idle:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > self._patience:
            free = self._ray.available_resources()
            raise ClusterError(
                f"Ray has given no actor for {self._patience:.0f} seconds: {free.get('CPU', 0):g} cores and "
                f"{free.get('GPU', 0):g} GPUs of the cluster are free; wait for others to end, or give fewer "
                "--ray-actors"
            )
        return [c for c in ready if c not in self._starting and c in running]

    def _started(self, call: Any, actor: Any) -> None:
        try:
            outcome: Outcome = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= FAILED_STARTS:
                raise ClusterError(
                    f"{FAILED_STARTS} actors in a row died before they were ready (the last one: {reason(error)}): is "
                    "openood-line installed on every node, and is there memory for the network?"
                ) from error
            self.replace(actor)
            return
        if outcome.error is not None:
            raise outcome.error
        self._failed_starts = 0
        self.idle.append(actor)
        if outcome.results[0] and outcome.results[0] not in self._warned_of:
            self._warned_of.add(outcome.results[0])
            warnings.warn(outcome.results[0], ClusterWarning, stacklevel=2)


def reason(error: BaseException) -> str:
    """The first line of Ray's reason for losing something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
