"""One fault from beginning to end: traffic, the fault, surges meanwhile, the recovery, the verdict."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass

from tests.chaos.faults import Fault
from tests.chaos.judge import WITHIN_SECONDS, Judge, Outcome, Times
from tests.chaos.load import Load
from tests.chaos.stage import Servers, Stage
from tests.oracle.recount import recount

RECOVERY_SECONDS = 90.0
"""Workers that have not caught up by then never do."""


@dataclass(frozen=True)
class Plan:
    """How long things take, in seconds.

    Attributes:
        warm_up: ordinary traffic before the fault.
        first: from the fault to the first surge.
        surge: how long a surge lasts.
        every: from the beginning of one surge to the next.
        surges: at least so many.
        afterwards: one more surge once everything has recovered.
    """

    warm_up: float = 3.0
    first: float = 1.0
    surge: float = 12.0
    every: float = 20.0
    surges: int = 1
    afterwards: bool = False
    workers: int = 2


def run(servers: Servers, fault: Fault, plan: Plan, seed: int, name: str) -> Outcome:
    """Run one scenario; whatever happens, what it started is stopped."""
    stage = Stage(servers, name, fault.settings(servers), plan.workers, seed)
    times = Times()
    try:
        fault.prepare(stage)
        stage.start()
        time.sleep(plan.warm_up)
        times.injected = time.time()
        with _surging(stage.load, plan) as enough:
            fault.inject(stage)
            time.sleep(max(0.0, times.injected + fault.lasts - time.time()))
            fault.heal(stage)
            times.healed = time.time()
            _recover(stage, times)
            enough.wait(plan.first + plan.every * plan.surges)
        _await_told(stage, fault, times)
        if plan.afterwards:
            with _surging(stage.load, Plan(first=0.0, surge=plan.surge)) as enough:
                enough.wait(plan.surge)
            _await_told(stage, fault, times)
        stage.load.stop()
        with contextlib.suppress(TimeoutError):
            ends = stage.end_offsets()
            stage.until(lambda: stage.caught_up(ends), 90, "the rest of the topic was not counted")
        counted = stage.cluster.store.totals()
        recounted = recount(stage.cluster.line, [(r.key, r.value) for r in stage.records()])
        return _judge(stage, fault, times).outcome(counted, recounted, fault.lost_on_purpose(stage), stage.ended)
    except Exception as error:
        # A scenario that cannot be carried through is a broken promise of its own, and the others go on.
        return Outcome(fault.name, fault.about, broken=[f"the scenario failed: {type(error).__name__}: {error}"])
    finally:
        with contextlib.suppress(Exception):
            fault.clean(stage)
        stage.close()


def _judge(stage: Stage, fault: Fault, times: Times) -> Judge:
    told = [t for t in stage.servers.receiver.told if t.labels.get("group") == stage.topic]
    return Judge(fault, times, stage.load, told)


def _recover(stage: Stage, times: Times) -> None:
    """Wait until what was sent before the healing is counted."""
    until = time.monotonic() + RECOVERY_SECONDS
    ends: dict[int, int] = {}
    while time.monotonic() < until:
        with contextlib.suppress(Exception):  # Kafka and Redis may still be coming up
            ends = ends or stage.end_offsets()
            if ends and stage.caught_up(ends):
                times.recovered = time.time()
                return
        time.sleep(0.1)


def _await_told(stage: Stage, fault: Fault, times: Times) -> None:
    """Wait until every surge was told, or can only be told too late."""
    while True:
        judge = _judge(stage, fault, times)
        due = max((judge.due(s) for s in stage.load.surges), default=0.0)
        if judge.all_told() or time.time() > due + WITHIN_SECONDS:
            return
        time.sleep(0.1)


@contextlib.contextmanager
def _surging(load: Load, plan: Plan):
    """Surges one after the other from a thread, until the context ends; yields an event: enough of them began."""
    over, enough = threading.Event(), threading.Event()

    def surge_on() -> None:
        over.wait(plan.first)
        begun = 0
        while not (over.is_set() and begun >= plan.surges):
            surge = load.begin_surge()
            begun += 1
            time.sleep(plan.surge)
            load.end_surge(surge)
            if begun >= plan.surges:
                enough.set()
            over.wait(max(0.0, plan.every - plan.surge))

    thread = threading.Thread(target=surge_on, name="chaos-surges")
    thread.start()
    try:
        yield enough
    finally:
        over.set()
        thread.join()
