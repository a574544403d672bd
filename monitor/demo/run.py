"""Runs the demo: streams embeddings with one surge, and checks that one alert is raised and resolved.

The report is counted from the topic, which is read again, and from Redis. Nothing comes from the worker, which is a
process of its own and is killed once on the way.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from monitor.alerts import alert as alerts
from monitor.config import MonitorConfig, validate
from monitor.errors import MonitorError
from monitor.judging.rules import budget
from monitor.judging.spending import spending
from monitor.messages.times import now_ms
from monitor.service.assembly import open_store
from monitor.store.counts import CountKey, samples_in
from monitor.store.redis import RedisStore
from monitor.testing import launcher

if TYPE_CHECKING:
    from torch import Tensor

TOPIC, PARTITIONS, STREAM = "embeddings", 3, "digits"


@dataclass(frozen=True)
class Plan:
    """How many samples are streamed before, during and after the surge, one every ``step_ms`` of event time."""

    before: int = 3000
    surge: int = 1500
    after: int = 3000
    contamination: float = 0.2
    step_ms: int = 10
    bucket_seconds: float = 0.2

    @property
    def samples(self) -> int:
        """The number of all samples."""
        return self.before + self.surge + self.after


def run(folder: str, *, method: str = "line", contamination: float = 0.2, seed: int = 0, as_json: bool = False) -> int:
    """Run the demo on the quickstart model. Returns the exit code, 0 if everything went as expected."""
    from monitor.demo.material import material

    say: Callable[[str], None] = (lambda text: print(text, file=sys.stderr)) if as_json else print
    say("the quickstart model: reading it, or training it (about a minute, once)")
    made = material(folder, method)
    result = demonstrate(
        made.artifact.resolve(),
        made.in_distribution,
        made.out_of_distribution,
        Plan(contamination=contamination),
        seed=seed,
        say=say,
    )
    if as_json:
        print(json.dumps(result))
    good = (result["raised"], result["resolved"], result["lost"], result["counted_twice"]) == (1, 1, 0, 0)
    return 0 if good else 1


def demonstrate(
    artifact: Path,
    in_distribution: Tensor,
    out_of_distribution: Tensor,
    plan: Plan,
    *,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Stream embeddings with a surge through a broker, a worker and a Redis of their own.

    Args:
        artifact: a fitted and calibrated LINe or Panel.
        in_distribution: (N, D) float32 embeddings that did not calibrate the artifact; drawn with replacement.
        out_of_distribution: (M, D) float32.
        plan: how many samples to stream.
        seed: of the draw.
        say: called with a line about each step.

    Returns:
        ``raised``, ``resolved``, ``lost``, ``counted_twice``, ``delay`` (samples from the begin of the surge to the
        end of the bucket that raised), and ``budget``.
    """
    with launcher.local() as (broker, redis), tempfile.TemporaryDirectory(prefix="ood-monitor-demo-") as scratch:
        say(f"broker ({broker.name}) on {broker.address}, Redis ({redis.name}) on {redis.address}")
        config, path = _settings(artifact, broker, redis, Path(scratch), plan)
        for topic, partitions in ((TOPIC, PARTITIONS), (config.dead_letter_topic, 1)):
            launcher.create_topic(broker.address, topic, partitions)
        surge_ms = _publish(broker.address, in_distribution, out_of_distribution, plan, seed)
        say(
            f"{plan.samples} embeddings in topic {TOPIC!r}; OOD share {plan.contamination:.0%} in {plan.surge} of them "
            f"from {alerts.moment(surge_ms / 1000)}"
        )
        store = open_store(config)
        _work(path, Path(scratch), store, plan, say)
        return _report(config, store, surge_ms, say)


def _settings(
    artifact: Path, broker: launcher.Server, redis: launcher.Server, folder: Path, plan: Plan
) -> tuple[MonitorConfig, Path]:
    data = {
        "model": {"artifact": str(artifact), "threads": 1},
        "kafka": {
            "bootstrap_servers": broker.address,
            "topic": TOPIC,
            "group": "demo",
            "start": "earliest",
            "session_timeout_ms": 6000,
            "heartbeat_interval_ms": 500,
            "max_poll_records": 250,
        },
        "redis": {"url": f"redis://{redis.address}/0"},
        "buckets": {"seconds": plan.bucket_seconds, "idle_seconds": 2.0},
        "alerts": {"silence_seconds": 0},
    }
    path = folder / "monitor.yml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return validate(data), path


