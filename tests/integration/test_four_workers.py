"""Four processes on one topic: each partition counted by one at a time, and judged by one whoever is killed."""

from __future__ import annotations

import json
import time

from monitor.config import load
from monitor.math.fold import fold
from monitor.math.state import Bucket, MonitorState
from monitor.service.assembly import open_models, rules_of
from monitor.store.counts import by_key
from tests.cluster import differences
from tests.monitor_support import embeddings

LEASE_SECONDS = 15


def holder(c) -> str:
    return c.store.client.hget(c.store.keys.lease, "holder") or ""


def owned(c) -> list[int]:
    """How many partitions each worker says that it has."""
    return sorted(json.loads(entry)["partitions"] for _, entry in c.store.health().workers.values())


def worker_that_judges(c):
    pid = int(holder(c).split(":")[1])
    return next(w for w in c.workers if w.pid == pid)


def judged_by_one(c) -> list[tuple[str, str, str]]:
    """What one evaluator says of the buckets as they were counted: name of the event, episode and change."""
    config = load(c.path, {})
    the_rules = rules_of(config, open_models(config))
    state, said = MonitorState.new(the_rules), []
    buckets = sorted(int(k.rsplit(":", 1)[1]) for k in c.store.client.scan_iter(c.store.keys.counts(0)[:-1] + "*"))
    for b in buckets:
        state, found = fold(
            state, Bucket(b, float(b), b + 1.0, by_key(c.store.counts(b), the_rules.all_cells)), the_rules
        )
        said += [(t.event, t.alert.identity, t.change) for t in found]
    return said


def test_four_workers_count_each_partition_once_and_alert_as_one_though_the_one_that_judges_is_killed(cluster):
    c = cluster(partitions=8, alerts={"requests_per_false_alert": 1000, "silence_seconds": 0})
    begin = time.time_ns() // 1_000_000 - 600_000
    for _ in range(4):
        c.start_worker()
    c.publish(800, begin)
    c.wait(lambda: holder(c) and owned(c) == [2, 2, 2, 2], 180)
    before, outside = c.counted(), embeddings(2000, seed=12, ood=1.0)
    c._rows, inside = outside, c._rows  # a surge, in the middle of which the worker that judges is killed
    c.publish(800, begin + 5 * 800)
    c.wait(lambda: c.counted() > before)
    first, killed_at = holder(c), time.monotonic()
    c.kill(worker_that_judges(c))
    c._rows = inside
    c.publish(4000, begin + 5 * 1600)
    c.wait(lambda: holder(c) not in ("", first), 3 * LEASE_SECONDS)
    assert time.monotonic() - killed_at < LEASE_SECONDS + 10
    c.wait_until_counted(180)
    c.publish(8, begin + 5 * 5600 + 60_000)  # closes what came before
    c.wait_until_counted(60)
    assert differences(c.store.totals(), c.recounted()) == (0, 0)
    assert sum(c.store.totals().values()) == c.sent
    assert {str(p): s.next for p, s in c.store.partitions().items()} == {
        f"{c.topic}/{n}": c.sent // 8 for n in range(8)
    }
    c.wait(lambda: not c.store.pending(-1, 10**12), 60)
    told = [(h["event"], h["episode"], h["change"]) for h in reversed(c.store.history(1000)) if h["kind"] == "ood"]
    assert told == judged_by_one(c)
    assert "raised" in {change for _, _, change in told}
