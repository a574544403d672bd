"""One worker, two artifacts of different width: counted once each over a kill, and each alert names its own."""

from __future__ import annotations

import time

import yaml

from line_plugin import load_artifact
from monitor.counting.models import SEPARATOR
from tests.cluster import differences
from tests.monitor_support import embeddings, small_line
from tests.oracle.recount import recount
from tests.unit.monitor.test_several_models import SLIM, SLIM_ROWS


def test_two_models_are_counted_apart_over_a_kill_and_a_surge_of_one_is_an_alert_of_its_artifact(cluster, tmp_path):
    c = cluster(alerts={"requests_per_false_alert": 1000, "silence_seconds": 0})
    slim = tmp_path / "slim.safetensors"
    SLIM.save(slim)
    artifact = c.config["model"].pop("artifact")
    c.config["models"] = [
        {"name": "wide", "artifact": artifact, "model": ["net"]},
        {"name": "slim", "artifact": str(slim), "model": ["thin"]},
    ]
    c.path.write_text(yaml.safe_dump(c.config))
    rows, ood = embeddings(2000, seed=11), embeddings(2000, seed=12, ood=1.0)
    start = time.time_ns() // 1_000_000

    def send(n, table, model):
        for k in range(n):
            vector = table[k % len(table)].tobytes()
            c.producer().send(
                c.topic, key=b"tenant", value=vector, headers=[("ce_model", model)], partition=k % c.partitions,
                timestamp_ms=start + c.sent,
            )  # fmt: skip
            c.sent += 1
        c.producer().flush()

    first = c.start_worker()
    c.start_worker()
    send(600, rows, b"net")
    send(250, SLIM_ROWS[:250], b"thin")
    c.wait(lambda: c.counted() > 100)
    c.kill(first)
    send(600, ood, b"net")
    c.wait_until_counted()
    line = small_line()
    records = [(r.headers[0][1], r.key, r.value) for r in c.records()]
    expected = {}
    for name, model, artifact_of in (("wide", b"net", line), ("slim", b"thin", SLIM)):
        mine = [(f"{name}{SEPARATOR}{k.decode()}".encode(), v) for m, k, v in records if m == model]
        expected |= recount(artifact_of, mine)
    assert differences(c.store.totals(), expected) == (0, 0)
    c.wait(lambda: any(a["stream"] == "wide/tenant" and a["kind"] == "ood" for a in c.store.alerts()))
    (alert,) = [a for a in c.store.alerts() if a["stream"] == "wide/tenant" and a["kind"] == "ood"]
    assert alert["artifact"] == load_artifact(artifact).content_sha256
