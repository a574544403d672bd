"""The FastAPI example serves, and its embeddings arrive."""

from __future__ import annotations

import importlib.util
import time

import pytest
import torch

from monitor.messages import Contract, Record
from monitor.testing import launcher
from tests.cluster import REPOSITORY, read_topic

pytest.importorskip("fastapi", reason="fastapi is not installed")
testclient = pytest.importorskip("fastapi.testclient", reason="httpx is not installed")


def example_app(monkeypatch, kafka, topic):
    monkeypatch.setenv("KAFKA", kafka)
    monkeypatch.setenv("TOPIC", topic)
    spec = importlib.util.spec_from_file_location("fastapi_app", REPOSITORY / "examples" / "fastapi_app.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example.app


def test_requests_are_answered_while_kafka_is_away_and_their_embeddings_arrive_once_it_is_back(monkeypatch):
    port = launcher.free_port()
    app = example_app(monkeypatch, f"127.0.0.1:{port}", "late")
    image = torch.rand(3, 32, 32)
    began = time.monotonic()
    with testclient.TestClient(app) as client:
        assert time.monotonic() - began < 2
        for n in range(3):
            assert client.post("/predict", json=image.tolist(), headers={"x-request-id": f"r{n}"}).status_code == 200
        assert time.monotonic() - began < 10
        with launcher.start_broker(port) as broker:
            launcher.create_topic(broker.address, "late", 2)
            until = time.monotonic() + 60
            while len(read_topic(broker.address, "late")) < 3:
                assert time.monotonic() < until
            names = {dict(r.headers)["ce_id"] for r in read_topic(broker.address, "late")}
    assert names == {b"r0", b"r1", b"r2"}


def test_a_request_is_answered_and_its_embedding_is_in_the_topic(cluster, monkeypatch):
    c = cluster()
    app = example_app(monkeypatch, c.bootstrap, c.topic)
    image = torch.rand(3, 32, 32)
    with testclient.TestClient(app) as client:
        answer = client.post("/predict", json=image.tolist(), headers={"x-request-id": "r1", "x-tenant": "acme"})
    assert answer.json()["id"] == "r1"
    (found,) = c.records()
    record = Record(
        found.topic, found.partition, found.offset, found.timestamp, found.key, found.value, tuple(found.headers)
    )
    (embedding,) = Contract(512).read(record)
    assert (embedding.id, embedding.stream) == ("r1", "acme")
