"""The phases of a soak, one after the other, and what became of the promises: see :mod:`benchmarks.streaming.soak`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.streaming.pacing import STREAMS, block
from benchmarks.streaming.quota import CpuQuota
from benchmarks.streaming.sampling import Sampler
from monitor.store.redis import RedisStore
from tests.chaos.receiver import Told
from tests.cluster import REPOSITORY, Cluster, differences

OOD_SHARE = 0.2
BURST = 10
TOLD_WITHIN = 30.0


@dataclass(frozen=True)
class Plan:
    """How long and how much.

    Attributes:
        minutes: ID traffic at ``load`` of the capacity.
        load: that share.
        burst_seconds: ten times of it.
        afterwards: share of the capacity that is sent while the worker catches up.
        quota: of one core, for the worker; 0 for no bound.
        rate: records a second in place of ``load`` of a measured capacity; 0 to measure.
        genuine: Apache Kafka and Alertmanager; else Tansu, and no receiver.
        minute: seconds between two lines.
        seed: of the rows.
    """

    minutes: float = 60.0
    load: float = 0.8
    burst_seconds: float = 60.0
    afterwards: float = 0.2
    quota: float = 0.2
    rate: float = 0.0
    genuine: bool = True
    minute: float = 60.0
    seed: int = 1000


@dataclass
class Found:
    """What a soak found; ``broken`` says in words which promise was not kept."""

    capacity: float = 0.0
    rate: float = 0.0
    sent: int = 0
    lost: int = 0
    counted_twice: int = 0
    rejected: int = 0
    burst_rate: float = 0.0
    backlog: int = 0
    recovered_seconds: float | None = None
    false_alerts: list[str] = field(default_factory=list)
    about_itself: list[str] = field(default_factory=list)
    raised_seconds: float | None = None
    told_seconds: float | None = None
    resolved_seconds: float | None = None
    minutes: list[dict[str, Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Sender:
    """The process that sends, and what it was told to do."""

    def __init__(self, cluster: Cluster, ticks: Path, seed: int) -> None:
        options = {
            "bootstrap": cluster.bootstrap, "topic": cluster.topic, "partitions": cluster.partitions, "seed": seed,
            "ticks": str(ticks),
        }  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.streaming.pacing", json.dumps(options)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=cluster.environment()
        )

    def order(self, rate: float, share: float = 0.0) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{rate} {share}\n")
        self._process.stdin.flush()

    def finish(self) -> dict[str, Any]:
        out, _ = self._process.communicate(timeout=180)
        return dict(json.loads(out.splitlines()[-1]))

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Soak:
    """One run, phase by phase."""

    def __init__(self, plan: Plan, cluster: Cluster, sampler: Sampler, sender: Sender, under: CpuQuota | None) -> None:
        self.plan, self.cluster, self.sampler, self.sender, self.under = plan, cluster, sampler, sender, under
        self.found = Found()
        self._spans: list[tuple[float, float]] = []

    def wait(self, what: Callable[[], bool], seconds: float) -> bool:
        """Whether it came true within so long; the worker must live meanwhile."""
        until = time.monotonic() + seconds
        while not what():
            if time.monotonic() > until:
                return False
            if self.cluster.workers[0].poll() is not None:
                raise RuntimeError(f"the worker ended by itself\n{self.cluster.logs()}")
            time.sleep(0.1)
        return True

    def measure_capacity(self, backlog_seconds: float = 25.0) -> float:
        """Records a second while a backlog is worked off, the lower of two."""
        rates, guess = [], 3000.0
        for _ in range(2):
            self.sender.order(10 * guess)
            self.wait(lambda: False, backlog_seconds / 10)
            self.sender.order(0)
            first, began = self.sampler.counted(), time.monotonic()
            goal = first + 0.9 * (self.sampler.sent() - first)
            if not self.wait(lambda goal=goal: self.sampler.counted() >= goal, 20 * backlog_seconds):
                raise RuntimeError("a backlog was not worked off: no capacity can be told")
            guess = (self.sampler.counted() - first) / (time.monotonic() - began)
            rates.append(guess)
            self.wait(lambda: self.sampler.counted() >= self.sampler.sent(), 60)
        return min(rates)

    def minutes(self, phase: str, seconds: float) -> None:
        """Let so much time pass; a line for every minute of it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end - 0.5:
            self.line(phase, min(self.plan.minute, end - time.monotonic()))

    def line(self, phase: str, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """One line of the table, after so many seconds or as soon as ``until``; whether that came true."""
        begin, sent, counted = time.time(), self.sampler.sent(), self.sampler.counted()
        before = self.sampler.sizes()
        throttled = self.under.throttled_periods() if self.under else (0, 0)
        done = self.wait(until, seconds)
        spent = time.time() - begin
        now = self.sampler.sizes()
        after = self.under.throttled_periods() if self.under else (0, 0)
        periods = max(1, after[0] - throttled[0])
        row = {
            "minute": round((begin + spent - self._began) / 60, 2), "phase": phase,
            "sent/s": round((self.sampler.sent() - sent) / spent),
            "counted/s": round((self.sampler.counted() - counted) / spent),
            "lag": self.sampler.sent() - self.sampler.counted(), "p50 ms": None, "p99 ms": None,
            "of a core %": round(100 * (now["CPU s"] - before["CPU s"]) / spent, 1),
            "throttled %": round(100 * (after[1] - throttled[1]) / periods) if self.under else None,
            **{k: v for k, v in now.items() if k != "CPU s"},
        }  # fmt: skip
        self._spans.append((begin * 1000, (begin + spent) * 1000))
        self.found.minutes.append(row)
        self._time(len(self._spans) - 1)
        print(json.dumps(row), flush=True)
        return done

    def _time(self, n: int) -> None:
        ms = self.sampler.latencies(*self._spans[n])
        if len(ms):
            p50, p99 = np.percentile(ms, [50, 99])
            self.found.minutes[n] |= {"p50 ms": round(float(p50)), "p99 ms": round(float(p99))}

    def run(self, told: list[Told]) -> Found:
        plan, found = self.plan, self.found
        self._began = time.time()
        self.sender.order(100)
        if not self.wait(lambda: self.sampler.counted() > 0, 120):
            raise RuntimeError(f"the worker never began to count\n{self.cluster.logs()}")
        self.wait(lambda: len(self.cluster.store.partitions()) == self.cluster.partitions, 60)
        if self.under:
            self.under.add(self.cluster.workers[0].pid)
        found.capacity = plan.rate / plan.load if plan.rate else self.measure_capacity()
        found.rate = plan.load * found.capacity
        print(json.dumps({"capacity/s": round(found.capacity), "rate/s": round(found.rate)}), flush=True)
        self.sender.order(found.rate)
        self.minutes("steady", plan.minutes * 60)
        self._burst()
        self.sender.order(found.rate)
        self.minutes("steady again", plan.minute)
        null = self.cluster.store.history(10_000)
        self._surge(told)
        self._judge(null, told)
        return found

    def _burst(self) -> None:
        plan, found = self.plan, self.found
        sent, began = self.sampler.sent(), time.monotonic()
        self.sender.order(BURST * found.rate)
        self.line("burst", plan.burst_seconds)
        self.sender.order(plan.afterwards * found.capacity)
        found.burst_rate = (self.sampler.sent() - sent) / (time.monotonic() - began)
        found.backlog = self.sampler.sent() - self.sampler.counted()
        over, left = time.monotonic(), float("inf")
        while left > (
            left := self.sampler.sent() - self.sampler.counted()
        ):  # as long as there is less of it each minute
            if self.line("catching up", plan.minute, lambda: self.sampler.behind_ms() < 1000):
                found.recovered_seconds = time.monotonic() - over
                return

    def _surge(self, told: list[Told]) -> None:
        """One stream turns 20 % OOD, and is ID again once that was told."""
        store, found, began, at = self.cluster.store, self.found, time.monotonic(), time.time()

        def has(change: str) -> Callable[[], bool]:
            return lambda: any(
                h["kind"] == "ood" and h["stream"] == STREAMS[0] and h["change"] == change for h in _later(store, at)
            )

        def heard() -> bool:
            return any(t.kind == "ood" and t.stream == STREAMS[0] and t.at > at for t in list(told))

        self.sender.order(found.rate, OOD_SHARE)
        if self.wait(has("raised"), 120):
            found.raised_seconds = time.monotonic() - began
            if self.plan.genuine and self.wait(heard, 60):
                found.told_seconds = time.monotonic() - began
        self.sender.order(found.rate)
        ended = time.monotonic()
        if self.wait(has("resolved"), 180):
            found.resolved_seconds = time.monotonic() - ended

    def _judge(self, null: list[dict[str, str]], told: list[Told]) -> None:
        found, store = self.found, self.cluster.store
        said = self.sender.finish()
        caught_up = self.wait(lambda: self.sampler.counted() >= said["sent"], 120)
        for n in range(len(self._spans)):
            self._time(n)
        self.line("the end", 0.0)
        found.sent = said["sent"]
        counted, expected = store.totals(), recount(self.cluster.line, self.plan.seed, said["blocks"])
        found.lost, found.counted_twice = differences(counted, expected)
        found.rejected = sum(store.rejected().values())
        raised = [h for h in null if h["change"] == "raised"]
        found.false_alerts = [
            f"{h['kind']} of {h['stream'] or 'everything'}" for h in raised if h["kind"] in ("ood", "silence")
        ]
        found.about_itself = sorted(
            Counter(
                f"{h['kind']}: {h.get('subject') or h.get('stream')}"
                for h in store.history(10_000)
                if h["kind"] not in ("ood", "silence")
            ).elements()
        )
        tests = [
            (said["failed"], f"the sender could not send {said['failed']} records"),
            (not caught_up, "the rest of the topic was not counted"),
            (found.lost, f"{found.lost} samples were lost"),
            (found.counted_twice, f"{found.counted_twice} samples were counted twice"),
            (found.rejected, f"{found.rejected} records were rejected, of which none is bad"),
            (found.false_alerts, f"false alerts: {', '.join(found.false_alerts)}"),
            (found.recovered_seconds is None, "the worker never caught up after the burst"),
            (found.raised_seconds is None or found.raised_seconds > TOLD_WITHIN, "the surge was not raised in time"),
            (self.plan.genuine and found.told_seconds is None, "nobody was told of the surge"),
            (found.resolved_seconds is None, "the alert was not resolved after the surge"),
        ]  # fmt: skip
        found.broken = [text for broken, text in tests if broken]


def _later(store: RedisStore, at: float) -> list[dict[str, str]]:
    return [h for h in store.history(1000) if int(h["id"].split("-")[0]) > at * 1000]


def recount(line: Any, seed: int, blocks: list[list[float]]) -> dict[tuple[str, int, int], int]:
    """``(stream, predicted class, cell)`` to samples of what the sender says it sent."""
    counts: Counter[tuple[str, int, int]] = Counter()
    bounds = np.array(line.calibration.cell_bounds())
    for number, share, used in blocks:
        rows, streams = block(seed, int(number), share)
        rows, streams = rows[: int(used)], streams[: int(used)]
        if not len(rows):
            continue
        classes, confidences = line.predict(torch.from_numpy(rows))
        cells = (confidences.numpy()[:, None] >= bounds).sum(axis=1)
        found, each = np.unique(np.stack([streams, classes.numpy(), cells], axis=1), axis=0, return_counts=True)
        for (stream, predicted, cell), n in zip(found.tolist(), each.tolist(), strict=True):
            counts[STREAMS[stream], predicted, cell] += n
    return dict(counts)
