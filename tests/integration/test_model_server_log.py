"""Beside a model server by configuration alone: the topic of a logger, read by processes of `ood-monitor run`."""

from __future__ import annotations

import json
import random
import time
from collections import Counter

from tests.monitor_support import WIDTH, embeddings

RESPONSE, REQUEST = "org.kubeflow.serving.inference.response", "org.kubeflow.serving.inference.request"
SETTINGS = {
    "accept": [{"ce_type": RESPONSE}],
    "stream_from": "header:ce_inferenceservicename",
    "output": "penultimate",
}
ROWS = embeddings(4000, seed=5, ood=0.1)


def body(kind, n, batch):
    """A request with an image, or a response with logits and the embedding beside them."""
    if kind == REQUEST:
        image = {"name": "image", "datatype": "FP32", "shape": [batch, 4], "data": [0.5] * 4 * batch}
        return {"id": f"r{n}", "inputs": [image]}
    rows = [ROWS[(n + k) % len(ROWS)].tolist() for k in range(batch)]
    logits = {"name": "logits", "datatype": "FP32", "shape": [batch, 3], "data": [0.0] * 3 * batch}
    tensor = {"name": "penultimate", "datatype": "FP32", "shape": [batch, WIDTH], "data": sum(rows, [])}  # noqa: RUF017
    return {"model_name": "net", "id": f"r{n}", "outputs": [logits, tensor]}


def log(cluster, first, pairs, rng):
    """Requests and responses as a logger writes them, in both modes; returns the rows of each service."""
    rows = Counter()
    for n in range(first, first + pairs):
        service, batch = f"service-{n % 2}", rng.randrange(1, 5)
        rows[service] += batch
        for kind in (REQUEST, RESPONSE):
            attributes = {"id": f"r{n}", "source": "http://kserve", "type": kind, "inferenceservicename": service}
            document = body(kind, n, batch)
            if rng.random() < 0.5:
                event = {"specversion": "1.0", "datacontenttype": "application/json", **attributes, "data": document}
                value, headers = event, [("content-type", b"application/cloudevents+json; charset=UTF-8")]
            else:
                value = document
                headers = [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
                headers.append(("content-type", b"application/json"))
            cluster.producer().send(
                cluster.topic,
                key=b"partition-key-%d" % n,
                value=json.dumps(value).encode(),
                headers=headers,
                partition=n % cluster.partitions,
                timestamp_ms=time.time_ns() // 1_000_000,
            )
    cluster.producer().flush()
    return rows


def test_the_log_of_a_model_server_is_counted_once_though_a_worker_is_killed_and_its_requests_are_skipped(cluster):
    c, rng = cluster(messages=SETTINGS), random.Random(3)
    first = c.start_worker()
    c.start_worker()
    rows = log(c, 0, 300, rng)
    c.wait(lambda: sum(c.store.totals().values()) > 50)
    c.kill(first)
    rows += log(c, 300, 300, rng)
    c.start_worker()
    c.wait(lambda: sum(c.store.totals().values()) >= sum(rows.values()) and c.store.health().sums["skipped"] >= 600)
    counted = Counter()
    for (stream, *_), n in c.store.totals().items():
        counted[stream] += n
    assert counted == rows  # lost 0, counted twice 0
    assert c.store.health().sums["skipped"] == 600
    assert c.store.rejected() == {}
    assert c.records(f"{c.topic}.dead-letter") == []
