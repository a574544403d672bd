"""One worker for an hour: ``python -m benchmarks.streaming.soak``.

``ood-monitor run`` counts and judges ID traffic at 80 % of its capacity for ``--minutes``, then a burst of ten times
that for ``--burst-seconds``, then catches up while ``--afterwards`` of its capacity goes on being sent, then goes on at
80 %; at last one stream turns 20 % OOD. Apache Kafka, Redis and Alertmanager with a webhook behind it run beside it on
loopback ports. The worker gets ``--quota`` of one core, so that its capacity is known and stays the same while other
programs use the machine; the capacity is measured under that quota, as the rate at which a backlog is worked off.

What was sent is known from the sender, row by row, and is scored once more by a program that shares nothing with the
worker but LINe: that tells what was lost or counted twice. Every minute is a line of ``--csv``; the exit code is 1 if a
promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.streaming.phases import Found, Plan, Sender, Soak
from benchmarks.streaming.quota import quota
from benchmarks.streaming.sampling import Sampler
from monitor.store.connection import connect
from monitor.store.redis import RedisStore
from monitor.testing import launcher
from tests.chaos.receiver import Receiver, Told
from tests.chaos.stage import start_alertmanager, write_routing
from tests.cluster import Cluster
from tests.kafka.apache import start_apache_kafka
from tests.monitor_support import embeddings, small_line

CALIBRATION = 50_000
DAYS_PER_FALSE_ALERT = 30.0
"""At 3,000 requests a second: one false alert in 7.8 billion requests."""


@contextlib.contextmanager
def servers(plan: Plan, folder: Path) -> Iterator[tuple[str, str, dict[str, Any], list[Told]]]:
    """A broker and a store: their addresses, settings of the worker's delivery, and who was told of what."""
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(launcher.start_store())
        if not plan.genuine:
            yield stack.enter_context(launcher.start_broker()).address, redis.address, {}, []
            return
        kafka = stack.enter_context(start_apache_kafka())
        receiver = Receiver()
        stack.callback(receiver.close)
        (folder / "alertmanager").mkdir()
        write_routing(folder, receiver.url)
        alertmanager = stack.enter_context(start_alertmanager(folder))
        yield kafka.address, redis.address, {"alertmanager_url": f"http://{alertmanager.address}"}, receiver.told


def soak(plan: Plan, folder: Path) -> Found:
    """Run it; whatever happens, what it started is stopped."""
    line = small_line()
    line.calibrate(torch.from_numpy(embeddings(CALIBRATION, seed=plan.seed - 1)))
    line.save(folder / "soak.safetensors")
    with contextlib.ExitStack() as stack:
        kafka, redis, delivery, told = stack.enter_context(servers(plan, folder))
        under = stack.enter_context(quota(plan.quota)) if plan.quota else None
        cluster = Cluster(
            kafka, f"redis://{redis}/0", folder, "soak",
            model={"artifact": str(folder / "soak.safetensors")},
            kafka={"max_poll_records": 1000, "session_timeout_ms": 45_000, "heartbeat_interval_ms": 3000},
            alerts={"days_per_false_alert": DAYS_PER_FALSE_ALERT, "requests_per_second": 3000, "silence_seconds": 60},
            delivery=delivery,
        )  # fmt: skip
        cluster.line = line
        stack.callback(cluster.stop)
        worker = cluster.start_worker()
        sampler = Sampler(RedisStore(connect(f"redis://{redis}/0"), "soak"), worker.pid, folder / "ticks", 6)
        stack.callback(sampler.close)
        sender = Sender(cluster, folder / "ticks", plan.seed)
        stack.callback(sender.close)
        return Soak(plan, cluster, sampler, sender, under).run(told)


def show(rows: list[dict[str, Any]]) -> str:
    """The lines as a table in Markdown."""
    lines = [f"| {' | '.join(rows[0])} |", "|" + "-|" * len(rows[0])]
    return "\n".join(lines + ["| " + " | ".join("" if v is None else str(v) for v in r.values()) + " |" for r in rows])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming.soak", description=__doc__.split("\n\n")[1])
    parser.add_argument("--minutes", type=float, default=Plan.minutes)
    parser.add_argument("--burst-seconds", type=float, default=Plan.burst_seconds)
    parser.add_argument("--load", type=float, default=Plan.load, help="share of the capacity")
    parser.add_argument("--afterwards", type=float, default=Plan.afterwards, help="the same while it catches up")
    parser.add_argument("--quota", type=float, default=Plan.quota, help="of one core, for the worker; 0: no bound")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--csv", type=Path, help="a line a minute")
    parser.add_argument("--json", type=Path, help="write everything there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is stopped, as with Ctrl-C
    plan = Plan(
        minutes=options.minutes, burst_seconds=options.burst_seconds, load=options.load, afterwards=options.afterwards,
        quota=options.quota, seed=options.seed,
    )  # fmt: skip
    machine = {
        "date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(), "plan": vars(plan),
    }  # fmt: skip
    print(json.dumps(machine), flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        found = soak(plan, Path(folder))
    print(show(found.minutes))
    print(json.dumps({k: v for k, v in vars(found).items() if k != "minutes"}), flush=True)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(found.minutes[0]))
            writer.writeheader()
            writer.writerows(found.minutes)
    if options.json:
        options.json.write_text(json.dumps({**machine, **vars(found)}, indent=1) + "\n")
    return int(bool(found.broken))


if __name__ == "__main__":
    sys.exit(main())
