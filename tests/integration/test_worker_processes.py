"""Processes of ``ood-monitor run`` on a broker and a Redis."""

from __future__ import annotations

from tests.cluster import differences, kill_at_random


def test_one_worker_counts_a_topic_and_finishes_on_sigterm(cluster):
    c = cluster()
    c.publish(3000)
    worker = c.start_worker()
    c.wait_until_counted()
    assert c.store.totals() == c.recounted()
    assert sum(c.store.totals().values()) == 3000
    worker.terminate()
    assert worker.wait(15) == 0
    assert "the batch in hand is counted" in c.logs()
    assert "Traceback" not in c.logs()


def test_workers_killed_at_random_lose_nothing_and_count_nothing_twice(cluster):
    c = cluster()
    kill_at_random(c, kills=4, workers=2, seed=1)
    assert differences(c.store.totals(), c.recounted()) == (0, 0)
    assert sum(c.store.totals().values()) == c.sent
