"""Redis away, Redis wiped, bad records: on real servers, with real processes."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from line_plugin import LINe
from monitor.store.keys import Keys
from monitor.store.verdicts import AlertWrite, Fold
from monitor.testing import launcher
from tests.cluster import Cluster, differences
from tests.monitor_support import embeddings

pytestmark = pytest.mark.slow


def test_redis_away_and_back_loses_nothing(broker, tmp_path):
    data = tmp_path / "redis"
    data.mkdir()
    redis = launcher.start_store(folder=data)
    c = Cluster(broker.address, f"redis://{redis.address}/0", tmp_path, "redis-away")
    try:
        c.publish(500)
        c.start_worker()
        c.wait_until_counted()
        redis.stop()
        c.publish(500)
        time.sleep(1.0)  # the worker polls on without its store
        redis = launcher.start_store(port=redis.port, folder=data)
        c.wait_until_counted()
        assert differences(c.store.totals(), c.recounted()) == (0, 0)
        assert "nothing is lost" in c.logs()
        assert "counting continues" in c.logs()
    finally:
        c.stop()
        redis.stop()


def test_redis_wiped_is_rebuilt_from_the_topic_and_said(cluster):
    c = cluster()
    c.publish(600)
    c.start_worker()
    c.wait_until_counted()
    keys = c.store._client.keys(f"*{{{c.topic}}}*")
    c.store._client.delete(*keys)
    c.publish(100)
    c.wait_until_counted()
    assert differences(c.store.totals(), c.recounted()) == (0, 0)
    assert "it was wiped; counting again from offset 0" in c.logs()


ROW = embeddings(1, seed=1)[0]
HOLED = ROW.copy()
HOLED[2] = np.nan
KINDS = {
    "empty-value": (None, []),
    "bad-key": (ROW.tobytes(), []),
    "bad-header": (ROW.tobytes(), [("ce_dim", b"eight")]),
    "unknown-content-type": (ROW.tobytes(), [("content-type", b"image/png")]),
    "undecodable": (b"{", [("content-type", b"application/json")]),
    "wrong-model": (ROW.tobytes(), [("ce_model", b"another")]),
    "wrong-dtype": (ROW.tobytes(), [("ce_dtype", b"int8")]),
    "wrong-width": (ROW.tobytes()[:-4], []),
    "wrong-size": (ROW.tobytes()[:-1], []),
    "non-finite": (HOLED.tobytes(), []),
    "too-large": (b"x" * 5000, []),
    "too-old": (ROW.tobytes(), [("ce_time", b"2001-01-01T00:00:00Z")]),
    "from-the-future": (ROW.tobytes(), [("ce_time", b"2101-01-01T00:00:00Z")]),
}


def test_each_kind_of_bad_record_lands_in_the_dead_letters_by_name_and_the_good_ones_around_it_count(cluster):
    c = cluster(messages={"model": "served", "max_bytes": 4096}, dead_letters={"max_share": 0.9})
    sent = {}
    for n, (reason, (value, headers)) in enumerate(KINDS.items()):
        good = [("ce_model", b"served")]
        named = headers if any(k == "ce_model" for k, _ in headers) else [*good, *headers]
        key = b"\xff\xfe" if reason == "bad-key" else b"tenant"
        whole = {"value": ROW.tobytes(), "headers": good, "key": b"tenant"}
        for part in (whole, {"value": value, "headers": named, "key": key}):
            future = c.producer().send(c.topic, partition=n % 3, timestamp_ms=int(time.time() * 1000), **part)
            sent[reason] = future.get(30)
    c.sent = 2 * len(KINDS)
    c.start_worker()
    c.wait_until_counted()
    assert c.store.rejected() == dict.fromkeys(KINDS, 1)
    assert sum(c.store.totals().values()) == len(KINDS)
    letters = {}
    for r in c.records(f"{c.topic}.dead-letter"):
        headers = dict(r.headers)
        letters[headers["dead-letter-reason"].decode()] = headers
        assert headers["dead-letter-error"]
    assert set(letters) == set(KINDS)
    for reason, where in sent.items():
        place = (letters[reason]["dead-letter-partition"], letters[reason]["dead-letter-offset"])
        assert place == (str(where.partition).encode(), str(where.offset).encode())


def test_a_topic_of_bad_records_stops_the_worker_with_one_line(cluster):
    c = cluster(dead_letters={"window": 50, "at_limit": "stop"})
    for _ in range(200):
        c.producer().send(c.topic, value=b"short", partition=0)
    c.producer().flush()
    worker = c.start_worker()
    assert worker.wait(60) == 1
    c.workers.clear()
    assert "over the limit of 10% of 50" in c.logs()
    assert "Traceback" not in c.logs()


def test_a_surge_is_raised_and_resolved_by_processes_of_which_one_is_killed(cluster):
    c = cluster(buckets={"seconds": 0.2, "idle_seconds": 2.0}, kafka={"max_poll_records": 100})
    begin = (time.time_ns() // 1_000_000) - 60_000
    rows = np.concatenate([embeddings(1500, 31), embeddings(1000, 32, ood=0.5), embeddings(2500, 33)])
    for n, row in enumerate(rows):
        c.producer().send(
            c.topic, value=row.tobytes(), key=b"m", partition=n % 6, timestamp_ms=begin + 10 * n,
            headers=[("ce_id", b"r%d" % n)],
        )  # fmt: skip
    c.producer().flush()
    c.sent = len(rows)
    first = c.start_worker()
    c.wait(lambda: c.counted() > 800)
    c.kill(first)
    c.start_worker()
    c.wait(lambda: c.counted() >= c.sent and not c.store.pending(-1, 2**50))
    history = list(reversed(c.store.history()))
    assert [h["change"] for h in history if h["change"] != "updated"] == ["raised", "resolved"]
    raised = history[0]
    assert raised["artifact"] == LINe.load(c.config["model"]["artifact"]).content_sha256
    ids = [int(e["id"][1:]) for e in json.loads(raised["examples"])]
    assert all(1500 <= n < 2500 for n in ids[:1])
    assert c.store._client.ttl(Keys(c.topic).alert(raised["fingerprint"])) > 0


def test_an_alert_wakes_up_a_subscriber(cluster):
    c = cluster()
    listener = c.store._client.pubsub()
    listener.subscribe(c.store.keys.channel)
    assert listener.get_message(timeout=5)["type"] == "subscribe"
    token = c.store.lease("me", 10_000)
    c.store.apply(Fold(token, 1, -1, {}, [AlertWrite("f1", {"status": "firing"}, 10_000, 1)]))
    assert listener.get_message(timeout=5)["data"] == "f1"
    listener.close()