def _publish(bootstrap: str, ind: Tensor, ood: Tensor, plan: Plan, seed: int) -> int:
    """Fill the topic, and return the event time at which the surge begins."""
    from monitor.publishing.publisher import EmbeddingPublisher

    rng = np.random.default_rng(seed)
    rows = ind[rng.integers(0, len(ind), plan.samples)].clone()
    surging = np.zeros(plan.samples, bool)
    surging[plan.before : plan.before + plan.surge] = rng.random(plan.surge) < plan.contamination
    rows[surging] = ood[rng.integers(0, len(ood), int(surging.sum()))]
    begin = now_ms() - plan.samples * plan.step_ms
    begin -= begin % round(plan.bucket_seconds * 1000)  # the surge begins with a bucket
    times = [begin + n * plan.step_ms for n in range(plan.samples)]
    names = [f"{'ood' if out else 'id'}-{n}" for n, out in enumerate(surging)]
    publisher = EmbeddingPublisher(bootstrap, TOPIC, source="ood-monitor demo", max_pending=plan.samples)
    publisher.publish(rows, stream=STREAM, ids=names, times_ms=times)
    publisher.close(30)
    if publisher.sent != plan.samples:
        raise MonitorError(
            f"{publisher.sent} of {plan.samples} embeddings were acknowledged by the broker: run the demo again"
        )
    return times[plan.before]


def _work(config: Path, folder: Path, store: RedisStore, plan: Plan, say: Callable[[str], None]) -> None:
    """Run a worker, kill it in the middle of the topic, and run another one to the end."""
    shown: set[str] = set()

    def show() -> bool:
        for event in reversed(store.history()):
            if event["id"] not in shown:
                shown.add(event["id"])
                say(f"  {alerts.line(event)}")
        return True

    def counted() -> int:
        return samples_in(store.totals())

    with _worker(config, folder) as first:
        _until(lambda: show() and counted() >= plan.samples // 3, first, folder)
        first.kill()
    say(f"worker killed with SIGKILL after {counted()} embeddings; another one takes over")
    with _worker(config, folder) as second:
        _until(lambda: show() and counted() >= plan.samples and _settled(store), second, folder)
        show()


def _settled(store: RedisStore) -> bool:
    """Whether all counts have been judged."""
    return not store.pending(-1, 2**52)


@contextmanager
def _worker(config: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "monitor.cli", "run", "--config", str(config)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path[1:]])}
    with (folder / "worker.log").open("ab") as log:
        # A session of its own: Ctrl-C reaches the demo, which then stops the worker in order.
        process = subprocess.Popen(  # noqa: S603  this very program
            command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()


def _until(done: Callable[[], bool], worker: subprocess.Popen[bytes], folder: Path, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not done():
        if worker.poll() is not None or time.monotonic() > until:
            output = " ".join((folder / "worker.log").read_text(encoding="utf-8", errors="replace").split())[-600:]
            raise MonitorError(f"the worker ended or stalled (code {worker.poll()}): {output}")
        time.sleep(0.1)


def _report(config: MonitorConfig, store: RedisStore, surge_ms: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Recount the topic, and compare with Redis."""
    recounted, times = _recount(config)
    counted = store.totals()
    keys = set(recounted) | set(counted)
    gaps = [counted.get(k, 0) - recounted.get(k, 0) for k in keys]
    events = list(reversed(store.history()))
    raised = [e for e in events if e["change"] == "raised"]
    delay = None
    if raised:
        end_ms = (int(raised[0]["bucket"]) + 1) * config.bucket_ms
        delay = sum(surge_ms <= t < end_ms for t in times)
    result = {
        "raised": len(raised),
        "resolved": sum(e["change"] == "resolved" for e in events),
        "lost": -sum(g for g in gaps if g < 0),
        "counted_twice": sum(g for g in gaps if g > 0),
        "delay": delay,
        "budget": f"1 false alert per {config.alerts.requests:,.0f} requests",
    }
    say(
        f"from the topic ({len(times)} records) and from Redis: raised {result['raised']}, resolved "
        f"{result['resolved']}, lost {result['lost']}, counted twice {result['counted_twice']}"
    )
    say(f"detection delay: {delay} samples after the surge began")
    say(f"budget: {spending(store, budget(config.alerts))}")
    return result


def _recount(config: MonitorConfig) -> tuple[Mapping[CountKey, int], list[int]]:
    """Count the topic with a separate consumer and the worker's counter. Returns counts and event times."""
    from monitor.counting.counter import Counter
    from monitor.counting.recount import Recount
    from monitor.service.assembly import open_models
    from monitor.service.reading_topic import read_topic

    recount = Recount(Counter(open_models(config), config.bucket_ms, 0))
    times = [t for records in read_topic(config.kafka) for read, _ in recount.add(records) for t in read.rows.times_ms]
    return recount.totals(), times
