"""docs/recipes/kserve.md: what KServe's own logger sent, both ways into Kafka, counted under the recipe's settings."""

from __future__ import annotations

import itertools
import json
import time

import httpx

from monitor.config import load_as
from monitor.config.ingest import IngestConfig
from tests.ingest import IngestServer
from tests.recipes import RECIPES, counted, recording, settings

RECORDED = recording("kserve")
RESPONSE = "org.kubeflow.serving.inference.response"
RESPONSES = [json.loads(post["body"]) for post in RECORDED["posts"] if post["headers"]["ce-type"] == RESPONSE]
ROWS = sum(response["outputs"][1]["shape"][0] for response in RESPONSES)


def test_the_recording_is_what_the_recipe_is_about():
    assert (len(RECORDED["posts"]), len(RESPONSES), ROWS) == (17, 8, 15)
    assert {tuple(output["name"] for output in response["outputs"]) for response in RESPONSES} == {
        ("logits", "embedding")
    }


def test_what_the_logger_posts_to_ingest_is_counted_by_the_service_and_requests_are_skipped(cluster, tmp_path):
    c = cluster(messages=settings("kserve")["messages"])
    c.start_worker()
    load_as(IngestConfig, RECIPES / "kserve" / "ingest.yml", {"OOD_INGEST__HTTP__TOKEN": "t" * 32})
    given = settings("kserve", "ingest.yml")
    with IngestServer(tmp_path, c.bootstrap, c.topic, posts=given["posts"]) as server:
        server.wait_until_ready()
        for post in RECORDED["posts"]:
            headers = {**post["headers"], "ce-time": now()}
            assert httpx.post(server.url, content=post["body"], headers=headers).status_code == 202
    check(c)
    assert {record.key for record in c.records()} == {b"resnet"}


def test_what_a_kafka_sink_writes_is_counted_by_the_service_and_requests_are_skipped(cluster):
    c = cluster(messages=settings("kserve")["messages"])
    c.start_worker()
    partitions = itertools.cycle(range(c.partitions))
    for post, attributes in zip(RECORDED["posts"], RECORDED["records"], strict=True):
        headers = [(name, text.encode()) for name, text in {**attributes, "ce_time": now()}.items()]
        c.producer().send(c.topic, value=post["body"].encode(), headers=headers, partition=next(partitions))
    c.producer().flush()
    check(c)


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def check(c):
    c.wait(lambda: c.counted() >= 15 and c.store.health().sums.get("skipped", 0) >= 9)
    assert counted(c) == {"resnet": 15}
    assert c.store.health().sums["skipped"] == 9
    assert c.store.rejected() == {}
