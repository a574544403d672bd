"""The kill test on genuine Apache Kafka: three workers joining, leaving and dying under load."""

from __future__ import annotations

import os

import pytest

from monitor.testing import launcher
from tests.cluster import Cluster, differences, kill_at_random
from tests.kafka.apache import start_apache_kafka, why_not

KILLS = int(os.environ.get("OOD_MONITOR_KILLS", "8"))


@pytest.mark.skipif(bool(why_not()), reason=why_not())
@pytest.mark.parametrize("client", ["kafka-python", "confluent-kafka"])
def test_counts_equal_an_offline_recount_however_often_workers_are_killed(tmp_path, capsys, client):
    if client == "confluent-kafka":
        pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    with start_apache_kafka() as kafka, launcher.start_store() as redis:
        c = Cluster(
            kafka.address, f"redis://{redis.address}/0", tmp_path, "kills",
            kafka={"session_timeout_ms": 2000, "heartbeat_interval_ms": 300, "client": client},
        )  # fmt: skip
        try:
            kill_at_random(c, KILLS, workers=3, seed=7)
            counted, recounted = c.store.totals(), c.recounted()
        finally:
            c.stop()
        lost, twice = differences(counted, recounted)
        with capsys.disabled():
            print(f"\n{KILLS} kills, {c.sent} records: lost {lost}, counted twice {twice} ({client}, {redis.name})")
        assert (lost, twice) == (0, 0)
        assert sum(counted.values()) == c.sent
